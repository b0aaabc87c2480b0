// Drives the page in a real browser. Called by browser_test.go with the login
// link of a server, the path of the browser, and a folder for pictures.
// Prints what failed and exits with 1.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const [link, browserPath, pictures] = process.argv.slice(2);
const flags =
  '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync';
const browser = await chromium.launch({ executablePath: browserPath, args: flags.split(' ') });
const complaints = [];

async function newPage(options) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 700 }, ...options });
  const page = await context.newPage();
  page.on('console', (m) => {
    // A refused request is part of the play: the page asks whether a sleeping machine has woken.
    if (
      m.type() === 'error' &&
      !m.text().includes('Failed to load resource') &&
      !m.text().includes('WebSocket connection')
    )
      complaints.push(m.text());
  });
  page.on('pageerror', (e) => complaints.push(String(e)));
  page.setDefaultTimeout(20_000);
  return page;
}

const shot = (page, name) => pictures && page.screenshot({ path: `${pictures}/${name}.png` });
const state = (page, want) =>
  page.waitForFunction((w) => document.getElementById('detail-state').textContent === w, want);
const rows = (page) => page.locator('.screen:not([hidden]) .xterm-rows').textContent();
const shows = (page, text) =>
  page.waitForFunction(
    (t) => document.querySelector('.screen:not([hidden]) .xterm-rows')?.textContent.includes(t),
    text,
  );
const open = (page) => page.waitForSelector('.screen:not([hidden])[data-status="open"]');

async function type(page, line) {
  await page.locator('.screen:not([hidden]) textarea').focus();
  await page.keyboard.type(`${line}\n`);
}

try {
  const stranger = await newPage();
  await stranger.goto(new URL('/', link).href);
  await stranger.waitForURL(/\/login\?to=/);
  await shot(stranger, 'signed-out');
  await stranger.context().close();

  const page = await newPage({ colorScheme: 'dark' });
  await page.goto(link);
  await page.waitForURL(new URL('/', link).href);
  await page.waitForSelector('#empty:not([hidden])');
  await shot(page, 'empty');

  // Make one, by keyboard.
  await page.locator('#empty [data-create]').focus();
  await page.keyboard.press('Enter');
  await page.keyboard.type('No Good');
  assert.match(await page.locator('#create-problem').textContent(), /a-z/);
  await page.locator('#create-name').fill('demo');
  await shot(page, 'create');
  await page.keyboard.press('Enter');
  await state(page, 'running');
  await open(page);

  await type(page, 'x=20; printf "\\033[32m%s\\033[0m\\n" "answer-$((x+22))"');
  await shows(page, 'answer-42');
  await type(page, 'seq 1 3000');
  await shows(page, '3000');

  // A second terminal, then back.
  await page.getByRole('button', { name: 'New terminal' }).click();
  await open(page);
  await type(page, 'echo second-$((1+1))');
  await shows(page, 'second-2');
  await page.getByRole('tab', { name: 'main' }).click();
  assert.ok(!(await rows(page)).includes('second-2'));
  await shot(page, 'terminal-dark');

  // Freeze it: the page does not wake it by itself. A key does, and the shell is the same.
  await page.getByRole('button', { name: 'Suspend' }).click();
  await state(page, 'suspended');
  await page.waitForSelector('.screen:not([hidden])[data-status="asleep"]');
  await page.waitForTimeout(1500);
  assert.equal(await page.locator('#detail-state').textContent(), 'suspended');
  await shot(page, 'suspended');
  await page.locator('.screen:not([hidden]) textarea').focus();
  await page.keyboard.press('Enter');
  await state(page, 'running');
  await open(page);
  await type(page, 'echo still-$((x+1))');
  await shows(page, 'still-21');
  assert.equal((await rows(page)).split('still-21').length, 2, 'output was repeated');

  // Reload: the terminal is as it was.
  await page.reload();
  await open(page);
  await shows(page, 'still-21');

  // A server in the workspace appears as a port, and its page opens on its own origin.
  await type(
    page,
    'mkdir -p site && echo "<h1>hello from demo</h1>" > site/index.html && python3 -m http.server -d site 0 &',
  );
  await shows(page, 'Serving HTTP on');
  const [, port] = (await rows(page)).match(/Serving HTTP on \S+ port (\d+)/);
  await page.waitForFunction(() => document.querySelector('#ports:not([hidden])'));
  const mine = page.locator('#ports-list li', { hasText: 'python3' }).locator('a', { hasText: port });
  await mine.waitFor();
  await shot(page, 'ports');
  const [site] = await Promise.all([page.context().waitForEvent('page'), mine.click()]);
  await site.waitForSelector('h1');
  assert.equal(await site.locator('h1').textContent(), 'hello from demo');
  assert.notEqual(new URL(site.url()).origin, new URL(link).origin);
  await site.close();
  await type(page, 'kill %1'); // here the machine is the host, which goes on

  // Fork, then delete the copy.
  await page.getByRole('button', { name: 'Fork' }).click();
  await page.waitForFunction(() => document.getElementById('detail-name').textContent === 'demo-1');
  await state(page, 'running');
  await page.getByRole('button', { name: 'Delete', exact: true }).first().click();
  await page.keyboard.type('demo-1\n');
  await page.waitForFunction(() => document.querySelectorAll('#list li').length === 1);

  // Light, and the phone.
  await page.goto(`${new URL('/', link).href}#demo`);
  await page.emulateMedia({ colorScheme: 'light' });
  await open(page);
  await shot(page, 'terminal-light');
  await page.setViewportSize({ width: 390, height: 780 });
  await shot(page, 'phone-terminal');
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
  assert.ok(!wide, 'the phone page scrolls sideways');
  await page.locator('.back').click();
  await shot(page, 'phone-list');

  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL(/login/);
  assert.deepEqual(complaints, []);
} catch (e) {
  const page = browser.contexts()[0]?.pages()[0];
  if (page) await shot(page, 'failed');
  console.error(e);
  for (const c of complaints) console.error('page:', c);
  process.exitCode = 1;
} finally {
  await browser.close();
}
