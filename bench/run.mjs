// Runs a bench: `npm run bench -- gemm`. Bundles bench/*.ts and starts one of them with relaxed SIMD enabled.

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { bundle } from '../scripts/bundle.mjs';

const benches = readdirSync('bench').flatMap((file) => /^(\w+)\.ts$/.exec(file)?.[1] ?? []);
const [name, ...args] = process.argv.slice(2);
if (!benches.includes(name)) {
  console.error(`usage: npm run bench -- ${benches.join(' | ')}`);
  process.exit(2);
}
const outdir = 'build/bench';
await bundle(
  benches.map((bench) => `bench/${bench}.ts`),
  outdir,
);
const command = ['--experimental-wasm-relaxed-simd', `${outdir}/${name}.mjs`, ...args];
const { status } = spawnSync(process.execPath, command, { stdio: 'inherit' });
process.exit(status ?? 1);
