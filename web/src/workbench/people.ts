import { getService, ICodeEditorService, IEditorService, IQuickInputService, IStatusbarService } from '@codingame/monaco-vscode-api';
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri';
import {
  ContentWidgetPositionPreference,
  type ICodeEditor,
  type IContentWidget,
} from '@codingame/monaco-vscode-api/vscode/vs/editor/browser/editorBrowser';
import { Position } from '@codingame/monaco-vscode-api/vscode/vs/editor/common/core/position';
import { Range } from '@codingame/monaco-vscode-api/vscode/vs/editor/common/core/range';
import type { IEditorDecorationsCollection } from '@codingame/monaco-vscode-api/vscode/vs/editor/common/editorCommon';
import { type IModelDeltaDecoration, TrackedRangeStickiness } from '@codingame/monaco-vscode-api/vscode/vs/editor/common/model';
import { CommandsRegistry } from '@codingame/monaco-vscode-api/vscode/vs/platform/commands/common/commands';
import { StatusbarAlignment } from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/statusbar/browser/statusbar';
import { registerCustomView, ViewContainerLocation } from '@codingame/monaco-vscode-workbench-service-override';
import * as Y from 'yjs';
import type { Other, Presence } from '../collab/presence';
import type { Binding } from './binding';
import './people.css';
import type { SharedFiles } from './shared';

/** Milliseconds for which a name is shown beside a cursor that moved. */
const NAME_TIME = 2500;

/** The view of the people in the workspace. It is registered before the workbench starts. */
export function registerPeople(presence: Presence, folder: string): void {
  const views = new Set<() => void>();
  presence.onChange(() => {
    for (const draw of views) draw();
  });
  registerCustomView({
    id: 'holt.people',
    name: 'People',
    location: ViewContainerLocation.Panel,
    order: 21,
    renderBody(container) {
      container.classList.add('holt-people');
      const draw = (): void => container.replaceChildren(list(presence.others, folder));
      views.add(draw);
      draw();
      return { dispose: () => void views.delete(draw) };
    },
  });
}

function list(others: readonly Other[], folder: string): HTMLElement {
  if (others.length === 0) {
    const p = document.createElement('p');
    p.textContent = 'Nobody else is here. Share the workspace from the dashboard, and you see who comes, and where they are.';
    return p;
  }
  const ul = document.createElement('ul');
  for (const o of others) {
    const li = document.createElement('li');
    const b = document.createElement('button');
    b.type = 'button';
    b.className = `holt-person holt-color-${o.color}`;
    const name = document.createElement('strong');
    name.textContent = o.name;
    const at = document.createElement('span');
    at.textContent = placeOf(o, folder);
    b.append(name, at);
    b.title = `Follow ${o.name}`;
    b.addEventListener('click', () => window.dispatchEvent(new CustomEvent('holt-follow', { detail: o.client })));
    li.append(b);
    ul.append(li);
  }
  return ul;
}

function placeOf(o: Other, folder: string): string {
  const looks = o.role === 'viewer' ? ' (looks only)' : '';
  if (o.terminal !== undefined) return `types in a terminal${looks}`;
  if (o.path === undefined) return `is here${looks}`;
  return `${o.path.startsWith(`${folder}/`) ? o.path.slice(folder.length + 1) : o.path}${looks}`;
}

/**
 * Tells others where this page is, shows their cursors and selections, and follows
 * one of them if that is wanted.
 */
export async function showPeople(presence: Presence, files: SharedFiles, folder: string): Promise<void> {
  const [editors, editorService, quickInput, bar] = await Promise.all([
    getService(ICodeEditorService),
    getService(IEditorService),
    getService(IQuickInputService),
    getService(IStatusbarService),
  ]);
  const shown = new Map<ICodeEditor, Shown>();
  let following: number | undefined;
  let led = false; // the cursor is moved by us

  const publish = (editor: ICodeEditor): void => {
    const model = editor.getModel();
    const selection = editor.getSelection();
    if (!model || model.uri.scheme !== 'file') return;
    const binding = files.bindingOf(model.uri.path);
    if (!binding || binding.model !== model || !selection) {
      presence.tell({ path: model.uri.path, cursor: undefined });
      return;
    }
    const at = (p: Position): unknown =>
      Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(binding.shared.text, binding.indexOf(p)));
    presence.tell({
      path: model.uri.path,
      cursor: { anchor: at(selection.getSelectionStart()), head: at(selection.getPosition()) },
    });
  };

  const stop = (): void => {
    if (following === undefined) return;
    following = undefined;
    draw();
  };
  const added = (editor: ICodeEditor): void => {
    const s = new Shown(editor, files);
    shown.set(editor, s);
    s.draw(presence.others);
    editor.onDidFocusEditorText(() => publish(editor));
    editor.onDidChangeCursorSelection(() => {
      if (editor.hasTextFocus() || led) publish(editor);
    });
    editor.onDidChangeModel(() => {
      s.draw(presence.others);
      if (editor.hasTextFocus()) publish(editor);
    });
    editor.onDidChangeModelContent(() => s.drawSoon(() => presence.others));
    editor.onKeyDown((e) => {
      if (!['Control', 'Shift', 'Alt', 'Meta'].includes(e.browserEvent.key)) stop();
    });
    editor.onMouseDown(stop);
    editor.onDidDispose(() => shown.delete(editor));
  };
  for (const e of editors.listCodeEditors()) added(e);
  editors.onCodeEditorAdd(added);
  files.onChange(() => {
    for (const [editor, s] of shown) {
      s.drawSoon(() => presence.others);
      if (editor.hasTextFocus()) publish(editor);
    }
  });

  const entry = bar.addEntry(people(), 'holt.people', StatusbarAlignment.RIGHT, 10_000);
  function people() {
    const o = presence.others;
    const names = [...new Set(o.map((p) => p.name))].join(', ');
    const leader = o.find((p) => p.client === following);
    const typing = o.find((p) => p.terminal !== undefined);
    const text = leader
      ? `$(eye) Following ${leader.name}`
      : typing
        ? `$(terminal) ${typing.name} types in a terminal`
        : o.length === 0
          ? '$(account)'
          : `$(organization) ${names.length > 30 ? `${o.length} others` : names}`;
    return {
      name: 'People',
      text: text.replaceAll(/\$\((?!eye|terminal|account|organization)/g, '('),
      ariaLabel: o.length === 0 ? 'Nobody else is here' : `Also here: ${names}`,
      tooltip: leader
        ? `You see what ${leader.name} does. Click, or type, to go your own way.`
        : o.length === 0
          ? 'Nobody else is in this workspace'
          : `Also here: ${names}. Click to follow somebody.`,
      command: leader ? 'holt.unfollow' : 'holt.follow',
    };
  }

  async function follow(): Promise<void> {
    const leader = presence.others.find((o) => o.client === following);
    if (!leader?.path) return;
    const resource = URI.file(leader.path);
    led = true;
    try {
      const active = editorService.activeEditor?.resource;
      if (active?.toString() !== resource.toString()) await editorService.openEditor({ resource, options: { preserveFocus: true, pinned: false } });
      for (const [editor, s] of shown) {
        const head = editor.getModel()?.uri.path === leader.path ? s.headOf(leader) : undefined;
        if (head) editor.revealPositionInCenterIfOutsideViewport(head);
      }
    } finally {
      led = false;
    }
  }

  function draw(): void {
    if (following !== undefined && !presence.others.some((o) => o.client === following)) following = undefined;
    entry.update(people());
    const e = document.getElementById('holt.people');
    if (e) Object.assign(e.dataset, { others: String(presence.others.length), following: String(following ?? '') });
    for (const s of shown.values()) s.draw(presence.others);
    void follow();
  }
  presence.onChange(draw);
  draw();

  const begin = (client: number): void => {
    following = client;
    draw();
  };
  window.addEventListener('holt-follow', (e) => begin((e as CustomEvent<number>).detail));
  CommandsRegistry.registerCommand('holt.unfollow', stop);
  CommandsRegistry.registerCommand('holt.follow', async () => {
    const items = presence.others.map((o) => ({ label: `$(account) ${o.name.replaceAll('$(', '(')}`, description: placeOf(o, folder), client: o.client }));
    const picked = await quickInput.pick(items, {
      placeHolder: items.length === 0 ? 'Nobody else is here. Share the workspace from the dashboard.' : 'Whom do you want to follow?',
    });
    if (picked) begin(picked.client);
  });
}

/** The cursors of others in one editor. */
class Shown {
  private readonly decorations: IEditorDecorationsCollection;
  private readonly names = new Map<number, NameTag>();
  private timer: number | undefined;

  constructor(
    private readonly editor: ICodeEditor,
    private readonly files: SharedFiles,
  ) {
    this.decorations = editor.createDecorationsCollection();
  }

  drawSoon(others: () => readonly Other[]): void {
    this.timer ??= window.setTimeout(() => {
      this.timer = undefined;
      this.draw(others());
    }, 30);
  }

  /** Where another's cursor is in this editor. */
  headOf(o: Other): Position | undefined {
    const binding = this.binding();
    return binding && o.cursor ? positionOf(binding, o.cursor.head) : undefined;
  }

  draw(others: readonly Other[]): void {
    const binding = this.binding();
    const decorations: IModelDeltaDecoration[] = [];
    const here = new Set<number>();
    for (const o of others) {
      if (!binding || o.path !== binding.model.uri.path || !o.cursor) continue;
      const head = positionOf(binding, o.cursor.head);
      const anchor = positionOf(binding, o.cursor.anchor);
      if (!head || !anchor) continue;
      here.add(o.client);
      const range = Range.fromPositions(...(Position.isBefore(anchor, head) ? ([anchor, head] as const) : ([head, anchor] as const)));
      if (!range.isEmpty()) decorations.push({ range, options: { description: 'holt-selection', className: `holt-selection holt-color-${o.color}` } });
      decorations.push({
        range: Range.fromPositions(head),
        options: {
          description: 'holt-caret',
          beforeContentClassName: `holt-caret holt-color-${o.color}`,
          showIfCollapsed: true,
          stickiness: TrackedRangeStickiness.NeverGrowsWhenTypingAtEdges,
        },
      });
      let tag = this.names.get(o.client);
      if (!tag) {
        tag = new NameTag(this.editor, o);
        this.names.set(o.client, tag);
      }
      tag.move(head);
    }
    for (const [client, tag] of this.names)
      if (!here.has(client)) {
        tag.dispose();
        this.names.delete(client);
      }
    this.decorations.set(decorations);
  }

  private binding(): Binding | undefined {
    const model = this.editor.getModel();
    const binding = model ? this.files.bindingOf(model.uri.path) : undefined;
    return binding?.model === model ? binding : undefined;
  }
}

/** A cursor of others; undefined while what it refers to has not arrived. */
function positionOf(binding: Binding, json: unknown): Position | undefined {
  try {
    const at = Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(json), binding.shared.doc);
    return at?.type === binding.shared.text ? binding.positionOf(at.index) : undefined;
  } catch {
    return undefined; // whatever others send
  }
}

/** The name beside a cursor: shown for a while after it moved. */
class NameTag implements IContentWidget {
  private readonly node = document.createElement('div');
  private position: Position | undefined;
  private timer: number | undefined;

  constructor(
    private readonly editor: ICodeEditor,
    private readonly other: Other,
  ) {
    this.node.className = `holt-name holt-color-${other.color}`;
    this.node.textContent = other.name;
    editor.addContentWidget(this);
  }

  getId(): string {
    return `holt.name.${this.other.client}`;
  }

  getDomNode(): HTMLElement {
    return this.node;
  }

  getPosition() {
    const preference = [ContentWidgetPositionPreference.ABOVE, ContentWidgetPositionPreference.BELOW];
    return this.position ? { position: this.position, preference } : null;
  }

  move(to: Position): void {
    if (this.position && to.equals(this.position)) return;
    this.position = to;
    this.node.classList.add('fresh');
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.node.classList.remove('fresh'), NAME_TIME);
    this.editor.layoutContentWidget(this);
  }

  dispose(): void {
    window.clearTimeout(this.timer);
    this.editor.removeContentWidget(this);
  }
}
