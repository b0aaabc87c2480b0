import { expect, it } from 'vitest';
import { WINDOW } from './frame';
import { Position } from './position';

/** A generator of numbers that a failing test can repeat. */
function random(seed: number): () => number {
  let s = seed;
  return () => {
    s = (s * 1664525 + 1013904223) % 2 ** 32;
    return s / 2 ** 32;
  };
}

it('shows every byte once and in order over connections cut anywhere', () => {
  for (let seed = 1; seed <= 200; seed++) {
    const r = random(seed);
    const all = Uint8Array.from({ length: 2000 }, (_, i) => i % 251);
    const p = new Position();
    const shown: number[] = [];
    while (shown.length < all.length) {
      let at = p.next ?? 0;
      p.hello(at, false);
      for (let frames = Math.floor(r() * 10); frames > 0 && at < all.length; frames--) {
        const overlap = Math.min(at - (p.next ?? 0) + Math.floor(r() * 3), at); // some bytes come twice
        const from = Math.max(at - overlap, 0);
        const to = Math.min(at + 1 + Math.floor(r() * 80), all.length);
        const fresh = p.take(from, all.subarray(from, to));
        expect(fresh, `seed ${seed}`).toBeDefined();
        shown.push(...(fresh ?? []));
        at = to;
      }
    }
    expect(shown, `seed ${seed}`).toEqual([...all]);
  }
});

it('notices missing bytes', () => {
  const p = new Position();
  p.hello(0, false);
  expect(p.take(5, new Uint8Array(3))).toBeUndefined();
  expect(p.next).toBe(0);
});

it('clears the screen only when shown output no longer joins up', () => {
  const p = new Position();
  expect(p.hello(1000, true)).toBe(false); // the first look at a long history
  p.take(1000, new Uint8Array(10));
  expect(p.hello(1010, false)).toBe(false);
  expect(p.hello(5000, true)).toBe(true);
  expect(p.next).toBe(5000);
});

it('acknowledges well before the window is full, and only what was shown', () => {
  const p = new Position();
  p.hello(100, false);
  let shown = 0;
  let acked = 0;
  for (let i = 0; i < 1000; i++) {
    p.take(100 + shown, new Uint8Array(1000));
    shown += 1000;
    const ack = p.shown(1000);
    if (ack !== undefined) {
      expect(ack).toBe(100 + shown);
      acked = ack - 100;
    }
    expect(shown - acked).toBeLessThan(WINDOW / 2);
  }
});
