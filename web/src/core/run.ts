/** A command that can be run in a terminal. */
export interface Runnable {
  label: string;
  /** Where it was found. */
  from: string;
  line: string;
}

/** The shell's word for text. */
export function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

const byLanguage: Record<string, (path: string) => string> = {
  python: (p) => `python3 ${p}`,
  javascript: (p) => `node ${p}`,
  typescript: (p) => `npx tsx ${p}`,
  shellscript: (p) => `bash ${p}`,
  go: (p) => `go run ${p}`,
  ruby: (p) => `ruby ${p}`,
  php: (p) => `php ${p}`,
  perl: (p) => `perl ${p}`,
  lua: (p) => `lua ${p}`,
  r: (p) => `Rscript ${p}`,
  c: (p) => `cc -o /tmp/run.out ${p} && /tmp/run.out`,
  cpp: (p) => `c++ -o /tmp/run.out ${p} && /tmp/run.out`,
};

/** The languages of which one file can be run. */
export const languages = Object.keys(byLanguage);

/** The line that runs one file, or undefined. */
export function runFile(language: string, path: string): string | undefined {
  return byLanguage[language]?.(quoted(path));
}

/** What the files of a project's top directory offer to run. read gives a file's text, or undefined. */
export function detect(read: (name: string) => string | undefined): Runnable[] {
  return [...npm(read('package.json')), ...make(read('Makefile')), ...fixed(read)];
}

function npm(text: string | undefined): Runnable[] {
  if (text === undefined) return [];
  try {
    const { scripts } = JSON.parse(text) as { scripts?: Record<string, unknown> };
    return Object.keys(scripts ?? {}).map((s) => ({ label: s, from: 'npm', line: `npm run ${quoted(s)}` }));
  } catch {
    return []; // is being edited
  }
}

function make(text: string | undefined): Runnable[] {
  const targets = new Set<string>();
  for (const m of (text ?? '').matchAll(/^([A-Za-z0-9][\w./-]*)\s*:(?![=:])/gm)) if (m[1]) targets.add(m[1]);
  return [...targets].map((t) => ({ label: t, from: 'make', line: `make ${quoted(t)}` }));
}

function fixed(read: (name: string) => string | undefined): Runnable[] {
  const found: Runnable[] = [];
  const offer = (file: string, from: string, lines: Record<string, string>): void => {
    if (read(file) === undefined) return;
    for (const [label, line] of Object.entries(lines)) found.push({ label, from, line });
  };
  offer('go.mod', 'go', { run: 'go run .', build: 'go build ./...', test: 'go test ./...' });
  offer('Cargo.toml', 'cargo', { run: 'cargo run', build: 'cargo build', test: 'cargo test' });
  offer('CMakeLists.txt', 'cmake', { build: 'cmake -B build && cmake --build build' });
  offer('pyproject.toml', 'python', { test: 'python3 -m pytest' });
  return found;
}
