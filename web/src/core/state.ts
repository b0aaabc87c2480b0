import type { components } from '../api/schema';

export type Workspace = components['schemas']['Workspace'];
export type WorkspaceEvent = components['schemas']['Event'];

/** All that the page knows. It is never changed: every action makes a new one. */
export interface State {
  readonly workspaces: readonly Workspace[];
  readonly loaded: boolean;
  /** Name of the workspace that is shown, or undefined. */
  readonly selected: string | undefined;
  /** Whether the event stream is open. */
  readonly online: boolean;
  /** The last problem, for the user. */
  readonly problem: string | undefined;
}

export const initial: State = {
  workspaces: [],
  loaded: false,
  selected: undefined,
  online: false,
  problem: undefined,
};

export type Action =
  | { type: 'listed'; workspaces: readonly Workspace[] }
  | { type: 'changed'; workspace: Workspace }
  | { type: 'gone'; id: string }
  | { type: 'happened'; event: WorkspaceEvent }
  | { type: 'selected'; name: string | undefined }
  | { type: 'online'; online: boolean }
  | { type: 'problem'; text: string | undefined };

/** The one way in which state changes. */
export function reduce(s: State, a: Action): State {
  switch (a.type) {
    case 'listed':
      return { ...s, workspaces: sorted(a.workspaces.filter(exists)), loaded: true };
    case 'changed':
      return { ...s, workspaces: merge(s.workspaces, a.workspace) };
    case 'gone':
      return { ...s, workspaces: s.workspaces.filter((w) => w.id !== a.id) };
    case 'happened':
      return { ...s, workspaces: s.workspaces.map((w) => apply(w, a.event)).filter(exists) };
    case 'selected':
      return s.selected === a.name ? s : { ...s, selected: a.name };
    case 'online':
      return s.online === a.online ? s : { ...s, online: a.online };
    case 'problem':
      return { ...s, problem: a.text };
  }
}

const exists = (w: Workspace): boolean => w.state !== 'DELETED';

function sorted(ws: readonly Workspace[]): Workspace[] {
  return [...ws].sort((a, b) => a.name.localeCompare(b.name));
}

/** Answers may arrive in another order than they were given: an older version never replaces a newer one. */
function merge(ws: readonly Workspace[], w: Workspace): readonly Workspace[] {
  const old = ws.find((o) => o.id === w.id);
  if (old && old.version > w.version) return ws;
  return sorted([...ws.filter((o) => o.id !== w.id), w].filter(exists));
}

/** An event tells the new state sooner than the answer to the question for the whole row. */
function apply(w: Workspace, e: WorkspaceEvent): Workspace {
  if (w.id !== e.workspace_id || e.type !== 'state' || !e.state) return w;
  return { ...w, state: e.state as Workspace['state'], goal: (e.goal ?? w.goal) as Workspace['goal'] };
}

export const selectedOf = (s: State): Workspace | undefined => s.workspaces.find((w) => w.name === s.selected);

/** What a user may ask of a workspace now. */
export type Verb = 'resume' | 'suspend' | 'stop' | 'fork' | 'delete';

export function verbs(w: Workspace): Verb[] {
  switch (w.state) {
    case 'RUNNING':
      return ['suspend', 'stop', 'fork', 'delete'];
    case 'SUSPENDED':
      return ['resume', 'stop', 'fork', 'delete'];
    case 'STOPPED':
      return ['resume', 'fork', 'delete'];
    case 'FAILED':
      return ['resume', 'delete'];
    case 'DELETING':
    case 'DELETED':
      return [];
    default:
      return ['delete'];
  }
}

/** Whether something is under way. */
export const busy = (w: Workspace): boolean =>
  ['QUEUED', 'PROVISIONING', 'SUSPENDING', 'RESUMING', 'STOPPING', 'DELETING'].includes(w.state);

/** Whether a terminal may connect again by itself: the machine runs, or is on its way there. */
export const comesBack = (w: Workspace | undefined): boolean =>
  w !== undefined && w.goal === 'RUNNING' && w.state !== 'FAILED';

export type Listener = (next: State, previous: State) => void;

/** Holds the state and tells listeners about each new one. */
export class Store {
  state = initial;
  private readonly listeners = new Set<Listener>();

  dispatch(a: Action): void {
    const previous = this.state;
    this.state = reduce(previous, a);
    if (this.state !== previous) for (const l of [...this.listeners]) l(this.state, previous);
  }

  /** Calls l at each change until the returned function is called. */
  subscribe(l: Listener): () => void {
    this.listeners.add(l);
    return () => this.listeners.delete(l);
  }
}
