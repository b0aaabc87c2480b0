import { expect, it } from 'vitest';
import { Backoff } from './backoff';
import { copyName, nameFromGit, nameProblem } from './name';
import { comesBack, initial, reduce, Store, selectedOf, verbs, type Workspace } from './state';

const ws = (over: Partial<Workspace> = {}): Workspace => ({
  id: 'ws-1',
  name: 'demo',
  state: 'RUNNING',
  goal: 'RUNNING',
  version: 3,
  image: 'default',
  egress: 'internet',
  limits: {},
  idle_after_seconds: 0,
  created_at: '2026-01-01T00:00:00Z',
  updated_at: '2026-01-01T00:00:00Z',
  ...over,
});

const event = (state: string, over = {}) => ({
  seq: 9,
  type: 'state' as const,
  at: '2026-01-01T00:00:00Z',
  workspace_id: 'ws-1',
  workspace: 'demo',
  state,
  goal: 'SUSPENDED',
  ...over,
});

it('follows events at once and rows when they come', () => {
  let s = reduce(initial, { type: 'listed', workspaces: [ws(), ws({ id: 'ws-2', name: 'a' })] });
  expect(s.workspaces.map((w) => w.name)).toEqual(['a', 'demo']);
  s = reduce(s, { type: 'happened', event: event('SUSPENDING') });
  expect(s.workspaces[1]).toMatchObject({ state: 'SUSPENDING', goal: 'SUSPENDED', version: 3 });
  s = reduce(s, { type: 'changed', workspace: ws({ state: 'SUSPENDED', version: 5 }) });
  s = reduce(s, { type: 'changed', workspace: ws({ state: 'SUSPENDING', version: 4 }) });
  expect(s.workspaces[1]).toMatchObject({ state: 'SUSPENDED', version: 5 });
});

it('takes deleted workspaces away, whoever tells', () => {
  const s = reduce(initial, { type: 'listed', workspaces: [ws(), ws({ id: 'ws-0', name: 'old', state: 'DELETED' })] });
  expect(s.workspaces).toHaveLength(1);
  expect(reduce(s, { type: 'gone', id: 'ws-1' }).workspaces).toHaveLength(0);
  expect(reduce(s, { type: 'happened', event: event('DELETED') }).workspaces).toHaveLength(0);
  expect(reduce(s, { type: 'changed', workspace: ws({ state: 'DELETED', version: 9 }) }).workspaces).toHaveLength(0);
});

it('leaves log lines and other workspaces alone', () => {
  const s = reduce(initial, { type: 'listed', workspaces: [ws()] });
  expect(reduce(s, { type: 'happened', event: event('', { type: 'log' }) }).workspaces).toEqual(s.workspaces);
  expect(reduce(s, { type: 'happened', event: event('FAILED', { workspace_id: 'ws-9' }) }).workspaces).toEqual(
    s.workspaces,
  );
});

it('tells listeners about changes only', () => {
  const store = new Store();
  let calls = 0;
  const stop = store.subscribe(() => calls++);
  store.dispatch({ type: 'selected', name: 'demo' });
  store.dispatch({ type: 'selected', name: 'demo' });
  expect(calls).toBe(1);
  store.dispatch({ type: 'listed', workspaces: [ws()] });
  expect(selectedOf(store.state)?.id).toBe('ws-1');
  stop();
  store.dispatch({ type: 'online', online: true });
  expect(calls).toBe(2);
});

it('connects terminals again only to machines that are meant to run', () => {
  expect(comesBack(ws())).toBe(true);
  expect(comesBack(ws({ state: 'RESUMING' }))).toBe(true);
  expect(comesBack(ws({ state: 'SUSPENDING', goal: 'SUSPENDED' }))).toBe(false);
  expect(comesBack(ws({ state: 'RUNNING', goal: 'STOPPED' }))).toBe(false);
  expect(comesBack(ws({ state: 'FAILED' }))).toBe(false);
  expect(comesBack(undefined)).toBe(false);
});

it('offers what a state allows', () => {
  expect(verbs(ws())).not.toContain('resume');
  expect(verbs(ws({ state: 'SUSPENDED' }))).toContain('resume');
  expect(verbs(ws({ state: 'FAILED' }))).toEqual(['resume', 'delete']);
  expect(verbs(ws({ state: 'DELETING' }))).toEqual([]);
});

it('judges names as the server does', () => {
  for (const good of ['a', 'demo', 'a-1', 'x'.repeat(40)]) expect(nameProblem(good), good).toBeUndefined();
  for (const bad of ['', 'A', '-a', 'a-', 'a--b', 'a_b', 'ä', 'x'.repeat(41)])
    expect(nameProblem(bad), bad).toBeDefined();
});

it('proposes names that are good', () => {
  expect(nameFromGit('https://example.org/Some/My.Project.git')).toBe('my-project');
  expect(nameFromGit('git@example.org:team/tool.git')).toBe('tool');
  expect(copyName('demo', ['demo', 'demo-1'])).toBe('demo-2');
  const long = copyName('x'.repeat(40), []);
  expect(nameProblem(long)).toBeUndefined();
});

it('backs off up to a bound and starts again', () => {
  const b = new Backoff(100, 1000, () => 1);
  expect([b.next(), b.next(), b.next(), b.next(), b.next(), b.next()]).toEqual([100, 200, 400, 800, 1000, 1000]);
  b.reset();
  expect(b.next()).toBe(100);
  expect(new Backoff(100, 1000, () => 0).next()).toBe(50);
});
