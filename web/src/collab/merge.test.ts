import { expect, test } from 'vitest';
import * as Y from 'yjs';
import { apply, type Edit, edits, editsOf, threeWay } from './merge';

const alphabet = ['a', 'b', '\n', 'ä', '🦊', '🦁', ' '];
let seed = 1;
const random = (n: number): number => {
  seed = (seed * 48271) % 2147483647;
  return seed % n;
};
const text = (most: number): string => Array.from({ length: random(most) }, () => alphabet[random(alphabet.length)]).join('');

function made(from: string, list: readonly Edit[]): string {
  return list.toReversed().reduce((t, e) => t.slice(0, e.at) + e.insert + t.slice(e.at + e.remove), from);
}

test('edits lead from one text to the other, and cut no character in two', () => {
  for (let i = 0; i < 300; i++) {
    const [a, b] = [text(30), text(30)];
    const list = edits(a, b);
    expect(made(a, list)).toBe(b);
    for (const e of list) expect(e.insert).toBe(e.insert.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '?'));
    const doc = new Y.Doc();
    doc.getText('').insert(0, a);
    doc.transact(() => apply(doc.getText(''), list));
    expect(doc.getText('').toString()).toBe(b);
  }
});

test('edits of large texts that have nothing in common end at once', () => {
  const [a, b] = ['ab'.repeat(50_000), 'cd'.repeat(50_000)];
  expect(made(a, edits(a, b))).toBe(b);
});

test('the change of a shared text is the edits that were made', () => {
  for (let i = 0; i < 100; i++) {
    const doc = new Y.Doc();
    const t = doc.getText('');
    t.insert(0, text(30));
    const before = t.toString();
    let seen: Edit[] = [];
    t.observe((e) => {
      seen = editsOf(e.delta);
    });
    const after = text(30);
    doc.transact(() => apply(t, edits(before, after)));
    expect(made(before, seen)).toBe(after);
  }
});

test('a three-way merge keeps what both sides typed', () => {
  expect(threeWay('one\ntwo\n', 'one mine\ntwo\n', 'one\ntwo theirs\n')).toBe('one mine\ntwo theirs\n');
  expect(threeWay('a', 'a', 'b')).toBe('b');
  expect(threeWay('a', 'c', 'a')).toBe('c');
  expect(threeWay('', 'same', 'same')).toBe('same');
  for (let i = 0; i < 60; i++) {
    const lines = Array.from({ length: 10 }, () => text(8).replaceAll('\n', ''));
    const [mine, theirs] = [[...lines], [...lines]];
    mine[random(10)] += '[mine]';
    theirs[random(10)] += '[theirs]';
    const merged = threeWay(lines.join('\n'), mine.join('\n'), theirs.join('\n'));
    expect(merged).toContain('[mine]');
    expect(merged).toContain('[theirs]');
  }
});
