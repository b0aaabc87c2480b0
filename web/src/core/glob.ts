/** The patterns of a search as ripgrep takes them: those with a folder in them begin at root, the others match anywhere. */
export function globsOf(
  include: Readonly<Record<string, unknown>> | undefined,
  exclude: readonly (Readonly<Record<string, unknown>> | undefined)[],
  root: string,
): string[] {
  const globs: string[] = [];
  for (const [g, on] of Object.entries(include ?? {})) if (on === true) globs.push(anchored(g, root));
  for (const e of exclude) for (const [g, on] of Object.entries(e ?? {})) if (on === true) globs.push(`!${anchored(g, root)}`);
  return [...new Set(globs)];
}

function anchored(glob: string, root: string): string {
  const inner = glob.replace(/\/+$/, '');
  if (glob.startsWith('**/') || glob.startsWith('/') || !inner.includes('/')) return glob;
  return `${root}/${glob.replace(/^\.\//, '')}`;
}

/** Turns offsets in the UTF-8 bytes of text into offsets in its UTF-16 units. */
export function unitsOf(text: string, offsets: readonly number[]): number[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is what needs no conversion
  if (/^[\x00-\x7f]*$/.test(text)) return [...offsets];
  const out: number[] = [];
  const sorted = [...offsets].map((o, i) => [o, i] as const).sort((a, b) => a[0] - b[0]);
  let bytes = 0;
  let units = 0;
  let next = 0;
  const chars = text[Symbol.iterator]();
  while (next < sorted.length) {
    const [offset, at] = sorted[next] as readonly [number, number];
    if (offset <= bytes) {
      out[at] = units;
      next++;
      continue;
    }
    const c = chars.next();
    if (c.done) {
      out[at] = units;
      next++;
      continue;
    }
    const code = c.value.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    units += c.value.length;
  }
  return out;
}
