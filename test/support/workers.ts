// Processes of the built command that work on one run.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { spawn } from './children.ts';

/** An `osscar` that runs until it is told to end, or by itself. */
export class Command {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  stdout = '';
  stderr = '';
  #heard = () => {};

  /** @param flags  of Node */
  constructor(
    args: readonly string[],
    flags: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
  ) {
    this.#child = spawn(process.execPath, [...flags, join(process.cwd(), 'dist/cli.js'), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.#ended = once(this.#child, 'close');
    for (const name of ['stdout', 'stderr'] as const) {
      this.#child[name]!.setEncoding('utf8').on('data', (text) => {
        this[name] += text;
        this.#heard();
      });
    }
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Waits until it has said so on standard error. */
  async says(text: string | RegExp): Promise<void> {
    const isSaid = () => (typeof text === 'string' ? this.stderr.includes(text) : text.test(this.stderr));
    while (!isSaid()) {
      if (this.#child.exitCode !== null) throw new Error(`it has ended without "${text}": ${this.stderr}`);
      await Promise.race([
        this.#ended,
        new Promise<void>((resolve) => {
          this.#heard = resolve;
        }),
      ]);
    }
  }

  /** @returns its exit code */
  async end(): Promise<number | null> {
    await this.#ended;
    return this.#child.exitCode;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
    this.#child.kill(signal);
    return this.end();
  }
}
