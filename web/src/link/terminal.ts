import { Backoff } from '../core/backoff';
import { decode, encodeAck, encodeInput, encodeResize } from '../core/frame';
import { Position } from '../core/position';

export type Status = 'connecting' | 'open' | 'lost' | 'asleep' | 'ended';

export interface Screen {
  /** Shows bytes and calls done when they are processed. */
  write(data: Uint8Array, done: () => void): void;
  clear(): void;
  size(): { cols: number; rows: number };
  status(s: Status, text?: string): void;
}

const MOST_KEPT = 64 * 1024;

/**
 * One viewer of one terminal. It connects again by itself as long as the
 * machine is meant to run, and shows exactly the bytes that were missed.
 */
export class TerminalLink {
  private socket: WebSocket | undefined;
  private timer: number | undefined;
  private readonly position = new Position();
  private readonly backoff = new Backoff();
  /** Typed while there was no connection. */
  private kept = '';
  private status: Status = 'connecting';
  private disposed = false;

  constructor(
    private readonly workspace: string,
    private readonly terminal: string,
    private readonly screen: Screen,
    /** Whether the machine runs or is about to. */
    private readonly mayReturn: () => boolean,
    /** create: a shell is started where the terminal does not exist. keep: what is typed without a connection is sent later. */
    private readonly options: { create: boolean; keep?: boolean } = { create: true },
  ) {}

  /** Connects now. With wake, a sleeping workspace is woken. */
  connect(wake: boolean): void {
    if (this.disposed || this.status === 'ended') return;
    window.clearTimeout(this.timer);
    this.drop();
    this.set('connecting');
    const { cols, rows } = this.screen.size();
    const q = new URLSearchParams({ cols: String(cols), rows: String(rows) });
    if (this.options.create) q.set('create', '1');
    if (this.position.next !== undefined) q.set('since', String(this.position.next));
    if (!wake) q.set('wake', 'no');
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const path = `/w/${encodeURIComponent(this.workspace)}/v1/terminals/${encodeURIComponent(this.terminal)}/attach`;
    const socket = new WebSocket(`${scheme}://${location.host}${path}?${q}`);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    socket.onmessage = (m: MessageEvent<ArrayBuffer>) => {
      if (this.socket === socket) this.receive(socket, m.data);
    };
    socket.onclose = () => {
      if (this.socket === socket) this.lost();
    };
  }

  /** What the user typed. On a sleeping workspace any key wakes it. */
  input(text: string): void {
    if (this.options.keep && this.status !== 'open' && this.status !== 'ended' && this.kept.length < MOST_KEPT) this.kept += text;
    if (this.status === 'asleep' || this.status === 'lost') {
      this.connect(true);
      return;
    }
    if (this.socket?.readyState !== WebSocket.OPEN || (this.options.keep && this.status !== 'open')) return;
    for (const frame of encodeInput(text)) this.socket.send(frame);
  }

  resize(cols: number, rows: number): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(encodeResize(cols, rows));
  }

  /** The machine's state has changed: connect again, or stop trying. */
  reconsider(): void {
    if (this.status === 'asleep' && this.mayReturn()) this.connect(false);
  }

  dispose(): void {
    this.disposed = true;
    window.clearTimeout(this.timer);
    this.drop();
  }

  private drop(): void {
    const s = this.socket;
    this.socket = undefined;
    s?.close();
  }

  private set(s: Status, text?: string): void {
    this.status = s;
    this.screen.status(s, text);
  }

  private receive(socket: WebSocket, message: ArrayBuffer): void {
    const f = decode(message);
    switch (f.type) {
      case 'hello':
        this.backoff.reset();
        if (this.position.hello(f.first, f.truncated)) this.screen.clear();
        this.set('open');
        for (const frame of encodeInput(this.kept)) socket.send(frame);
        this.kept = '';
        break;
      case 'output':
        this.show(socket, f.seq, f.data);
        break;
      case 'exit':
        this.set('ended', f.signal ? `ended by ${f.signal}` : `exited with ${f.code}`);
        break;
      case 'error':
        this.screen.status(this.status, f.text);
        break;
    }
  }

  private show(socket: WebSocket, seq: number, data: Uint8Array): void {
    const fresh = this.position.take(seq, data);
    if (fresh === undefined) {
      socket.close(); // bytes are missing, which the protocol excludes: ask for them again
      return;
    }
    if (fresh.length === 0) return;
    this.screen.write(fresh, () => {
      if (this.socket !== socket) return;
      const ack = this.position.shown(fresh.length);
      if (ack !== undefined && socket.readyState === WebSocket.OPEN) socket.send(encodeAck(ack));
    });
  }

  private lost(): void {
    this.socket = undefined;
    if (this.disposed || this.status === 'ended') return;
    if (!this.mayReturn()) {
      this.set('asleep');
      return;
    }
    this.set('lost');
    this.timer = window.setTimeout(() => {
      if (this.mayReturn()) this.connect(false);
      else this.set('asleep');
    }, this.backoff.next());
  }
}
