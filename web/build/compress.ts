import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import type { Plugin } from 'vite';

// One level less than the best costs a third of the time and two hundredths of the size.
const QUALITY = 10;
const cache = join(process.env.HOLT_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'holt'), 'brotli');

/** The compressed form of raw as a file of the cache: it is made once for each content. */
async function brotli(raw: Buffer): Promise<string> {
  const key = createHash('sha256').update(`${QUALITY}\n`).update(raw).digest('hex').slice(0, 32);
  const path = join(cache, key);
  try {
    await readFile(path);
    return path;
  } catch {
    // not made yet
  }
  const br = await promisify(brotliCompress)(raw, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: QUALITY,
      [constants.BROTLI_PARAM_LGWIN]: 24,
      [constants.BROTLI_PARAM_SIZE_HINT]: raw.length,
    },
  });
  const mine = `${path}.${process.pid}`;
  await writeFile(mine, br);
  await rename(mine, path);
  return path;
}

const worth = /\.(js|css|json|html|svg|wasm|ttf|md)$/;

/**
 * Replaces each file in the assets folder by FILE.br and FILE.gz, where that is
 * smaller: the server sends them as they are. Files are compressed once and kept
 * small in the binary.
 */
export function compress(assets: string): Plugin {
  return {
    name: 'compress',
    apply: 'build',
    async closeBundle() {
      await mkdir(cache, { recursive: true });
      const names = (await readdir(assets)).filter((n) => worth.test(n));
      // The largest first: zlib works on several at once, and ends with the last.
      const files = await Promise.all(names.map(async (n) => ({ path: join(assets, n), raw: await readFile(join(assets, n)) })));
      files.sort((a, b) => b.raw.length - a.raw.length);
      await Promise.all(
        files.map(async ({ path, raw }) => {
          const br = await brotli(raw);
          if ((await stat(br)).size > raw.length * 0.95) return;
          const gz = await promisify(gzip)(raw, { level: 9 });
          await Promise.all([copyFile(br, `${path}.br`), writeFile(`${path}.gz`, gz)]);
          await rm(path);
        }),
      );
    },
  };
}
