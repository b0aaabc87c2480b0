import { getService, IFileService, initialize } from '@codingame/monaco-vscode-api';
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri';
import { initUserConfiguration } from '@codingame/monaco-vscode-configuration-service-override';
import { createIndexedDBProviders, registerCustomProvider } from '@codingame/monaco-vscode-files-service-override';
import 'vscode/localExtensionHost';
import './languages';
import type { Workspace } from '../core/state';
import type { MuxLink } from '../link/mux';
import { AgentFiles } from './files';
import { services } from './services';
import { AgentTerminals } from './terminals';
import './workers';

const settings = {
  'window.autoDetectColorScheme': true,
  'workbench.preferredDarkColorTheme': 'Default Dark Modern',
  'workbench.preferredLightColorTheme': 'Default Light Modern',
  'editor.fontSize': 13,
};

/** Shows the workbench for a workspace that is connected. */
export async function start(workspace: Workspace, link: MuxLink): Promise<void> {
  const folder = URI.file(link.welcome?.dir ?? '/workspace');
  const files = new AgentFiles(link);
  await createIndexedDBProviders();
  registerCustomProvider('file', files);
  await initUserConfiguration(JSON.stringify(settings, null, 2));

  const container = document.createElement('div');
  container.id = 'workbench';
  document.body.append(container);
  await initialize(
    services(`holt-${workspace.id}`, folder, new AgentTerminals(link, workspace.id)),
    container,
    {
      workspaceProvider: { trusted: true, open: async () => false, workspace: { folderUri: folder } },
      enableWorkspaceTrust: false,
      windowIndicator: { label: `$(remote) ${workspace.name}`, tooltip: `Workspace ${workspace.name}`, command: '' },
      productConfiguration: { nameShort: 'Holt', nameLong: 'Holt', applicationName: 'holt' } as never,
      configurationDefaults: {
        // biome-ignore lint/suspicious/noTemplateCurlyInString: the workbench's own placeholders
        'window.title': '${dirty}${activeEditorShort}${separator}${rootName}',
      },
    },
    { userHome: URI.file(link.welcome?.home ?? '/') },
  );

  const fileService = await getService(IFileService);
  const write = fileService.writeFile.bind(fileService);
  fileService.writeFile = (resource, content, options) => {
    if (resource.scheme === 'file') files.expect(resource, options);
    return write(resource, content, options);
  };
  files.watchTree(folder.path);
}
