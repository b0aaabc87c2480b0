import { registerCustomView, ViewContainerLocation } from '@codingame/monaco-vscode-workbench-service-override';
import type { Port } from '../core/mux';
import type { MuxLink } from '../link/mux';
import { ports as addresses } from '../link/rest';

interface Row {
  port: number;
  process: string;
  url: string | undefined;
}

/** The view of the ports that listen in the workspace. Each opens on an origin of its own. */
export function registerPorts(link: MuxLink): void {
  let rows: Row[] = [];
  const views = new Set<() => void>();

  const listening = async (found: readonly Port[]): Promise<void> => {
    const processes = new Map(found.map((p) => [p.port, p.process ?? '']));
    let known: Awaited<ReturnType<typeof addresses>> = [];
    try {
      if (processes.size > 0) known = await addresses(link.workspace);
    } catch {
      // the ports are shown without addresses; the next change asks again
    }
    rows = [...processes].map(([port, process]) => ({ port, process, url: known.find((k) => k.port === port)?.url }));
    for (const draw of views) draw();
  };
  link.subscribe({ op: 'ports' }, (i) => i.ports && void listening(i.ports), () => {});

  registerCustomView({
    id: 'holt.ports',
    name: 'Ports',
    location: ViewContainerLocation.Panel,
    order: 20,
    renderBody(container) {
      container.classList.add('holt-ports');
      const draw = (): void => container.replaceChildren(rows.length === 0 ? empty() : table(rows));
      views.add(draw);
      draw();
      return { dispose: () => void views.delete(draw) };
    },
  });
}

function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  props: Partial<HTMLElementTagNameMap[K]>,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const e = Object.assign(document.createElement(name), props);
  e.append(...children);
  return e;
}

function empty(): HTMLElement {
  return element(
    'p',
    {},
    'Nothing listens in this workspace yet. Start a server in a terminal, such as ',
    element('code', {}, 'python3 -m http.server 8000'),
    ', and its port appears here.',
  );
}

function table(rows: readonly Row[]): HTMLElement {
  const head = element('tr', {}, ...['Port', 'Process', 'Address'].map((t) => element('th', { scope: 'col' }, t)));
  const body = rows.map((r) =>
    element(
      'tr',
      {},
      element('td', {}, String(r.port)),
      element('td', {}, r.process),
      element('td', {}, r.url ? element('a', { href: r.url, target: '_blank', rel: 'noopener' }, r.url) : '…'),
    ),
  );
  return element('table', {}, element('thead', {}, head), element('tbody', {}, ...body));
}
