/** What was typed into a document and is not known to be outside of the browser. */
export interface Kept {
  key: string;
  workspace: string;
  path: string;
  epoch: string;
  /** Of the page that wrote it. */
  page: string;
  /** The text before the edits, and with them. */
  base: string;
  text: string;
  updates: Uint8Array[];
  at: number;
}

const LOCK = 'holt-page-';

/**
 * Edits that the server has not confirmed yet, in the browser's database: they
 * survive the page, and the next one sends them. Each page writes records of its own.
 */
export class Keep {
  private readonly page = Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, '0')).join('');
  private readonly db: Promise<IDBDatabase>;

  constructor(private readonly workspace: string) {
    this.db = open();
    this.db.catch((e) => console.warn('edits cannot be kept in this browser', e));
    // Held as long as the page lives, so that others leave its records alone.
    void navigator.locks?.request(LOCK + this.page, () => new Promise(() => {}));
  }

  key(path: string): string {
    return `${this.workspace}\n${path}\n${this.page}`;
  }

  async put(path: string, k: Pick<Kept, 'epoch' | 'base' | 'text' | 'updates'>): Promise<void> {
    const record: Kept = { ...k, key: this.key(path), workspace: this.workspace, path, page: this.page, at: Date.now() };
    await this.run('readwrite', (s) => s.put(record));
  }

  async remove(key: string): Promise<void> {
    await this.run('readwrite', (s) => s.delete(key));
  }

  /** What pages that are gone left of this workspace, the oldest first. */
  async left(): Promise<Kept[]> {
    const alive = new Set((await navigator.locks?.query())?.held?.map((l) => l.name));
    const all = (await this.run('readonly', (s) => s.getAll())) as Kept[];
    return all
      .filter((k) => k.workspace === this.workspace && k.page !== this.page && !alive.has(LOCK + k.page))
      .sort((a, b) => a.at - b.at);
  }

  private async run<T>(mode: IDBTransactionMode, f: (s: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    const tx = (await this.db).transaction('edits', mode, { durability: 'strict' });
    return await done(f(tx.objectStore('edits')));
  }
}

function open(): Promise<IDBDatabase> {
  const req = indexedDB.open('holt-edits', 1);
  req.onupgradeneeded = () => req.result.createObjectStore('edits', { keyPath: 'key' });
  return done(req);
}

function done<T>(req: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    req.onsuccess = () => resolve(req.result);
    req.onerror = () => reject(req.error ?? new Error('the database of the browser failed'));
  });
}
