import { describe, expect, it } from 'vitest';
import { decode, encodeAck, encodeInput, encodeResize, FrameError, MAX_CHUNK } from './frame';

const bytes = (...b: number[]): ArrayBuffer => new Uint8Array(b).buffer;

describe('decode', () => {
  it('reads every frame the agent sends', () => {
    expect(decode(bytes(1, 0, 0, 0, 1, 0, 0, 0, 2, 104, 105))).toEqual({
      type: 'output',
      seq: 2 ** 32 + 2,
      data: new Uint8Array([104, 105]),
    });
    expect(decode(bytes(3, 0, 80, 0, 24))).toEqual({ type: 'resize', cols: 80, rows: 24 });
    expect(decode(bytes(5, 255, 255, 255, 255, 83, 73, 71))).toEqual({ type: 'exit', code: -1, signal: 'SIG' });
    expect(decode(bytes(6, 1, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 80, 0, 24))).toEqual({
      type: 'hello',
      version: 1,
      truncated: true,
      first: 5,
      next: 9,
      cols: 80,
      rows: 24,
    });
    expect(decode(bytes(7, 110, 111))).toEqual({ type: 'error', text: 'no' });
    expect(decode(bytes(8, 0, 3))).toEqual({ type: 'presence', viewers: 3 });
  });

  it('refuses what the table does not allow', () => {
    for (const b of [
      bytes(),
      bytes(0),
      bytes(2, 1),
      bytes(1, 0),
      bytes(1, 0, 0, 0, 0, 0, 0, 0, 0),
      bytes(3, 0),
      bytes(6, 1),
    ])
      expect(() => decode(b)).toThrow(FrameError);
    expect(() => decode(bytes(5, 0, 0, 0, 0, ...new Array(17).fill(65)))).toThrow(FrameError);
    expect(() => decode(bytes(1, 255, 255, 255, 255, 255, 255, 255, 255, 65))).toThrow('too large');
  });
});

describe('encode', () => {
  it('splits long input and keeps every byte', () => {
    const text = 'ä'.repeat(MAX_CHUNK);
    const frames = encodeInput(text);
    expect(frames.every((f) => f[0] === 2 && f.length <= MAX_CHUNK + 1)).toBe(true);
    const joined = new Uint8Array(frames.flatMap((f) => [...f.subarray(1)]));
    expect(new TextDecoder().decode(joined)).toBe(text);
    expect(encodeInput('')).toEqual([]);
  });

  it('writes resize and ack as the table says', () => {
    expect([...encodeResize(300, 24)]).toEqual([3, 1, 44, 0, 24]);
    expect([...encodeAck(2 ** 32 + 7)]).toEqual([4, 0, 0, 0, 1, 0, 0, 0, 7]);
  });
});
