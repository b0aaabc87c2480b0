import * as Y from 'yjs';
import { Backoff } from '../core/backoff';
import type { Keep, Kept } from './keep';
import { apply, edits, threeWay } from './merge';
import { type DocumentStatus, decode, encodeStep1, encodeStep2, encodeUpdate, encodeWrite } from './protocol';

/** Close codes of a document's socket; see package guestwire. */
const EPOCH = 4409;

/** The name of the root type with a file's text. */
const ROOT = 'text';

/** Milliseconds until edits that are not confirmed are in the browser's database. */
const KEEP_DELAY = 50;
/** Milliseconds without any answer to an edit after which a connection is taken for dead. */
const PATIENCE = 10_000;
/** Milliseconds until edits count as kept when there is no journal: the file is written first. */
const WRITE_DELAY = 500;

export interface Line {
  /** Whether it makes sense to connect. */
  open(): boolean;
  /** A socket to the document; epoch is of the state that is held, undefined for none. */
  connect(path: string, epoch: string | undefined): WebSocket;
  /** Why the server does not take the file as a document; undefined if it may. */
  refusal(path: string): Promise<string | undefined>;
}

/**
 * One file that is edited together. It keeps a Yjs document in step with the server's,
 * through lost connections; what was typed and is not confirmed is in the browser's
 * database too. Nothing is known of it until whenSynced calls.
 */
export class SharedDocument {
  doc = new Y.Doc();
  status: DocumentStatus | undefined;
  /** The server had its say once: the text is that of the file. */
  synced = false;
  /** Why the file is not edited together. */
  refused: string | undefined;
  /** Why the server does not take edits. */
  problem: string | undefined;

  private readonly listeners = new Set<() => void>();
  private readonly replaced = new Set<(from: Y.Doc) => void>();
  private readonly syncs: (() => void)[] = [];
  /** Of an epoch that began meanwhile; it takes the place of doc when it is synced. */
  private next: Y.Doc | undefined;
  private socket: WebSocket | undefined;
  private live = false;
  private readonly backoff = new Backoff(300, 10_000);
  private retry: number | undefined;
  private disposed = false;

  /** Edits made here; of them confirmed to be in the journal or in the file. */
  private made = 0;
  private confirmed = 0;
  /** Of this connection: how many edits were made when its n-th message with edits was sent. */
  private covers: number[] = [];
  /** The text before the first edit that is not confirmed, and the edits since. */
  private base: string | undefined;
  private updates: Uint8Array[] = [];
  private keepTimer: number | undefined;
  private keeping: Promise<void> = Promise.resolve();
  private stored = false;
  /** What earlier pages left: to be sent, and the records of what was. */
  private left: Kept[];
  private sentLeft: string[] = [];

  private writes = 0;
  private readonly writing = new Map<number, () => void>();
  private writeTimer: number | undefined;
  private deadTimer: number | undefined;

  constructor(
    readonly path: string,
    private readonly line: Line,
    private readonly keep: Keep,
    left: readonly Kept[] = [],
  ) {
    this.left = [...left];
    this.listen(this.doc);
    this.connect();
  }

  get text(): Y.Text {
    return this.doc.getText(ROOT);
  }

  /** Edits that are neither in the journal nor in the file, as far as is known here. */
  get pending(): number {
    return this.made - this.confirmed;
  }

  /** Whether edits of pages before this one are still to be sent. */
  get owing(): boolean {
    return this.left.length > 0 || this.sentLeft.length > 0;
  }

  get connected(): boolean {
    return this.live;
  }

  /** Calls f when something of the state has changed. */
  onChange(f: () => void): () => void {
    this.listeners.add(f);
    return () => this.listeners.delete(f);
  }

  /** Calls f when another document took the place of doc. */
  onReplaced(f: (from: Y.Doc) => void): () => void {
    this.replaced.add(f);
    return () => this.replaced.delete(f);
  }

  whenSynced(f: () => void): void {
    if (this.synced) f();
    else this.syncs.push(f);
  }

  /** The page's own connection has changed. */
  reconsider(): void {
    if (!this.line.open()) this.drop();
    else if (!this.socket) this.connect();
    this.changed();
  }

  /**
   * Has the file written, with all edits so far. It returns when that is done, or
   * when there is no connection: then it happens as soon as there is one.
   */
  async write(): Promise<void> {
    if (!this.live || this.status?.read_only) return;
    const request = ++this.writes;
    const done = new Promise<void>((resolve) => this.writing.set(request, resolve));
    this.send(encodeWrite(request));
    await done;
  }

  dispose(): void {
    this.disposed = true;
    this.drop();
    window.clearTimeout(this.retry);
    window.clearTimeout(this.keepTimer);
    this.doc.destroy();
    this.next?.destroy();
    this.listeners.clear();
  }

  private changed(): void {
    for (const f of this.listeners) f();
  }

  private listen(doc: Y.Doc): void {
    doc.on('beforeTransaction', (t: Y.Transaction) => {
      if (t.origin !== this && this.base === undefined && doc === this.doc) this.base = this.text.toString();
    });
    doc.on('afterAllTransactions', () => {
      if (this.pending === 0) this.base = undefined;
    });
    doc.on('update', (update: Uint8Array, origin: unknown) => {
      if (origin === this || doc !== this.doc) return;
      this.made++;
      this.updates.push(update);
      if (this.updates.length > 200) this.updates = [Y.mergeUpdates(this.updates)];
      if (this.live && !this.next) {
        this.send(encodeUpdate(update));
        this.covers.push(this.made);
        this.expectAnswer();
      }
      this.keepSoon();
      this.changed();
    });
  }

  private connect(): void {
    window.clearTimeout(this.retry);
    if (this.disposed || this.refused !== undefined || this.socket || !this.line.open()) return;
    const target = this.next ?? this.doc;
    const known = this.synced && !this.next;
    const socket = this.line.connect(this.path, known ? this.status?.epoch : undefined);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      socket.send(encodeStep1(Y.encodeStateVector(target)));
    };
    socket.onmessage = (m: MessageEvent<ArrayBuffer>) => {
      if (this.socket !== socket) return;
      window.clearTimeout(this.deadTimer);
      try {
        this.receive(m.data);
      } catch (e) {
        console.error('document', this.path, e);
        socket.close();
      }
    };
    socket.onclose = (e) => {
      if (this.socket === socket) void this.lost(opened, e.code, e.reason);
    };
  }

  private drop(): void {
    const s = this.socket;
    this.socket = undefined;
    this.live = false;
    this.covers = [];
    window.clearTimeout(this.deadTimer);
    window.clearTimeout(this.writeTimer);
    this.release();
    s?.close();
  }

  private release(): void {
    for (const done of this.writing.values()) done();
    this.writing.clear();
  }

  private async lost(opened: boolean, code: number, reason: string): Promise<void> {
    this.drop();
    if (this.disposed) return;
    this.problem = code === 4413 || code === 1008 ? reason : undefined;
    if (code === EPOCH && !this.next) {
      this.next = new Y.Doc();
      this.listen(this.next);
      this.backoff.reset();
    }
    this.changed();
    if (!opened || code === 1008) {
      const why = await this.line.refusal(this.path);
      if (this.disposed) return;
      if (why !== undefined) {
        this.refused = why;
        this.changed();
        return;
      }
    }
    if (this.socket) return;
    this.retry = window.setTimeout(() => this.connect(), this.backoff.next());
  }

  private send(m: Uint8Array<ArrayBuffer>): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(m);
  }

  private receive(data: ArrayBuffer): void {
    const m = decode(data);
    const target = this.next ?? this.doc;
    switch (m.type) {
      case 'status':
        this.status = m.status;
        if (m.status.error) this.release();
        if (this.live) this.expectAnswer();
        this.changed();
        break;
      case 'step1':
        if (this.status?.read_only) break;
        this.send(encodeStep2(Y.encodeStateAsUpdate(target, m.vector)));
        this.covers.push(this.next ? this.confirmed : this.made);
        if (this.next) break; // of which nothing is known yet
        this.live = true; // from here on edits follow what was just sent
        this.expectAnswer();
        break;
      case 'step2':
        Y.applyUpdate(target, m.update, this);
        this.backoff.reset();
        this.problem = undefined;
        this.live = true;
        if (this.next) this.replace(this.next);
        if (!this.synced) {
          this.synced = true;
          for (const f of this.syncs.splice(0)) f();
        }
        this.sendLeft();
        this.changed();
        break;
      case 'update':
        Y.applyUpdate(target, m.update, this);
        break;
      case 'journal':
        this.confirm(this.covers[m.edits - 1]);
        break;
      case 'written':
        for (const [request, done] of this.writing)
          if (request <= m.request) {
            this.writing.delete(request);
            done();
          }
        break;
    }
  }

  /** The epoch of doc is over: what was typed in it is carried over as text. */
  private replace(next: Y.Doc): void {
    const old = this.doc;
    const [base, mine] = [this.base, this.text.toString()];
    this.doc = next;
    this.next = undefined;
    this.updates = [];
    this.confirmed = this.made;
    this.base = undefined;
    if (base !== undefined && base !== mine) this.bring(base, mine);
    else this.forget();
    for (const f of this.replaced) f(old);
    old.destroy();
  }

  /** Makes the edits from one text to another, which may be older than the text is. */
  private bring(base: string, mine: string): void {
    const theirs = this.text.toString();
    this.doc.transact(() => apply(this.text, edits(theirs, threeWay(base, mine, theirs))), 'kept');
  }

  /** Sends what earlier pages left. */
  private sendLeft(): void {
    if (this.left.length === 0 || this.status?.read_only) return;
    for (const k of this.left.splice(0)) {
      this.sentLeft.push(k.key);
      if (k.epoch !== this.status?.epoch) this.bring(k.base, k.text);
      else for (const u of k.updates) Y.applyUpdate(this.doc, u, 'kept');
    }
    if (this.pending === 0) this.forget();
  }

  private confirm(made: number | undefined): void {
    if (made === undefined || made <= this.confirmed) return;
    this.confirmed = made;
    if (this.pending === 0) {
      this.base = undefined;
      this.updates = [];
      this.forget();
    }
    this.changed();
  }

  /** Nothing has to be kept any more. */
  private forget(): void {
    const keys = this.sentLeft.splice(0);
    window.clearTimeout(this.keepTimer);
    this.keepTimer = undefined;
    if (this.stored) keys.push(this.keep.key(this.path));
    this.stored = false;
    for (const key of keys) this.keeping = this.keeping.then(() => this.keep.remove(key)).catch(() => {});
  }

  private keepSoon(): void {
    if (this.keepTimer !== undefined) return;
    this.keepTimer = window.setTimeout(() => {
      this.keepTimer = undefined;
      const epoch = this.status?.epoch;
      if (this.pending === 0 || this.base === undefined || epoch === undefined) return;
      this.stored = true;
      const record = { epoch, base: this.base, text: this.text.toString(), updates: [...this.updates] };
      const also = this.left.length === 0 ? this.sentLeft.splice(0) : []; // the record has them too
      this.keeping = this.keeping
        .then(() => this.keep.put(this.path, record))
        .then(() => Promise.all(also.map((k) => this.keep.remove(k))))
        .then(
          () => {},
          (e) => console.warn('keep edits', e),
        );
    }, KEEP_DELAY);
  }

  /** Edits were sent: a server that is there confirms them, or at least answers. */
  private expectAnswer(): void {
    const socket = this.socket;
    window.clearTimeout(this.deadTimer);
    if (this.pending === 0) return;
    this.deadTimer = window.setTimeout(() => {
      if (this.socket === socket && this.pending > 0) void this.lost(true, 1006, '');
    }, PATIENCE);
    if (this.status?.journal) return;
    window.clearTimeout(this.writeTimer);
    this.writeTimer = window.setTimeout(() => {
      const made = this.made;
      const sent = this.socket;
      void this.write().then(() => {
        if (this.live && this.socket === sent) this.confirm(made);
      });
    }, WRITE_DELAY);
  }
}
