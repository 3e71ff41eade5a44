// Runs the benches, each in a process of its own, and writes their tables into bench/README.md:
//   npm run bench -- table [gemm lapack …] [--quick]
// With --quick it prints the file instead: quick numbers mean nothing.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Report } from './support/bench.ts';
import { fill } from './support/readme.ts';

/** By name, with the options they take. */
const BENCHES: Record<string, readonly string[]> = {
  gemm: [],
  lapack: [],
  gram: [],
  eliminate: [],
  shared: [],
  swap: [],
  layer: [],
  published: [],
  stored: [],
  pool: ['--chromium'],
};
const README = 'bench/README.md';

const args = process.argv.slice(2);
const quick = args.includes('--quick');
const names = args.filter((arg) => arg !== '--quick');
const unknown = names.find((name) => !(name in BENCHES));
if (unknown) throw new Error(`table: expected ${Object.keys(BENCHES).join(', ')}, got ${unknown}`);

let readme = readFileSync(README, 'utf8');
for (const name of names.length > 0 ? names : Object.keys(BENCHES)) {
  const start = performance.now();
  const script = fileURLToPath(new URL(`${name}.mjs`, import.meta.url));
  const options = [...process.execArgv, script, '--json', ...BENCHES[name], ...(quick ? ['--quick'] : [])];
  const output = execFileSync(process.execPath, options, { encoding: 'utf8', maxBuffer: 2 ** 26 });
  console.error(`${name}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
  readme = fill(readme, JSON.parse(output) as Report);
  if (!quick) writeFileSync(README, readme);
}
if (quick) console.log(readme);
