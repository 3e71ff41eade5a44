// The README's test command, the second suite where the shared models are there, and the checks of `npm run check`
// that the tests do not cover. Counts them all in one closing line.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const reports = mkdtempSync(join(tmpdir(), 'osscar-ci-'));
let passed = 0;
let failed = 0;

suite('test');
suite('test:browser');
// A fresh clone has no shared models; where they are, every file that the suite names must be there.
if (existsSync(process.env.OSSCAR_SHARED ?? '../shared')) suite('test:shared');
// Another engine; `npm run test:runtimes` has them all.
count(run('npm run --silent test:runtimes -- node20 bun') === 0);
for (const check of [
  'biome check',
  'tsc -p tsconfig.json',
  'node scripts/spills.mjs',
  'node scripts/size.mjs',
  'node scripts/figures.mjs --check',
  'publint',
]) {
  count(run(`npx --no-install ${check}`.replace('npx --no-install node', 'node')) === 0);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);

/** Runs an npm script of vitest and adds up its tests; a suite that ends without a report counts as one failure. */
function suite(script) {
  const file = join(reports, `${script.replace(':', '-')}.json`);
  const status = run(
    `npm run --silent ${script} -- --reporter=default --reporter=json --outputFile.json=${file}`,
  );
  if (!existsSync(file)) return count(false);
  const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(file, 'utf8'));
  passed += numPassedTests;
  failed += numFailedTests;
  // An error outside a test fails the run without failing a test.
  if (status !== 0 && numFailedTests === 0) count(false);
}

function count(ok) {
  if (ok) passed++;
  else failed++;
}

function run(command) {
  console.log(`> ${command}`);
  return spawnSync(command, { shell: true, stdio: ['ignore', 'inherit', 'inherit'] }).status;
}
