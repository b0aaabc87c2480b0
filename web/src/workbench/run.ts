import { getService, IFileService, IQuickInputService, ITextFileService } from '@codingame/monaco-vscode-api';
import { Codicon } from '@codingame/monaco-vscode-api/vscode/vs/base/common/codicons';
import { KeyCode, KeyMod } from '@codingame/monaco-vscode-api/vscode/vs/base/common/keyCodes';
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri';
import { Action2, MenuId, registerAction2 } from '@codingame/monaco-vscode-api/vscode/vs/platform/actions/common/actions';
import { ContextKeyExpr } from '@codingame/monaco-vscode-api/vscode/vs/platform/contextkey/common/contextkey';
import { KeybindingWeight } from '@codingame/monaco-vscode-api/vscode/vs/platform/keybinding/common/keybindingsRegistry';
import { EditorResourceAccessor } from '@codingame/monaco-vscode-api/vscode/vs/workbench/common/editor';
import {
  ITerminalGroupService,
  ITerminalService,
} from '@codingame/monaco-vscode-api/vscode/vs/workbench/contrib/terminal/browser/terminal.service';
import { IEditorService } from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/editor/common/editorService.service';
import { detect, languages, runFile } from '../core/run';

const TERMINAL = 'Run';
const PROJECT_FILES = ['package.json', 'Makefile', 'go.mod', 'Cargo.toml', 'CMakeLists.txt', 'pyproject.toml'];

/** The Run button of a file, and the list of what a project offers to run. Both type into a terminal of that name. */
export function registerRun(folder: URI): void {
  registerAction2(
    class extends Action2 {
      constructor() {
        super({
          id: 'holt.runFile',
          title: { value: 'Run File', original: 'Run File' },
          icon: Codicon.play,
          f1: true,
          keybinding: { primary: KeyMod.CtrlCmd | KeyCode.F5, weight: KeybindingWeight.WorkbenchContrib },
          menu: {
            id: MenuId.EditorTitle,
            group: 'navigation',
            order: -1,
            when: ContextKeyExpr.regex('resourceLangId', new RegExp(`^(${languages.join('|')})$`)),
          },
        });
      }
      override run(): Promise<void> {
        return runActiveFile();
      }
    },
  );
  registerAction2(
    class extends Action2 {
      constructor() {
        super({ id: 'holt.runProject', title: { value: 'Run a Script or Target…', original: 'Run a Script or Target…' }, f1: true });
      }
      override run(): Promise<void> {
        return runProject(folder);
      }
    },
  );
}

async function runActiveFile(): Promise<void> {
  const [editors, texts] = await Promise.all([getService(IEditorService), getService(ITextFileService)]);
  const resource = EditorResourceAccessor.getOriginalUri(editors.activeEditor);
  const language = editors.activeTextEditorLanguageId;
  if (!resource || resource.scheme !== 'file' || !language) return;
  const line = runFile(language, resource.path);
  if (line === undefined) return;
  if (texts.isDirty(resource) && !(await texts.save(resource))) return; // told by the editor
  await type(line);
}

async function runProject(folder: URI): Promise<void> {
  const [files, input] = await Promise.all([getService(IFileService), getService(IQuickInputService)]);
  const texts = new Map<string, string>();
  await Promise.all(
    PROJECT_FILES.map(async (name) => {
      try {
        texts.set(name, (await files.readFile(URI.joinPath(folder, name), { limits: { size: 1 << 20 } })).value.toString());
      } catch {
        // there is none
      }
    }),
  );
  const found = detect((name) => texts.get(name)).map((r) => ({ label: r.label, description: r.from, detail: r.line, line: r.line }));
  const chosen = await input.pick(found, {
    placeHolder: found.length > 0 ? 'What to run' : 'No package.json, Makefile, go.mod, Cargo.toml or CMakeLists.txt offers anything here',
    matchOnDetail: true,
  });
  if (chosen) await type(chosen.line);
}

/** Types a line into the terminal for runs, which is made where there is none. */
async function type(line: string): Promise<void> {
  const [terminals, groups] = await Promise.all([getService(ITerminalService), getService(ITerminalGroupService)]);
  const terminal =
    terminals.instances.find((i) => i.title === TERMINAL && i.exitCode === undefined) ??
    (await terminals.createTerminal({ config: { name: TERMINAL } }));
  terminals.setActiveInstance(terminal);
  await groups.showPanel(false);
  await terminal.sendText(line, true);
}
