import { Backoff } from '../core/backoff';
import { type Item, MUX_VERSION, MuxError, type Request, Session, type Welcome } from '../core/mux';
import { getWorkspace, ProblemError } from './rest';

/**
 * - connecting: the first connection, or one that was just lost
 * - open
 * - offline: the server does not answer
 * - waiting: the server answers, the machine is on its way
 * - asleep: the workspace is suspended or stopped; wake() brings it back
 * - gone: the workspace is deleted, or nobody is signed in
 */
export type LinkState = 'connecting' | 'open' | 'offline' | 'waiting' | 'asleep' | 'gone';

export interface LinkStatus {
  state: LinkState;
  /** Milliseconds there and back, of the last ping; undefined while there is no connection. */
  latency: number | undefined;
  /** When the next attempt is made; undefined while none is waited for. */
  retryAt: number | undefined;
  /** What the server said, for gone and asleep. */
  text: string | undefined;
}

interface Ask {
  request: Request;
  body: Uint8Array | undefined;
  item: ((item: Item) => void) | undefined;
  data: ((bytes: Uint8Array) => void) | undefined;
  /** Called before the request is sent once more: what came is forgotten. */
  again: () => void;
  resolve: (result: unknown) => void;
  reject: (error: Error) => void;
  signal: AbortSignal | undefined;
  stream: number | undefined;
  tries: number;
}

export interface AskOptions {
  body?: Uint8Array;
  item?: (item: Item) => void;
  data?: (bytes: Uint8Array) => void;
  /** The request is sent again after a lost connection; this is called before. */
  again?: () => void;
  signal?: AbortSignal;
}

const PING_EVERY = 10_000;
const PING_TIMEOUT = 8_000;

/**
 * The page's connection to a workspace. Requests wait while there is none and are
 * sent again when one breaks under them; who asks for a change says how often it was sent.
 */
export class MuxLink {
  private socket: WebSocket | undefined;
  private session: Session | undefined;
  private readonly backoff = new Backoff(300, 10_000);
  private readonly waiting: Ask[] = [];
  private readonly running = new Set<Ask>();
  private readonly subscriptions = new Set<Subscription>();
  private readonly listeners = new Set<(s: LinkStatus) => void>();
  private retryTimer: number | undefined;
  private pingTimer: number | undefined;
  private deadTimer: number | undefined;
  private awake = false;
  private disposed = false;
  welcome: Welcome | undefined;
  status: LinkStatus = { state: 'connecting', latency: undefined, retryAt: undefined, text: undefined };

  constructor(readonly workspace: string) {
    window.addEventListener('online', this.now);
    document.addEventListener('visibilitychange', this.visible);
  }

  dispose(): void {
    this.disposed = true;
    window.removeEventListener('online', this.now);
    document.removeEventListener('visibilitychange', this.visible);
    this.drop();
    window.clearTimeout(this.retryTimer);
  }

  onStatus(f: (s: LinkStatus) => void): () => void {
    this.listeners.add(f);
    return () => this.listeners.delete(f);
  }

  /** Connects. With wake, a workspace that sleeps is woken. */
  connect(wake: boolean): void {
    if (this.disposed) return;
    window.clearTimeout(this.retryTimer);
    this.drop();
    if (this.status.state !== 'offline' && this.status.state !== 'waiting') this.set({ state: 'connecting' });
    this.set({ retryAt: undefined });
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const query = wake ? '' : '?wake=no';
    const socket = new WebSocket(
      `${scheme}://${location.host}/w/${encodeURIComponent(this.workspace)}/v1/mux${query}`,
    );
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    const session = new Session((p) => socket.send(p), {
      welcome: (w) => this.opened(session, w),
      pong: (sentAt) => this.pong(sentAt),
    });
    socket.onmessage = (m: MessageEvent<ArrayBuffer>) => {
      if (this.socket !== socket) return;
      this.heard();
      try {
        session.receive(m.data);
      } catch (e) {
        console.error('mux', e);
        socket.close();
      }
      this.flush();
    };
    socket.onclose = () => {
      if (this.socket === socket) void this.lost();
      session.lost();
    };
  }

  /** Wakes the workspace, and connects at once. */
  wake(): void {
    if (this.status.state === 'open' || this.status.state === 'gone') return;
    this.set({ state: 'waiting', text: undefined });
    this.connect(true);
  }

  /** Sends a request as soon as that is possible. */
  ask<T>(request: Request, o: AskOptions = {}): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const a: Ask = {
        request,
        body: o.body,
        item: o.item,
        data: o.data,
        again: o.again ?? (() => {}),
        resolve: resolve as (r: unknown) => void,
        reject,
        signal: o.signal,
        stream: undefined,
        tries: 0,
      };
      if (o.signal?.aborted) return reject(cancelled());
      o.signal?.addEventListener('abort', () => this.abort(a), { once: true });
      this.waiting.push(a);
      this.flush();
    });
  }

  /** Keeps a stream without an end open over all connections. began is called for each. */
  subscribe(request: Request, item: (i: Item) => void, began: (again: boolean) => void): () => void {
    const s = new Subscription(request, item, began);
    this.subscriptions.add(s);
    if (this.session) s.open(this.session);
    return () => {
      this.subscriptions.delete(s);
      s.close();
    };
  }

  private set(s: Partial<LinkStatus>): void {
    const next = { ...this.status, ...s };
    if (next.state !== 'open') next.latency = undefined;
    this.status = next;
    for (const f of this.listeners) f(next);
  }

  private readonly now = (): void => {
    if (this.status.retryAt !== undefined) this.connect(false);
  };

  private readonly visible = (): void => {
    if (document.hidden) return;
    if (this.status.retryAt !== undefined) this.connect(false);
    else this.ping();
  };

  private opened(session: Session, w: Welcome): void {
    if (w.version !== MUX_VERSION) {
      this.drop();
      this.set({ state: 'gone', text: 'The server has a newer version. Reload the page.' });
      return;
    }
    this.backoff.reset();
    this.session = session;
    this.welcome = w;
    this.awake = true;
    this.set({ state: 'open', text: undefined, retryAt: undefined });
    for (const s of this.subscriptions) s.open(session);
    this.ping();
    this.flush();
  }

  private flush(): void {
    const session = this.session;
    if (!session) return;
    while (this.waiting.length > 0 && session.room > 0) {
      const a = this.waiting.shift();
      if (a) this.start(session, a);
    }
  }

  private start(session: Session, a: Ask): void {
    if (a.tries++ > 0) a.again();
    this.running.add(a);
    const end = (): void => {
      this.running.delete(a);
      a.stream = undefined;
    };
    a.stream = session.open(a.request, a.body, {
      item: (i) => a.item?.(i),
      data: (b) => a.data?.(b),
      result: (r) => {
        end();
        a.resolve(r);
      },
      fail: (e) => {
        end();
        if (a.signal?.aborted) a.reject(cancelled());
        else if (e.kind === 'lost' && !this.disposed) this.waiting.unshift(a);
        else a.reject(e);
      },
    });
  }

  private abort(a: Ask): void {
    const at = this.waiting.indexOf(a);
    if (at >= 0) this.waiting.splice(at, 1);
    if (a.stream !== undefined) this.session?.cancel(a.stream);
    a.reject(cancelled());
  }

  private drop(): void {
    const s = this.socket;
    this.socket = undefined;
    this.session = undefined;
    window.clearTimeout(this.pingTimer);
    window.clearTimeout(this.deadTimer);
    s?.close();
  }

  /** Asks the server why the connection broke, and tries again when that helps. */
  private async lost(): Promise<void> {
    this.drop();
    if (this.disposed) return;
    if (this.status.state === 'open') this.set({ state: 'connecting' });
    const why = await this.why();
    if (this.disposed || this.socket) return; // connected meanwhile
    this.set({ state: why.state, text: why.text });
    if (why.state === 'gone') return;
    const pause = why.state === 'asleep' ? 4_000 : this.backoff.next();
    this.set({ retryAt: Date.now() + pause });
    this.retryTimer = window.setTimeout(() => void this.retry(), pause);
  }

  private async retry(): Promise<void> {
    if (this.status.state !== 'asleep') return this.connect(false);
    // A sleeping workspace is looked at, not woken: someone else may have done it.
    const why = document.hidden ? this.status : await this.why();
    if (this.socket || this.disposed) return;
    if (why.state === 'waiting') return this.connect(false);
    this.set({ state: why.state, text: why.text, retryAt: Date.now() + 4_000 });
    this.retryTimer = window.setTimeout(() => void this.retry(), 4_000);
  }

  private async why(): Promise<{ state: LinkState; text: string | undefined }> {
    try {
      const w = await getWorkspace(this.workspace);
      if (w.goal === 'DELETED') return { state: 'gone', text: 'This workspace was deleted.' };
      if (w.state === 'FAILED') return { state: 'asleep', text: w.message ?? 'The machine could not be started.' };
      if (w.goal === 'RUNNING') return { state: 'waiting', text: undefined };
      return { state: 'asleep', text: undefined };
    } catch (e) {
      if (!(e instanceof ProblemError) || e.status === 0 || e.status >= 500 || e.status === 429)
        return { state: 'offline', text: undefined };
      if (e.status === 401) return { state: 'gone', text: 'You are signed out. Sign in and come back: your text is kept here.' };
      if (e.status === 404) return { state: 'gone', text: 'This workspace does not exist any more.' };
      return { state: 'gone', text: e.message };
    }
  }

  private ping(): void {
    window.clearTimeout(this.pingTimer);
    if (!this.session) return;
    this.session.ping(performance.now());
    window.clearTimeout(this.deadTimer);
    const socket = this.socket;
    // A connection that went silent is as good as lost, whatever TCP hopes for.
    this.deadTimer = window.setTimeout(() => {
      if (this.socket === socket) {
        socket?.close();
        void this.lost();
      }
    }, PING_TIMEOUT);
    this.pingTimer = window.setTimeout(() => this.ping(), PING_EVERY);
  }

  private pong(sentAt: number): void {
    this.set({ latency: performance.now() - sentAt });
  }

  private heard(): void {
    window.clearTimeout(this.deadTimer);
  }
}

class Subscription {
  private stop: (() => void) | undefined;
  private times = 0;

  constructor(
    private readonly request: Request,
    private readonly item: (i: Item) => void,
    private readonly began: (again: boolean) => void,
  ) {}

  open(session: Session): void {
    let live = true;
    const over = (): void => {
      live = false;
    };
    const id = session.open(this.request, undefined, {
      item: (i) => {
        if (live) this.item(i);
      },
      result: over,
      fail: (e) => {
        if (live && e.kind !== 'lost') console.warn(`${this.request.op} ended`, e.message);
        over();
      },
    });
    this.stop = () => {
      if (live) session.cancel(id);
      live = false;
    };
    this.began(this.times++ > 0);
  }

  close(): void {
    this.stop?.();
  }
}

function cancelled(): MuxError {
  return new MuxError('cancelled', undefined, 'cancelled');
}
