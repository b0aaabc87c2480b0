// Two people in one file. Called by test/workbench with two login links, a link
// that invites to look, how long one of them
// is offline in milliseconds, the path of the browser, and a folder for pictures.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import { flags, outside, Person, sh } from './person.mjs';

const [linkA, linkB, linkC, away, browserPath, pictures] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: browserPath, args: flags });
const began = performance.now();
const step = (text) => console.log(`${((performance.now() - began) / 1000).toFixed(1)} s: ${text}`);
const BOM = '\uFEFF';
const DOTS = '.\r\n'.repeat(4);
let people = [];

/** Waits until all see what the file has, and returns that. */
async function together() {
  for (const p of people) await p.saved();
  let last = [];
  for (let i = 0; i < 100; i++) {
    const file = await sh('cat /workspace/both.txt');
    const want = file.replace(BOM, '').replaceAll('\r\n', '\n');
    last = [want];
    for (const p of people) last.push((await p.lines()).join('\n'));
    if (last.every((t) => t.replace(/\n+$/, '') === want.replace(/\n+$/, ''))) return file;
    await new Promise((r) => setTimeout(r, 200));
  }
  throw new Error(`they differ:\n${last.map((t) => JSON.stringify(t)).join('\n')}`);
}

/**
 * Types words until it is stopped, and notes which of them the page said to be in
 * the journal.
 */
class Typist {
  words = 0;
  told = 0;
  running = false;

  constructor(person, mark) {
    this.person = person;
    this.mark = mark;
  }

  start() {
    this.running = true;
    this.done = (async () => {
      while (this.running) {
        const word = this.words++;
        await this.person.type(this.char(word));
        await this.look();
      }
    })();
  }

  /** A character that is typed once, and is not in the text for other reasons: a cursor that is moved by others cannot break it. */
  char(word) {
    return String.fromCodePoint(this.mark + word);
  }

  async look() {
    const typed = this.words;
    const d = await this.person.where();
    if (d.state === 'journalled' && d.edits === '0') this.told = typed;
  }

  async stop() {
    this.running = false;
    await this.done;
  }
}

/** All that was told is in the text once, all that was typed at most once and unbroken. */
function check(file, typists) {
  for (const t of typists) {
    for (let i = 0; i < t.words; i++) {
      const times = file.split(t.char(i)).length - 1;
      assert.ok(times <= 1, `${t.person.name}'s ${t.char(i)} is there ${times} times:\n${file}`);
      assert.ok(times === 1 || i >= t.told, `${t.person.name}'s ${t.char(i)} is lost, of ${t.told} that were told to be in the journal:\n${file}`);
    }
  }
  assert.ok(file.startsWith(BOM), 'the byte order mark is gone');
  assert.ok(!/[^\r]\n/.test(file), `an end of line has changed:\n${JSON.stringify(file)}`);
}

try {
  people = await Promise.all([Person.arrive(browser, 'ann', linkA, 'demo'), Person.arrive(browser, 'ben', linkB, 'demo')]);
  const [ann, ben] = people;
  step('both are in');
  await Promise.all(people.map((p) => p.open('both.txt')));
  await ann.line(1);
  await ben.line(12);
  await Promise.all([ann.type(' from ann: ä🦊', 20), ben.type(' from ben: 你好', 20)]);
  await ann.shows('from ben: 你好');
  await ben.shows('from ann: ä🦊');
  await ann.shot(pictures, 'together');
  let file = await together();
  assert.equal(file, `${BOM}one from ann: ä🦊\r\ntwo 🦊 fox\r\n${DOTS}three\r\n${DOTS}four from ben: 你好\r\nfive`);
  step('what both type is in the file, with its ends of line');

  // Each sees the other's cursor, with the name that the server gives it.
  await ann.page.waitForSelector('.holt-caret');
  await ben.page.waitForFunction(() => document.querySelector('.holt-name')?.textContent !== '');
  await ann.page.waitForFunction(() => document.getElementById('holt.people')?.dataset.others === '1');
  await ben.page.keyboard.press('Shift+Home');
  await ann.page.waitForSelector('.holt-selection');
  await ann.shot(pictures, 'together-cursors');
  await ben.page.keyboard.press('End');
  step('each sees where the other is');

  // One who may only look sees what they type, follows them, and changes nothing.
  const vera = await Person.arrive(browser, 'vera', linkC, 'demo');
  await vera.open('both.txt', 'reading');
  await vera.shows('from ben: 你好');
  await vera.go('Control+End');
  await vera.type('not mine to change');
  await ann.page.waitForFunction(() => [...document.querySelectorAll('.holt-name')].some((n) => n.textContent === 'vera'));
  await vera.page.locator('[id="holt.people"] a').click();
  await vera.page.waitForSelector('.quick-input-list .monaco-list-row');
  await vera.shot(pictures, 'together-people');
  await vera.page.locator('.quick-input-list .monaco-list-row', { hasText: 'both.txt' }).first().click();
  const leader = await vera.page.waitForFunction(() => document.getElementById('holt.people')?.dataset.following);
  assert.ok(await leader.jsonValue());
  for (const p of people) await p.open('notes.txt');
  await ann.go('Control+End');
  await vera.page.waitForFunction(() => document.querySelector('.tab.active')?.textContent?.includes('notes.txt'));
  await vera.shows('notes');
  await vera.shot(pictures, 'together-following');
  for (const p of people) await p.open('both.txt');
  assert.deepEqual(vera.complaints, []);
  await vera.context.close();
  assert.equal(await together(), file);
  step('one who may only look follows, and changes nothing');
  await ann.line(1);
  await ann.page.keyboard.press('End');

  // Undo takes back one's own.
  await ann.go('Control+z');
  await ann.go('Control+z');
  file = await together();
  assert.ok(!file.includes('ä') && file.includes('from ben: 你好'), file);
  await ann.go('Control+Shift+z');
  await ann.go('Control+Shift+z');
  file = await together();
  assert.ok(file.includes('one from ann: ä🦊\r\n') && file.includes('from ben: 你好'), file);
  step('undo takes back what one typed, and not what others did');

  // Others write the file meanwhile: a checkout, a formatter.
  const typists = [new Typist(ann, 0x1f300), new Typist(ben, 0x6000)];
  for (const [i, t] of typists.entries()) {
    await people[i].line(i === 0 ? 1 : 12);
    t.start();
  }
  await sh('cd /workspace && sleep 0.5; git checkout -q -m two; sleep 0.5; sed -i "s/fox/FOX/; s/five/FIVE/" both.txt; sleep 0.5');
  await Promise.all(typists.map((t) => t.stop()));
  file = await together();
  for (const t of typists) await t.look();
  check(file, typists);
  assert.match(file, /FOX\r\n/);
  assert.match(file, /\nTHREE\r\n/);
  assert.match(file, /FIVE$/);
  step('a checkout and a formatter are merged with what is typed');

  // One is offline, and comes back.
  for (const t of typists) t.start();
  await ben.context.setOffline(true);
  await ben.page.waitForFunction(() => document.getElementById('holt.journal')?.dataset.state === 'offline', undefined, { timeout: 30_000 });
  await new Promise((r) => setTimeout(r, Number(away)));
  await Promise.all(typists.map((t) => t.stop()));
  await ben.page.waitForFunction(() => /kept here/.test(document.getElementById('holt.journal')?.textContent ?? ''));
  await ben.shot(pictures, 'together-offline');
  await ben.context.setOffline(false);
  file = await together();
  for (const t of typists) await t.look();
  assert.equal(typists[1].told, typists[1].words);
  check(file, typists);
  step('one who was offline is merged');

  // The page goes while it is offline: its edits are sent by the next one.
  await ben.context.setOffline(true);
  await ben.type(' [typed offline]');
  await ben.page.waitForFunction(() => document.getElementById('holt.journal')?.dataset.state === 'offline', undefined, { timeout: 30_000 });
  await ben.page.waitForTimeout(300);
  await ben.page.goto('about:blank');
  await ben.context.setOffline(false);
  await ben.page.goto(new URL('/workspace/demo', linkB).href);
  await ben.ready();
  await ann.shows('[typed offline]');
  await ben.open('both.txt');
  file = await together();
  assert.equal(file.split('[typed offline]').length, 2);
  step('a page that went offline and away loses nothing');

  // The sandbox is killed, the server is killed, the machine is suspended and woken.
  for (const [name, harm] of [
    ['the sandbox was killed', () => outside('killsandbox')],
    ['the server was killed', async () => {
      await outside('kill');
      await new Promise((r) => setTimeout(r, 1000));
      await outside('start');
    }],
    ['the machine was suspended', () => outside('suspend')],
  ]) {
    await ben.line(12);
    for (const t of typists) t.start();
    await new Promise((r) => setTimeout(r, 700));
    const harmed = harm();
    await new Promise((r) => setTimeout(r, 500));
    await harmed;
    await new Promise((r) => setTimeout(r, 500));
    await Promise.all(typists.map((t) => t.stop()));
    if (name === 'the machine was suspended') {
      await ben.page.waitForFunction(() => document.getElementById('holt.status')?.textContent?.includes('asleep'));
      await ben.page.keyboard.press('End'); // whoever works in it wakes it
    }
    for (const p of people) await p.connected();
    file = await together();
    for (const t of typists) await t.look();
    check(file, typists);
    step(`${name}: ${typists.map((t) => t.told).join(' and ')} characters are all there`);
  }
  assert.deepEqual(people.flatMap((p) => p.complaints), []);
} catch (e) {
  for (const [i, p] of people.entries()) {
    await p.shot(pictures || undefined, `together-failed-${i}`).catch(() => {});
    for (const c of p.complaints) console.error('page:', c);
    console.error(p.name, await p.where().catch(() => undefined));
  }
  console.error(e);
  process.exitCode = 1;
} finally {
  await browser.close();
  process.exit(); // the input is still open
}
