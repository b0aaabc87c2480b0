import { expect, it } from 'vitest';
import { detect, quoted, runFile } from './run';

it('runs a file of any name', () => {
  expect(runFile('python', '/workspace/src/main.py')).toBe('python3 /workspace/src/main.py');
  expect(runFile('shellscript', "/w/it's; rm -rf x.sh")).toBe(`bash '/w/it'\\''s; rm -rf x.sh'`);
  expect(runFile('markdown', '/w/a.md')).toBeUndefined();
  expect(quoted('a b')).toBe("'a b'");
  expect(quoted('')).toBe("''");
});

it('finds what a project offers', () => {
  const files: Record<string, string> = {
    'package.json': '{"scripts":{"start":"node .","a b":"x"}}',
    Makefile: '.PHONY: all\nX := 1\nall: build\n\tgo build\nbuild: ; true\nCC ::= gcc\nall: again\n',
    'go.mod': 'module x\n',
  };
  const found = detect((n) => files[n]).map((r) => `${r.from}: ${r.line}`);
  expect(found).toEqual([
    'npm: npm run start',
    "npm: npm run 'a b'",
    'make: make all',
    'make: make build',
    'go: go run .',
    'go: go build ./...',
    'go: go test ./...',
  ]);
  expect(detect((n) => (n === 'package.json' ? '{"scripts":' : undefined))).toEqual([]);
});
