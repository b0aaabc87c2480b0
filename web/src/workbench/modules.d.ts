// Modules of the workbench that come without types.
declare module '@codingame/monaco-vscode-api/_virtual/main' {
  export const main: { applyStateStackDiff: unknown; INITIAL: unknown };
}
