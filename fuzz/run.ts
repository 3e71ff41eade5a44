// `npm run fuzz -- PARSER N SEED`: N damaged inputs of a parser (or of all), in processes with limits on memory and time.
// Whatever is not read or refused with an error of ours is kept in build/fuzz, and the exit code is 1. `npm run fuzz -- memory`
// says what the worst known file of each parser takes.

import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { Message, Report } from './child.ts';
import { inputsOf } from './inputs.ts';
import { TARGETS } from './targets/index.ts';
import { WORST } from './worst.ts';

const FOUND = 'build/fuzz/found';
const WORST_FILES = 'build/fuzz/worst';
// One thread collects garbage: where a decoder's memory is new for each image, several take four times the processor.
const FLAGS = ['--max-old-space-size=512', '--single-threaded-gc'];

interface Memory {
  readonly start: number;
  readonly peak: number;
}

interface Total {
  read: number;
  refused: number;
  /** Messages of what went wrong, by the index of the input. */
  readonly wrong: Map<number, string>;
  /** Longest of an input, in ms. */
  slowest: number;
  /** Of the inputs, in bytes. */
  largest: number;
  /** Of the process that had the most, when it had read one input and at its peak, in bytes. */
  memory: Memory;
}

/** Starts a process for a parser. @returns its code or signal once it has ended */
function start(args: readonly unknown[], onMessage: (message: Message) => void): Promise<number | string> {
  return new Promise((resolve) => {
    const child = spawn(
      process.execPath,
      [...FLAGS, 'build/fuzz/child.mjs', ...args.map(String)],
      { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] }, // fd 3, as child.ts has it
    );
    createInterface(child.stdio[3] as Readable).on('line', (line) => onMessage(JSON.parse(line)));
    child.on('close', (code, signal) => resolve(signal ?? code ?? 1));
  });
}

/** Reads inputs until one of them kills the process. @returns the index from which to go on */
async function readFrom(
  parser: string,
  seed: number,
  from: number,
  to: number,
  total: Total,
): Promise<number> {
  let at = from;
  const ended = await start([parser, seed, from, to], (message) => {
    if ('peak' in message) remember(message, total);
    else if ('begun' in message) at = message.begun;
    else {
      count(message, total);
      at = message.index + 1;
    }
  });
  if (ended === 0) return to;
  total.wrong.set(at, ended === 'SIGXCPU' ? 'it takes too long' : `it ends the process (${ended})`);
  return at + 1;
}

function remember({ start, peak }: Memory, total: Total): void {
  if (peak > total.memory.peak) total.memory = { start, peak };
}

function count({ index, outcome, message = '', milliseconds, bytes }: Report, total: Total): void {
  if (outcome === 'raw') total.wrong.set(index, message);
  else total[outcome]++;
  total.slowest = Math.max(total.slowest, milliseconds);
  total.largest = Math.max(total.largest, bytes);
}

async function fuzz(parser: string, n: number, seed: number): Promise<Total> {
  const total: Total = {
    read: 0,
    refused: 0,
    wrong: new Map(),
    slowest: 0,
    largest: 0,
    memory: { start: 0, peak: 0 },
  };
  for (let from = 0; from < n; ) from = await readFrom(parser, seed, from, n, total);
  mkdirSync(FOUND, { recursive: true });
  for (const index of total.wrong.keys()) {
    for (const { bytes } of inputsOf(parser, seed, index, index + 1)) {
      writeFileSync(`${FOUND}/${parser}-${seed}-${index}.bin`, bytes);
    }
  }
  return total;
}

const table = (head: readonly string[]) => {
  console.log(`| ${head.join(' | ')} |`);
  console.log(`|${'---|'.repeat(head.length)}`);
  return (cells: readonly unknown[]) => console.log(`| ${cells.join(' | ')} |`);
};

async function fuzzAll(parsers: readonly string[], n: number, seed: number): Promise<void> {
  const row = table([
    ...['parser', 'inputs', 'read', 'refused', 'wrong', 'slowest, ms of CPU', 'largest, kB'],
    ...['memory at the start, MB', 'at its peak'],
  ]);
  for (const parser of parsers) {
    const { read, refused, wrong, slowest, largest, memory } = await fuzz(parser, n, seed);
    const measured = [slowest, largest / 1e3, memory.start / 1e6, memory.peak / 1e6];
    row([parser, n, read, refused, wrong.size, ...measured.map((it) => it.toFixed(0))]);
    for (const [index, message] of wrong) console.error(`${parser} ${index}: ${message}`);
    if (wrong.size > 0) process.exitCode = 1;
  }
}

/** What the worst known files take. */
async function weighAll(): Promise<void> {
  mkdirSync(WORST_FILES, { recursive: true });
  const row = table(['parser', 'full of', 'bytes', 'outcome', 'takes, MB', 'for each, bytes', 'at most']);
  for (const { parser, of, make, count, most } of WORST) {
    const [file, bytes] = [`${WORST_FILES}/${parser}.bin`, await make()];
    writeFileSync(file, bytes);
    let [outcome, taken] = ['', 0];
    const ended = await start([parser, 'worst', file], (message) => {
      if ('peak' in message) taken = message.peak - message.start;
      else if ('outcome' in message) outcome = message.message ?? message.outcome;
    });
    if (ended !== 0) outcome = `it ends the process (${ended})`;
    const each = taken / (count ?? bytes.length);
    row([parser, of, bytes.length, outcome, (taken / 1e6).toFixed(0), each.toFixed(0), most]);
    if (!['read', 'refused'].includes(outcome) || each > most) process.exitCode = 1;
  }
}

const [name, n = '2000', seed = '1'] = process.argv.slice(2);
const parsers = name === 'all' ? Object.keys(TARGETS) : [name];
if (name === 'memory') await weighAll();
else if (parsers.every((it) => it in TARGETS) && Number(n) > 0 && Number.isInteger(Number(seed)))
  await fuzzAll(parsers, Number(n), Number(seed));
else {
  console.error(`usage: npm run fuzz -- ${Object.keys(TARGETS).join(' | ')} | all [N] [SEED], or memory`);
  process.exitCode = 2;
}
