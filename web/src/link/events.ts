import type { Store, WorkspaceEvent } from '../core/state';
import { getWorkspace, listWorkspaces, ProblemError } from './rest';

/**
 * Keeps the store in step with the server: one list, then every event. The
 * browser connects again by itself and continues after the last event it saw.
 */
export class Events {
  private source: EventSource | undefined;
  private readonly asking = new Set<string>();
  private readonly askAgain = new Set<string>();

  constructor(private readonly store: Store) {}

  start(): void {
    const source = new EventSource('/api/v1/events');
    this.source = source;
    // The stream first, the list after it is open: nothing falls in between.
    source.onopen = () => {
      this.store.dispatch({ type: 'online', online: true });
      void this.list();
    };
    source.onmessage = (m: MessageEvent<string>) => this.happened(JSON.parse(m.data) as WorkspaceEvent);
    source.onerror = () => {
      this.store.dispatch({ type: 'online', online: false });
      if (source.readyState !== EventSource.CLOSED) return;
      void this.list(); // shows why, a session that is over for instance
      window.setTimeout(() => {
        if (this.source === source) this.start();
      }, 5000);
    };
  }

  dispose(): void {
    this.source?.close();
    this.source = undefined;
  }

  private async list(): Promise<void> {
    try {
      this.store.dispatch({ type: 'listed', workspaces: await listWorkspaces() });
    } catch (e) {
      this.store.dispatch({ type: 'problem', text: (e as Error).message });
    }
  }

  private happened(event: WorkspaceEvent): void {
    this.store.dispatch({ type: 'happened', event });
    const sharing = event.name === 'shared' || event.name === 'unshared';
    if (event.type === 'state' || sharing) void this.ask(event.workspace_id);
  }

  /** Asks for the whole row, one question at a time per workspace. */
  private async ask(id: string): Promise<void> {
    if (this.asking.has(id)) {
      this.askAgain.add(id);
      return;
    }
    this.asking.add(id);
    try {
      do {
        this.askAgain.delete(id);
        this.store.dispatch({ type: 'changed', workspace: await getWorkspace(id) });
      } while (this.askAgain.has(id));
    } catch (e) {
      if (e instanceof ProblemError && e.status === 404) this.store.dispatch({ type: 'gone', id });
    } finally {
      this.asking.delete(id);
    }
  }
}
