import { copyName } from '../core/name';
import { type State, type Store, selectedOf, type Verb, verbs, type Workspace } from '../core/state';
import { ask, fork, remove } from '../link/rest';
import { order, sure } from './ask';
import { Checkpoints } from './checkpoints';
import { unshare } from './calls';
import { byId, el, setText } from './dom';
import { Here } from './here';
import { allowed, facts, showState } from './list';
import { Ports } from './ports';
import type { Share } from './share';
import { Terminals } from './terminals';

const titles: Record<Verb, string> = {
  resume: 'Resume',
  suspend: 'Suspend',
  stop: 'Stop',
  fork: 'Fork',
  delete: 'Delete',
};

/** The workspace that is shown: what it is, what can be done with it, its terminals and ports. */
export class Detail {
  private readonly name = byId('detail-name');
  private readonly state = byId('detail-state');
  private readonly message = byId('detail-message');
  private readonly facts = byId('detail-facts');
  private readonly actions = byId('actions');
  private readonly buttons = new Map<Verb, HTMLButtonElement>();
  private readonly share = el('button', { textContent: 'Share', type: 'button' });
  private readonly leave = el('button', { textContent: 'Leave', type: 'button', className: 'danger' });
  private readonly editor = el('a', { className: 'button', textContent: 'Open editor' });
  private shown: string | undefined;
  private terminals: Terminals | undefined;
  private ports: Ports | undefined;
  private here: Here | undefined;
  private checkpoints: Checkpoints | undefined;

  constructor(
    private readonly store: Store,
    private readonly me: () => string | undefined,
    sharing: Share,
  ) {
    this.actions.append(this.editor, this.share);
    this.share.addEventListener('click', () => {
      const w = selectedOf(this.store.state);
      if (w) void sharing.open(w);
    });
    for (const v of Object.keys(titles) as Verb[]) {
      const b = el('button', { textContent: titles[v], type: 'button' });
      if (v === 'delete') b.className = 'danger';
      b.addEventListener('click', () => void this.act(v, b));
      this.buttons.set(v, b);
      this.actions.append(b);
    }
    this.actions.append(this.leave);
    this.leave.addEventListener('click', () => void this.quit());
    store.subscribe((s) => this.render(s));
  }

  private render(s: State): void {
    const w = selectedOf(s);
    if (w?.id !== this.shown) this.change(w);
    if (!w) return;
    setText(this.name, w.name);
    showState(this.state, w);
    setText(this.message, w.message ?? '');
    this.message.hidden = !w.message;
    const mine = w.owner === undefined || w.owner === this.me();
    setText(this.facts, `${mine ? '' : `${w.owner}’s · `}${facts(w)}`);
    this.editor.href = `/workspace/${encodeURIComponent(w.name)}`;
    const possible = verbs(w);
    for (const [v, b] of this.buttons) {
      b.hidden = !possible.includes(v) || !allowed(w, v);
      if (v === 'resume') setText(b, w.state === 'SUSPENDED' ? 'Resume' : 'Start');
    }
    this.share.hidden = !allowed(w, 'share');
    this.leave.hidden = w.role === undefined || w.role === 'owner';
    this.terminals?.update(w);
    this.ports?.update(w);
    this.here?.update(w);
    this.checkpoints?.update(w);
  }

  private change(w: Workspace | undefined): void {
    this.terminals?.dispose();
    this.ports?.dispose();
    this.here?.dispose();
    this.checkpoints?.dispose();
    this.shown = w?.id;
    this.terminals = w && new Terminals(w, this.store);
    this.ports = w && new Ports(w);
    this.here = w && new Here(w, this.me);
    this.checkpoints = w && new Checkpoints(w, this.store);
  }

  private async act(v: Verb, b: HTMLButtonElement): Promise<void> {
    const w = selectedOf(this.store.state);
    if (!w) return;
    if (v === 'delete') {
      const text = 'Its machine, all its files and its checkpoints are removed, for good.';
      if (!(await sure({ title: `Delete ${w.name}?`, text, yes: 'Delete it', type: w.name }))) return;
    }
    await order(b, this.store, async () => {
      if (v === 'delete') {
        await remove(w.id);
        location.hash = '#/';
        byId('main').focus();
      } else if (v === 'fork') {
        const taken = this.store.state.workspaces.map((o) => o.name);
        const copy = await fork(w.id, copyName(w.name, taken));
        this.store.dispatch({ type: 'changed', workspace: copy });
        location.hash = copy.name;
      } else this.store.dispatch({ type: 'changed', workspace: await ask(w.id, v) });
    });
  }

  private async quit(): Promise<void> {
    const w = selectedOf(this.store.state);
    const me = this.me();
    if (!w || !me) return;
    const text = `${w.owner} has to share it again before you can come back.`;
    if (!(await sure({ title: `Leave ${w.name}?`, text, yes: 'Leave it' }))) return;
    await order(this.leave, this.store, async () => {
      await unshare(w.id, me);
      this.store.dispatch({ type: 'gone', id: w.id });
      location.hash = '#/';
    });
  }
}
