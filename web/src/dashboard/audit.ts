import type { Store } from '../core/state';
import { sentence } from './ask';
import { type AuditEntry, audit } from './calls';
import { byId, el } from './dom';

/** Who did what; for admins. */
export class Audit {
  private readonly rows = byId('audit');
  private readonly more = byId<HTMLButtonElement>('audit-more');
  private next = '';

  constructor(private readonly store: Store) {
    byId('audit-form').addEventListener('submit', (e) => {
      e.preventDefault();
      void this.show();
    });
    this.more.addEventListener('click', () => void this.read(this.next));
  }

  async show(): Promise<void> {
    this.rows.replaceChildren();
    await this.read('');
  }

  private async read(cursor: string): Promise<void> {
    const query: Record<string, string> = { limit: '50' };
    const user = byId<HTMLInputElement>('audit-user').value.trim();
    const action = byId<HTMLInputElement>('audit-action').value.trim();
    if (user) query.user = user;
    if (action) query.action = action;
    if (cursor) query.cursor = cursor;
    try {
      const page = await audit(query);
      this.rows.append(...(page.items ?? []).map(row));
      if (this.rows.children.length === 0)
        this.rows.append(el('tr', {}, el('td', { colSpan: 6, className: 'dim', textContent: 'Nothing of this kind.' })));
      this.next = page.next ?? '';
      this.more.hidden = this.next === '';
    } catch (e) {
      this.store.dispatch({ type: 'problem', text: sentence((e as Error).message) });
    }
  }
}

function row(e: AuditEntry): HTMLElement {
  const what = e.action.replaceAll('-', ' ');
  return el(
    'tr',
    {},
    el('td', { className: 'dim nowrap' }, new Date(e.at).toLocaleString()),
    el('td', {}, e.actor ?? el('span', { className: 'dim', textContent: 'nobody' })),
    el('td', {}, what),
    el('td', {}, e.target ?? '', e.detail ? el('div', { className: 'dim small', textContent: e.detail }) : undefined),
    el('td', {}, el('span', { className: `tag ${e.outcome}`, textContent: e.outcome })),
    el('td', { className: 'dim' }, e.address ?? ''),
  );
}
