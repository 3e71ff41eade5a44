// Runs a bench: `npm run bench -- kernels`. Bundles bench/<name>.ts and starts it with relaxed SIMD enabled.

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { build } from 'esbuild';

const benches = readdirSync('bench').flatMap((file) => /^(\w+)\.ts$/.exec(file)?.[1] ?? []);
const [name, ...args] = process.argv.slice(2);
if (!benches.includes(name)) {
  console.error(`usage: npm run bench -- ${benches.join(' | ')}`);
  process.exit(2);
}
const outfile = `build/bench/${name}.mjs`;
await build({
  entryPoints: [`bench/${name}.ts`],
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'es2022',
  packages: 'external',
  loader: { '.wasm': 'binary' },
  logLevel: 'warning',
});
const { status } = spawnSync(process.execPath, ['--experimental-wasm-relaxed-simd', outfile, ...args], {
  stdio: 'inherit',
});
process.exit(status ?? 1);
