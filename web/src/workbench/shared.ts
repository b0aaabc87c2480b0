import { getService, ICodeEditorService, ITextFileService, IUndoRedoService } from '@codingame/monaco-vscode-api';
import type { ICodeEditor } from '@codingame/monaco-vscode-api/vscode/vs/editor/browser/editorBrowser';
import { RedoCommand, UndoCommand } from '@codingame/monaco-vscode-api/vscode/vs/editor/browser/editorExtensions';
import { EndOfLinePreference } from '@codingame/monaco-vscode-api/vscode/vs/editor/common/model';
import { TextFileEditorModel } from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/textfile/common/textFileEditorModel';
import type { ITextFileEditorModel } from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/textfile/common/textfiles';
import type { UndoManager, YTextEvent } from 'yjs';
import { type Line, SharedDocument } from '../collab/document';
import { Keep, type Kept } from '../collab/keep';
import { guestSocket, refusal } from '../link/document';
import type { MuxLink } from '../link/mux';
import { Binding } from './binding';

interface Open {
  shared: SharedDocument;
  /** Whether an editor shows it. Without one it stays until everything is confirmed. */
  model: ITextFileEditorModel | undefined;
  binding: Binding | undefined;
}

/** Models whose file the server writes: they are never unsaved, and not read from the disk again. */
const bound = new WeakSet<object>();

interface Internals {
  resolve(this: object, options?: { contents?: unknown }): Promise<void>;
  setDirty(this: object, dirty: boolean): void;
  revert(this: object, options?: unknown): Promise<void>;
}

function keepWorkbenchAway(): void {
  const p = TextFileEditorModel.prototype as unknown as Internals;
  const { resolve, setDirty, revert } = p;
  p.resolve = function (options) {
    return bound.has(this) && !options?.contents ? Promise.resolve() : resolve.call(this, options);
  };
  p.setDirty = function (dirty) {
    setDirty.call(this, dirty && !bound.has(this));
  };
  p.revert = function (options) {
    return bound.has(this) ? Promise.resolve() : revert.call(this, options);
  };
}

/**
 * The files that are open in editors and edited together. A file that the server
 * does not take as a document stays an ordinary one.
 */
export class SharedFiles {
  private readonly files = new Map<string, Open>();
  private readonly listeners = new Set<() => void>();
  private readonly keep: Keep;
  private readonly line: Line;
  private left = new Map<string, Kept[]>();

  constructor(
    private readonly link: MuxLink,
    private readonly roots: readonly string[],
  ) {
    this.keep = new Keep(link.workspace);
    this.line = {
      open: () => link.status.state === 'open',
      connect: (path, epoch) => guestSocket(link.workspace, 'document', { path, ...(epoch && { epoch }) }),
      refusal: (path) => refusal(link.workspace, path),
    };
    link.onStatus(() => {
      for (const f of [...this.files.values()]) f.shared.reconsider();
    });
    keepWorkbenchAway();
  }

  async start(): Promise<void> {
    const [textFiles, editors, undoRedo] = await Promise.all([
      getService(ITextFileService),
      getService(ICodeEditorService),
      getService(IUndoRedoService),
    ]);
    try {
      for (const k of await this.keep.left()) this.left.set(k.path, [...(this.left.get(k.path) ?? []), k]);
    } catch (e) {
      console.warn('kept edits cannot be read', e);
    }
    for (const m of textFiles.files.models) this.opened(m, undoRedo);
    textFiles.files.onDidResolve(({ model }) => this.opened(model, undoRedo));
    // Files of which something is left are brought to an end, whether they are opened or not.
    for (const path of [...this.left.keys()]) this.share(path);

    const step = (forth: boolean) => (): boolean => {
      const editor = editors.getFocusedCodeEditor();
      const model = editor?.getModel();
      if (!editor?.hasTextFocus() || !model) return false;
      const binding = this.bindingOf(model.uri.path);
      if (!binding || binding.model !== model) return false;
      if (!binding.shared.status?.read_only) takeBack(editor, binding, forth);
      return true;
    };
    UndoCommand.addImplementation(20_000, 'holt-shared', step(false));
    RedoCommand.addImplementation(20_000, 'holt-shared', step(true));
  }

  onChange(f: () => void): void {
    this.listeners.add(f);
  }

  get documents(): SharedDocument[] {
    return [...this.files.values()].map((f) => f.shared);
  }

  of(path: string): SharedDocument | undefined {
    return this.files.get(path)?.shared;
  }

  bindingOf(path: string): Binding | undefined {
    return this.files.get(path)?.binding;
  }

  /** Has the files at and below a path written, with everything that is typed. */
  async write(path: string): Promise<void> {
    const below = [...this.files].filter(([p]) => p === path || p.startsWith(`${path}/`));
    await Promise.all(below.map(([, f]) => f.shared.write()));
  }

  /** Whether the server writes the file: whoever saves it only asks for that. */
  owns(path: string): boolean {
    return this.files.get(path)?.binding !== undefined;
  }

  private changed(): void {
    for (const f of this.listeners) f();
  }

  private share(path: string): Open {
    const known = this.files.get(path);
    if (known) return known;
    const left = this.left.get(path) ?? [];
    this.left.delete(path);
    const shared = new SharedDocument(path, this.line, this.keep, left);
    const f: Open = { shared, model: undefined, binding: undefined };
    this.files.set(path, f);
    shared.onChange(() => {
      this.settle(f);
      this.changed();
    });
    return f;
  }

  /** Lets go of a document that nobody looks at and that is complete outside. */
  private settle(f: Open): void {
    const { shared } = f;
    if (shared.refused !== undefined && f.binding) {
      // It is no text for others any more: what is here is saved as an ordinary file, or not.
      const model = f.model as unknown as Internals;
      f.binding.dispose();
      f.binding = undefined;
      bound.delete(model);
      if (shared.pending > 0) model.setDirty(true);
    }
    if (f.model || (shared.refused === undefined && (shared.pending > 0 || shared.owing))) return;
    shared.dispose();
    this.files.delete(shared.path);
  }

  private opened(model: ITextFileEditorModel, undoRedo: IUndoRedoService): void {
    const { resource } = model;
    const text = model.textEditorModel;
    if (resource.scheme !== 'file' || !text || bound.has(model) || model.isDirty()) return;
    if (!this.roots.some((r) => resource.path.startsWith(`${r}/`))) return;
    const f = this.share(resource.path);
    if (f.model || f.shared.refused !== undefined) return;
    f.model = model;
    // What is typed before the document arrives is merged into it.
    let base = text.getValue(EndOfLinePreference.LF);
    const again = [(model as unknown as TextFileEditorModel).onDidResolve(remember), model.onDidSave(remember)];
    function remember(): void {
      base = text?.getValue(EndOfLinePreference.LF) ?? '';
    }
    f.shared.whenSynced(() => {
      for (const d of again) d.dispose();
      if (f.model !== model || text.isDisposed()) return;
      bound.add(model);
      f.binding = new Binding(text, f.shared, base);
      (model as unknown as Internals).setDirty(false);
      // Ctrl+Z takes back one's own edits only: the model's own stack knows nothing of others.
      text.onDidChangeContent(() => queueMicrotask(() => bound.has(model) && undoRedo.removeElements(resource)));
      undoRedo.removeElements(resource);
      this.changed();
    });
    text.onWillDispose(() => {
      for (const d of again) d.dispose();
      f.binding?.dispose();
      f.binding = undefined;
      f.model = undefined;
      bound.delete(model);
      this.settle(f);
      this.changed();
    });
  }
}

/** Undoes or redoes a step of one's own edits, and puts the cursor where something changed. */
function takeBack(editor: ICodeEditor, binding: Binding, forth: boolean): void {
  const { undo, model } = binding;
  let end: number | undefined;
  const listen = (e: YTextEvent): void => {
    let at = 0;
    for (const d of e.delta) {
      if (d.retain !== undefined) at += d.retain;
      else if (typeof d.insert === 'string') at += d.insert.length;
      if (d.retain === undefined) end = at;
    }
  };
  const text = binding.shared.text;
  text.observe(listen);
  const step: (this: UndoManager) => unknown = forth ? undo.redo : undo.undo;
  step.call(undo);
  text.unobserve(listen);
  if (end === undefined || editor.getModel() !== model) return;
  const position = binding.positionOf(end);
  editor.setPosition(position);
  editor.revealPositionInCenterIfOutsideViewport(position);
}
