import { getService, ICommandService, initialize, ITextFileService } from '@codingame/monaco-vscode-api';
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri';
import { ISearchService } from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/search/common/search.service';
import { SearchProviderType } from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/search/common/search';
import { initUserConfiguration } from '@codingame/monaco-vscode-configuration-service-override';
import {
  createIndexedDBProviders,
  FileChangeType,
  registerCustomProvider,
} from '@codingame/monaco-vscode-files-service-override';
import { FileService } from '@codingame/monaco-vscode-files-service-override/vscode/vs/platform/files/common/fileService';
import { WorkingCopyBackupTracker } from '@codingame/monaco-vscode-working-copy-service-override/vscode/vs/workbench/services/workingCopy/common/workingCopyBackupTracker';
import 'vscode/localExtensionHost';
import './languages';
import { Presence } from '../collab/presence';
import type { Workspace } from '../core/state';
import { guestSocket } from '../link/document';
import type { MuxLink } from '../link/mux';
import { showConnection } from './connection';
import { AgentFiles } from './files';
import { registerPeople, showPeople } from './people';
import { registerPorts } from './ports';
import { registerRun } from './run';
import { AgentSearch } from './search';
import { services } from './services';
import { showJournal } from './journal';
import { SharedFiles } from './shared';
import { AgentTerminals } from './terminals';
import './textmate';
import './workers';

/** Milliseconds after a change until unsaved text is in the browser's database. */
const BACKUP_DELAY = 150;

const defaults = {
  'window.autoDetectColorScheme': true,
  'workbench.preferredDarkColorTheme': 'Default Dark Modern',
  'workbench.preferredLightColorTheme': 'Default Light Modern',
  'workbench.startupEditor': 'none',
  'workbench.layoutControl.enabled': false,
  'files.watcherExclude': {},
  'search.exclude': { '**/node_modules': true, '**/bower_components': true, '**/.venv': true, '**/__pycache__': true },
  'terminal.integrated.defaultProfile.linux': 'bash',
  'telemetry.telemetryLevel': 'off',
};

/** Shows the workbench for a workspace that is connected. */
export async function start(workspace: Workspace, link: MuxLink): Promise<void> {
  const folder = URI.file(link.welcome?.dir ?? '/workspace');
  const files = new AgentFiles(link);
  const search = new AgentSearch(link);
  const shared = new SharedFiles(link, [folder.path, link.welcome?.home ?? folder.path]);
  // A provider is not told what a save is based on; the service in front of it is.
  const write = FileService.prototype.writeFile;
  FileService.prototype.writeFile = async function (resource, content, options) {
    if (resource.scheme === 'file' && shared.owns(resource.path)) {
      await shared.write(resource.path);
      return this.resolve(resource, { resolveMetadata: true });
    }
    if (resource.scheme === 'file') files.expect(resource, options);
    return write.call(this, resource, content, options);
  };
  files.beforeMove = (path) => shared.write(path);
  await createIndexedDBProviders();
  registerCustomProvider('file', files);
  await initUserConfiguration('{}\n');
  Object.assign(WorkingCopyBackupTracker, { DEFAULT_BACKUP_SCHEDULE_DELAYS: { default: BACKUP_DELAY, delayed: BACKUP_DELAY } });

  const presence = new Presence({
    open: () => link.status.state === 'open',
    connect: () => guestSocket(link.workspace, 'presence', {}),
  });
  link.onStatus(() => presence.reconsider());
  presence.reconsider();
  registerPorts(link);
  registerPeople(presence, folder.path);
  registerRun(folder);
  const container = document.createElement('div');
  container.id = 'workbench';
  document.body.append(container);
  await initialize(
    services(`holt-${workspace.id}`, folder, new AgentTerminals(link, workspace.id, (terminal) => presence.tell({ terminal }))),
    container,
    {
      workspaceProvider: { trusted: true, open: async () => false, workspace: { folderUri: folder } },
      enableWorkspaceTrust: false,
      productConfiguration: { nameShort: 'Holt', nameLong: 'Holt', applicationName: 'holt' } as never,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the workbench's own placeholders
      configurationDefaults: { ...defaults, 'window.title': '${dirty}${activeEditorShort}${separator}' + workspace.name },
    },
    { userHome: URI.file(link.welcome?.home ?? '/') },
  );

  const [textFiles, searchService, commands] = await Promise.all([
    getService(ITextFileService),
    getService(ISearchService),
    getService(ICommandService),
  ]);
  searchService.registerSearchResultProvider('file', SearchProviderType.file, search);
  searchService.registerSearchResultProvider('file', SearchProviderType.text, search);

  files.onDidChangeFile((changes) => {
    if (changes.some((c) => c.type !== FileChangeType.UPDATED)) search.forget();
  });
  // What happened unseen is looked for: in the tree, and in each open file.
  files.onDidLoseChanges(() => {
    search.forget();
    files.touch(textFiles.files.models.map((m) => m.resource));
    void commands.executeCommand('workbench.files.action.refreshFilesExplorer');
  });
  files.watchTree(folder.path);
  await shared.start();
  await showJournal(link, shared);
  await showPeople(presence, shared, folder.path);
  await showConnection(
    link,
    workspace.name,
    () => textFiles.files.models.filter((m) => m.isDirty()).length + shared.documents.filter((d) => d.pending > 0).length,
  );
}
