import type { CancellationToken } from '@codingame/monaco-vscode-api/vscode/vs/base/common/cancellation';
import { prepareQuery, scoreFuzzy } from '@codingame/monaco-vscode-api/vscode/vs/base/common/fuzzyScorer';
import { fuzzyContains } from '@codingame/monaco-vscode-api/vscode/vs/base/common/strings';
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri';
import {
  type IFileMatch,
  type IFileQuery,
  type ISearchComplete,
  type ISearchProgressItem,
  type ISearchResultProvider,
  type ITextQuery,
  type ITextSearchMatch,
  OneLineRange,
  TextSearchMatch,
} from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/search/common/search';
import { globsOf, unitsOf } from '../core/glob';
import type { Match } from '../core/mux';
import type { MuxLink } from '../link/mux';

const MAX_MATCHES = 20_000;
const MAX_FILES = 200_000;

/** Searches where the files are: with ripgrep in the workspace. */
export class AgentSearch implements ISearchResultProvider {
  private index: { key: string; paths: Promise<string[]> } | undefined;

  constructor(private readonly link: MuxLink) {}

  /** Files came or went: the index is asked for again when it is needed. */
  forget(): void {
    this.index = undefined;
  }

  async getAIName(): Promise<undefined> {
    return undefined;
  }

  async textSearch(
    query: ITextQuery,
    onProgress?: (p: ISearchProgressItem) => void,
    token?: CancellationToken,
  ): Promise<ISearchComplete> {
    const stop = aborted(token);
    let limitHit = false;
    for (const f of query.folderQueries) {
      const root = f.folder.path;
      const result = await this.link.ask<{ truncated?: boolean }>(
        {
          op: 'search',
          path: root,
          query: query.contentPattern.pattern,
          regex: query.contentPattern.isRegExp ?? false,
          word: query.contentPattern.isWordMatch ?? false,
          case: query.contentPattern.isCaseSensitive ?? false,
          all: f.disregardIgnoreFiles ?? false,
          globs: globsOf(query.includePattern, [query.excludePattern, ...(f.excludePattern ?? []).map((e) => e.pattern)], root),
          max: Math.min(query.maxResults ?? MAX_MATCHES, MAX_MATCHES),
        },
        {
          ...(stop && { signal: stop }),
          item: (i) => {
            for (const m of byFile(i.matches ?? [])) onProgress?.(m);
          },
        },
      );
      limitHit ||= result.truncated ?? false;
    }
    return { results: [], limitHit, messages: [] };
  }

  async fileSearch(query: IFileQuery, token?: CancellationToken): Promise<ISearchComplete> {
    const results: IFileMatch[] = [];
    let limitHit = false;
    for (const f of query.folderQueries) {
      const root = f.folder.path;
      const paths = await this.paths(
        root,
        globsOf(query.includePattern, [query.excludePattern, ...(f.excludePattern ?? []).map((e) => e.pattern)], root),
        f.disregardIgnoreFiles ?? false,
      );
      if (token?.isCancellationRequested) break;
      const most = query.maxResults ?? paths.length;
      const found = query.filePattern ? best(paths, query.filePattern, most) : paths.slice(0, most);
      limitHit ||= found.length === most && most < paths.length;
      for (const p of found) results.push({ resource: URI.file(`${root}/${p}`) });
    }
    return { results, limitHit, messages: [] };
  }

  async clearCache(): Promise<void> {} // what the files are changes with them, not with a query

  /** All files below root. One list is kept until files come or go. */
  private paths(root: string, globs: string[], all: boolean): Promise<string[]> {
    const key = JSON.stringify([root, globs, all]);
    if (this.index?.key === key) return this.index.paths;
    let found: string[] = [];
    const paths = this.link
      .ask(
        { op: 'index', path: root, globs, all, max: MAX_FILES },
        {
          item: (i) => {
            for (const p of i.paths ?? []) found.push(p);
          },
          again: () => {
            found = [];
          },
        },
      )
      .then(() => found.sort());
    const index = { key, paths };
    this.index = index;
    paths.catch(() => {
      if (this.index === index) this.index = undefined;
    });
    return paths;
  }
}

/** The paths that fit what was typed, the best first. */
function best(paths: readonly string[], typed: string, most: number): string[] {
  const query = prepareQuery(typed);
  const found: { path: string; score: number }[] = [];
  for (const path of paths) {
    if (!fuzzyContains(path, query.normalizedLowercase)) continue;
    const name = path.slice(path.lastIndexOf('/') + 1);
    const [inName] = scoreFuzzy(name, query.normalized, query.normalizedLowercase, true);
    const [inPath] = scoreFuzzy(path, query.normalized, query.normalizedLowercase, true);
    found.push({ path, score: inName * 1000 + inPath });
  }
  found.sort((a, b) => b.score - a.score || a.path.length - b.path.length);
  return found.slice(0, most).map((f) => f.path);
}

function byFile(matches: readonly Match[]): IFileMatch[] {
  const files = new Map<string, ITextSearchMatch[]>();
  for (const m of matches) {
    const text = m.text ?? '';
    const units = unitsOf(text, (m.ranges ?? []).flat());
    const ranges: OneLineRange[] = [];
    for (let i = 0; i < units.length; i += 2) ranges.push(new OneLineRange(m.line - 1, units[i] ?? 0, units[i + 1] ?? 0));
    if (ranges.length === 0) ranges.push(new OneLineRange(m.line - 1, 0, 0)); // beyond what is told of a long line
    const all = files.get(m.path) ?? [];
    all.push(new TextSearchMatch(text, ranges, { matchLines: 1, charsPerLine: 250 }));
    files.set(m.path, all);
  }
  return [...files].map(([path, results]) => ({ resource: URI.file(path), results }));
}

function aborted(token: CancellationToken | undefined): AbortSignal | undefined {
  if (!token) return undefined;
  const stop = new AbortController();
  if (token.isCancellationRequested) stop.abort();
  token.onCancellationRequested(() => stop.abort());
  return stop.signal;
}
