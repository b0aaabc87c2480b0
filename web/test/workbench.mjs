// Drives the workbench in a real browser. Called by test/workbench with a login
// link, the path of the browser, and a folder for pictures. It asks for what happens
// outside of the page in lines on its standard output ("kill", "start", "suspend",
// "sh SCRIPT") and waits for a line each on its input.
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [link, browserPath, pictures] = process.argv.slice(2);
const flags =
  '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync';
const browser = await chromium.launch({ executablePath: browserPath, args: flags.split(' ') });
const complaints = [];

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
async function outside(line) {
  console.log(line.replaceAll('\n', ' '));
  const { value, done } = await answers.next();
  assert.ok(!done, `nobody answered: ${line}`);
  return value;
}
/** What a shell in the workspace prints. */
const sh = async (script) => JSON.parse(await outside(`sh ${script}`));

const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'dark' });
const page = await context.newPage();
page.setDefaultTimeout(60_000);
page.on('pageerror', (e) => {
  // A search that is stopped, and a page that goes while it works, are told like this by the workbench.
  if (!/^Canceled/.test(e.message)) complaints.push(`${e.message}\n${e.stack}`);
});
let began = performance.now();
const step = (text) => {
  console.log(`${((performance.now() - began) / 1000).toFixed(1)} s: ${text}`);
};
const shot = (name) => pictures && page.screenshot({ path: `${pictures}/workbench-${name}.png` });

const MOD = 'Control';
const ready = () => page.waitForSelector('.explorer-folders-view .monaco-list-row, .search-view, .scm-view', { timeout: 60_000 });
const status = (text) =>
  page.waitForFunction((t) => document.getElementById('holt.status')?.textContent?.includes(t), text, { timeout: 60_000 });
const connected = () => page.waitForFunction(() => / ms$/.test(document.getElementById('holt.status')?.textContent ?? ''), undefined, { timeout: 60_000 });
const banner = (text) => page.waitForFunction((t) => document.querySelector('.part.banner')?.textContent?.includes(t), text);
const noBanner = () =>
  page.waitForFunction(() => !document.querySelector('.part.banner .message-container')?.textContent || !document.querySelector('.part.banner')?.checkVisibility());
const dirty = (yes) =>
  page.waitForFunction((y) => (document.querySelector('.tab.active')?.classList.contains('dirty') ?? false) === y, yes);

/** Waits until the page says that what was typed is in the journal. */
const saved = () =>
  page.waitForFunction(() => {
    const d = document.getElementById('holt.journal')?.dataset;
    return d?.state === 'journalled' && d.edits === '0';
  });

/** Waits until src/main.py is as expected. */
async function written(expected) {
  let text = '';
  for (let i = 0; i < 30; i++) {
    text = await sh('cat /workspace/src/main.py');
    if (expected.test(text)) return;
  }
  assert.match(text, expected);
}

/** Opens a file by name through quick open. */
async function open(name) {
  await page.keyboard.press(`${MOD}+p`);
  await page.waitForSelector('.quick-input-widget input');
  await page.keyboard.type(name);
  await page.waitForFunction(
    (n) => document.querySelector('.quick-input-list .monaco-list-row.focused')?.textContent?.includes(n.split('/').pop()),
    name,
  );
  await page.keyboard.press('Enter');
  await page.waitForFunction((n) => document.querySelector('.tab.active')?.textContent?.includes(n.split('/').pop()), name);
  await page.waitForSelector('.editor-instance .view-line');
}

const editor = () => page.locator('.editor-instance .native-edit-context, .editor-instance textarea.inputarea').first();
async function typeAtEnd(text) {
  await editor().focus();
  await page.keyboard.press(`${MOD}+End`);
  await page.keyboard.type(text);
}
async function save() {
  await editor().focus();
  await page.keyboard.press(`${MOD}+s`);
}
const shown = (text) =>
  page.waitForFunction(
    (t) => [...document.querySelectorAll('.editor-instance .view-line')].some((l) => l.textContent.replaceAll('\u00a0', ' ').includes(t)),
    text,
  );

/** The text of the terminal in front. The project's settings have it drawn as elements, not on a canvas. */
async function screen() {
  return page.evaluate(() => [...document.querySelectorAll('.terminal-wrapper.active .xterm-rows')].map((r) => r.textContent).join('\n'));
}
async function prints(text) {
  try {
    await page.waitForFunction(
      (t) => [...document.querySelectorAll('.terminal-wrapper .xterm-rows')].some((r) => r.textContent.replaceAll('\u00a0', ' ').includes(t)),
      text,
    );
  } catch (e) {
    throw new Error(`the terminal does not show ${text}: ${await screen()}`, { cause: e });
  }
}
async function terminal() {
  await page.locator('.terminal-wrapper.active textarea.xterm-helper-textarea').last().focus();
}
async function command(text) {
  await page.keyboard.press('F1');
  await page.waitForSelector('.quick-input-widget input');
  await page.keyboard.type(text);
  await page.waitForFunction(
    (t) => document.querySelector('.quick-input-list .monaco-list-row.focused')?.textContent?.includes(t),
    text.split(': ').pop(),
  );
  await page.keyboard.press('Enter');
}

try {
  await page.goto(link);
  const address = new URL('/workspace/demo', link).href;
  await page.waitForFunction(() => document.readyState === 'complete' && !location.pathname.startsWith('/login'));
  began = performance.now();
  await page.goto(address);
  await ready();
  await connected();
  step('the workbench shows the files');

  // Open, edit, save, and see it in a terminal.
  await open('src/main.py');
  await shown('def greet');
  await saved();
  await shot('dark');
  await typeAtEnd('# typed in the browser\n');
  await saved();
  await dirty(false); // the server writes the file: there is nothing to save
  await save(); // which has it written at once
  await page.waitForFunction(() => document.getElementById('holt.journal')?.dataset.state === 'journalled');
  await written(/\n# typed in the browser$/);
  await page.keyboard.press('Control+`');
  await page.waitForSelector('.terminal-wrapper.active .xterm-rows');
  await terminal();
  await page.keyboard.type('x=20; tail -1 src/main.py; python3 src/main.py you; echo $((x+1))-a\n');
  await prints('# typed in the browser');
  await prints('Hello, you!');
  await prints('21-a');
  await shot('terminal');
  step('a save is seen by a terminal');

  // What a program writes is shown, and a new file appears.
  await sh('cd /workspace && sed -i s/hello/goodbye/ src/main.py && touch src/appeared.py');
  await shown('Say goodbye');
  await open('appeared.py');
  await open('src/main.py');
  step('a change on disk is shown');

  // Reload: the terminal is the same one, the text is there, and undo is per person and page.
  await typeAtEnd('# typed before the reload');
  await saved();
  await page.reload();
  await ready();
  await connected();
  await open('src/main.py'); // which tab was in front is stored every few seconds only
  await saved();
  await shown('# typed before the reload');
  await dirty(false);
  // The panel is open again if that was stored before the reload.
  await page.waitForSelector('.terminal-wrapper.active .xterm-rows', { timeout: 5000 }).catch(() => page.keyboard.press('Control+`'));
  await prints('Hello, you!');
  await terminal();
  await page.keyboard.type('echo $((x+2))-b\n');
  await prints('22-b');
  step('a reload keeps the terminal and the text');

  // The server dies while somebody types: typing goes on, and all of it arrives.
  await outside('kill');
  await typeAtEnd('\n# typed while the server was dead: ');
  await banner('The server cannot be reached');
  await page.keyboard.type('äöü🦊 0123456789');
  await save(); // does not wait for a server that is not there
  await page.keyboard.type('\n# and after the save');
  await page.waitForFunction(() => /kept here/.test(document.getElementById('holt.journal')?.textContent ?? ''));
  await shot('offline');
  await outside('start');
  await connected();
  await noBanner();
  await saved();
  await save();
  await written(/# typed before the reload\n# typed while the server was dead: äöü🦊 0123456789\n# and after the save$/);
  await terminal();
  await page.keyboard.type('echo $((x+3))-c\n');
  await prints('23-c');
  step('a server that was killed is found again, with no character lost');

  // Suspended: nothing wakes it but somebody who works.
  await typeAtEnd('\n# before the suspend');
  await outside('suspend');
  await status('asleep');
  await banner('is suspended');
  await page.waitForTimeout(5000);
  assert.equal(await outside('state'), 'SUSPENDED');
  await shot('asleep');
  await editor().focus();
  await page.keyboard.type(', and after it');
  await connected();
  await noBanner();
  await saved();
  await written(/\n# before the suspend, and after it$/);
  await terminal();
  await page.keyboard.type('echo $((x+4))-d\n');
  await prints('24-d');
  step('a suspended workspace wakes under the editor, and its shell goes on');

  // A file that the server does not take as a document is an ordinary one: what changed on disk is not
  // overwritten, also with the same length.
  await open('old.txt');
  await typeAtEnd('mine');
  await dirty(true);
  await sh("cd /workspace && sed 's/small/large/' old.txt > r && cat r > old.txt && rm r");
  await save();
  const notice = page.locator('.notifications-toasts .notification-list-item').first();
  await notice.waitFor();
  assert.match(await notice.textContent(), /content of the file is newer/);
  assert.match(await sh('cat /workspace/old.txt'), /A large file\./);
  await shot('conflict');
  await notice.getByRole('button', { name: 'Overwrite' }).click();
  await dirty(false);
  assert.match(await sh('cat /workspace/old.txt'), /A small file\.\s+mine$/);
  step('a file that changed on disk is not overwritten unasked');

  // Search, and quick open over 10,000 files.
  await page.keyboard.press(`${MOD}+Shift+f`);
  await page.waitForSelector('.search-view textarea');
  await page.keyboard.type('NEEDLE of');
  await page.waitForFunction(() => document.querySelector('.search-view')?.textContent.includes('1 result in 1 file'));
  await shot('search');
  await open('file-99-100.txt');
  await shown('99 100');
  await open('a 🦊.txt');
  await shown('fox');
  step('search and quick open find files among 10,000');
  await page.keyboard.press(`${MOD}+Shift+e`);

  // A second terminal beside the first; after a reload both are there.
  await terminal();
  await command('Terminal: Split Terminal');
  await page.waitForFunction(() => document.querySelectorAll('.terminal-wrapper').length === 2);
  await terminal();
  await page.keyboard.type('y=7; echo split-$((y+1))\n');
  await prints('split-8');
  await page.waitForTimeout(800); // the arrangement is stored half a second later
  await page.reload();
  await ready();
  await prints('split-8');
  await prints('24-d');
  await shot('split');
  step('split terminals are found again');

  // The Run button, a target of the Makefile, and a server whose port opens on an origin of its own.
  await open('src/main.py');
  await page.locator('.editor-actions .codicon-play').click();
  await prints('Hello, world!');
  await command('Run a Script or Target…');
  await page.waitForFunction(() => document.querySelector('.quick-input-list')?.textContent.includes('python3') || document.querySelector('.quick-input-list')?.textContent.includes('npm run greet'));
  await shot('run');
  await page.keyboard.type('npm run greet');
  await page.keyboard.press('Enter');
  await prints('Hello, npm!');
  await terminal();
  await page.keyboard.type('mkdir -p site && echo "<h1>from demo</h1>" > site/index.html; python3 -m http.server -d site 8123 &\n');
  await command('Ports: Focus on Ports View');
  const port = page.locator('.holt-ports a', { hasText: '8123' });
  await port.waitFor();
  await shot('ports');
  const [site] = await Promise.all([context.waitForEvent('page'), port.click()]);
  await site.waitForSelector('h1');
  assert.equal(await site.locator('h1').textContent(), 'from demo');
  assert.notEqual(new URL(site.url()).origin, new URL(link).origin);
  await site.close();
  step('a file, a script and a server run');

  await page.emulateMedia({ colorScheme: 'light' });
  await page.waitForFunction(() => document.querySelector('.monaco-workbench')?.classList.contains('vs'));
  await page.waitForTimeout(500);
  await shot('light');
  assert.deepEqual(complaints, []);
} catch (e) {
  await shot('failed');
  console.error(e);
  for (const c of complaints) console.error('page:', c);
  process.exitCode = 1;
} finally {
  await browser.close();
  process.stdin.destroy();
}
