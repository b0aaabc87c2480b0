import diff from 'fast-diff';
import * as Y from 'yjs';

/** One change of a text: from an index on, in UTF-16 units of the text before. */
export interface Edit {
  at: number;
  remove: number;
  insert: string;
}

/** Above this product of lengths the middle of two texts is one edit: finding smaller ones would take seconds. */
const MOST_WORK = 2e9;

/** The edits from one text to another, in order. */
export function edits(from: string, to: string): Edit[] {
  if (from === to) return [];
  const [start, end] = common(from, to);
  const a = from.slice(start, from.length - end);
  const b = to.slice(start, to.length - end);
  if (a === '' || b === '' || a.length * b.length > MOST_WORK) return [{ at: start, remove: a.length, insert: b }];
  const out: Edit[] = [];
  let at = start;
  let open: Edit | undefined;
  for (const [op, text] of diff(a, b)) {
    if (op === 0) {
      at += text.length;
      open = undefined;
      continue;
    }
    if (!open) {
      open = { at, remove: 0, insert: '' };
      out.push(open);
    }
    if (op < 0) {
      open.remove += text.length;
      at += text.length;
    } else open.insert += text;
  }
  return out;
}

/** How much two texts have in common at their start and at their end, without cutting a character in two. */
function common(a: string, b: string): [number, number] {
  const most = Math.min(a.length, b.length);
  let start = 0;
  while (start < most && a.charCodeAt(start) === b.charCodeAt(start)) start++;
  if (start > 0 && isHigh(a.charCodeAt(start - 1))) start--;
  let end = 0;
  while (end < most - start && a.charCodeAt(a.length - 1 - end) === b.charCodeAt(b.length - 1 - end)) end++;
  if (end > 0 && isLow(a.charCodeAt(a.length - end))) end--;
  return [start, end];
}

const isHigh = (c: number): boolean => c >= 0xd800 && c < 0xdc00;
const isLow = (c: number): boolean => c >= 0xdc00 && c < 0xe000;

/** Makes edits, which refer to the text as it is, in a shared text. */
export function apply(text: Y.Text, list: readonly Edit[]): void {
  for (const e of list.toReversed()) {
    if (e.remove > 0) text.delete(e.at, e.remove);
    if (e.insert !== '') text.insert(e.at, e.insert);
  }
}

/** The text with what two sides changed of a third: nothing that either of them typed is missing. */
export function threeWay(base: string, mine: string, theirs: string): string {
  if (mine === base || mine === theirs) return theirs;
  if (theirs === base) return mine;
  const side = (text: string, client: number): Uint8Array => {
    const doc = new Y.Doc();
    doc.clientID = 1;
    doc.getText('').insert(0, base);
    doc.clientID = client;
    doc.transact(() => apply(doc.getText(''), edits(base, text)));
    return Y.encodeStateAsUpdate(doc);
  };
  const doc = new Y.Doc();
  Y.applyUpdate(doc, side(theirs, 2));
  Y.applyUpdate(doc, side(mine, 3));
  return doc.getText('').toString();
}

/** The change of a text as edits that refer to the text before it. */
export function editsOf(delta: Y.YTextEvent['delta']): Edit[] {
  const out: Edit[] = [];
  let at = 0;
  let open: Edit | undefined;
  for (const d of delta) {
    if (d.retain !== undefined) {
      at += d.retain;
      open = undefined;
      continue;
    }
    if (!open) {
      open = { at, remove: 0, insert: '' };
      out.push(open);
    }
    if (d.delete !== undefined) {
      open.remove += d.delete;
      at += d.delete;
    } else if (typeof d.insert === 'string') open.insert += d.insert;
  }
  return out;
}
