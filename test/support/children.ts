// Processes that end with the one that has started them, however that ends: Vitest ends a file's process by SIGTERM, also
// where a test has given up on what it has started.

import {
  type ChildProcess,
  type ChildProcessByStdio,
  type SpawnOptions,
  spawn as start,
} from 'node:child_process';
import type { Readable, Writable } from 'node:stream';

/** Nothing takes this long, on a busy machine either: what does hangs. Before the test's own limit, which has no output to show. */
export const HANG_MS = 540_000;

const children = new Set<ChildProcess>();

/** With all that it has started. */
function end({ pid }: ChildProcess): void {
  try {
    process.kill(-pid!, 'SIGKILL');
  } catch {} // it has just ended
}

function endAll(): void {
  for (const child of children) end(child);
  children.clear();
}

process.once('exit', endAll);
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
  process.once(signal, () => {
    endAll();
    process.kill(process.pid, signal);
  });

/** As Node's. Each child leads a group of processes of its own. */
export const spawn = ((command: string, args: readonly string[], options: object) => {
  const child = start(command, args, { ...options, detached: true });
  if (child.pid !== undefined) children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}) as typeof start;

export interface Ended {
  /** Null where it was ended by a signal: SIGKILL, if it hung. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Both, as they came. */
  readonly output: string;
}

export interface RunOptions extends Pick<SpawnOptions, 'cwd' | 'env'> {
  /** Default nothing. */
  readonly stdin?: 'pipe';
  /** Milliseconds. Default `HANG_MS`. */
  readonly limit?: number;
  /** Is told, each time that the program says something on standard error, all that it has said there. */
  readonly onError?: (child: ChildProcess, stderr: string) => void;
}

/** Runs a program to its end. Not synchronously: no limit of time would hold for a test that waits so. */
export function run(
  command: string,
  args: readonly string[],
  { stdin, limit = HANG_MS, onError, ...options }: RunOptions = {},
): Promise<Ended> {
  const child = spawn(command, args, {
    ...options,
    stdio: [stdin ?? 'ignore', 'pipe', 'pipe'],
  }) as ChildProcessByStdio<Writable | null, Readable, Readable>;
  let [stdout, stderr, output] = ['', '', ''];
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text;
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
    output += text;
    onError?.(child, stderr);
  });
  const timer = setTimeout(() => end(child), limit);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr, output });
    });
  });
}
