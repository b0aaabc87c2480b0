import { getService, IStatusbarService } from '@codingame/monaco-vscode-api';
import {
  type IStatusbarEntry,
  StatusbarAlignment,
} from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/statusbar/browser/statusbar';
import type { SharedDocument } from '../collab/document';
import { type Where, where } from '../collab/where';
import type { MuxLink } from '../link/mux';
import type { SharedFiles } from './shared';

const ID = 'holt.journal';

/** Milliseconds for which "saving" is not worth a word. */
const PATIENCE = 700;

/**
 * Says in the status bar where the text is that was typed. The element has data-state
 * (see Where) and data-edits, the number of edits that are only here.
 */
export async function showJournal(link: MuxLink, files: SharedFiles): Promise<void> {
  const bar = await getService(IStatusbarService);
  const now = (): Where =>
    where(
      link.status.state === 'open',
      files.documents.map((d: SharedDocument) => ({
        pending: d.pending + (d.owing ? 1 : 0),
        connected: d.connected,
        readOnly: d.status?.read_only ?? false,
        journal: d.status?.journal ?? true,
        problem: d.problem ?? d.status?.error,
      })),
    );
  let shown = now();
  const entry = bar.addEntry(entryOf(shown), ID, StatusbarAlignment.LEFT, 9_990);
  let timer: number | undefined;
  const draw = (w: Where): void => {
    if (w.state !== shown.state || w.text !== shown.text) entry.update(entryOf(w));
    shown = w;
  };
  const update = (): void => {
    const w = now();
    window.clearTimeout(timer);
    // Tests, and whoever looks closely, see at once what is still only here.
    const e = document.getElementById(ID);
    if (e) Object.assign(e.dataset, { state: w.state, edits: String(w.edits) });
    if (w.state === 'saving' && shown.state !== 'saving') timer = window.setTimeout(() => draw(now()), PATIENCE);
    else draw(w);
  };
  link.onStatus(update);
  files.onChange(update);
  update();
}

function entryOf(w: Where): IStatusbarEntry {
  const icons: Record<Where['state'], string> = {
    idle: 'pass',
    journalled: 'pass-filled',
    saving: 'sync~spin',
    offline: 'cloud',
    reading: 'eye',
    problem: 'warning',
  };
  return {
    name: 'Where your text is',
    text: `$(${icons[w.state]}) ${w.text}`,
    ariaLabel: w.text,
    tooltip: w.more,
    ...(w.state === 'problem' && { kind: 'error' as const }),
    ...(w.state === 'offline' && w.edits > 0 && { kind: 'warning' as const }),
  };
}
