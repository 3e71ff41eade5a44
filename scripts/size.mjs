// Holds the core (kernels with both binaries inlined, solver and pool, each module once) to its size on the wire.

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const LIMIT = 60_000;

const core = await size({
  stdin: {
    contents: "export * from './src/layer.ts'; import './src/pool/worker.ts';",
    resolveDir: '.',
  },
});
const worker = await size({ entryPoints: ['src/pool/worker.ts'] });
console.log(`core: ${core} bytes gzipped, limit ${LIMIT}; of it again in dist/worker.js: ${worker}`);
if (core > LIMIT) process.exit(1);

async function size(input) {
  const { outputFiles } = await build({
    ...input,
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    target: 'es2022',
    loader: { '.deflate': 'binary' },
    write: false,
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).byteLength;
}
