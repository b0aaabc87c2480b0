import { EditOperation } from '@codingame/monaco-vscode-api/vscode/vs/editor/common/core/editOperation';
import type { IDisposable } from '@codingame/monaco-vscode-api/vscode/vs/base/common/lifecycle';
import { Position } from '@codingame/monaco-vscode-api/vscode/vs/editor/common/core/position';
import { Range } from '@codingame/monaco-vscode-api/vscode/vs/editor/common/core/range';
import { EndOfLinePreference, EndOfLineSequence, type ITextModel } from '@codingame/monaco-vscode-api/vscode/vs/editor/common/model';
import type { IModelContentChange } from '@codingame/monaco-vscode-api/vscode/vs/editor/common/model/mirrorTextModel';
import * as Y from 'yjs';
import type { SharedDocument } from '../collab/document';
import { apply, type Edit, edits, editsOf, threeWay } from '../collab/merge';

/** Milliseconds without a key after which what follows is undone by itself. */
const UNDO_GROUP = 400;
/** Milliseconds of rest after which model and document are compared. */
const REST = 3000;

/**
 * Keeps a text model of the workbench and a shared document the same. Each change is
 * made on the other side as it is, once; the text of the document has LF only, the
 * model what its file has.
 */
export class Binding implements IDisposable {
  undo: Y.UndoManager;
  private applying = false;
  private readonly disposables: IDisposable[] = [];
  private restTimer: number | undefined;

  /** base is the text that the model had before anything was typed into it. */
  constructor(
    readonly model: ITextModel,
    readonly shared: SharedDocument,
    base: string,
  ) {
    const mine = this.value();
    const theirs = shared.text.toString();
    const merged = threeWay(base, mine, theirs);
    this.change(edits(mine, merged));
    shared.doc.transact(() => apply(shared.text, edits(theirs, merged)), this);
    this.undo = this.watch();
    this.disposables.push(
      model.onDidChangeContent((e) => this.typed(e)),
      { dispose: shared.onReplaced((old) => this.replaced(old)) },
    );
    this.follow();
    this.disposables.push({ dispose: shared.onChange(() => this.follow()) });
  }

  dispose(): void {
    window.clearTimeout(this.restTimer);
    for (const d of this.disposables.splice(0)) d.dispose();
    this.shared.text.unobserve(this.arrived);
    this.undo.destroy();
  }

  /** The index in the document of a position in the model. */
  indexOf(p: { lineNumber: number; column: number }): number {
    return this.model.getOffsetAt(p) - (p.lineNumber - 1) * (this.model.getEOL().length - 1);
  }

  /** The position in the model of an index in the document. */
  positionOf(index: number): Position {
    if (this.model.getEOL() === '\n') return this.model.getPositionAt(index);
    let [low, high] = [1, this.model.getLineCount()];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.indexOf({ lineNumber: middle, column: 1 }) <= index) low = middle;
      else high = middle - 1;
    }
    return this.model.validatePosition(new Position(low, index - this.indexOf({ lineNumber: low, column: 1 }) + 1));
  }

  private value(): string {
    return this.model.getValue(EndOfLinePreference.LF);
  }

  private length(): number {
    return this.indexOf(this.model.getFullModelRange().getEndPosition());
  }

  private watch(): Y.UndoManager {
    this.shared.text.observe(this.arrived);
    return new Y.UndoManager(this.shared.text, { trackedOrigins: new Set([this]), captureTimeout: UNDO_GROUP });
  }

  /** Another document took the place of the one that was bound, with what was typed in it. */
  private replaced(old: Y.Doc): void {
    old.getText('text').unobserve(this.arrived);
    this.undo.destroy();
    this.undo = this.watch();
    this.change(edits(this.value(), this.shared.text.toString()));
  }

  /** The model has the ends of line that the file has. */
  private follow(): void {
    const s = this.shared.status;
    if (!s || s.eol === 'mixed' || this.model.isDisposed()) return;
    if ((this.model.getEOL() === '\r\n') === (s.eol === 'crlf')) return;
    this.applying = true;
    this.model.setEOL(s.eol === 'crlf' ? EndOfLineSequence.CRLF : EndOfLineSequence.LF);
    this.applying = false;
  }

  private typed(e: { changes: readonly IModelContentChange[]; isFlush: boolean }): void {
    if (this.applying) return;
    const { doc, text } = this.shared;
    if (e.isFlush) {
      doc.transact(() => apply(text, edits(text.toString(), this.value())), this);
    } else {
      const more = this.model.getEOL().length - 1;
      const made = e.changes
        .map((c): Edit => ({
          at: c.rangeOffset - (c.range.startLineNumber - 1) * more,
          remove: c.rangeLength - (c.range.endLineNumber - c.range.startLineNumber) * more,
          insert: c.text.replace(/\r\n?/g, '\n'),
        }))
        .sort((a, b) => a.at - b.at);
      if (made.some((m) => m.insert.includes('\n'))) this.undo.stopCapturing();
      doc.transact(() => apply(text, made), this);
    }
    if (text.length !== this.length()) this.repair();
    this.rest();
  }

  private readonly arrived = (e: Y.YTextEvent): void => {
    if (e.transaction.origin === this) return;
    const list = editsOf(e.delta);
    this.change(list);
    if (list.some((m) => m.insert.includes('\r')) || this.shared.text.length !== this.length())
      queueMicrotask(() => this.repair());
    this.rest();
  };

  /** Makes edits, which refer to the text as it is, in the model, past its own undo. */
  private change(list: readonly Edit[]): void {
    if (list.length === 0) return;
    const operations = list.map((e) =>
      EditOperation.replace(Range.fromPositions(this.positionOf(e.at), this.positionOf(e.at + e.remove)), e.insert),
    );
    this.applying = true;
    try {
      this.model.applyEdits(operations);
    } finally {
      this.applying = false;
    }
  }

  private rest(): void {
    window.clearTimeout(this.restTimer);
    this.restTimer = window.setTimeout(() => {
      if (this.shared.text.toString() !== this.value()) this.repair();
    }, REST);
  }

  /** Brings both together where a text has what a model cannot have: ends of line of its own, half a character. */
  private repair(): void {
    if (this.model.isDisposed()) return;
    const { doc, text } = this.shared;
    const theirs = text.toString();
    const clean = theirs.replace(/\r\n?/g, '\n').replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd');
    if (clean !== theirs && !this.shared.status?.read_only) doc.transact(() => apply(text, edits(theirs, clean)), this);
    const mine = this.value();
    if (mine === clean) return;
    console.warn(`${this.shared.path}: the editor and the document differed`);
    this.change(edits(mine, clean));
  }
}
