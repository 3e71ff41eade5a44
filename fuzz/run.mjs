// Bundles fuzz/*.ts and starts the fuzzer: `npm run fuzz -- onnx 100000 1`.

import { spawnSync } from 'node:child_process';
import { bundle } from '../scripts/bundle.mjs';

// Of a report's page, what is not made of the report.
const define = { REPORT_SCRIPT: '""', REPORT_STYLE: '""' };
await bundle(['fuzz/run.ts', 'fuzz/child.ts', 'fuzz/watchdog.ts'], 'build/fuzz', define);
const { status } = spawnSync(process.execPath, ['build/fuzz/run.mjs', ...process.argv.slice(2)], {
  stdio: 'inherit',
});
process.exit(status ?? 1);
