import type { Workspace } from '../core/state';
import { members } from './calls';
import { byId, setText } from './dom';

/** Milliseconds between two questions. */
const EVERY = 10_000;

/** Who has the workspace open that is shown. */
export class Here {
  private readonly root = byId('detail-here');
  private timer: number | undefined;
  private running = false;
  private disposed = false;

  constructor(
    private readonly workspace: Workspace,
    private readonly me: () => string | undefined,
  ) {
    this.show([]);
  }

  update(w: Workspace): void {
    const runs = w.state === 'RUNNING';
    if (runs === this.running) return;
    this.running = runs;
    window.clearTimeout(this.timer);
    if (runs) void this.poll();
    else this.show([]);
  }

  dispose(): void {
    this.disposed = true;
    window.clearTimeout(this.timer);
    this.show([]);
  }

  private async poll(): Promise<void> {
    try {
      const found = document.hidden ? undefined : await members(this.workspace.id);
      if (this.disposed || !this.running) return;
      if (found) this.show(found.filter((m) => m.here_since && m.user !== this.me()).map((m) => m.user));
    } catch {
      // The next question will tell; a lost server is shown elsewhere.
    }
    if (!this.disposed && this.running) this.timer = window.setTimeout(() => void this.poll(), EVERY);
  }

  private show(names: string[]): void {
    this.root.hidden = names.length === 0;
    setText(this.root, `${new Intl.ListFormat('en').format(names)} ${names.length === 1 ? 'has' : 'have'} it open now`);
  }
}
