import { getService, IBannerService, ICommandService, IStatusbarService } from '@codingame/monaco-vscode-api';
import { Codicon } from '@codingame/monaco-vscode-api/vscode/vs/base/common/codicons';
import { CommandsRegistry } from '@codingame/monaco-vscode-api/vscode/vs/platform/commands/common/commands';
import {
  type IStatusbarEntry,
  StatusbarAlignment,
} from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/statusbar/browser/statusbar';
import type { LinkStatus, MuxLink } from '../link/mux';

/** A short cut is shown in the status bar only; a banner would make the page jump. */
const PATIENCE = 1500;

/** Shows how the page is connected, and wakes a workspace that sleeps as soon as somebody works in it. */
export async function showConnection(link: MuxLink, name: string, unsaved: () => number): Promise<void> {
  const [status, banner, commands] = await Promise.all([
    getService(IStatusbarService),
    getService(IBannerService),
    getService(ICommandService),
  ]);
  CommandsRegistry.registerCommand('holt.wake', () => link.wake());
  CommandsRegistry.registerCommand('holt.reconnect', () => link.connect(false));
  CommandsRegistry.registerCommand('holt.dashboard', () => window.location.assign('/'));

  const entry = status.addEntry(entryOf(link.status, name), 'holt.status', StatusbarAlignment.LEFT, 10_000);
  // Both say nothing here: there is one remote, and the browser has the keyboard.
  status.updateEntryVisibility('status.host', false);
  status.updateEntryVisibility('status.workbench.keyboardLayout', false);
  let shown = '';
  let timer: number | undefined;
  let banners = 0;
  const bannerID = (): string => `holt.connection.${banners}`;

  const showBanner = (s: LinkStatus): void => {
    const [message, action] = bannerOf(s, name, unsaved());
    if (message === shown) return;
    if (shown !== '') banner.hide(bannerID());
    shown = message;
    if (message === '') return;
    banners++; // a banner of the same name would come back with its old text
    banner.show({
      id: bannerID(),
      icon: s.state === 'offline' ? Codicon.debugDisconnect : Codicon.info,
      message,
      ...(action && { actions: [{ label: action.label, href: `command:${action.command}` }] }),
    });
  };

  const update = (): void => {
    const s = link.status;
    entry.update(entryOf(s, name));
    window.clearTimeout(timer);
    if (s.state === 'open') showBanner(s);
    else timer = window.setTimeout(() => showBanner(link.status), shown === '' ? PATIENCE : 0);
  };
  link.onStatus(update);
  update();

  // Whoever types or clicks in a workspace that sleeps wants it back.
  const wake = (e: Event): void => {
    if (link.status.state !== 'asleep' || !e.isTrusted) return;
    if (e instanceof KeyboardEvent && ['Control', 'Shift', 'Alt', 'Meta'].includes(e.key)) return;
    void commands.executeCommand('holt.wake');
  };
  window.addEventListener('keydown', wake, { capture: true });
  window.addEventListener('pointerdown', wake, { capture: true });
}

function entryOf(s: LinkStatus, name: string): IStatusbarEntry {
  const kind = s.state === 'open' ? 'remote' : s.state === 'offline' ? 'offline' : 'prominent';
  const words: Record<LinkStatus['state'], string> = {
    open: s.latency === undefined ? '' : ` ${s.latency < 10 ? s.latency.toFixed(1) : s.latency.toFixed(0)} ms`,
    connecting: ' connecting…',
    offline: ' offline',
    waiting: ' waking…',
    asleep: ' asleep',
    gone: ' closed',
  };
  const icon = { open: 'remote', connecting: 'sync~spin', offline: 'debug-disconnect', waiting: 'sync~spin', asleep: 'debug-pause', gone: 'circle-slash' };
  return {
    name: 'Workspace',
    text: `$(${icon[s.state]}) ${name}${words[s.state]}`,
    ariaLabel: `Workspace ${name}:${words[s.state] || ' connected'}`,
    tooltip:
      s.state === 'open'
        ? `Connected to ${name}. The number is the time there and back. Click for all workspaces.`
        : `${name}:${words[s.state]}`,
    command: s.state === 'open' ? 'holt.dashboard' : s.state === 'asleep' ? 'holt.wake' : 'holt.reconnect',
    kind,
  };
}

function bannerOf(s: LinkStatus, name: string, unsaved: number): [string, { label: string; command: string }?] {
  const kept = unsaved === 0 ? '' : ` ${unsaved === 1 ? 'One file has' : `${unsaved} files have`} unsaved text: it is kept in this browser, and saved when the connection is back.`;
  switch (s.state) {
    case 'offline':
      return [`The server cannot be reached. You can go on typing.${kept}`, { label: 'Try now', command: 'holt.reconnect' }];
    case 'waiting':
    case 'connecting':
      return [`Waiting for ${name}… You can go on typing.${kept}`];
    case 'asleep':
      return s.text
        ? [`${name} has failed: ${s.text}${kept}`, { label: 'Start it', command: 'holt.wake' }]
        : [`${name} is suspended, with everything that runs in it.${kept}`, { label: 'Wake it', command: 'holt.wake' }];
    case 'gone':
      return [`${s.text ?? 'The workspace is gone.'}${kept}`, { label: 'All workspaces', command: 'holt.dashboard' }];
    case 'open':
      return [''];
  }
}
