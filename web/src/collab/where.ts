/** What is known of one document. */
export interface Known {
  /** Edits that are only in this browser. */
  pending: number;
  connected: boolean;
  readOnly: boolean;
  /** Whether edits go to the journal; else they are confirmed when the file has them. */
  journal: boolean;
  problem: string | undefined;
}

/**
 * Where the text is that was typed in this page:
 * - idle: nothing is open
 * - reading: nothing may be typed
 * - journalled: all of it is on the server's disk
 * - saving: some of it is on its way
 * - offline: some of it may be in this browser only
 * - problem: the server does not take it
 */
export interface Where {
  state: 'idle' | 'reading' | 'journalled' | 'saving' | 'offline' | 'problem';
  edits: number;
  text: string;
  more: string;
}

export function where(online: boolean, documents: readonly Known[]): Where {
  const edits = documents.reduce((n, d) => n + d.pending, 0);
  const broken = documents.find((d) => d.problem !== undefined);
  if (broken && (edits > 0 || broken.connected))
    return { state: 'problem', edits, text: 'Not saved', more: `The server cannot keep what you type: ${broken.problem}. It is kept in this browser.` };
  if (!online || documents.some((d) => d.pending > 0 && !d.connected)) {
    const count = edits === 1 ? '1 edit' : `${edits} edits`;
    return edits === 0
      ? { state: 'offline', edits, text: 'Offline', more: 'You can go on typing: it is kept in this browser and merged when the connection is back.' }
      : {
          state: 'offline',
          edits,
          text: `Offline, ${count} kept here`,
          more: `${count} are kept in this browser and merged when the connection is back.`,
        };
  }
  if (edits > 0) return { state: 'saving', edits, text: 'Saving…', more: 'What you typed is on its way to the server.' };
  if (documents.length === 0) return { state: 'idle', edits, text: 'Saved', more: 'No file is open for editing.' };
  if (documents.every((d) => d.readOnly))
    return { state: 'reading', edits, text: 'Read only', more: 'You may look at this workspace; its owner can let you edit.' };
  if (documents.every((d) => d.journal || d.readOnly))
    return {
      state: 'journalled',
      edits,
      text: 'Saved in the journal',
      more: 'Everything that you typed is on the server’s disk, outside the machine. Files are written a moment later; Ctrl+S writes one at once.',
    };
  return { state: 'journalled', edits, text: 'Saved', more: 'Everything that you typed is in the files.' };
}
