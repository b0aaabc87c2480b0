import type { Store } from '../core/state';
import { doer, secret, sentence, showMade, sure, when } from './ask';
import {
  type Invitation,
  invitations,
  invite,
  removeUser,
  resetPassword,
  revokeInvitation,
  type User,
  updateUser,
  users,
} from './calls';
import { byId, el, setText } from './dom';

/** Accounts and invitations; for admins. */
export class People {
  private readonly dialog = byId<HTMLDialogElement>('invite');
  private readonly form = byId<HTMLFormElement>('invite-form');
  private readonly problem = byId('invite-problem');
  private readonly made = byId('invite-made');

  constructor(private readonly store: Store) {
    byId('invite-open').addEventListener('click', () => {
      this.form.reset();
      this.made.replaceChildren();
      setText(this.problem, '');
      this.dialog.showModal();
      byId('invite-note').focus();
    });
    byId('invite-close').addEventListener('click', () => this.dialog.close());
    this.form.addEventListener('submit', (e) => {
      e.preventDefault();
      void this.invite();
    });
  }

  async show(): Promise<void> {
    try {
      const [people, open] = await Promise.all([users(), invitations()]);
      byId('users').replaceChildren(...people.map((u) => this.user(u)));
      const shown = open.filter((i) => !i.workspace_id || i.state === 'open');
      byId('invitations').replaceChildren(...shown.map((i) => this.invitation(i)));
      byId('invitations-none').hidden = shown.length > 0;
    } catch (e) {
      this.store.dispatch({ type: 'problem', text: sentence((e as Error).message) });
    }
  }

  private async invite(): Promise<void> {
    try {
      setText(this.problem, '');
      const i = await invite(
        byId<HTMLInputElement>('invite-note').value.trim(),
        byId<HTMLSelectElement>('invite-role').value,
      );
      this.made.replaceChildren(secret(i.url, 'Send this link to one person. It is shown only now.'));
      this.made.querySelector('input')?.select();
      await this.show();
    } catch (e) {
      setText(this.problem, sentence((e as Error).message));
    }
  }

  private user(u: User): HTMLElement {
    const role = el(
      'select',
      {},
      el('option', { value: 'member', textContent: 'member' }),
      el('option', { value: 'admin', textContent: 'admin' }),
    );
    role.value = u.role;
    role.setAttribute('aria-label', `Role of ${u.name}`);
    role.addEventListener('change', async () => {
      try {
        await updateUser(u.id, { role: role.value });
        this.store.dispatch({ type: 'problem', text: undefined });
      } catch (e) {
        this.store.dispatch({ type: 'problem', text: sentence((e as Error).message) });
      }
      await this.show();
    });
    const verbs = [
      doer(u.disabled ? 'Enable' : 'Disable', this.store, async () => {
        const text = `${u.name} is signed out everywhere, and tokens of ${u.name} do not work. Workspaces stay.`;
        if (!u.disabled && !(await sure({ title: `Disable ${u.name}?`, text, yes: 'Disable' }))) return;
        await updateUser(u.id, { disabled: !u.disabled });
        await this.show();
      }),
      doer('New password', this.store, async () => {
        const l = await resetPassword(u.id);
        showMade(`A link for ${u.name}`, secret(l.url, `With it ${u.name} chooses a new password, once, within a day.`));
      }),
      doer(
        'Remove',
        this.store,
        async () => {
          const text = 'The account and its tokens go. Somebody who owns workspaces cannot be removed before them.';
          if (!(await sure({ title: `Remove ${u.name}?`, text, yes: 'Remove', type: u.name }))) return;
          await removeUser(u.id);
          await this.show();
        },
        'danger',
      ),
    ];
    for (const b of verbs) b.setAttribute('aria-label', `${b.textContent}: ${u.name}`);
    const name = el('th', { scope: 'row' }, u.name);
    if (u.disabled) name.append(el('span', { className: 'tag', textContent: 'disabled' }));
    const count = el('td', {}, String(u.workspaces));
    count.dataset.what = u.workspaces === 1 ? 'workspace' : 'workspaces'; // for phones, which show no heads of columns
    return el(
      'tr',
      {},
      name,
      el('td', {}, role),
      count,
      el('td', { className: 'dim' }, (u.sign_in ?? []).join(', ') || 'nothing yet'),
      el('td', {}, when(u.last_seen_at)),
      el('td', { className: 'verbs' }, ...verbs),
    );
  }

  private invitation(i: Invitation): HTMLElement {
    const back = doer('Take back', this.store, async () => {
      await revokeInvitation(i.id);
      await this.show();
    });
    back.setAttribute('aria-label', `Take back: ${i.note || i.id}`);
    const state = { open: 'open', used: `used by ${i.used_by}`, revoked: 'taken back', expired: 'expired' }[i.state];
    const to = i.workspace_id ? `a workspace, as ${i.workspace_role}` : (i.role ?? '');
    return el(
      'li',
      {},
      el('strong', { textContent: i.note || (i.workspace_id ? 'A share link' : 'Somebody') }),
      el('span', { className: 'dim small' }, `${to} · ${state} · by ${i.created_by}, `, when(i.created_at)),
      el('span', { className: 'verbs' }, i.state === 'open' ? back : undefined),
    );
  }
}

