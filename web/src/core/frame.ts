// Frames of a terminal session, as the table in wire/guest/doc.go gives them.
// No DOM here: this is tested without a browser.

export const VERSION = 1;
/** How many bytes of output the agent sends beyond the last acknowledgement. */
export const WINDOW = 256 * 1024;
/** The most data bytes in one frame. */
export const MAX_CHUNK = 32 * 1024;

const OUTPUT = 0x01;
const INPUT = 0x02;
const RESIZE = 0x03;
const ACK = 0x04;
const EXIT = 0x05;
const HELLO = 0x06;
const ERROR = 0x07;
const PRESENCE = 0x08;

/** A frame from the agent. Numbers of bytes stay exact up to 2^53. */
export type Incoming =
  | { type: 'output'; seq: number; data: Uint8Array }
  | { type: 'resize'; cols: number; rows: number }
  | { type: 'exit'; code: number; signal: string }
  | { type: 'hello'; version: number; truncated: boolean; first: number; next: number; cols: number; rows: number }
  | { type: 'error'; text: string }
  | { type: 'presence'; viewers: number };

export class FrameError extends Error {}

const text = new TextDecoder();

/** Reads one whole WebSocket message. Throws FrameError for anything the table does not allow. */
export function decode(message: ArrayBuffer): Incoming {
  const bytes = new Uint8Array(message);
  const view = new DataView(message);
  const size = bytes.length - 1;
  const want = (ok: boolean): void => {
    if (!ok) throw new FrameError(`frame of type ${bytes[0]} has a payload of ${size} bytes`);
  };
  switch (bytes[0]) {
    case OUTPUT:
      want(size >= 9);
      return { type: 'output', seq: number64(view, 1), data: bytes.subarray(9) };
    case RESIZE:
      want(size === 4);
      return { type: 'resize', cols: view.getUint16(1), rows: view.getUint16(3) };
    case EXIT:
      want(size >= 4 && size <= 20);
      return { type: 'exit', code: view.getInt32(1), signal: text.decode(bytes.subarray(5)) };
    case HELLO:
      want(size === 22);
      return {
        type: 'hello',
        version: view.getUint8(1),
        truncated: view.getUint8(2) === 1,
        first: number64(view, 3),
        next: number64(view, 11),
        cols: view.getUint16(19),
        rows: view.getUint16(21),
      };
    case ERROR:
      return { type: 'error', text: text.decode(bytes.subarray(1)) };
    case PRESENCE:
      want(size === 2);
      return { type: 'presence', viewers: view.getUint16(1) };
  }
  throw new FrameError(`unknown frame type ${bytes[0]}`);
}

function number64(view: DataView, at: number): number {
  const n = Number(view.getBigUint64(at));
  if (!Number.isSafeInteger(n)) throw new FrameError(`byte number ${n} is too large`);
  return n;
}

const utf8 = new TextEncoder();

/** Input frames for what was typed or pasted, split so that none is too large. */
export function encodeInput(typed: string): Uint8Array<ArrayBuffer>[] {
  const bytes = utf8.encode(typed);
  const frames: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < bytes.length; at += MAX_CHUNK) {
    const part = bytes.subarray(at, at + MAX_CHUNK);
    const frame = new Uint8Array(1 + part.length);
    frame[0] = INPUT;
    frame.set(part, 1);
    frames.push(frame);
  }
  return frames;
}

export function encodeResize(cols: number, rows: number): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(5);
  const view = new DataView(frame.buffer);
  view.setUint8(0, RESIZE);
  view.setUint16(1, cols);
  view.setUint16(3, rows);
  return frame;
}

export function encodeAck(seq: number): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(9);
  const view = new DataView(frame.buffer);
  view.setUint8(0, ACK);
  view.setBigUint64(1, BigInt(seq));
  return frame;
}
