import { expect, it } from 'vitest';
import { globsOf, unitsOf } from './glob';

it('hands patterns on as ripgrep means them', () => {
  expect(globsOf({ '*.ts': true, 'src/**': true, './a/b.py': true }, [{ '**/node_modules': true, '**/x': false, 'out/': true }], '/workspace')).toEqual([
    '*.ts',
    '/workspace/src/**',
    '/workspace/a/b.py',
    '!**/node_modules',
    '!out/',
  ]);
  expect(globsOf(undefined, [undefined, { 'a/{b': { when: '$(basename).ts' } }], '/w')).toEqual([]);
});

it('finds matches behind letters of several bytes', () => {
  const text = 'aü🦊b€ x';
  const bytes = (s: string): number => new TextEncoder().encode(s).length;
  const starts = [0, bytes('a'), bytes('aü'), bytes('aü🦊'), bytes('aü🦊b€ '), bytes(text)];
  expect(unitsOf(text, starts)).toEqual([0, 1, 2, 4, 7, 8]);
  expect(unitsOf(text, [9, 3])).toEqual([6, 2].map((_, i) => unitsOf(text, [[9, 3][i] as number])[0]));
  expect(unitsOf('plain', [2, 4])).toEqual([2, 4]);
  expect(unitsOf('ü', [50])).toEqual([1]);
});
