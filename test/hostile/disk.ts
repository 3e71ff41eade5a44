// A disk that fails: whatever is written through node:fs/promises is counted, and one of these operations fails as a
// full or a broken disk does, or is the last that the process lives to see.

import fs, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';

/** How it fails. Where the process is killed, nothing happens any more: no tidying up either. */
export type Fault = 'ENOSPC' | 'EIO' | 'killed';

/** Of what can be written, the name and what the operation does. */
const FUNCTIONS = ['rename', 'rm', 'mkdir', 'writeFile'] as const;
const METHODS = ['write', 'appendFile', 'sync'] as const;

// biome-ignore lint/suspicious/noExplicitAny: any operation, whatever it takes and gives
type Operation = (...args: any[]) => Promise<any>;

export class Disk {
  /** Operations so far. */
  count = 0;
  #isDead = false;
  readonly #restore: (() => void)[] = [];

  private constructor(
    readonly fault: Fault,
    readonly at: number,
  ) {}

  /**
   * Runs something on a disk whose operation number `at` fails.
   *
   * @returns how many operations there were, and what was thrown
   */
  static async run(
    fault: Fault,
    at: number,
    action: () => Promise<unknown>,
  ): Promise<{ count: number; error?: unknown }> {
    const disk = new Disk(fault, at);
    await disk.#install();
    try {
      await action();
      return { count: disk.count };
    } catch (error) {
      return { count: disk.count, error };
    } finally {
      for (const restore of disk.#restore) restore();
      syncBuiltinESMExports();
    }
  }

  async #install(): Promise<void> {
    const path = `${tmpdir()}/osscar-disk-${process.pid}`;
    const handle = await fs.open(path, 'w');
    const prototype = Object.getPrototypeOf(handle) as FileHandle;
    await handle.close();
    await fs.rm(path);
    for (const name of FUNCTIONS) this.#replace(fs, name);
    for (const name of METHODS) this.#replace(prototype, name);
    // Opening makes a file, where it is opened to write.
    const { open } = fs;
    const opening: Operation = (file, flags = 'r', ...rest) =>
      /[wa+]/.test(String(flags))
        ? this.#perform(open, fs, [file, flags, ...rest])
        : open(file, flags, ...rest);
    this.#put(fs, 'open', opening);
    syncBuiltinESMExports();
  }

  #replace<T extends object>(owner: T, name: keyof T & string): void {
    const original = owner[name] as Operation;
    const disk = this;
    this.#put(owner, name, function (this: unknown, ...args: unknown[]) {
      return disk.#perform(original, this ?? owner, args);
    } as Operation);
  }

  #put<T extends object>(owner: T, name: keyof T & string, operation: Operation): void {
    const original = owner[name];
    this.#restore.push(() => {
      owner[name] = original;
    });
    owner[name] = operation as T[typeof name];
  }

  async #perform(original: Operation, owner: unknown, args: unknown[]): Promise<unknown> {
    if (this.#isDead) throw new Error('killed');
    if (this.count++ !== this.at) return original.apply(owner, args);
    // A write may have got half way.
    const [data] = args;
    if (data instanceof Uint8Array) await original.call(owner, data.subarray(0, data.length >> 1), ...[]);
    if (this.fault === 'killed') {
      this.#isDead = true;
      throw new Error('killed');
    }
    throw Object.assign(new Error(`${this.fault}: the test's own`), { code: this.fault, syscall: 'write' });
  }
}
