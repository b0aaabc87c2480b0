import { applyAwarenessUpdate, Awareness, encodeAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness';
import * as Y from 'yjs';
import { Backoff } from '../core/backoff';
import { decode, encodeAwareness } from './protocol';

/** Where a cursor is: relative positions of Yjs, as JSON. */
export interface Cursor {
  anchor: unknown;
  head: unknown;
}

/** What a page tells of itself. Who it is the server adds; see package guest/collab. */
interface Told {
  path?: string;
  cursor?: Cursor | undefined;
  /** The terminal in which it types at this moment. */
  terminal?: string | undefined;
}

/** A page of somebody in the workspace. */
export interface Other extends Told {
  client: number;
  id: string;
  name: string;
  role: string;
  /** One of COLORS. */
  color: number;
}

export const COLORS = 8;

/** Milliseconds between two messages about a cursor that moves. */
const PACE = 60;

export interface MeetingLine {
  open(): boolean;
  connect(): WebSocket;
}

/** Who is in the workspace, and where. */
export class Presence {
  private readonly awareness = new Awareness(new Y.Doc());
  private readonly listeners = new Set<(o: readonly Other[]) => void>();
  private readonly backoff = new Backoff(500, 15_000);
  private socket: WebSocket | undefined;
  private retry: number | undefined;
  private told: Told = {};
  private paceTimer: number | undefined;
  private late = false;
  private shown = '';
  others: readonly Other[] = [];

  constructor(private readonly line: MeetingLine) {
    this.awareness.setLocalState({});
    this.awareness.on('update', (change: { updated: number[]; added: number[] }, origin: unknown) => {
      // Also when somebody told that this page is gone, which is an old connection of it.
      if (origin === 'local' || change.updated.includes(this.awareness.clientID)) this.send();
      this.look();
    });
    window.addEventListener('pagehide', () => this.drop());
  }

  onChange(f: (o: readonly Other[]) => void): void {
    this.listeners.add(f);
  }

  /** The page's own connection has changed. */
  reconsider(): void {
    if (!this.line.open()) this.drop();
    else if (!this.socket) this.connect();
  }

  /** Tells others where this page is now. */
  tell(change: Told): void {
    const next = { ...this.told, ...change };
    if (JSON.stringify(next) === JSON.stringify(this.told)) return;
    this.told = next;
    if (this.paceTimer !== undefined) {
      this.late = true;
      return;
    }
    this.awareness.setLocalState({ ...next });
    this.paceTimer = window.setTimeout(() => {
      this.paceTimer = undefined;
      if (!this.late) return;
      this.late = false;
      this.awareness.setLocalState({ ...this.told });
    }, PACE);
  }

  private connect(): void {
    window.clearTimeout(this.retry);
    const socket = this.line.connect();
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    socket.onopen = () => {
      this.backoff.reset();
      this.send();
    };
    socket.onmessage = (m: MessageEvent<ArrayBuffer>) => {
      if (this.socket !== socket) return;
      try {
        const message = decode(m.data);
        if (message.type === 'awareness') applyAwarenessUpdate(this.awareness, message.update, this);
      } catch (e) {
        console.error('presence', e);
        socket.close();
      }
    };
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.drop();
      this.retry = window.setTimeout(() => this.reconsider(), this.backoff.next());
    };
  }

  private drop(): void {
    const s = this.socket;
    this.socket = undefined;
    window.clearTimeout(this.retry);
    s?.close();
    const others = [...this.awareness.states.keys()].filter((c) => c !== this.awareness.clientID);
    removeAwarenessStates(this.awareness, others, this);
    for (const c of others) this.awareness.meta.delete(c); // whoever is there is told again
  }

  private send(): void {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    this.socket.send(encodeAwareness(encodeAwarenessUpdate(this.awareness, [this.awareness.clientID])));
  }

  private look(): void {
    const found: Other[] = [];
    for (const [client, state] of this.awareness.states) {
      if (client === this.awareness.clientID) continue;
      const o = read(client, state);
      if (o) found.push(o);
    }
    found.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.client - b.client));
    const now = JSON.stringify(found);
    if (now === this.shown) return;
    this.shown = now;
    this.others = found;
    for (const f of this.listeners) f(found);
  }
}

/** What another page told, of which nothing is believed but what the server added. */
function read(client: number, state: Record<string, unknown>): Other | undefined {
  const user = state.user as { id?: unknown; name?: unknown; role?: unknown } | undefined;
  if (typeof user?.id !== 'string' || typeof user.name !== 'string') return undefined;
  const cursor = state.cursor as Partial<Cursor> | undefined;
  return {
    client,
    id: user.id,
    name: user.name || 'somebody',
    role: typeof user.role === 'string' ? user.role : '',
    color: colorOf(user.id),
    ...(typeof state.path === 'string' && { path: state.path }),
    ...(cursor?.anchor && cursor.head ? { cursor: { anchor: cursor.anchor, head: cursor.head } } : {}),
    ...(typeof state.terminal === 'string' && { terminal: state.terminal }),
  };
}

function colorOf(id: string): number {
  let h = 0;
  for (const c of id) h = (h * 31 + (c.codePointAt(0) ?? 0)) >>> 0;
  return h % COLORS;
}
