import { readFile } from 'node:fs/promises';
import openapiTS, { astToString } from 'openapi-typescript';
import { expect, it } from 'vitest';

it('is what the description of the server says (npm run generate)', async () => {
  const description = JSON.parse(await readFile(new URL('../../../api/openapi.json', import.meta.url), 'utf8'));
  const committed = await readFile(new URL('./schema.ts', import.meta.url), 'utf8');
  expect(committed).toContain(astToString(await openapiTS(description)));
});
