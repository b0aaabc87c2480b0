/** Says why name cannot name a workspace, or undefined. The server has the last word. */
export function nameProblem(name: string): string | undefined {
  if (name === '') return 'Give it a name.';
  if (name.length > 40) return 'At most 40 characters.';
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name))
    return 'Only a-z, 0-9 and hyphens, with a letter or digit at both ends.';
  if (name.includes('--')) return 'No double hyphens.';
  return undefined;
}

/** A name that fits a repository's address, for the field that is still empty. */
export function nameFromGit(url: string): string {
  const last =
    url
      .replace(/\/+$/, '')
      .replace(/\.git$/, '')
      .split(/[/:]/)
      .pop() ?? '';
  return last
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 40)
    .replace(/-+$/, '');
}

/** A free name for a copy of name. */
export function copyName(name: string, taken: readonly string[]): string {
  for (let n = 1; ; n++) {
    const suffix = `-${n}`;
    const candidate = name.slice(0, 40 - suffix.length).replace(/-+$/, '') + suffix;
    if (!taken.includes(candidate)) return candidate;
  }
}
