import type { Store } from '../core/state';
import { doer, order, secret, sentence, showMade, sure, when } from './ask';
import {
  createToken,
  endOtherSessions,
  endSession,
  type Me,
  revokeToken,
  type Session,
  sessions,
  setPassword,
  type Token,
  tokens,
} from './calls';
import { byId, el, setText } from './dom';

/** One's own account: password, browsers, tokens. */
export class Account {
  private readonly current = byId<HTMLInputElement>('password-current');
  private readonly fresh = byId<HTMLInputElement>('password-new');
  private readonly problem = byId('password-problem');

  constructor(
    private readonly store: Store,
    private readonly me: () => Me | undefined,
  ) {
    byId('password-form').addEventListener('submit', (e) => {
      e.preventDefault();
      void this.change(e as SubmitEvent);
    });
    const all = byId<HTMLButtonElement>('sessions-end');
    all.addEventListener(
      'click',
      () =>
        void order(all, store, async () => {
          await endOtherSessions();
          await this.show();
        }),
    );
    byId('token-form').addEventListener('submit', (e) => {
      e.preventDefault();
      void this.make();
    });
  }

  async show(): Promise<void> {
    byId('password-current-row').hidden = this.me()?.password !== true;
    try {
      const [browsers, keys] = await Promise.all([sessions(), tokens()]);
      byId('sessions').replaceChildren(...browsers.reverse().map((s) => this.session(s)));
      byId('sessions-end').hidden = browsers.filter((s) => !s.current).length === 0;
      const live = keys.filter((t) => !t.revoked_at);
      byId('tokens').replaceChildren(...live.reverse().map((t) => this.token(t)));
    } catch (e) {
      this.store.dispatch({ type: 'problem', text: sentence((e as Error).message) });
    }
  }

  private async change(e: SubmitEvent): Promise<void> {
    const b = e.submitter as HTMLButtonElement | null;
    if (b) b.disabled = true;
    try {
      setText(this.problem, '');
      await setPassword(this.current.value, this.fresh.value);
      (e.target as HTMLFormElement).reset();
      setText(this.problem, 'Your password is changed.');
      await this.show();
    } catch (err) {
      setText(this.problem, sentence((err as Error).message));
    } finally {
      if (b) b.disabled = false;
    }
  }

  private session(s: Session): HTMLElement {
    const end = doer('Sign out', this.store, async () => {
      await endSession(s.id);
      await this.show();
    });
    end.setAttribute('aria-label', `Sign out ${browserName(s.agent)} of ${s.address ?? 'an unknown address'}`);
    return el(
      'li',
      {},
      el('strong', { textContent: browserName(s.agent), title: s.agent ?? '' }),
      el(
        'span',
        { className: 'dim small' },
        `${s.address ?? ''} · signed in `,
        when(s.started_at, 'earlier'),
        ', used ',
        when(s.last_used_at),
      ),
      el('span', { className: 'verbs' }, s.current ? el('span', { className: 'tag', textContent: 'this one' }) : end),
    );
  }

  private token(t: Token): HTMLElement {
    const end = doer(
      'Revoke',
      this.store,
      async () => {
        if (!(await sure({ title: `Revoke ${t.name}?`, text: 'Programs that use it stop to work.', yes: 'Revoke' }))) return;
        await revokeToken(t.id);
        await this.show();
      },
      'danger',
    );
    end.setAttribute('aria-label', `Revoke ${t.name}`);
    const may = { admin: 'everything you may', write: 'uses workspaces', read: 'only looks' }[t.scope];
    const place = this.store.state.workspaces.find((w) => w.id === t.workspace_id)?.name ?? t.workspace_id;
    return el(
      'li',
      {},
      el('strong', { textContent: t.name }),
      el(
        'span',
        { className: 'dim small' },
        `${may}${place ? ` in ${place}` : ''} · used `,
        when(t.last_used_at),
        t.expires_at && Date.parse(t.expires_at) < Date.now() ? ' · ended ' : ' · ends ',
        when(t.expires_at),
      ),
      el('span', { className: 'verbs' }, end),
    );
  }

  private async make(): Promise<void> {
    const name = byId<HTMLInputElement>('token-name');
    const problem = byId('token-problem');
    try {
      setText(problem, '');
      const t = await createToken({
        name: name.value.trim(),
        scope: byId<HTMLSelectElement>('token-scope').value,
        expires_in_seconds: Number(byId<HTMLSelectElement>('token-life').value),
      });
      name.value = '';
      showMade(`Token ${t.name}`, secret(t.secret, 'This is shown only now. Use it as HOLT_TOKEN.'));
      await this.show();
    } catch (e) {
      setText(problem, sentence((e as Error).message));
      name.focus();
    }
  }
}

/** A browser's name and system, from what it tells. */
export function browserName(agent: string | undefined): string {
  if (!agent) return 'A browser';
  const browser = /Firefox|Edg|OPR|Chrome|Safari/.exec(agent)?.[0] ?? '';
  const names: Record<string, string> = { Edg: 'Edge', OPR: 'Opera' };
  const system = /Windows|Android|iPhone|iPad|Mac OS|Linux|CrOS/.exec(agent)?.[0] ?? '';
  return [names[browser] ?? browser, system && `on ${system}`].filter(Boolean).join(' ') || agent.slice(0, 40);
}
