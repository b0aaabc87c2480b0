// The mux session of a page, as wire/guest/doc.go gives it: packets, streams and
// their credit. No DOM here: this is tested without a browser.
import { WINDOW } from './frame';

export const MUX_VERSION = 1;
/** How many streams may be open at once. */
export const MAX_STREAMS = 64;
const CHUNK = 32 * 1024;

const OPEN = 0x20;
const DATA = 0x21;
const END = 0x22;
const CANCEL = 0x23;
const CREDIT = 0x24;
const ITEM = 0x25;
const RESULT = 0x26;
const FAIL = 0x27;
const PING = 0x28;
const PONG = 0x29;
const WELCOME = 0x2a;

export type FileType = 'file' | 'dir' | 'symlink' | 'other';

/** One path in short; type is what a symbolic link leads to. */
export interface Entry {
  name: string;
  type: FileType;
  link?: boolean;
  size: number;
  /** Milliseconds since 1970, with fractions. */
  mtime: number;
  mode: number;
  etag?: string;
}

export interface WatchEvent {
  op: 'ready' | 'create' | 'write' | 'remove' | 'chmod' | 'rescan';
  path?: string;
  text?: string;
}

export interface Match {
  path: string;
  line: number;
  text?: string;
  /** Offsets in UTF-8 bytes of text. */
  ranges?: [number, number][];
}

export interface Port {
  port: number;
  address: string;
  pid?: number;
  process?: string;
}

export interface Request {
  op: 'stat' | 'list' | 'read' | 'put' | 'mkdir' | 'delete' | 'rename' | 'watch' | 'search' | 'index' | 'ports';
  path?: string;
  to?: string;
  overwrite?: boolean;
  recursive?: boolean;
  if_match?: string;
  new?: boolean;
  offset?: number;
  length?: number;
  ignore?: string[];
  query?: string;
  globs?: string[];
  regex?: boolean;
  word?: boolean;
  case?: boolean;
  all?: boolean;
  max?: number;
}

export interface Item {
  entry?: Entry;
  entries?: Entry[];
  events?: WatchEvent[];
  matches?: Match[];
  paths?: string[];
  ports?: Port[];
}

export interface Welcome {
  version: number;
  dir: string;
  home: string;
  user: string;
  boot_id: string;
  readonly?: boolean;
}

/** What a stream failed with. A lost connection is of kind "lost". */
export class MuxError extends Error {
  constructor(
    readonly kind: string,
    readonly field: string | undefined,
    text: string,
  ) {
    super(text);
  }
}

/** A packet that the protocol does not know: the connection is closed. */
export class PacketError extends Error {}

export interface Handlers {
  item?(item: Item): void;
  data?(bytes: Uint8Array): void;
  result(result: unknown): void;
  fail(error: MuxError): void;
}

interface Stream {
  handlers: Handlers;
  body: Uint8Array | undefined;
  sent: number;
  credit: number;
  owed: number;
}

const utf8 = new TextEncoder();
const text = new TextDecoder();

function packet(type: number, stream: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const b = new Uint8Array(5 + payload.length);
  b[0] = type;
  new DataView(b.buffer).setUint32(1, stream);
  b.set(payload, 5);
  return b;
}

const none = new Uint8Array(0);

function number32(n: number): Uint8Array {
  const b = new Uint8Array(4);
  new DataView(b.buffer).setUint32(0, n);
  return b;
}

/** One connection: what is asked over it and what comes back. */
export class Session {
  private readonly streams = new Map<number, Stream>();
  private next = 1;

  constructor(
    private readonly send: (packet: Uint8Array<ArrayBuffer>) => void,
    private readonly on: { welcome(w: Welcome): void; pong(sentAt: number): void },
  ) {}

  /** Streams that may still be opened. */
  get room(): number {
    return MAX_STREAMS - this.streams.size;
  }

  /** Opens a stream and returns its number. There must be room. */
  open(request: Request, body: Uint8Array | undefined, handlers: Handlers): number {
    const id = this.next;
    this.next = (this.next % 0x7fff_ffff) + 1;
    const st: Stream = { handlers, body, sent: 0, credit: WINDOW, owed: 0 };
    this.streams.set(id, st);
    this.send(packet(OPEN, id, utf8.encode(JSON.stringify(request))));
    this.pump(id, st);
    return id;
  }

  /** Stops a stream; its last packet still comes. */
  cancel(id: number): void {
    const st = this.streams.get(id);
    if (!st) return;
    st.body = undefined;
    this.send(packet(CANCEL, id, none));
  }

  ping(now: number): void {
    const b = new Uint8Array(8);
    new DataView(b.buffer).setFloat64(0, now);
    this.send(packet(PING, 0, b));
  }

  /** Handles one message. Throws PacketError for what no agent sends. */
  receive(message: ArrayBuffer): void {
    if (message.byteLength < 5) throw new PacketError(`a packet of ${message.byteLength} bytes`);
    const view = new DataView(message);
    const type = view.getUint8(0);
    const id = view.getUint32(1);
    const payload = new Uint8Array(message, 5);
    if (type === PONG && payload.length === 8) return this.on.pong(view.getFloat64(5));
    if (type === WELCOME) return this.on.welcome(json(payload) as Welcome);
    const st = this.streams.get(id);
    if (!st) throw new PacketError(`a packet of type ${type} on stream ${id}, which is not open`);
    switch (type) {
      case ITEM:
        st.handlers.item?.(json(payload) as Item);
        return this.consumed(id, st, payload.length);
      case DATA:
        st.handlers.data?.(payload);
        return this.consumed(id, st, payload.length);
      case CREDIT:
        if (payload.length !== 4) throw new PacketError('a credit of another size');
        st.credit += view.getUint32(5);
        return this.pump(id, st);
      case RESULT:
        this.streams.delete(id);
        return st.handlers.result(json(payload));
      case FAIL: {
        this.streams.delete(id);
        const e = json(payload) as { kind: string; field?: string; text: string };
        return st.handlers.fail(new MuxError(e.kind, e.field, e.text));
      }
    }
    throw new PacketError(`a packet of unknown type ${type}`);
  }

  /** Ends every stream: the connection is gone. */
  lost(): void {
    const all = [...this.streams.values()];
    this.streams.clear();
    for (const st of all) st.handlers.fail(new MuxError('lost', undefined, 'the connection broke'));
  }

  private consumed(id: number, st: Stream, n: number): void {
    st.owed += n;
    if (st.owed < WINDOW / 4 || !this.streams.has(id)) return;
    this.send(packet(CREDIT, id, number32(st.owed)));
    st.owed = 0;
  }

  private pump(id: number, st: Stream): void {
    while (st.body && st.sent < st.body.length && st.credit > 0) {
      const part = st.body.subarray(st.sent, st.sent + Math.min(CHUNK, st.credit));
      this.send(packet(DATA, id, part));
      st.sent += part.length;
      st.credit -= part.length;
    }
    if (st.body && st.sent === st.body.length) {
      st.body = undefined;
      this.send(packet(END, id, none));
    }
  }
}

function json(payload: Uint8Array): unknown {
  try {
    return JSON.parse(text.decode(payload));
  } catch {
    throw new PacketError('a packet that is not JSON');
  }
}
