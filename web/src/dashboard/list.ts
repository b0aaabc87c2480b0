import { busy, type State, type Store, verbs, type Workspace } from '../core/state';
import { ask } from '../link/rest';
import { doer, gib, when } from './ask';
import { byId, el, setText } from './dom';

/** The workspaces as cards with their live state. */
export class List {
  private readonly root = byId<HTMLUListElement>('list');
  private readonly filter = byId<HTMLInputElement>('filter');
  private readonly cards = new Map<string, Card>();

  constructor(
    private readonly store: Store,
    private readonly name: () => string | undefined,
  ) {
    store.subscribe((s) => this.render(s));
    this.filter.addEventListener('input', () => this.render(store.state));
    // What is "just now" grows old.
    window.setInterval(() => this.render(store.state), 30_000);
  }

  private render(s: State): void {
    byId('loading').hidden = s.loaded;
    byId('empty').hidden = !(s.loaded && s.workspaces.length === 0);
    byId('workspaces-head').classList.toggle('quiet-head', s.workspaces.length === 0);
    this.filter.hidden = s.workspaces.length < 7;
    const wanted = this.filter.hidden ? '' : this.filter.value.trim().toLowerCase();
    const shown = s.workspaces.filter((w) => w.name.includes(wanted) || (w.owner ?? '').includes(wanted));
    byId('none').hidden = shown.length > 0 || s.workspaces.length === 0;
    for (const [id, card] of this.cards) {
      if (!shown.some((w) => w.id === id)) {
        card.root.remove();
        this.cards.delete(id);
      }
    }
    shown.forEach((w, i) => {
      let card = this.cards.get(w.id);
      if (!card) {
        card = new Card(w.id, this.store);
        this.cards.set(w.id, card);
      }
      card.update(w, this.name());
      // Moving an element that is in its place already would take the focus away.
      if (this.root.children[i] !== card.root) this.root.insertBefore(card.root, this.root.children[i] ?? null);
    });
  }
}

class Card {
  private readonly name = el('a', { className: 'name' });
  private readonly state = el('span', { className: 'state' });
  private readonly from = el('p', { className: 'dim' });
  private readonly facts = el('p', { className: 'dim small' });
  private readonly active = el('p', { className: 'dim small' });
  private readonly message = el('p', { className: 'message small', hidden: true });
  private readonly open = el('a', { className: 'button', textContent: 'Open' });
  private readonly toggle: HTMLButtonElement;
  private readonly more = el('a', { className: 'button plain', textContent: 'Details' });
  readonly root: HTMLLIElement;
  private next: 'suspend' | 'resume' = 'suspend';

  constructor(id: string, store: Store) {
    this.toggle = doer('', store, async () => {
      store.dispatch({ type: 'changed', workspace: await ask(id, this.next) });
    });
    this.root = el(
      'li',
      { className: 'card' },
      el('div', { className: 'card-head' }, el('h2', {}, this.name), this.state),
      this.from,
      this.message,
      this.facts,
      this.active,
      el('div', { className: 'card-foot' }, this.open, this.toggle, this.more),
    );
  }

  update(w: Workspace, me: string | undefined): void {
    setText(this.name, w.name);
    this.name.href = `#${w.name}`;
    this.more.href = `#${w.name}`;
    this.more.setAttribute('aria-label', `Details of ${w.name}`);
    this.open.href = `/workspace/${encodeURIComponent(w.name)}`;
    this.open.setAttribute('aria-label', `Open ${w.name} in the editor`);
    showState(this.state, w);
    const mine = w.owner === undefined || w.owner === me;
    this.from.hidden = mine;
    setText(this.from, mine ? '' : `${w.owner}’s${w.role && w.role !== 'owner' ? ` · you may ${may[w.role]}` : ''}`);
    setText(this.message, w.message ?? '');
    this.message.hidden = !w.message;
    setText(this.facts, facts(w));
    this.active.replaceChildren('Active ', when(w.last_active_at));
    const possible = verbs(w).filter((v) => allowed(w, v));
    const next = possible.includes('suspend') ? 'suspend' : possible.includes('resume') ? 'resume' : undefined;
    this.toggle.hidden = next === undefined;
    if (next) {
      this.next = next;
      setText(this.toggle, next === 'suspend' ? 'Suspend' : w.state === 'SUSPENDED' ? 'Resume' : 'Start');
      this.toggle.setAttribute('aria-label', `${this.toggle.textContent} ${w.name}`);
    }
  }
}

const may: Record<string, string> = { viewer: 'look', editor: 'edit' };

/** Whether the caller's role allows a verb; the server has the last word. */
export function allowed(w: Workspace, verb: string): boolean {
  const role = w.role ?? 'owner';
  if (verb === 'resume') return true;
  if (verb === 'suspend' || verb === 'stop' || verb === 'checkpoint') return role !== 'viewer';
  return role === 'owner';
}

/** What a workspace is made of, in one line. */
export function facts(w: Workspace): string {
  const l = w.limits;
  const git = w.git?.replace(/^https?:\/\//, '').replace(/\.git$/, '');
  return [git, w.image, `${l.cpus} CPU`, `${gib(l.memory_bytes)} memory`, `${gib(l.disk_bytes)} disk`]
    .filter(Boolean)
    .join(' · ');
}

/** Shows a state by word and colour. */
export function showState(e: HTMLElement, w: Workspace): void {
  setText(e, w.state.toLowerCase());
  e.dataset.state = w.state;
  e.classList.toggle('busy', busy(w));
}
