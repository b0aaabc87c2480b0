import { copyName } from '../core/name';
import { type State, type Store, selectedOf, type Verb, verbs, type Workspace } from '../core/state';
import { ask, fork, remove } from '../link/rest';
import { byId, el, setText } from './dom';
import { showState } from './list';
import { Ports } from './ports';
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
  private readonly root = byId('detail');
  private readonly empty = byId('empty');
  private readonly nothing = byId('nothing');
  private readonly name = byId('detail-name');
  private readonly state = byId('detail-state');
  private readonly message = byId('detail-message');
  private readonly facts = byId('detail-facts');
  private readonly actions = byId('actions');
  private readonly editor = el('a', { className: 'button', textContent: 'Open editor' });
  private readonly buttons = new Map<Verb, HTMLButtonElement>();
  private readonly confirm = byId<HTMLDialogElement>('confirm');
  private shown: string | undefined;
  private terminals: Terminals | undefined;
  private ports: Ports | undefined;

  constructor(private readonly store: Store) {
    this.actions.append(this.editor);
    for (const v of Object.keys(titles) as Verb[]) {
      const b = el('button', { textContent: titles[v], type: 'button' });
      if (v === 'delete') b.className = 'danger';
      b.addEventListener('click', () => void this.act(v, b));
      this.buttons.set(v, b);
      this.actions.append(b);
    }
    store.subscribe((s) => this.render(s));
  }

  private render(s: State): void {
    const w = selectedOf(s);
    document.body.classList.toggle('showing', w !== undefined);
    this.root.hidden = w === undefined;
    this.empty.hidden = !(s.loaded && s.workspaces.length === 0);
    this.nothing.hidden = w !== undefined || !this.empty.hidden || !s.loaded;
    document.title = w ? `${w.name} · Holt` : 'Holt';
    if (w?.id !== this.shown) this.change(w);
    if (!w) return;
    setText(this.name, w.name);
    showState(this.state, w);
    setText(this.message, w.message ?? '');
    this.message.hidden = !w.message;
    setText(this.facts, facts(w));
    this.editor.href = `/workspace/${encodeURIComponent(w.name)}`;
    const possible = verbs(w);
    for (const [v, b] of this.buttons) {
      b.hidden = !possible.includes(v);
      if (v === 'resume') setText(b, w.state === 'SUSPENDED' ? 'Resume' : 'Start');
    }
    this.terminals?.update(w);
    this.ports?.update(w);
  }

  private change(w: Workspace | undefined): void {
    this.terminals?.dispose();
    this.ports?.dispose();
    this.shown = w?.id;
    this.terminals = w && new Terminals(w, this.store);
    this.ports = w && new Ports(w);
  }

  private async act(v: Verb, b: HTMLButtonElement): Promise<void> {
    const w = selectedOf(this.store.state);
    if (!w || (v === 'delete' && !(await this.sure(w)))) return;
    b.disabled = true;
    try {
      if (v === 'delete') await remove(w.id);
      else if (v === 'fork') {
        const taken = this.store.state.workspaces.map((o) => o.name);
        const copy = await fork(w.id, copyName(w.name, taken));
        this.store.dispatch({ type: 'changed', workspace: copy });
        location.hash = copy.name;
      } else this.store.dispatch({ type: 'changed', workspace: await ask(w.id, v) });
      this.store.dispatch({ type: 'problem', text: undefined });
    } catch (e) {
      this.store.dispatch({ type: 'problem', text: (e as Error).message });
    } finally {
      b.disabled = false;
    }
  }

  private sure(w: Workspace): Promise<boolean> {
    setText(byId('confirm-name'), w.name);
    this.confirm.returnValue = '';
    this.confirm.showModal();
    return new Promise((resolve) => {
      this.confirm.addEventListener('close', () => resolve(this.confirm.returnValue === 'yes'), { once: true });
    });
  }
}

function facts(w: Workspace): string {
  const gib = (n: number | undefined): string => `${Math.round(((n ?? 0) / 2 ** 30) * 10) / 10} GiB`;
  const l = w.limits;
  return [w.image, `${l.cpus} CPUs`, `${gib(l.memory_bytes)} memory`, `${gib(l.disk_bytes)} disk`, w.git ?? '']
    .filter(Boolean)
    .join(' · ');
}
