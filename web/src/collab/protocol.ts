import * as decoding from 'lib0/decoding';
import * as encoding from 'lib0/encoding';

/** What the server tells of a document; see guestwire.DocumentStatus. */
export interface DocumentStatus {
  epoch: string;
  read_only: boolean;
  eol: 'lf' | 'crlf' | 'mixed';
  bom: boolean;
  saved: boolean;
  gone: boolean;
  error?: string;
  journal: boolean;
}

/** A message of a document's socket. The formats are in the documentation of package guest/collab. */
export type Message =
  | { type: 'step1'; vector: Uint8Array }
  | { type: 'step2' | 'update'; update: Uint8Array }
  | { type: 'awareness'; update: Uint8Array }
  | { type: 'status'; status: DocumentStatus }
  | { type: 'journal'; edits: number }
  | { type: 'written'; request: number }
  | { type: 'other' };

const SYNC = 0;
const AWARENESS = 1;
const STATUS = 100;
const JOURNAL = 101;
const WRITE = 102;

export function decode(message: ArrayBuffer): Message {
  const d = decoding.createDecoder(new Uint8Array(message));
  switch (decoding.readVarUint(d)) {
    case SYNC: {
      const step = decoding.readVarUint(d);
      const payload = decoding.readVarUint8Array(d);
      if (step === 0) return { type: 'step1', vector: payload };
      return { type: step === 1 ? 'step2' : 'update', update: payload };
    }
    case AWARENESS:
      return { type: 'awareness', update: decoding.readVarUint8Array(d) };
    case STATUS:
      return { type: 'status', status: JSON.parse(decoding.readVarString(d)) as DocumentStatus };
    case JOURNAL:
      return { type: 'journal', edits: decoding.readVarUint(d) };
    case WRITE:
      return { type: 'written', request: decoding.readVarUint(d) };
  }
  return { type: 'other' };
}

function sync(step: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  return encoding.encode((e) => {
    encoding.writeVarUint(e, SYNC);
    encoding.writeVarUint(e, step);
    encoding.writeVarUint8Array(e, payload);
  }) as Uint8Array<ArrayBuffer>;
}

export const encodeStep1 = (vector: Uint8Array): Uint8Array<ArrayBuffer> => sync(0, vector);
export const encodeStep2 = (update: Uint8Array): Uint8Array<ArrayBuffer> => sync(1, update);
export const encodeUpdate = (update: Uint8Array): Uint8Array<ArrayBuffer> => sync(2, update);

export const encodeAwareness = (update: Uint8Array): Uint8Array<ArrayBuffer> =>
  encoding.encode((e) => {
    encoding.writeVarUint(e, AWARENESS);
    encoding.writeVarUint8Array(e, update);
  }) as Uint8Array<ArrayBuffer>;

/** Asks for the file to be written now, with all edits that were sent before. */
export const encodeWrite = (request: number): Uint8Array<ArrayBuffer> =>
  encoding.encode((e) => {
    encoding.writeVarUint(e, WRITE);
    encoding.writeVarUint(e, request);
  }) as Uint8Array<ArrayBuffer>;
