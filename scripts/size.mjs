// Holds the core (kernels with both binaries inlined, and the solver) to its size on the wire.

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const LIMIT = 60_000;

const { outputFiles } = await build({
  stdin: {
    contents: "export * from './src/kernel/index.ts'; export * from './src/solve/index.ts';",
    resolveDir: '.',
  },
  bundle: true,
  minify: true,
  format: 'esm',
  platform: 'neutral',
  mainFields: ['module', 'main'],
  target: 'es2022',
  loader: { '.wasm': 'binary' },
  write: false,
});
const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).byteLength;
console.log(`core: ${bytes} bytes gzipped, limit ${LIMIT}`);
if (bytes > LIMIT) process.exit(1);
