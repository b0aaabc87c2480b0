// Drives login and dashboard in a real browser. Called by dashboard_test.go with the
// first link of a server, the path of the browser, and a folder for pictures.
// Prints what failed and exits with 1.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const [link, browserPath, pictures] = process.argv.slice(2);
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const flags =
  '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync';
const browser = await chromium.launch({ executablePath: browserPath, args: flags.split(' ') });
const complaints = [];
const password = 'correct horse battery';
const origin = new URL(link).origin;

async function newPage(options) {
  const context = await browser.newContext({ viewport: { width: 1180, height: 760 }, colorScheme: 'light', ...options });
  const page = await context.newPage();
  page.on('console', (m) => {
    if (m.type() === 'error' && !/Failed to load resource|WebSocket connection/.test(m.text())) complaints.push(m.text());
  });
  page.on('pageerror', (e) => complaints.push(String(e)));
  page.setDefaultTimeout(20_000);
  return page;
}

const shot = (page, name) => pictures && page.screenshot({ path: `${pictures}/${name}.png` });

/** What axe-core finds that is serious, in both colour schemes; and whether the page scrolls sideways on a phone. */
async function check(page, name, dialog = false) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.waitForTimeout(200); // transitions of colours
    // By way of the debugger, which no content policy forbids.
    await page.evaluate(axe);
    const found = await page.evaluate(() =>
      // The rows of a terminal are a picture; its text is read from elsewhere.
      window.axe.run({ exclude: ['.xterm'] }, { resultTypes: ['violations'] }),
    );
    const bad = found.violations.filter((v) => ['serious', 'critical'].includes(v.impact));
    assert.deepEqual(
      bad.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.html} ${n.failureSummary}`).join('; ')}`),
      [],
      `${name}, ${colorScheme}`,
    );
    await shot(page, `${name}-${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: 'light' });
  const size = page.viewportSize();
  await page.setViewportSize({ width: 390, height: 800 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `${name} scrolls sideways on a phone by ${wide} pixels`);
  await shot(page, `${name}-phone`);
  await page.setViewportSize(size);
  if (dialog) await page.keyboard.press('Escape');
}

/** Moves the focus with Tab until it is on what has that text or label, and presses a key there. */
async function tabTo(page, label, key = 'Enter') {
  for (let i = 0; i < 80; i++) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      const outlined = e && getComputedStyle(e).outlineStyle !== 'none';
      return { name: e?.getAttribute('aria-label') ?? e?.textContent?.trim() ?? '', id: e?.id ?? '', outlined };
    });
    if (at.name === label || `#${at.id}` === label) {
      assert.ok(at.outlined, `no outline on ${label}`);
      if (key) await page.keyboard.press(key);
      return;
    }
  }
  assert.fail(`Tab does not reach ${label}`);
}

const running = (page, name) =>
  page.waitForFunction(
    (n) =>
      [...document.querySelectorAll('#list .card')].some(
        (c) => c.querySelector('.name').textContent === n && c.querySelector('.state').textContent === 'running',
      ),
    name,
  );

try {
  // A newcomer without a session is asked to sign in, and comes back to where they were going.
  const page = await newPage();
  await page.goto(`${origin}/#demo`);
  await page.waitForURL(/\/login\?to=/);
  await check(page, 'login');

  // The first link makes the account.
  await page.goto(link);
  await page.fill('#name', 'ada');
  await page.fill('#password', 'short');
  await page.evaluate(() => document.querySelector('form').setAttribute('novalidate', ''));
  await page.keyboard.press('Enter');
  await page.waitForSelector('.problem');
  assert.match(await page.textContent('.problem'), /at least 10 characters/);
  await check(page, 'welcome');
  await page.fill('#password', password);
  await page.keyboard.press('Enter');
  await page.waitForSelector('#empty:not([hidden])');
  assert.equal(await page.textContent('#who-name'), 'ada');
  await check(page, 'empty');

  // Make a workspace, with the keyboard alone.
  await tabTo(page, 'New workspace');
  await page.keyboard.type('No Good');
  assert.match(await page.textContent('#create-problem'), /a-z/);
  await page.fill('#create-name', 'demo');
  await check(page, 'create');
  await page.locator('#create-name').focus();
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.getElementById('detail-state').textContent === 'running');
  await page.waitForSelector('.screen:not([hidden])[data-status="open"]');

  // Keep a checkpoint.
  await page.locator('#checkpoints summary').focus();
  await page.keyboard.press('Enter');
  await tabTo(page, '#checkpoint-label', '');
  await page.keyboard.type('before-lunch\n');
  await page.waitForFunction(() => document.querySelector('#checkpoints-list strong')?.textContent === 'before-lunch');
  await check(page, 'detail');

  // Invite somebody, who makes an account.
  await page.goto(`${origin}/#/people`);
  await page.waitForSelector('#users tr');
  await tabTo(page, 'Invite somebody');
  await page.keyboard.type('Bob from class 4b\n');
  const invitation = await page.inputValue('#invite-made input');
  assert.ok(invitation.startsWith(`${origin}/invite?code=`));
  await check(page, 'invite', true);
  const bob = await newPage();
  await bob.goto(invitation);
  await check(bob, 'invitation');
  await bob.fill('#name', 'bob');
  await bob.fill('#password', password);
  await bob.keyboard.press('Enter');
  await bob.waitForSelector('#empty:not([hidden])');
  assert.equal(await bob.locator('#top nav a:visible').count(), 2, 'a member sees what is for admins');
  await bob.goto(`${origin}/#demo`);
  await bob.waitForSelector('#nothing:not([hidden])');
  await bob.goto(`${origin}/#/`);

  // Share the workspace: it appears on bob's open page, and he may look only.
  await page.goto(`${origin}/#demo`);
  await page.waitForSelector('#detail:not([hidden])');
  await tabTo(page, 'Share');
  await page.keyboard.type('nobody\n');
  await page.waitForFunction(() => document.getElementById('share-problem').textContent.includes('no user'));
  await page.fill('#share-user', 'bob');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#share-members [aria-label="Role of bob"]');
  await page.locator('#share-link').click();
  assert.match(await page.inputValue('#share-made input'), /\/invite\?code=holti_/);
  await page.waitForFunction(() => document.querySelectorAll('#share-links li').length === 1);
  await page.locator('#share-links button').click();
  await page.waitForFunction(() => document.querySelectorAll('#share-links li').length === 0);
  assert.equal(await page.locator('#share-made input').count(), 0);
  await page.locator('#share-link').click();
  await page.waitForFunction(() => document.querySelectorAll('#share-links li').length === 1);
  await check(page, 'share', true);
  await running(bob, 'demo');
  assert.match(await bob.textContent('#list .card'), /ada’s · you may look/);
  await bob.goto(`${origin}/#demo`);
  await bob.waitForSelector('#detail:not([hidden])');
  for (const verb of ['Suspend', 'Delete', 'Fork', 'Share'])
    assert.ok(!(await bob.getByRole('button', { name: verb, exact: true }).isVisible()), `a viewer is offered ${verb}`);

  // More of them, in several states, for the picture.
  for (const [name, image] of [['website', ''], ['judge', ''], ['notebook', '']]) {
    await page.goto(`${origin}/#/`);
    await page.getByRole('button', { name: 'New workspace' }).first().click();
    await page.fill('#create-name', name);
    if (image) await page.selectOption('#create-image', image);
    await page.keyboard.press('Enter');
    await page.waitForFunction((n) => document.getElementById('detail-name').textContent === n, name);
  }
  await page.goto(`${origin}/#/`);
  for (const name of ['website', 'judge', 'notebook']) await running(page, name);
  await tabTo(page, 'Suspend judge');
  await page.waitForFunction(() =>
    [...document.querySelectorAll('#list .card')].some((c) => c.querySelector('.state').textContent === 'suspended'),
  );
  await check(page, 'dashboard');

  // A token, shown once.
  await page.goto(`${origin}/#/account`);
  await page.fill('#token-name', 'laptop');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#made[open]');
  assert.match(await page.inputValue('#made-body input'), /^holt_/);
  await page.keyboard.press('Escape');
  await page.waitForSelector('#tokens li');
  await check(page, 'account');

  // Delete needs the name; Escape gives up.
  await page.goto(`${origin}/#notebook`);
  await page.waitForSelector('#detail:not([hidden])');
  await tabTo(page, 'Delete');
  assert.ok(await page.locator('#confirm-yes').isDisabled());
  await check(page, 'delete', true);
  assert.ok(await page.locator('#detail').isVisible());
  await page.locator('#actions .danger:visible').focus();
  await page.keyboard.press('Enter');
  await page.keyboard.type('notebook\n');
  await page.waitForFunction(
    () => ![...document.querySelectorAll('#list .name')].some((n) => n.textContent === 'notebook'),
  );

  await page.goto(`${origin}/#/audit`);
  await page.waitForFunction(() => document.querySelector('#audit')?.textContent.includes('delete workspace'));
  await check(page, 'audit');

  // Bob is disabled while his page is open: he is told why.
  await page.goto(`${origin}/#/people`);
  await page.getByRole('button', { name: 'Disable: bob' }).click();
  await page.getByRole('button', { name: 'Disable', exact: true }).click();
  await page.waitForSelector('#users .tag');
  await check(page, 'people');
  await bob.waitForURL(/\/login/);
  await bob.fill('#name', 'bob');
  await bob.fill('#password', password);
  await bob.keyboard.press('Enter');
  await bob.waitForSelector('.problem');
  assert.match(await bob.textContent('.problem'), /account bob is disabled/);

  // Links that do not work any more say so.
  await bob.goto(invitation);
  assert.match(await bob.textContent('.problem'), /used or taken back already/);
  await check(bob, 'used-invitation');

  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL(/login/);
  assert.deepEqual(complaints, []);
} catch (e) {
  for (const [i, c] of browser.contexts().entries()) if (c.pages()[0]) await shot(c.pages()[0], `failed-${i}`);
  console.error(e);
  for (const c of complaints) console.error('page:', c);
  process.exitCode = 1;
} finally {
  await browser.close();
}
