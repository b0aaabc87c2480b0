import type { Store, Workspace } from '../core/state';
import { doer, secret, sentence, when } from './ask';
import { type Invitation, type Member, members, revokeShareLink, share, shareLink, shareLinks, unshare } from './calls';
import { byId, el, setText } from './dom';

/** The dialog with who may use a workspace. */
export class Share {
  private readonly dialog = byId<HTMLDialogElement>('share');
  private readonly form = byId<HTMLFormElement>('share-form');
  private readonly user = byId<HTMLInputElement>('share-user');
  private readonly role = byId<HTMLSelectElement>('share-role');
  private readonly life = byId<HTMLSelectElement>('share-life');
  private readonly problem = byId('share-problem');
  private readonly made = byId('share-made');
  private workspace: Workspace | undefined;

  constructor(private readonly store: Store) {
    byId('share-close').addEventListener('click', () => this.dialog.close());
    this.form.addEventListener('submit', (e) => {
      e.preventDefault();
      void this.act(async (w) => {
        const name = this.user.value.trim();
        if (name === '') throw new Error('Give the name of a user, or make a link.');
        this.show(await share(w.id, name, this.role.value));
        this.user.value = '';
      });
      this.user.focus();
    });
    byId('share-link').addEventListener(
      'click',
      () =>
        void this.act(async (w) => {
          const link = await shareLink(w.id, this.role.value, Number(this.life.value));
          const may = this.role.value === 'editor' ? 'edit' : 'look at';
          this.made.replaceChildren(secret(link.url, `Whoever opens this link first may ${may} the workspace. It is shown only now.`));
          this.showLinks(await shareLinks(w.id));
          this.made.querySelector('input')?.select();
        }),
    );
  }

  async open(w: Workspace): Promise<void> {
    this.workspace = w;
    setText(byId('share-name'), w.name);
    setText(this.problem, '');
    this.made.replaceChildren();
    byId('share-members').replaceChildren();
    byId('share-links').replaceChildren();
    this.form.reset();
    this.dialog.showModal();
    this.user.focus();
    await this.act(async () => {
      const [who, links] = await Promise.all([members(w.id), shareLinks(w.id)]);
      this.show(who);
      this.showLinks(links);
    });
  }

  private async act(run: (w: Workspace) => Promise<void>): Promise<void> {
    if (!this.workspace) return;
    try {
      setText(this.problem, '');
      await run(this.workspace);
    } catch (e) {
      setText(this.problem, sentence((e as Error).message));
    }
  }

  private show(list: Member[]): void {
    byId('share-members').replaceChildren(...list.map((m) => this.row(m)));
  }

  private showLinks(list: Invitation[]): void {
    byId('share-links').replaceChildren(...list.filter((l) => l.state === 'open').map((l) => this.link(l)));
  }

  private link(l: Invitation): HTMLElement {
    const back = doer('Take back', this.store, () =>
      this.act(async (w) => {
        await revokeShareLink(w.id, l.id);
        this.made.replaceChildren(); // it may be the one that is shown
        this.showLinks(await shareLinks(w.id));
        this.user.focus();
      }),
    );
    back.setAttribute('aria-label', `Take back the link of ${new Date(l.created_at).toLocaleString()}`);
    const may = l.workspace_role === 'editor' ? 'to edit' : 'to look';
    return el('li', {}, el('span', {}, `A link ${may}, ends `, when(l.expires_at)), el('span', { className: 'verbs' }, back));
  }

  private row(m: Member): HTMLElement {
    const here = m.here_since ? el('span', { className: 'tag', textContent: 'here now' }) : undefined;
    if (m.role === 'owner') return el('li', {}, el('strong', { textContent: m.user }), here, el('span', {}, 'owner'));
    const role = el(
      'select',
      {},
      el('option', { value: 'viewer', textContent: 'may look' }),
      el('option', { value: 'editor', textContent: 'may edit' }),
    );
    role.value = m.role;
    role.setAttribute('aria-label', `Role of ${m.user}`);
    role.addEventListener('change', () => void this.act(async (w) => this.show(await share(w.id, m.user, role.value))));
    const end = doer('Remove', this.store, () =>
      this.act(async (w) => {
        await unshare(w.id, m.user);
        this.show(await members(w.id));
        this.user.focus();
      }),
    );
    end.setAttribute('aria-label', `Remove ${m.user}`);
    return el('li', {}, el('strong', { textContent: m.user }), here, el('span', { className: 'verbs' }, role, end));
  }
}
