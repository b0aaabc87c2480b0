import { expect, test } from 'vitest';
import { type Known, where } from './where';

const good: Known = { pending: 0, connected: true, readOnly: false, journal: true, problem: undefined };

test('the worst of all documents is told', () => {
  expect(where(true, []).state).toBe('idle');
  expect(where(true, [good, good]).state).toBe('journalled');
  expect(where(true, [good, { ...good, pending: 2 }])).toMatchObject({ state: 'saving', edits: 2 });
  expect(where(true, [{ ...good, pending: 1, connected: false }])).toMatchObject({ state: 'offline', text: 'Offline, 1 edit kept here' });
  expect(where(false, [{ ...good, connected: false }])).toMatchObject({ state: 'offline', edits: 0, text: 'Offline' });
  expect(where(true, [good, { ...good, problem: 'no space' }]).state).toBe('problem');
  expect(where(true, [{ ...good, readOnly: true }]).state).toBe('reading');
  expect(where(true, [{ ...good, journal: false }])).toMatchObject({ state: 'journalled', text: 'Saved' });
});
