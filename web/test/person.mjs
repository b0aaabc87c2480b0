// A person at the workbench: a browser of its own, and what hands and eyes do there.
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has something happen outside of the pages; see test/workbench. */
export async function outside(line) {
  console.log(line.replaceAll('\n', ' '));
  const { value, done } = await answers.next();
  assert.ok(!done, `nobody answered: ${line}`);
  return value;
}

/** What a shell in the workspace prints. */
export const sh = async (script) => JSON.parse(await outside(`sh ${script}`));

export const flags =
  '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split(' ');

const MOD = 'Control';

export class Person {
  complaints = [];

  static async arrive(browser, name, link, workspace) {
    const p = new Person();
    p.name = name;
    p.context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'dark' });
    p.page = await p.context.newPage();
    p.page.setDefaultTimeout(60_000);
    p.page.on('pageerror', (e) => {
      // A search that is stopped, and a page that goes while it works, are told like this by the workbench.
      if (!/^Canceled/.test(e.message)) p.complaints.push(`${name}: ${e.message}\n${e.stack}`);
    });
    p.page.on('console', (m) => {
      if (/the editor and the document differed/.test(m.text())) p.complaints.push(`${name}: ${m.text()}`);
    });
    await p.page.goto(link);
    if (new URL(link).pathname === '/invite') {
      await p.page.fill('#name', name);
      await p.page.fill('#password', `the long password of ${name.split('').reverse().join('')}`);
      await p.page.keyboard.press('Enter');
    }
    await p.page.waitForFunction(() => document.readyState === 'complete' && !/^\/(login|invite)/.test(location.pathname));
    await p.page.goto(new URL(`/workspace/${workspace}`, link).href);
    await p.ready();
    return p;
  }

  async ready() {
    await this.page.waitForSelector('.explorer-folders-view .monaco-list-row', { timeout: 60_000 });
    await this.connected();
  }

  connected() {
    return this.page.waitForFunction(() => / ms$/.test(document.getElementById('holt.status')?.textContent ?? ''), undefined, { timeout: 60_000 });
  }

  async open(name, state = 'journalled') {
    await this.page.keyboard.press(`${MOD}+p`);
    await this.page.waitForSelector('.quick-input-widget input');
    await this.page.keyboard.type(name);
    await this.page.waitForFunction(
      (n) => document.querySelector('.quick-input-list .monaco-list-row.focused')?.textContent?.includes(n.split('/').pop()),
      name,
    );
    await this.page.keyboard.press('Enter');
    await this.page.waitForFunction((n) => document.querySelector('.tab.active')?.textContent?.includes(n.split('/').pop()), name);
    await this.page.waitForSelector('.editor-instance .view-line');
    await this.saved(state);
  }

  editor() {
    return this.page.locator('.editor-instance .native-edit-context, .editor-instance textarea.inputarea').first();
  }

  async go(key) {
    await this.editor().focus();
    await this.page.keyboard.press(key);
  }

  /** Puts the cursor at the end of a line. */
  async line(number) {
    await this.go(`${MOD}+Home`);
    for (let i = 1; i < number; i++) await this.page.keyboard.press('ArrowDown');
    await this.page.keyboard.press('End');
  }

  type(text, delay = 0) {
    return this.page.keyboard.type(text, { delay });
  }

  /** Where the page says that its text is. */
  where() {
    return this.page.evaluate(() => ({ ...document.getElementById('holt.journal')?.dataset }));
  }

  /** Waits until the page says that everything is in the journal. */
  async saved(state = 'journalled') {
    try {
      await this.page.waitForFunction((s) => {
        const d = document.getElementById('holt.journal')?.dataset;
        return d?.state === s && d.edits === '0';
      }, state);
    } catch (e) {
      throw new Error(`${this.name}: not saved: ${JSON.stringify(await this.where())}`, { cause: e });
    }
  }

  /** The lines that the editor shows. */
  lines() {
    return this.page.evaluate(() =>
      [...document.querySelectorAll('.editor-instance .view-line')]
        .map((l) => ({ top: Number.parseFloat(l.style.top), text: l.textContent.replaceAll('\u00a0', ' ') }))
        .sort((a, b) => a.top - b.top)
        .map((l) => l.text),
    );
  }

  async shows(text) {
    try {
      await this.page.waitForFunction(
        (t) => [...document.querySelectorAll('.editor-instance .view-line')].some((l) => l.textContent.replaceAll('\u00a0', ' ').includes(t)),
        text,
      );
    } catch (e) {
      throw new Error(`${this.name} does not see ${text}: ${(await this.lines()).join('\n')}`, { cause: e });
    }
  }

  async shot(folder, name) {
    if (folder) await this.page.screenshot({ path: `${folder}/${name}.png` });
  }
}
