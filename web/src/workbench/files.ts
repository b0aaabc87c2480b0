import {
  FileChangeType,
  FilePermission,
  FileSystemProviderCapabilities,
  FileSystemProviderError,
  FileSystemProviderErrorCode,
  FileType,
  type IFileChange,
  type IFileDeleteOptions,
  type IFileOverwriteOptions,
  type IFileSystemProviderWithFileReadWriteCapability,
  type IFileWriteOptions,
  type IStat,
} from '@codingame/monaco-vscode-files-service-override';
import type { CancellationToken } from '@codingame/monaco-vscode-api/vscode/vs/base/common/cancellation';
import { Emitter, Event } from '@codingame/monaco-vscode-api/vscode/vs/base/common/event';
import type { IDisposable } from '@codingame/monaco-vscode-api/vscode/vs/base/common/lifecycle';
import {
  newWriteableStream,
  type ReadableStreamEvents,
} from '@codingame/monaco-vscode-api/vscode/vs/base/common/stream';
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri';
import {
  ETAG_DISABLED,
  etag,
  FileOperationError,
  FileOperationResult,
  type IFileReadStreamOptions,
  type IWriteFileOptions,
} from '@codingame/monaco-vscode-api/vscode/vs/platform/files/common/files';
import { type Entry, type Item, MuxError, type WatchEvent } from '../core/mux';
import type { MuxLink } from '../link/mux';

/** Directories that are not watched: they change in bulk, and nobody edits in them. */
export const UNWATCHED = ['.git', 'node_modules', '.hg', '.svn', '__pycache__', '.venv'];

const TEMPORARY = /^\.holt-write-/;

/** What an editor's text is based on, as the workbench tells it with a save. */
interface Base {
  etag: string;
}

/**
 * The files of the workspace, as the agent serves them. A save goes through only
 * when the file still is what the editor's text is based on, which the agent checks
 * at the moment of the rename; else it fails as "modified since".
 */
export class AgentFiles implements IFileSystemProviderWithFileReadWriteCapability {
  private readonly changed = new Emitter<readonly IFileChange[]>();
  private readonly lost = new Emitter<void>();
  readonly onDidChangeFile = this.changed.event;
  /** Fires when changes may have been missed. */
  readonly onDidLoseChanges = this.lost.event;
  readonly onDidChangeCapabilities = Event.None;
  readonly capabilities: number;
  private readonly bases = new Map<string, Base>();
  private readonly stats = new Map<string, Entry>();
  /** Called before the files at and below a path are moved or removed: who else writes them does it now. */
  beforeMove: (path: string) => Promise<void> = async () => {};

  constructor(private readonly link: MuxLink) {
    this.capabilities =
      FileSystemProviderCapabilities.FileReadWrite |
      FileSystemProviderCapabilities.FileReadStream |
      FileSystemProviderCapabilities.PathCaseSensitive |
      (link.welcome?.readonly ? FileSystemProviderCapabilities.Readonly : 0);
  }

  /** Starts to tell changes below dir. */
  watchTree(dir: string): () => void {
    return this.link.subscribe(
      { op: 'watch', path: dir, ignore: UNWATCHED },
      (i) => this.happened(i.events ?? []),
      (again) => {
        if (again) this.lost.fire();
      },
    );
  }

  /** One tree is watched as a whole; there is nothing to do for a part of it. */
  watch(): IDisposable {
    return { dispose() {} };
  }

  /** Says that files may have changed: who has them open looks. */
  touch(resources: readonly URI[]): void {
    const changes = resources.filter((r) => r.scheme === 'file').map((resource) => ({ type: FileChangeType.UPDATED, resource }));
    if (changes.length > 0) this.changed.fire(changes);
  }

  /** Tells what the next write of a file is based on; undefined is anything. */
  expect(resource: URI, options: IWriteFileOptions | undefined): void {
    const path = resource.path;
    if (typeof options?.etag === 'string' && options.etag !== ETAG_DISABLED) this.bases.set(path, { etag: options.etag });
    else this.bases.delete(path);
  }

  async stat(resource: URI): Promise<IStat> {
    const e = await this.entry(resource);
    if (e.type === 'file') this.stats.set(resource.path, e);
    return this.statOf(e);
  }

  async readdir(resource: URI): Promise<[string, FileType][]> {
    let found: [string, FileType][] = [];
    await this.ask(resource, { op: 'list', path: resource.path }, {
      item: (i: Item) => {
        for (const e of i.entries ?? []) if (!TEMPORARY.test(e.name)) found.push([e.name, typeOf(e)]);
      },
      again: () => {
        found = [];
      },
    });
    return found;
  }

  async readFile(resource: URI): Promise<Uint8Array> {
    return this.content(resource, undefined);
  }

  readFileStream(
    resource: URI,
    opts: IFileReadStreamOptions,
    token: CancellationToken,
  ): ReadableStreamEvents<Uint8Array> {
    const stream = newWriteableStream<Uint8Array>((parts) => concat(parts));
    const stop = new AbortController();
    token.onCancellationRequested(() => stop.abort());
    this.content(resource, stop.signal, opts.position, opts.length).then(
      (bytes) => {
        stream.end(bytes);
      },
      (e: Error) => {
        stream.error(e);
        stream.end();
      },
    );
    return stream;
  }

  async writeFile(resource: URI, content: Uint8Array, opts: IFileWriteOptions): Promise<void> {
    const path = resource.path;
    const base = this.bases.get(path);
    this.bases.delete(path);
    const before = this.stats.get(path);
    const request: Parameters<MuxLink['ask']>[0] = { op: 'put', path };
    if (base && before) {
      if (base.etag !== etag({ mtime: before.mtime, size: before.size })) {
        if (await this.holds(resource, content)) return;
        throw modified(resource);
      }
      if (before.etag) request.if_match = before.etag;
    } else if (!opts.overwrite) request.new = true;
    try {
      this.stats.set(path, await this.link.ask<Entry>(request, { body: content }));
    } catch (e) {
      if (!(e instanceof MuxError) || e.field !== 'if_match') throw this.explain(e, resource);
      // Our own write whose answer was lost, or someone who wrote the same.
      if (await this.holds(resource, content)) return;
      if (request.new) throw failure('There is such a file already', FileSystemProviderErrorCode.FileExists);
      throw modified(resource);
    }
  }

  async mkdir(resource: URI): Promise<void> {
    await this.ask(resource, { op: 'mkdir', path: resource.path });
  }

  async delete(resource: URI, opts: IFileDeleteOptions): Promise<void> {
    let resent = false;
    await this.beforeMove(resource.path);
    try {
      await this.ask(resource, { op: 'delete', path: resource.path, recursive: opts.recursive }, { again: () => (resent = true) });
    } catch (e) {
      if (!resent || !isNotFound(e)) throw e;
    }
  }

  async rename(from: URI, to: URI, opts: IFileOverwriteOptions): Promise<void> {
    let resent = false;
    await this.beforeMove(from.path);
    try {
      await this.ask(from, { op: 'rename', path: from.path, to: to.path, overwrite: opts.overwrite }, { again: () => (resent = true) });
    } catch (e) {
      if (!resent || !isNotFound(e)) throw e;
      await this.stat(to); // the first one has worked when this is there
    }
  }

  private async content(resource: URI, signal: AbortSignal | undefined, offset = 0, length = 0): Promise<Uint8Array> {
    let parts: Uint8Array[] = [];
    const o: Parameters<MuxLink['ask']>[1] = {
      data: (b) => parts.push(b),
      again: () => {
        parts = [];
      },
      ...(signal && { signal }),
    };
    await this.ask(resource, { op: 'read', path: resource.path, offset, length }, o);
    return concat(parts);
  }

  /** Whether a file is there with exactly this content. */
  private async holds(resource: URI, content: Uint8Array): Promise<boolean> {
    try {
      const e = await this.entry(resource);
      if (e.size !== content.length) return false;
      const there = await this.content(resource, undefined);
      const same = there.length === content.length && there.every((b, i) => b === content[i]);
      if (same) this.stats.set(resource.path, e);
      return same;
    } catch {
      return false;
    }
  }

  private entry(resource: URI): Promise<Entry> {
    return this.ask<Entry>(resource, { op: 'stat', path: resource.path });
  }

  private async ask<T>(resource: URI, ...args: Parameters<MuxLink['ask']>): Promise<T> {
    try {
      return await this.link.ask<T>(...args);
    } catch (e) {
      throw this.explain(e, resource);
    }
  }

  private explain(e: unknown, resource: URI): Error {
    if (!(e instanceof MuxError)) return e as Error;
    const text = e.message.charAt(0).toUpperCase() + e.message.slice(1);
    switch (e.kind) {
      case 'not_found':
        return failure(text, FileSystemProviderErrorCode.FileNotFound);
      case 'conflict':
        return failure(text, FileSystemProviderErrorCode.FileExists);
      case 'forbidden':
        return failure(text, FileSystemProviderErrorCode.NoPermissions);
      case 'no_space':
        return failure(text, FileSystemProviderErrorCode.FileExceedsStorageQuota);
      case 'invalid':
        return failure(text, FileSystemProviderErrorCode.Unknown);
    }
    return failure(`${text} (${resource.path})`, FileSystemProviderErrorCode.Unavailable);
  }

  private statOf(e: Entry): IStat {
    return {
      type: typeOf(e),
      ctime: e.mtime,
      mtime: e.mtime,
      size: e.size,
      ...(this.link.welcome?.readonly && { permissions: FilePermission.Readonly }),
    };
  }

  private happened(events: WatchEvent[]): void {
    const changes: IFileChange[] = [];
    for (const e of events) {
      if (e.op === 'rescan') {
        this.lost.fire();
        continue;
      }
      if (!e.path || e.op === 'ready' || e.op === 'chmod') continue;
      const resource = URI.file(e.path);
      if (e.op === 'remove') changes.push({ type: FileChangeType.DELETED, resource });
      else if (e.op === 'create') changes.push({ type: FileChangeType.ADDED, resource }, { type: FileChangeType.UPDATED, resource });
      else changes.push({ type: FileChangeType.UPDATED, resource });
    }
    if (changes.length > 0) this.changed.fire(changes);
  }
}

function typeOf(e: Entry): FileType {
  const link = e.link ? FileType.SymbolicLink : 0;
  if (e.type === 'dir') return FileType.Directory | link;
  if (e.type === 'file') return FileType.File | link;
  return FileType.Unknown | link;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  if (parts.length === 1 && first) return first;
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}

function failure(text: string, code: FileSystemProviderErrorCode): Error {
  return FileSystemProviderError.create(text, code);
}

function isNotFound(e: unknown): boolean {
  return e instanceof FileSystemProviderError && e.code === FileSystemProviderErrorCode.FileNotFound;
}

function modified(resource: URI): Error {
  return new FileOperationError(`${resource.path} was changed on disk`, FileOperationResult.FILE_MODIFIED_SINCE);
}
