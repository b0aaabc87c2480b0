// Where the workbench finds its workers.
const workers: Record<string, () => Worker> = {
  editorWorkerService: () =>
    new Worker(new URL('monaco-editor/esm/vs/editor/editor.worker.js', import.meta.url), { type: 'module' }),
  TextMateWorker: () =>
    new Worker(new URL('@codingame/monaco-vscode-textmate-service-override/worker', import.meta.url), { type: 'module' }),
  OutputLinkDetectionWorker: () =>
    new Worker(new URL('@codingame/monaco-vscode-output-service-override/worker', import.meta.url), { type: 'module' }),
};

Object.assign(window, {
  MonacoEnvironment: {
    getWorker(_module: string, label: string): Worker {
      const make = workers[label];
      if (!make) throw new Error(`there is no worker ${label}`);
      return make();
    },
  },
});
