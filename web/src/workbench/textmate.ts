// A fault of the workbench (seen in 36.2.7): the first tokens that a worker sends for
// a file wait, in the middle of being applied, for a module to be loaded. An edit that
// comes in between shifts the lines, and the states are then missing: "Cannot set
// null/undefined state", and the file stays without colours below. With the module
// at hand there is no pause.
import { main } from '@codingame/monaco-vscode-api/_virtual/main';
import { TextMateWorkerTokenizerController } from '@codingame/monaco-vscode-textmate-service-override/vscode/vs/workbench/services/textMate/browser/backgroundTokenization/textMateWorkerTokenizerController';

Object.assign(TextMateWorkerTokenizerController.prototype, {
  _applyStateStackDiffFn: main.applyStateStackDiff,
  _initialState: main.INITIAL,
});
