// Bundles fuzz/*.ts and starts the fuzzer of a parser, `npm run fuzz -- onnx 100000 1`, or that of graphs.

import { spawnSync } from 'node:child_process';
import { bundle } from '../scripts/bundle.mjs';

// Of a report's page, what is not made of the report.
const define = { REPORT_SCRIPT: '""', REPORT_STYLE: '""' };
await bundle(['fuzz/run.ts', 'fuzz/child.ts', 'fuzz/watchdog.ts', 'fuzz/graphs.ts'], 'build/fuzz', define);
const [what, ...args] = process.argv.slice(2);
const command =
  what === 'graphs' ? ['build/fuzz/graphs.mjs', ...args] : ['build/fuzz/run.mjs', what, ...args];
const { status } = spawnSync(process.execPath, command.filter(Boolean), {
  stdio: 'inherit',
});
process.exit(status ?? 1);
