import type { Workspace } from '../core/state';
import { ports } from '../link/rest';
import { byId, el } from './dom';

/** The listening ports of the workspace that is shown, with links. */
export class Ports {
  private readonly root = byId('ports');
  private readonly list = byId('ports-list');
  private timer: number | undefined;
  private running = false;
  private disposed = false;
  private shown = '';

  constructor(private readonly workspace: Workspace) {
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
      const found = document.hidden ? undefined : await ports(this.workspace.id);
      if (this.disposed || !this.running) return;
      if (found) this.show(found);
    } catch {
      // The next question will tell; a lost server is shown elsewhere.
    }
    if (!this.disposed && this.running) this.timer = window.setTimeout(() => void this.poll(), 3000);
  }

  private show(found: Awaited<ReturnType<typeof ports>>): void {
    const key = JSON.stringify(found);
    if (key === this.shown) return;
    this.shown = key;
    this.root.hidden = found.length === 0;
    this.list.replaceChildren(
      ...found.map((p) =>
        el(
          'li',
          {},
          el('a', { href: p.url, target: '_blank', rel: 'noopener' }, String(p.port)),
          p.process ? el('span', { className: 'dim' }, ` ${p.process}`) : undefined,
        ),
      ),
    );
  }
}
