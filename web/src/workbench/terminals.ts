import { Emitter } from '@codingame/monaco-vscode-api/vscode/vs/base/common/event';
import {
  type IProcessDataEvent,
  type IProcessProperty,
  type IProcessReadyEvent,
  type IPtyHostAttachTarget,
  type IShellLaunchConfig,
  type ITerminalChildProcess,
  type ITerminalProfile,
  type ITerminalsLayoutInfo,
  type ITerminalsLayoutInfoById,
  ProcessPropertyType,
  TitleEventSource,
} from '@codingame/monaco-vscode-api/vscode/vs/platform/terminal/common/terminal';
import { SimpleTerminalBackend } from '@codingame/monaco-vscode-terminal-service-override';
import type { MuxLink } from '../link/mux';
import { createTerminal, deleteTerminal, type NewTerminal, type Terminal, terminals } from '../link/rest';
import { type Screen, type Status, TerminalLink } from '../link/terminal';

const SHELL = '/bin/bash';

/** Milliseconds after a key for which somebody is said to type. */
const TYPING_TIME = 1500;

/** How the terminals are arranged, kept in the browser; the terminals are in the workspace. */
interface Layout {
  tabs: { active: boolean; shown: string | undefined; terminals: { id: string; size: number }[] }[];
  names: Record<string, string>;
}

/**
 * The terminals of a workspace. They belong to the machine: leaving the page ends
 * none, and a page that comes back finds them all, with what they showed.
 */
export class AgentTerminals extends SimpleTerminalBackend {
  private readonly ids = new Map<number, string>();
  private readonly known = new Map<string, Terminal>();
  private readonly processes = new Set<AgentProcess>();
  private readonly key: string;
  private names: Record<string, string> = {};
  private next = 1_000_000;
  private leaving = false;
  private typingTimer: number | undefined;

  constructor(
    private readonly link: MuxLink,
    private readonly workspaceID: string,
    /** Is told in which terminal somebody types here; undefined: in none any more. */
    private readonly typing: (terminal: string | undefined) => void = () => {},
  ) {
    super();
    this.key = `holt.terminals.${workspaceID}`;
    // The workbench ends its terminals when the page goes; ours live on.
    window.addEventListener('pagehide', () => {
      this.leaving = true;
    });
    window.addEventListener('beforeunload', () => {
      this.leaving = true;
      window.setTimeout(() => {
        this.leaving = false; // the user stayed
      }, 1000);
    });
    link.onStatus(() => {
      for (const p of this.processes) p.reconsider();
    });
  }

  override getProfiles = async (): Promise<ITerminalProfile[]> => [{ profileName: 'bash', path: SHELL, isDefault: true }];

  override getEnvironment = async (): Promise<Record<string, string>> => ({});
  override getShellEnvironment = async (): Promise<Record<string, string>> => ({});

  override getDefaultSystemShell = async (): Promise<string> => SHELL;

  override createProcess = async (
    config: IShellLaunchConfig,
    cwd: string,
    cols: number,
    rows: number,
  ): Promise<ITerminalChildProcess> => {
    const wanted: NewTerminal = { cols: Math.max(cols, 2), rows: Math.max(rows, 2) };
    const dir = cwd || (typeof config.cwd === 'string' ? config.cwd : config.cwd?.path);
    if (dir) wanted.cwd = dir;
    const args = typeof config.args === 'string' ? [config.args] : (config.args ?? []);
    if (config.executable && (config.executable !== SHELL || args.length > 0)) wanted.cmd = [config.executable, ...args];
    if (config.name) wanted.name = config.name.slice(0, 60);
    const env = Object.entries(config.env ?? {}).filter((e): e is [string, string] => typeof e[1] === 'string');
    if (env.length > 0) wanted.env = Object.fromEntries(env);
    const t = await createTerminal(this.workspaceID, wanted);
    this.known.set(t.id, t);
    return this.open(t, wanted.cmd === undefined, dir ?? this.link.welcome?.dir ?? '/');
  };

  override attachToProcess = (async (id: number): Promise<ITerminalChildProcess | undefined> => {
    const name = this.ids.get(id);
    const t = name === undefined ? undefined : this.known.get(name);
    return t && this.open(t, true, this.link.welcome?.dir ?? '/');
  }) as never;

  override listProcesses = (async () => []) as never;

  override updateTitle = (async (id: number, title: string, source: TitleEventSource): Promise<void> => {
    const name = this.ids.get(id);
    if (name === undefined || source !== TitleEventSource.Api) return;
    this.names[name] = title;
    const layout = this.load();
    this.store({ ...layout, names: this.names });
  }) as never;

  override setTerminalLayoutInfo = (async (info?: ITerminalsLayoutInfoById): Promise<void> => {
    if (!info || this.leaving) return; // the page goes: the last arrangement stays
    this.store({
      tabs: info.tabs.map((t) => ({
        active: t.isActive,
        shown: t.activePersistentProcessId === undefined ? undefined : this.ids.get(t.activePersistentProcessId),
        terminals: t.terminals.flatMap(({ terminal, relativeSize }) => {
          const id = this.ids.get(terminal);
          return id === undefined ? [] : [{ id, size: relativeSize }];
        }),
      })),
      names: this.names,
    });
  }) as never;

  override getTerminalLayoutInfo = async (): Promise<ITerminalsLayoutInfo | undefined> => {
    const layout = this.load();
    this.names = layout.names;
    const living = new Map<string, Terminal>();
    for (const t of await terminals(this.workspaceID)) if (!t.exit) living.set(t.id, t);
    const tabs: ITerminalsLayoutInfo['tabs'] = [];
    const take = (id: string): IPtyHostAttachTarget | undefined => {
      const t = living.get(id);
      living.delete(id);
      return t && this.target(t);
    };
    for (const tab of layout.tabs) {
      const found = tab.terminals.flatMap(({ id, size }) => {
        const terminal = take(id);
        return terminal ? [{ relativeSize: size, terminal }] : [];
      });
      if (found.length === 0) continue;
      const shown = found.find((f) => this.ids.get(f.terminal.id) === tab.shown) ?? found[0];
      tabs.push({ isActive: tab.active, activePersistentProcessId: shown?.terminal.id, terminals: found });
    }
    // Terminals of another browser, or of the command line.
    for (const id of [...living.keys()]) {
      const terminal = take(id);
      if (terminal) tabs.push({ isActive: false, activePersistentProcessId: terminal.id, terminals: [{ relativeSize: 1, terminal }] });
    }
    return tabs.length > 0 ? { tabs, background: null } : undefined;
  };

  private target(t: Terminal): IPtyHostAttachTarget {
    this.known.set(t.id, t);
    const name = this.names[t.id] ?? t.name;
    return {
      id: this.number(t.id),
      pid: t.pid ?? 0,
      title: name || t.id,
      titleSource: name ? TitleEventSource.Api : TitleEventSource.Process,
      cwd: this.link.welcome?.dir ?? '/',
      workspaceId: this.workspaceID,
      workspaceName: '',
      isOrphan: true,
      icon: undefined,
      fixedDimensions: undefined,
      environmentVariableCollections: undefined,
      hasChildProcesses: false,
      shellIntegrationNonce: '',
    };
  }

  private open(t: Terminal, shell: boolean, cwd: string): AgentProcess {
    const p = new AgentProcess(this.number(t.id), this.workspaceID, t, shell, cwd, this.link, () => this.leaving, () => {
      this.processes.delete(p);
      this.known.delete(t.id);
    }, () => this.types(t.id));
    this.processes.add(p);
    return p;
  }

  private types(terminal: string): void {
    this.typing(terminal);
    window.clearTimeout(this.typingTimer);
    this.typingTimer = window.setTimeout(() => this.typing(undefined), TYPING_TIME);
  }

  /** The workbench knows terminals by number, and keeps none of them. */
  private number(id: string): number {
    for (const [n, known] of this.ids) if (known === id) return n;
    const own = /^t(\d{1,6})$/.exec(id);
    const n = own ? Number(own[1]) : this.next++;
    this.ids.set(n, id);
    return n;
  }

  private load(): Layout {
    try {
      const l = JSON.parse(localStorage.getItem(this.key) ?? '') as Layout;
      if (Array.isArray(l.tabs)) return { tabs: l.tabs, names: l.names ?? {} };
    } catch {
      // none, or not ours
    }
    return { tabs: [], names: {} };
  }

  private store(l: Layout): void {
    localStorage.setItem(this.key, JSON.stringify(l));
  }
}

/** One terminal as the workbench sees it. */
class AgentProcess implements ITerminalChildProcess, Screen {
  private readonly data = new Emitter<IProcessDataEvent | string>();
  private readonly ready = new Emitter<IProcessReadyEvent>();
  private readonly replayed = new Emitter<void>();
  private readonly property = new Emitter<IProcessProperty>();
  private readonly exit = new Emitter<number | undefined>();
  readonly onProcessData = this.data.event;
  readonly onProcessReady = this.ready.event;
  readonly onProcessReplayComplete = this.replayed.event;
  readonly onDidChangeProperty = this.property.event;
  readonly onProcessExit = this.exit.event;
  shouldPersist = true;
  private readonly link: TerminalLink;
  private text = new TextDecoder();
  /** What was shown and not yet acknowledged, oldest first. */
  private unshown: { chars: number; done: () => void }[] = [];
  private acked = 0;
  private dimensions = { cols: 80, rows: 24 };
  private begun = false;
  private closed = false;

  constructor(
    readonly id: number,
    private readonly workspaceID: string,
    private readonly terminal: Terminal,
    shell: boolean,
    private readonly cwd: string,
    mux: MuxLink,
    private readonly leaving: () => boolean,
    private readonly forget: () => void,
    private readonly types: () => void,
  ) {
    if (terminal.cols && terminal.rows) this.dimensions = { cols: terminal.cols, rows: terminal.rows };
    this.link = new TerminalLink(
      workspaceID,
      terminal.id,
      this,
      () => mux.status.state !== 'asleep' && mux.status.state !== 'gone',
      { create: shell, keep: true },
    );
  }

  async start(): Promise<undefined> {
    this.link.connect(false);
    return undefined;
  }

  reconsider(): void {
    this.link.reconsider();
  }

  async detach(): Promise<void> {
    this.close();
  }

  shutdown(): void {
    if (this.closed) return;
    this.close();
    if (this.leaving()) return;
    deleteTerminal(this.workspaceID, this.terminal.id).catch(() => {}); // a suspended machine keeps it, and it is found again
    this.exit.fire(undefined);
  }

  input(data: string): void {
    this.types();
    this.link.input(data);
  }

  async processBinary(data: string): Promise<void> {
    this.link.input(data);
  }

  sendSignal(signal: string): void {
    if (signal === 'SIGINT') this.link.input('\x03');
  }

  resize(cols: number, rows: number): void {
    this.dimensions = { cols, rows };
    this.link.resize(cols, rows);
  }

  clearBuffer(): void {}

  acknowledgeDataEvent(chars: number): void {
    this.acked += chars;
    for (;;) {
      const first = this.unshown[0];
      if (!first || first.chars > this.acked) return;
      this.acked -= first.chars;
      this.unshown.shift();
      first.done();
    }
  }

  async setUnicodeVersion(): Promise<void> {}
  async getInitialCwd(): Promise<string> {
    return this.cwd;
  }
  async getCwd(): Promise<string> {
    return this.cwd;
  }
  async refreshProperty<T extends ProcessPropertyType>(type: T): Promise<never> {
    return (type === ProcessPropertyType.Cwd || type === ProcessPropertyType.InitialCwd ? this.cwd : undefined) as never;
  }
  async updateProperty(): Promise<void> {}

  write(bytes: Uint8Array, done: () => void): void {
    const data = this.text.decode(bytes, { stream: true });
    this.unshown.push({ chars: data.length, done });
    this.data.fire(data);
    if (data === '') this.acknowledgeDataEvent(0);
  }

  clear(): void {
    this.text = new TextDecoder();
    this.data.fire('\x1bc');
    this.acked -= 2; // these are no bytes of the terminal
  }

  size(): { cols: number; rows: number } {
    return this.dimensions;
  }

  status(s: Status, text?: string): void {
    if (s === 'open' && !this.begun) {
      this.begun = true;
      this.ready.fire({ pid: this.terminal.pid ?? 0, cwd: this.cwd, windowsPty: undefined });
      window.setTimeout(() => this.replayed.fire());
    }
    if (s !== 'ended') return;
    const code = text === undefined ? undefined : Number(/exited with (\d+)/.exec(text)?.[1] ?? 1);
    this.close();
    deleteTerminal(this.workspaceID, this.terminal.id).catch(() => {}); // its output was shown; the agent forgets it in time
    this.exit.fire(code);
  }

  private close(): void {
    this.closed = true;
    this.link.dispose();
    this.forget();
  }
}
