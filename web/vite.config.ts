import { defineConfig, type Plugin } from 'vite';
import { compress } from './build/compress.ts';

/** The workbench registers its style sheets itself, as text: they apply to the parts that are loaded. */
function workbenchStyles(): Plugin {
  return {
    name: 'workbench-styles',
    enforce: 'pre',
    async resolveId(source, importer, options) {
      if (!source.endsWith('.css') || !importer?.includes('/node_modules/@codingame/')) return null;
      const found = await this.resolve(source, importer, { ...options, skipSelf: true });
      return found ? `${found.id}?inline` : null;
    },
  };
}

export default defineConfig({
  plugins: [workbenchStyles(), ...(process.env.HOLT_WEB_RAW ? [] : [compress('dist/assets')])],
  build: {
    target: 'es2023',
    sourcemap: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 20_000,
    reportCompressedSize: false,
    rolldownOptions: { input: ['index.html', 'workbench.html'] },
  },
  worker: { format: 'es', plugins: () => [workbenchStyles()] },
});
