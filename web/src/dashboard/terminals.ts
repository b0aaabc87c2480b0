import { comesBack, type Store, type Workspace } from '../core/state';
import { createTerminal, deleteTerminal, terminals } from '../link/rest';
import { byId, el } from './dom';
import { TerminalScreen } from './screen';

/** The terminals of one workspace, as tabs. They live in the workspace: closing the page closes none. */
export class Terminals {
  private readonly tabs = byId('tabs');
  private readonly panel = byId('screens');
  private readonly open = new Map<string, { tab: HTMLElement; screen: TerminalScreen }>();
  private readonly list = el('div', { role: 'tablist', className: 'tablist' });
  private readonly ender = el('button', { className: 'close', textContent: '×', type: 'button' });
  private readonly adder = el('button', { className: 'add', textContent: '+', title: 'New terminal', type: 'button' });
  private shown = '';
  private listed = false;
  private disposed = false;

  constructor(
    private workspace: Workspace,
    private readonly store: Store,
  ) {
    this.adder.setAttribute('aria-label', 'New terminal');
    this.adder.addEventListener('click', () => void this.add());
    this.list.setAttribute('aria-label', 'Terminals');
    this.ender.addEventListener('click', () => void this.end(this.shown));
    this.tabs.replaceChildren(this.list, this.ender, this.adder);
    this.panel.replaceChildren();
    this.tabs.onkeydown = (e) => this.keys(e);
    this.show('main');
  }

  update(w: Workspace): void {
    this.workspace = w;
    if (w.state === 'RUNNING' && !this.listed) void this.find();
    for (const o of this.open.values()) o.screen.reconsider();
  }

  dispose(): void {
    this.disposed = true;
    for (const o of this.open.values()) o.screen.dispose();
    this.open.clear();
    this.tabs.replaceChildren();
  }

  /** Shows the tabs of the terminals that live in the workspace already. */
  private async find(): Promise<void> {
    this.listed = true;
    try {
      for (const t of await terminals(this.workspace.id)) {
        if (!this.disposed && !t.exit) this.tab(t.id);
      }
    } catch {
      this.listed = false; // the next change of state asks again
    }
  }

  private tab(id: string): { tab: HTMLElement; screen: TerminalScreen } {
    const known = this.open.get(id);
    if (known) return known;
    const tab = el('button', { className: 'tab', textContent: id, type: 'button', role: 'tab' });
    const screen = new TerminalScreen(this.workspace.id, id, this.store);
    screen.root.hidden = true;
    tab.addEventListener('click', () => this.show(id, true));
    this.list.append(tab);
    this.panel.append(screen.root);
    const o = { tab, screen };
    this.open.set(id, o);
    return o;
  }

  private show(id: string, focus = false): void {
    const fresh = this.tab(id);
    for (const [other, o] of this.open) {
      const on = other === id;
      o.screen.root.hidden = !on;
      o.tab.setAttribute('aria-selected', String(on));
      o.tab.tabIndex = on ? 0 : -1;
    }
    this.shown = id;
    this.ender.title = `End ${id}`;
    this.ender.setAttribute('aria-label', `End terminal ${id}`);
    if (!fresh.screen.root.dataset.opened) {
      fresh.screen.root.dataset.opened = '1';
      fresh.screen.open(comesBack(this.workspace));
    }
    if (focus) fresh.screen.focus();
  }

  private async add(): Promise<void> {
    try {
      const t = await createTerminal(this.workspace.id);
      if (!this.disposed) this.show(t.id, true);
    } catch (e) {
      this.store.dispatch({ type: 'problem', text: (e as Error).message });
    }
  }

  private async end(id: string): Promise<void> {
    try {
      await deleteTerminal(this.workspace.id, id);
    } catch (e) {
      this.store.dispatch({ type: 'problem', text: (e as Error).message });
      return;
    }
    const o = this.open.get(id);
    if (!o || this.disposed) return;
    o.screen.dispose();
    o.tab.remove();
    this.open.delete(id);
    if (this.shown === id) this.show(this.open.keys().next().value ?? 'main');
  }

  /** Arrow keys move between tabs, as screen readers announce. */
  private keys(e: KeyboardEvent): void {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!step || !(e.target instanceof HTMLElement) || e.target.role !== 'tab') return;
    const ids = [...this.open.keys()];
    const id = ids[(ids.indexOf(this.shown) + step + ids.length) % ids.length];
    if (id === undefined) return;
    e.preventDefault();
    this.show(id);
    this.open.get(id)?.tab.focus();
  }
}
