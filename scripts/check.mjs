// Everything that a change has to pass: `npm run check`. With `--all`, as .ci/run has it, the suites that take a browser,
// other runtimes and the shared models too. Goes through to the end and closes with the line "N passed, N failed", in
// which each test counts, and each step that is no suite; before it stand those that failed.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';

const check = (command) => ({ command });
const suite = (command) => ({ command, hasTests: true });

const STEPS = [
  check('node scripts/ready.mjs'), // installs and builds
  check('biome check'),
  check('tsc -p tsconfig.json'),
  check('tsc -p examples/web/tsconfig.json'),
  suite('vitest run'),
  check('node scripts/spills.mjs'),
  check('node scripts/size.mjs'),
  check('publint'),
];
if (existsSync('scripts/figures.mjs')) STEPS.push(check('node scripts/figures.mjs --check'));

const MORE = [
  check('npm run --silent docs'),
  suite('vitest run --config vitest.browser.config.ts'),
  // The oldest V8, and JavaScriptCore; `npm run test:runtimes` has them all.
  check('node scripts/runtimes.mjs node20 bun'),
];
// A fresh clone has no shared models; where they are, every file that the suite names must be there.
if (existsSync(process.env.OSSCAR_SHARED ?? '../shared')) {
  MORE.push(suite('vitest run --config vitest.shared.config.ts'));
}

const reports = mkdtempSync(join(tmpdir(), 'osscar-check-'));
const total = { passed: 0, failed: 0 };
const broken = [];
for (const step of process.argv.includes('--all') ? [...STEPS, ...MORE] : STEPS) {
  const { passed, failed, which } = step.hasTests ? testsOf(step.command) : outcome(run(step.command) === 0);
  total.passed += passed;
  total.failed += failed;
  if (failed > 0) broken.push(step.command, ...which);
}
rmSync(reports, { recursive: true });
for (const command of broken) console.log(`failed: ${command}`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 ? 0 : 1);

/** Runs a suite and counts its tests. One that ends without a report counts as one failure. */
function testsOf(command) {
  const file = join(reports, 'tests.json');
  rmSync(file, { force: true });
  const status = run(`${command} --reporter=default --reporter=json --outputFile.json=${file}`);
  if (!existsSync(file)) return outcome(false);
  const { numPassedTests: passed, numFailedTests, testResults } = JSON.parse(readFileSync(file, 'utf8'));
  const which = testResults.flatMap(({ name, message, assertionResults }) => [
    ...(message ? [`  ${name}: ${message}`] : []), // a file that does not load
    ...assertionResults
      .filter(({ status }) => status === 'failed')
      .map(({ fullName, failureMessages }) => `  ${name}: ${fullName}: ${failureMessages[0]}`),
  ]);
  // An error outside a test fails the run without failing a test.
  return { passed, failed: numFailedTests || Number(status !== 0), which };
}

function outcome(ok) {
  return { passed: Number(ok), failed: Number(!ok), which: [] };
}

/** With the programs of the project's packages, as in a script of npm. */
function run(command) {
  console.log(`> ${command}`);
  const PATH = `${resolve('node_modules/.bin')}${delimiter}${process.env.PATH}`;
  const stdio = ['ignore', 'inherit', 'inherit'];
  return spawnSync(command, { shell: true, stdio, env: { ...process.env, PATH } }).status;
}
