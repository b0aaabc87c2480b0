import type { components } from '../api/schema';

type Schemas = components['schemas'];

/** An answer that says what went wrong and what to do. */
export class ProblemError extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    readonly field: string | undefined,
    text: string,
  ) {
    super(text);
  }
}

/** Called when the session is over. */
let onSignedOut: () => void = () => {};
export function whenSignedOut(f: () => void): void {
  onSignedOut = f;
}

/** Sends one request to the server and returns its answer. */
export async function call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
  let resp: Response;
  const init: RequestInit = { method, headers, credentials: 'same-origin' };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    headers['Content-Type'] = 'application/json';
  }
  try {
    resp = await fetch(path, init);
  } catch {
    throw new ProblemError(0, 'unavailable', undefined, 'The server cannot be reached. Trying again may help.');
  }
  if (!resp.ok) throw await problemOf(resp);
  const text = await resp.text();
  return (text === '' ? undefined : JSON.parse(text)) as T;
}

async function problemOf(resp: Response): Promise<ProblemError> {
  if (resp.status === 401) onSignedOut();
  try {
    const p = (await resp.json()) as Partial<Schemas['Problem']> & { text?: string };
    return new ProblemError(resp.status, p.kind ?? '', p.field, p.detail ?? p.text ?? resp.statusText);
  } catch {
    return new ProblemError(resp.status, '', undefined, `The server answered ${resp.status}.`);
  }
}

const workspacePath = (id: string): string => `/api/v1/workspaces/${encodeURIComponent(id)}`;

export async function listWorkspaces(): Promise<Schemas['Workspace'][]> {
  const all: Schemas['Workspace'][] = [];
  for (let cursor = ''; ; ) {
    const query = cursor === '' ? '' : `?cursor=${encodeURIComponent(cursor)}`;
    const page = await call<Schemas['WorkspaceList']>('GET', `/api/v1/workspaces${query}`);
    all.push(...(page.items ?? []));
    if (!page.next) return all;
    cursor = page.next;
  }
}

export const getWorkspace = (id: string): Promise<Schemas['WorkspaceDetail']> => call('GET', workspacePath(id));

/** The key makes it safe to press the button twice. */
export const createWorkspace = (req: Schemas['CreateWorkspace'], key: string): Promise<Schemas['Workspace']> =>
  call('POST', '/api/v1/workspaces', req, { 'Idempotency-Key': key });

export const ask = (id: string, verb: 'suspend' | 'resume' | 'stop'): Promise<Schemas['Workspace']> =>
  call('POST', `${workspacePath(id)}/${verb}`);

export const fork = (id: string, name: string): Promise<Schemas['Workspace']> =>
  call('POST', `${workspacePath(id)}/fork`, { name });

export const remove = (id: string): Promise<void> => call('DELETE', `${workspacePath(id)}?force=true`);

export async function ports(id: string): Promise<Schemas['Port'][]> {
  return (await call<Schemas['PortList']>('GET', `${workspacePath(id)}/ports`)).items ?? [];
}

export interface Terminal {
  id: string;
  name?: string;
  pid?: number;
  cols?: number;
  rows?: number;
  exit?: { code: number; signal?: string };
}

/** What a terminal is to be. Without cmd it is a login shell. */
export interface NewTerminal {
  name?: string;
  cols?: number;
  rows?: number;
  cwd?: string;
  cmd?: string[];
  env?: Record<string, string>;
}

const guestPath = (id: string): string => `/w/${encodeURIComponent(id)}/v1`;

/** The terminals of a running workspace. Looking does not wake it. */
export async function terminals(id: string): Promise<Terminal[]> {
  return (await call<Terminal[] | null>('GET', `${guestPath(id)}/terminals?wake=no`)) ?? [];
}

export const createTerminal = (id: string, t: NewTerminal = {}): Promise<Terminal> =>
  call('POST', `${guestPath(id)}/terminals`, t);

export const deleteTerminal = (id: string, terminal: string): Promise<void> =>
  call('DELETE', `${guestPath(id)}/terminals/${encodeURIComponent(terminal)}?wake=no`);
