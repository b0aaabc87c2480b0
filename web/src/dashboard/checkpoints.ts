import { copyName } from '../core/name';
import type { Store, Workspace } from '../core/state';
import { call } from '../link/rest';
import { doer, gib, order, sure, when } from './ask';
import { type Checkpoint, checkpoint, checkpoints, removeCheckpoint, rollback } from './calls';
import { byId, el, setText } from './dom';
import { allowed } from './list';

/** The states of a machine that are kept, as a line in time. */
export class Checkpoints {
  private readonly list = byId('checkpoints-list');
  private readonly box = byId<HTMLDetailsElement>('checkpoints');
  private readonly form = byId<HTMLFormElement>('checkpoint-form');
  private readonly label = byId<HTMLInputElement>('checkpoint-label');
  private readonly over = new AbortController();
  private state = '';

  constructor(
    private workspace: Workspace,
    private readonly store: Store,
  ) {
    const { signal } = this.over;
    this.list.replaceChildren();
    this.form.addEventListener(
      'submit',
      (e) => {
        e.preventDefault();
        void this.keep();
      },
      { signal },
    );
    this.box.addEventListener('toggle', () => void this.read(), { signal });
    void this.read();
  }

  update(w: Workspace): void {
    this.workspace = w;
    const able = ['RUNNING', 'SUSPENDED'].includes(w.state) && allowed(w, 'checkpoint');
    this.form.hidden = !able;
    if (this.state !== w.state && this.state !== '') void this.read();
    this.state = w.state;
  }

  dispose(): void {
    this.over.abort();
    this.list.replaceChildren();
  }

  private async keep(): Promise<void> {
    const b = this.form.querySelector('button') as HTMLButtonElement;
    await order(b, this.store, async () => {
      await checkpoint(this.workspace.id, this.label.value.trim());
      this.label.value = '';
      await this.read();
    });
  }

  private async read(): Promise<void> {
    try {
      const found = await checkpoints(this.workspace.id);
      if (this.over.signal.aborted) return;
      this.box.hidden = found.length === 0 && !allowed(this.workspace, 'checkpoint');
      setText(byId('checkpoints-count'), found.length ? `(${found.length})` : '');
      this.list.replaceChildren(...found.reverse().map((c) => this.row(c)));
    } catch {
      // The next change of the workspace asks again.
    }
  }

  private row(c: Checkpoint): HTMLElement {
    const w = this.workspace;
    const verbs = allowed(w, 'rollback')
      ? [
          doer('Roll back', this.store, async () => {
            const text = `${w.name} goes on from there, files and processes. What it is now is kept as before-rollback.`;
            if (!(await sure({ title: `Roll back to ${c.label}?`, text, yes: 'Roll back' }))) return;
            this.store.dispatch({ type: 'changed', workspace: await rollback(w.id, c.label) });
          }),
          doer('Fork', this.store, async () => {
            const taken = this.store.state.workspaces.map((o) => o.name);
            const body = { name: copyName(w.name, taken), from: c.label };
            const copy = await call<Workspace>('POST', `/api/v1/workspaces/${encodeURIComponent(w.id)}/fork`, body);
            this.store.dispatch({ type: 'changed', workspace: copy });
            location.hash = copy.name;
          }),
          doer(
            'Remove',
            this.store,
            async () => {
              if (!(await sure({ title: `Remove ${c.label}?`, text: 'It cannot be made again.', yes: 'Remove' }))) return;
              await removeCheckpoint(w.id, c.label);
              await this.read();
            },
            'danger',
          ),
        ]
      : [];
    for (const b of verbs) b.setAttribute('aria-label', `${b.textContent}: ${c.label}`);
    return el(
      'li',
      {},
      el('strong', { textContent: c.label }),
      el('span', { className: 'dim small' }, when(c.created_at), ` · ${gib(c.bytes)}`),
      el('span', { className: 'verbs' }, ...verbs),
    );
  }
}
