import '@xterm/xterm/css/xterm.css';
import './style.css';
import { Store } from '../core/state';
import { Events } from '../link/events';
import { whenSignedOut } from '../link/rest';
import { Create } from './create';
import { Detail } from './detail';
import { byId, setText } from './dom';
import { List } from './list';

const store = new Store();
new List(store);
new Detail(store);
new Create(store);

const problem = byId('problem');
const offline = byId('offline');
store.subscribe((s) => {
  setText(byId('problem-text'), s.problem ?? '');
  problem.hidden = s.problem === undefined;
  offline.hidden = s.online || !s.loaded;
});
byId('problem-close').addEventListener('click', () => store.dispatch({ type: 'problem', text: undefined }));

const events = new Events(store);
whenSignedOut(() => {
  events.dispose();
  byId('signed-out').hidden = false;
  byId('app').hidden = true;
});

function follow(): void {
  const name = location.hash.replace(/^#\/?/, '');
  store.dispatch({ type: 'selected', name: name === '' ? undefined : name });
}
window.addEventListener('hashchange', follow);
follow();
events.start();
