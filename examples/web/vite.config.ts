// Builds the page into dist/ beside this file, and serves it as it should be served.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { defineConfig, type Plugin } from 'vite';

/** With them memory is shared, and onnxruntime and the solver use all cores. The page works without, more slowly. */
const ISOLATED = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
};

export default defineConfig({
  root: import.meta.dirname,
  base: './',
  plugins: [offline()],
  build: { target: 'es2023', emptyOutDir: true, chunkSizeWarningLimit: 2000 },
  worker: { format: 'es' },
  preview: { headers: ISOLATED, open: false },
});

/** Writes the service worker, which keeps every file of the build. */
function offline(): Plugin {
  return {
    name: 'offline',
    apply: 'build',
    writeBundle({ dir = '' }) {
      const files = readdirSync(dir, { recursive: true, withFileTypes: true })
        .filter((it) => it.isFile())
        .map((it) => join(it.parentPath, it.name))
        .sort();
      const hash = createHash('sha256');
      for (const file of files) hash.update(readFileSync(file));
      const urls = files.map((file) => `./${relative(dir, file).replaceAll('\\', '/')}`);
      const told = `const FILES = ${JSON.stringify(urls)};\nconst VERSION = '${hash.digest('hex').slice(0, 12)}';\n`;
      const source = readFileSync(join(import.meta.dirname, 'src/service-worker.js'), 'utf8');
      writeFileSync(join(dir, 'service-worker.js'), told + source);
    },
  };
}
