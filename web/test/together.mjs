// Two people in one file. Called by test/workbench with two login links, how long one
// of them is offline in milliseconds, the path of the browser, and a folder for pictures.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import { flags, outside, Person, sh } from './person.mjs';

const [linkA, linkB, away, browserPath, pictures] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: browserPath, args: flags });
const began = performance.now();
const step = (text) => console.log(`${((performance.now() - began) / 1000).toFixed(1)} s: ${text}`);
const BOM = '\uFEFF';
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
    if (last.every((t) => t.replace(/\n$/, '') === want.replace(/\n$/, ''))) return file;
    await new Promise((r) => setTimeout(r, 200));
  }
  throw new Error(`they differ:\n${last.map((t) => JSON.stringify(t)).join('\n')}`);
}

try {
  people = await Promise.all([Person.arrive(browser, 'ann', linkA, 'demo'), Person.arrive(browser, 'ben', linkB, 'demo')]);
  const [ann, ben] = people;
  step('both are in');
  await ann.open('both.txt');
  await ben.open('both.txt');
  step('both have the file open');
  await ann.line(1);
  await ben.line(4);
  await Promise.all([ann.type(' from ann: ä🦊', 20), ben.type(' from ben: 你好', 20)]);
  await ann.shows('from ben: 你好');
  await ben.shows('from ann: ä🦊');
  await ann.shot(pictures, 'together');
  const file = await together();
  assert.equal(file, `${BOM}one from ann: ä🦊\r\ntwo 🦊 fox\r\nthree\r\nfour from ben: 你好\r\nfive\r\n`.trimEnd());
  step('what both type is in the file, with its ends of line');

  assert.deepEqual(people.flatMap((p) => p.complaints), []);
} catch (e) {
  for (const [i, p] of people.entries()) {
    await p.shot(pictures || '/tmp', `together-failed-${i}`).catch(() => {});
    for (const c of p.complaints) console.error('page:', c);
  }
  console.error(e);
  process.exitCode = 1;
} finally {
  await browser.close();
  process.exit(); // the input is still open
}
