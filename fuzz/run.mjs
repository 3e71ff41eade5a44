// Bundles fuzz/*.ts and starts the fuzzer: `npm run fuzz -- onnx 100000 1`.

import { spawnSync } from 'node:child_process';
import { build } from 'esbuild';

await build({
  entryPoints: ['fuzz/run.ts', 'fuzz/child.ts'],
  outdir: 'build/fuzz',
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'es2022',
  packages: 'external',
  loader: { '.wasm': 'binary' },
  logLevel: 'warning',
});
const { status } = spawnSync(process.execPath, ['build/fuzz/run.mjs', ...process.argv.slice(2)], {
  stdio: 'inherit',
});
process.exit(status ?? 1);
