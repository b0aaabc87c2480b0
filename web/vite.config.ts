import { defineConfig } from 'vite';

export default defineConfig({
  build: { target: 'es2023', sourcemap: false, modulePreload: { polyfill: false }, assetsInlineLimit: 0 },
});
