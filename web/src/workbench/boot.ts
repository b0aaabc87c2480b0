// The first and small part of the workbench page: it shows something at once, wakes
// the workspace, and loads the rest meanwhile.
import { MuxLink } from '../link/mux';
import { getWorkspace, ProblemError } from '../link/rest';
import type { Workspace } from '../core/state';

const byId = (id: string): HTMLElement => document.getElementById(id) as HTMLElement;

const words: Partial<Record<Workspace['state'], string>> = {
  QUEUED: 'Waiting for a place…',
  PROVISIONING: 'Making the machine…',
  SUSPENDING: 'It is just being suspended; it comes back after that…',
  SUSPENDED: 'Waking the machine…',
  RESUMING: 'Waking the machine…',
  STOPPED: 'Starting the machine…',
  RUNNING: 'Connecting…',
};

function show(text: string, busy = true): void {
  byId('boot-text').textContent = text;
  byId('boot-progress').hidden = !busy;
}

function offer(...actions: { text: string; href?: string; click?: () => void }[]): void {
  byId('boot-actions').replaceChildren(
    ...actions.flatMap((a) => {
      const e = document.createElement(a.href ? 'a' : 'button');
      e.textContent = a.text;
      if (a.href) e.setAttribute('href', a.href);
      if (a.click) e.addEventListener('click', a.click);
      return [e, document.createTextNode(' ')];
    }),
  );
}

function refuse(e: unknown): void {
  const text = e instanceof ProblemError && e.status === 401 ? 'You are not signed in.' : (e as Error).message;
  show(text, false);
  offer({ text: 'All workspaces', href: '/' }, { text: 'Try again', click: () => location.reload() });
}

async function boot(): Promise<void> {
  const name = decodeURIComponent(location.pathname.split('/')[2] ?? '');
  byId('boot-name').textContent = name;
  document.title = `${name} – Holt`;
  const code = import('./main'); // while the machine wakes
  code.catch(() => {}); // told below
  const workspace = await getWorkspace(name);
  const link = new MuxLink(workspace.id);
  // What happens on the way is told from the row; the link itself waits for the machine.
  const timer = window.setInterval(async () => {
    try {
      const w = await getWorkspace(workspace.id);
      if (w.state === 'FAILED') show(w.message ?? 'The machine could not be started.', false);
      else show(words[w.state] ?? w.state);
    } catch {
      show('The server does not answer. Trying again…');
    }
  }, 1000);
  show(words[workspace.state] ?? 'Opening…');
  link.connect(true);
  try {
    const welcomed = new Promise<void>((resolve, reject) => {
      link.onStatus((s) => {
        if (s.state === 'open') resolve();
        if (s.state === 'gone') reject(new Error(s.text));
        if (s.state === 'asleep' && s.text) reject(new Error(s.text));
      });
    });
    const { start } = await code;
    await welcomed;
    window.clearInterval(timer);
    show('Opening the editor…');
    await start(workspace, link);
    byId('boot').hidden = true;
  } finally {
    window.clearInterval(timer);
  }
}

boot().catch(refuse);
