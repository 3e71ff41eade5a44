// The built command, as a function and as a process, and folders to run it in.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import type * as Command from '../../src/cli/osscar.ts';
import { run as runToEnd } from '../support/children.ts';

export const CLI = join(import.meta.dirname, '../../dist/cli.js');

export const fixture = (path: string) => join(import.meta.dirname, '../fixtures', path);
export const MOBILENET = fixture('fashion-mobilenet.onnx');
export const RESNET = fixture('fashion-resnet-bn.onnx');
/** What the fixtures' models were trained with. */
export const PREPROCESSING = ['--mean', '0.2860', '--std', '0.3530'];

export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

// V8's first compiler alone: the runtime's 13 MB of wasm load in half the time (0.9 s instead of 2.0 s for a
// small `prune`, measured), and speed is not what these tests are about.
const NODE_FLAGS = ['--liftoff-only'];

const COMMAND = new URL('../../dist/command.js', import.meta.url).href;
let before: Promise<unknown> = Promise.resolve();

/**
 * Runs `osscar` to its end in this process, which takes a refusal 2 ms where a new one takes 280 (measured). One run at a time: what it
 * writes to is the process's. Commands that open a model want `--threads 1`.
 */
export function osscar(...args: readonly string[]): Promise<Run> {
  const run = before.then(() => runHere(args));
  before = run.catch(() => {});
  return run;
}

async function runHere(args: readonly string[]): Promise<Run> {
  const command: typeof Command = await import(COMMAND);
  const said = { stdout: '', stderr: '' };
  const restoring = (['stdout', 'stderr'] as const).map((name) => {
    const stream = process[name];
    const { write } = stream;
    stream.write = (text: string | Uint8Array) => {
      said[name] += text;
      return true;
    };
    return () => {
      stream.write = write;
    };
  });
  // A run listens to them until its process ends, and a second one that comes would end this.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const others = process.listeners(signal);
    restoring.push(() => {
      for (const listener of process.listeners(signal).filter((it) => !others.includes(it)))
        process.off(signal, listener);
    });
  }
  try {
    return { code: await command.osscar(args), ...said };
  } finally {
    for (const restore of restoring) restore();
  }
}

/** Runs it in a process of its own, with flags of Node's. */
export const osscarUnder = (nodeFlags: readonly string[], ...args: readonly string[]) =>
  runThere(args, { nodeFlags });
/** In this working folder. */
export const osscarIn = (cwd: string, ...args: readonly string[]) => runThere(args, { cwd });

interface How {
  readonly nodeFlags?: readonly string[];
  readonly cwd?: string;
}

async function runThere(args: readonly string[], { nodeFlags = [], cwd }: How): Promise<Run> {
  const { code, stdout, stderr } = await runToEnd(
    process.execPath,
    [...NODE_FLAGS, ...nodeFlags, CLI, ...args],
    { cwd },
  );
  return { code, stdout, stderr };
}

/** The one object on standard output of a command that succeeded. */
// biome-ignore lint/suspicious/noExplicitAny: what is in it is the tests' own question
export async function osscarJson(...args: readonly string[]): Promise<any> {
  const { code, stdout, stderr } = await osscar(...args, '--json', '--threads', '1');
  expect(code, stderr).toBe(0);
  expect(stdout.endsWith('}\n')).toBe(true);
  expect(stdout.trimEnd()).not.toContain('\n');
  return JSON.parse(stdout);
}

/** Lines of progress where standard error is no terminal. */
export const PROGRESS = /^(?!osscar:).+, [\d.:]+ (s|min|h)(, about [\d.]+ (s|min|h) left)?\n/gm;

/** What is said beside progress. */
export const WARNINGS = /^osscar: warning: [^\n]+\n/gm;

/** Runs a command that must fail because of what it was given, in one line that says `message`. */
export async function refused(args: readonly string[], message: string | RegExp): Promise<void> {
  const { code, stdout, stderr } = await osscar(...args, '--json', '--threads', '1');
  expect(code, stderr).toBe(2);
  expect(stdout).toBe('');
  const errors = stderr.replace(PROGRESS, '').replace(WARNINGS, '');
  expect(errors).toMatch(/^osscar: [^\n]+\n$/);
  expect(errors).toMatch(message);
}

/** A folder of its own for a file of tests, gone afterwards. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'osscar-cli-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export const listing = (folder: string) => readdirSync(folder).sort();
