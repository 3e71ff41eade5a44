// Everything that a change has to pass: `npm run check`. With `--all`, as .ci/run has it, the suites that take a browser,
// other runtimes and the shared models too. Goes through to the end and closes with the line "N passed, N failed", in
// which each test counts, and each step that is no suite; before it stand those that failed. A step that says nothing for
// half an hour is ended, with the processes that it waited for named: one that hangs must not keep the others from running.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';

/** Other runtimes' tests say nothing for four minutes on a machine that does nothing else. */
const SILENCE_MS = 30 * 60_000;

const isAll = process.argv.includes('--all');
const check = (command) => ({ command });
const suite = (command) => ({ command, hasTests: true });

const FIRST = [
  check('node scripts/ready.mjs'), // installs and builds
  check('biome check'),
  check('tsc -p tsconfig.json'),
  check('tsc -p examples/web/tsconfig.json'),
];
const MAIN = suite('vitest run');
// One after the other beside the main suite: none keeps two cores busy all of the time.
const BESIDE = [
  check('node scripts/spills.mjs'),
  check('node scripts/size.mjs'),
  check('publint'),
  ...(existsSync('scripts/figures.mjs') ? [check('node scripts/figures.mjs --check')] : []),
];
if (isAll) {
  BESIDE.push(
    check('npm run --silent docs'),
    suite('vitest run --config vitest.browser.config.ts'),
    // The oldest V8, and JavaScriptCore; `npm run test:runtimes` has them all.
    check('node scripts/runtimes.mjs --beside-suite node20 bun'),
  );
  // A fresh clone has no shared models; where they are, every file that the suite names must be there.
  if (existsSync(process.env.OSSCAR_SHARED ?? '../shared'))
    BESIDE.push(suite('vitest run --config vitest.shared.config.ts'));
}

const folder = mkdtempSync(join(tmpdir(), 'osscar-check-'));
const total = { passed: 0, failed: 0 };
const broken = [];
/** Each leads a group of processes, which ends with this one. */
const running = new Set();
process.once('exit', () => running.forEach(end));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));

for (const step of FIRST) count(step, await shown(step));
const beside = inTurn(BESIDE);
count(MAIN, await shown(MAIN));
for (const [i, step] of BESIDE.entries()) {
  const { outcome, log } = await beside[i];
  console.log(`> ${step.command}`);
  process.stdout.write(readFileSync(log));
  count(step, outcome);
}

rmSync(folder, { recursive: true });
for (const command of broken) console.log(`failed: ${command}`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 ? 0 : 1;

function count({ command }, { passed, failed, which }) {
  total.passed += passed;
  total.failed += failed;
  if (failed > 0) broken.push(command, ...which);
}

/** Runs a step under its name, with all that it says. */
function shown(step) {
  console.log(`> ${step.command}`);
  return outcomeOf(step, process.stdout);
}

/** Runs steps one after the other, and keeps what each says for later, in a file. */
function inTurn(steps) {
  let before = Promise.resolve();
  return steps.map((step, i) => {
    const run = async () => {
      await before;
      const log = join(folder, `${i}.log`);
      const file = createWriteStream(log);
      const outcome = await outcomeOf(step, file);
      await new Promise((resolve) => file.end(resolve));
      return { outcome, log };
    };
    before = run();
    return before;
  });
}

/** Runs a step. Of a suite tests are counted; one that ends without a report counts as one failure. */
async function outcomeOf({ command, hasTests }, output) {
  if (!hasTests) return single((await run(command, output)) === 0);
  const file = join(mkdtempSync(join(folder, 'suite-')), 'tests.json');
  const status = await run(`${command} --reporter=default --reporter=json --outputFile.json=${file}`, output);
  if (!existsSync(file)) return single(false);
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

function single(ok) {
  return { passed: Number(ok), failed: Number(!ok), which: [] };
}

/** With the programs of the project's packages, as in a script of npm. */
async function run(command, output) {
  const PATH = `${resolve('node_modules/.bin')}${delimiter}${process.env.PATH}`;
  const env = { ...(process.stdout.isTTY && { FORCE_COLOR: '1' }), ...process.env, PATH };
  const child = spawn(command, { shell: true, detached: true, stdio: ['ignore', 'pipe', 'pipe'], env });
  running.add(child);
  const timer = setTimeout(() => {
    const processes = below(child.pid);
    const lines = processes.map(({ pid, what }) => `  ${pid} ${what}\n`).join('');
    output.write(`${command}: nothing said for ${SILENCE_MS / 60_000} minutes; ended:\n${lines}`);
    end(child);
    for (const it of processes) end(it); // some lead groups of their own
  }, SILENCE_MS);
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text) => {
      output.write(text);
      timer.refresh();
    });
  const [status] = await once(child, 'close');
  clearTimeout(timer);
  running.delete(child);
  return status;
}

function end({ pid }) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {} // it has just ended
}

/** A process and all that it has started: since when, and what it is. */
function below(pid) {
  const { stdout } = spawnSync('ps', ['-eo', 'pid=,ppid=,etime=,args='], { encoding: 'utf8' });
  const lines = stdout?.split('\n').map((line) => line.trim().split(/\s+/)) ?? [];
  const of = (parent) =>
    lines.flatMap(([own, its, ...what]) =>
      its === `${parent}` ? [{ pid: own, what: what.join(' ') }, ...of(own)] : [],
    );
  return of(pid);
}
