import { FitAddon } from '@xterm/addon-fit';
import { Terminal as Xterm } from '@xterm/xterm';
import { comesBack, type Store } from '../core/state';
import { type Screen, type Status, TerminalLink } from '../link/terminal';
import { el, setText } from './dom';

const themes = {
  dark: { background: '#14171a', foreground: '#e3e6e8', cursor: '#8fd3b0', selectionBackground: '#3a4a55' },
  light: {
    background: '#ffffff',
    foreground: '#1c2226',
    cursor: '#2f6f4f',
    selectionBackground: '#cfe3d8',
    brightWhite: '#5a6268',
    white: '#6b7278',
    yellow: '#8a6d00',
    brightYellow: '#8a6d00',
    green: '#1f7a3f',
    brightGreen: '#1f7a3f',
    cyan: '#0b7285',
    brightCyan: '#0b7285',
  },
};

const darkQuery = window.matchMedia('(prefers-color-scheme: dark)');

const notes: Record<Status, string> = {
  connecting: 'connecting…',
  open: '',
  lost: 'connection lost, trying again…',
  asleep: 'asleep: press any key to wake the workspace',
  ended: '',
};

/** One terminal on the page. */
export class TerminalScreen implements Screen {
  private readonly term = new Xterm({
    fontFamily: 'ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace',
    fontSize: 13,
    scrollback: 10_000,
    cursorBlink: true,
    screenReaderMode: false,
    theme: darkQuery.matches ? themes.dark : themes.light,
  });
  private readonly fit = new FitAddon();
  private readonly note = el('p', { className: 'note', role: 'status' });
  private readonly box = el('div', { className: 'xterm-box' });
  readonly root = el('div', { className: 'screen' }, this.box, this.note);
  private readonly link: TerminalLink;
  private readonly observer = new ResizeObserver(() => this.refit());
  private readonly onTheme = (): void => {
    this.term.options.theme = darkQuery.matches ? themes.dark : themes.light;
  };

  constructor(workspaceID: string, terminal: string, store: Store) {
    this.term.loadAddon(this.fit);
    this.link = new TerminalLink(workspaceID, terminal, this, () =>
      comesBack(store.state.workspaces.find((w) => w.id === workspaceID)),
    );
    this.term.onData((d) => this.link.input(d));
    this.term.onBinary((d) => this.link.input(d));
    this.term.onResize(({ cols, rows }) => this.link.resize(cols, rows));
    // Ctrl+Shift+Up leaves the terminal for the tabs, since Tab belongs to the shell.
    this.term.attachCustomKeyEventHandler((e) => {
      if (e.type !== 'keydown' || !e.ctrlKey || !e.shiftKey || e.key !== 'ArrowUp') return true;
      document.querySelector<HTMLElement>('#tabs [aria-selected="true"]')?.focus();
      return false;
    });
    darkQuery.addEventListener('change', this.onTheme);
  }

  /** Begins, once root is on the page. */
  open(awake: boolean): void {
    this.term.open(this.box);
    this.observer.observe(this.box);
    this.refit();
    if (awake) this.link.connect(false);
    else this.status('asleep');
  }

  focus(): void {
    this.term.focus();
  }

  reconsider(): void {
    this.link.reconsider();
  }

  /** Wakes the workspace, as a key would. */
  wake(): void {
    this.link.connect(true);
  }

  write(data: Uint8Array, done: () => void): void {
    this.term.write(data, done);
  }

  clear(): void {
    this.term.reset();
  }

  size(): { cols: number; rows: number } {
    return { cols: this.term.cols, rows: this.term.rows };
  }

  status(s: Status, text?: string): void {
    setText(this.note, text ?? notes[s]);
    this.root.dataset.status = s;
  }

  dispose(): void {
    darkQuery.removeEventListener('change', this.onTheme);
    this.observer.disconnect();
    this.link.dispose();
    this.term.dispose();
    this.root.remove();
  }

  private refit(): void {
    if (this.box.clientWidth > 0 && this.box.clientHeight > 0) this.fit.fit();
  }
}
