import { busy, type State, type Store, type Workspace } from '../core/state';
import { byId, el, setText } from './dom';

/** The list of workspaces with their live state. */
export class List {
  private readonly root = byId<HTMLUListElement>('list');
  private readonly rows = new Map<string, Row>();

  constructor(store: Store) {
    store.subscribe((s) => this.render(s));
  }

  private render(s: State): void {
    for (const [id, row] of this.rows) {
      if (!s.workspaces.some((w) => w.id === id)) {
        row.root.remove();
        this.rows.delete(id);
      }
    }
    s.workspaces.forEach((w, i) => {
      let row = this.rows.get(w.id);
      if (!row) {
        row = new Row();
        this.rows.set(w.id, row);
      }
      row.update(w, w.name === s.selected);
      // Moving an element that is in its place already would take the focus away.
      if (this.root.children[i] !== row.root) this.root.insertBefore(row.root, this.root.children[i] ?? null);
    });
  }
}

class Row {
  private readonly name = el('span', { className: 'name' });
  private readonly state = el('span', { className: 'state' });
  private readonly link = el('a', {}, this.name, this.state);
  readonly root = el('li', {}, this.link);

  update(w: Workspace, selected: boolean): void {
    this.link.href = `#${w.name}`;
    if (selected) this.link.setAttribute('aria-current', 'true');
    else this.link.removeAttribute('aria-current');
    setText(this.name, w.name);
    showState(this.state, w);
  }
}

/** Shows a state by word and colour. */
export function showState(e: HTMLElement, w: Workspace): void {
  setText(e, w.state.toLowerCase());
  e.dataset.state = w.state;
  e.classList.toggle('busy', busy(w));
}
