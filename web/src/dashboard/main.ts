import '@xterm/xterm/css/xterm.css';
import './style.css';
import { type State, Store, selectedOf } from '../core/state';
import { Events } from '../link/events';
import { whenSignedOut } from '../link/rest';
import { Account } from './account';
import { sentence } from './ask';
import { Audit } from './audit';
import { type Me, me } from './calls';
import { Create } from './create';
import { Detail } from './detail';
import { byId, setText } from './dom';
import { List } from './list';
import { People } from './people';
import { Share } from './share';

const store = new Store();
let who: Me | undefined;
const name = (): string | undefined => who?.name;

new List(store, name);
new Detail(store, name, new Share(store));
new Create(store);
const people = new People(store);
const audit = new Audit(store);
const account = new Account(store, () => who);

/** What the address says is shown: a view after "#/", or the workspace of that name. */
const views = ['workspaces', 'people', 'audit', 'account'];
let view = 'workspaces';

function follow(): void {
  const at = decodeURIComponent(location.hash.replace(/^#/, ''));
  const asked = at.startsWith('/') ? at.slice(1) : '';
  view = views.includes(asked) ? asked : 'workspaces';
  store.dispatch({ type: 'problem', text: undefined });
  store.dispatch({ type: 'selected', name: at === '' || at.startsWith('/') ? undefined : at });
  render(store.state);
  if (view === 'people') void people.show();
  if (view === 'audit') void audit.show();
  if (view === 'account') void account.show();
}

function render(s: State): void {
  const one = s.selected !== undefined;
  const found = selectedOf(s) !== undefined;
  document.body.classList.toggle('showing', one);
  byId('detail').hidden = !found;
  byId('nothing').hidden = !one || found || !s.loaded;
  for (const v of views) byId(`view-${v}`).hidden = one || v !== view;
  for (const a of document.querySelectorAll<HTMLElement>('#top nav a')) {
    if (!one && a.dataset.view === view) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
  const title = one ? s.selected : view === 'workspaces' ? undefined : byId(`${view}-title`).textContent;
  document.title = title ? `${title} · Holt` : 'Holt';
  setText(byId('problem-text'), s.problem ? sentence(s.problem) : '');
  byId('problem').hidden = s.problem === undefined;
  byId('offline').hidden = s.online || !s.loaded;
}

store.subscribe(render);
byId('problem-close').addEventListener('click', () => store.dispatch({ type: 'problem', text: undefined }));
byId('made-close').addEventListener('click', () => byId<HTMLDialogElement>('made').close());

const events = new Events(store);
whenSignedOut(() => {
  events.dispose();
  location.assign(`/login?${new URLSearchParams({ to: `/${location.hash}` })}`);
});

window.addEventListener('hashchange', () => {
  follow();
  byId('main').focus({ preventScroll: true }); // the next Tab goes on in what is shown now
  window.scrollTo(0, 0);
});
follow();
events.start();

async function introduce(): Promise<void> {
  try {
    who = await me();
    setText(byId('who-name'), who.name);
    for (const a of document.querySelectorAll<HTMLElement>('[data-admin]')) a.hidden = who.role !== 'admin';
    store.dispatch({ type: 'problem', text: undefined });
    if (view === 'account') void account.show();
  } catch (e) {
    store.dispatch({ type: 'problem', text: (e as Error).message });
  }
}
void introduce();
