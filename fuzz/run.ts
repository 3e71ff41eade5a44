// `npm run fuzz -- PARSER N SEED`: N damaged inputs of a parser (or of all), in processes with limits on memory and time.
// Whatever is not read or refused with an error of ours is kept in build/fuzz, and the exit code is 1.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { inputsOf, type Message, type Report } from './child.ts';
import { TARGETS } from './targets.ts';

const FOUND = 'build/fuzz/found';
/** An input may take so long, of the processor's time and by the clock, in ms. */
const LIMIT = { cpu: 2_000, clock: 120_000 };
const MEMORY_MB = 512;

interface Total {
  read: number;
  refused: number;
  /** Messages of what went wrong, by the index of the input. */
  readonly wrong: Map<number, string>;
  /** Longest of an input, in ms. */
  slowest: number;
  /** Largest input, and the most memory that a process had, in bytes. */
  largest: number;
  peak: number;
}

/** Reads inputs until one of them kills the process. @returns the index from which to go on */
function readFrom(parser: string, seed: number, from: number, to: number, total: Total): Promise<number> {
  return new Promise((resolve) => {
    const child = fork('build/fuzz/child.mjs', [parser, seed, from, to].map(String), {
      execArgv: [`--max-old-space-size=${MEMORY_MB}`],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    let at = from;
    let isHanging = false;
    let timer = setTimeout(() => {}, 0);
    child.on('message', (message: Message) => {
      if ('peak' in message) total.peak = Math.max(total.peak, message.peak);
      else if ('begun' in message) {
        at = message.begun;
        clearTimeout(timer);
        timer = setTimeout(() => {
          isHanging = true;
          child.kill('SIGKILL');
        }, LIMIT.clock);
      } else {
        count(message, total);
        at = message.index + 1;
      }
    });
    // What it has said last may come after it has ended.
    const said = once(child, 'disconnect');
    child.on('exit', async (code, signal) => {
      clearTimeout(timer);
      await said;
      if (code === 0) return resolve(to);
      total.wrong.set(at, isHanging ? 'it hangs' : `it ends the process (${signal ?? code})`);
      resolve(at + 1);
    });
  });
}

function count({ index, outcome, message = '', milliseconds, bytes }: Report, total: Total): void {
  if (outcome === 'raw') total.wrong.set(index, message);
  else if (milliseconds > LIMIT.cpu) total.wrong.set(index, `it takes ${milliseconds.toFixed(0)} ms`);
  else total[outcome]++;
  total.slowest = Math.max(total.slowest, milliseconds);
  total.largest = Math.max(total.largest, bytes);
}

async function fuzz(parser: string, n: number, seed: number): Promise<Total> {
  const total: Total = { read: 0, refused: 0, wrong: new Map(), slowest: 0, largest: 0, peak: 0 };
  for (let from = 0; from < n; ) from = await readFrom(parser, seed, from, n, total);
  mkdirSync(FOUND, { recursive: true });
  for (const index of total.wrong.keys()) {
    for (const { bytes } of inputsOf(parser, seed, index, index + 1)) {
      writeFileSync(`${FOUND}/${parser}-${seed}-${index}.bin`, bytes);
    }
  }
  return total;
}

const [name, n = '2000', seed = '1'] = process.argv.slice(2);
const parsers = name === 'all' ? Object.keys(TARGETS) : [name];
if (!parsers.every((it) => it in TARGETS) || !(Number(n) > 0) || !Number.isInteger(Number(seed))) {
  console.error(`usage: npm run fuzz -- ${Object.keys(TARGETS).join(' | ')} | all [N] [SEED]`);
  process.exit(2);
}
console.log('| parser | inputs | read | refused | wrong | slowest, ms of CPU | peak memory, MB |');
console.log('|---|---|---|---|---|---|---|');
for (const parser of parsers) {
  const { read, refused, wrong, slowest, peak } = await fuzz(parser, Number(n), Number(seed));
  const cells = [parser, n, read, refused, wrong.size, slowest.toFixed(0), (peak / 1e6).toFixed(0)];
  console.log(`| ${cells.join(' | ')} |`);
  for (const [index, message] of wrong) console.error(`${parser} ${index}: ${message}`);
  if (wrong.size > 0) process.exitCode = 1;
}
