/** A socket to a route of the workspace's agent. It does not wake the workspace. */
export function guestSocket(workspace: string, route: string, query: Record<string, string>): WebSocket {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  return new WebSocket(`${scheme}://${location.host}${path(workspace, route, query)}`);
}

/**
 * Why a file is not edited together, as the server says it. A browser hides the
 * answer to a WebSocket, so that it is asked for once more.
 */
export async function refusal(workspace: string, file: string): Promise<string | undefined> {
  try {
    const resp = await fetch(path(workspace, 'document', { path: file }));
    if (resp.status < 400 || resp.status >= 500) return undefined;
    const p = (await resp.json()) as Partial<{ kind: string; detail: string; text: string }>;
    if (p.kind !== 'unsupported' && p.kind !== 'not_found') return undefined;
    return p.detail ?? p.text ?? 'it is not a text file';
  } catch {
    return undefined;
  }
}

const path = (workspace: string, route: string, query: Record<string, string>): string =>
  `/w/${encodeURIComponent(workspace)}/v1/${route}?${new URLSearchParams({ ...query, wake: 'no' })}`;
