// How workers help one of them, the lead, with a large operation: the lead publishes independent tasks on its memory
// and everyone takes the next one until none is left. Whoever is not there is not missed: the lead alone
// finishes too. A task is a kernel's name and its arguments but for the scratch memory, which each member has its own.

import type { Abi } from '../kernel/index.ts';

/** The kernels that tasks are made of. */
const KERNELS = ['dgemm', 'dsyrk', 'dtrsm', 'dtrmm'] as const;
export type Task = readonly [kernel: (typeof KERNELS)[number], ...args: (number | boolean)[]];

/** Counts up whenever there is something to look at: tasks, or a request to leave. */
const EPOCH = 0;
/** Tasks that nobody has taken yet; taken by counting down. Below 0 where many looked and found nothing. */
const REMAINING = 1;
const DONE = 2;
const HELPERS = 3;
/** From here on one word for each member: 1 asks it to leave. */
const LEAVE = 16;

/** Tasks that one publication holds. */
const CAPACITY = 1024;
/** Doubles of a task: kernel, number of arguments, arguments. gemm has the most, 13. */
const STRIDE = 16;

/** What a parallel operation needs of a team. */
export type Crew = Pick<Team, 'helpers' | 'run'>;

/** Shared by the lead, its helpers and the thread that sends and calls back the helpers. */
export class Team {
  readonly buffer: SharedArrayBuffer;
  readonly #state: Int32Array;
  readonly #table: Float64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    const table = CAPACITY * STRIDE;
    this.#table = new Float64Array(buffer, 0, table);
    this.#state = new Int32Array(buffer, 8 * table);
  }

  static create(members: number): Team {
    return new Team(new SharedArrayBuffer(8 * CAPACITY * STRIDE + 4 * (LEAVE + members)));
  }

  /** Members beside the lead that are there now. */
  get helpers(): number {
    return Atomics.load(this.#state, HELPERS);
  }

  /** The lead's side: runs independent tasks, in any order and at the same time; returns when all are done. */
  run(abi: Abi, tasks: readonly Task[], work: number): void {
    const state = this.#state;
    for (let first = 0; first < tasks.length; first += CAPACITY) {
      const part = tasks.slice(first, first + CAPACITY);
      // Taken from the end, so the first task is written last.
      part.forEach((task, i) => {
        this.#write(part.length - 1 - i, task);
      });
      // Everything is in place before the count goes up: a late look at the round before takes nothing by mistake.
      Atomics.store(state, DONE, 0);
      Atomics.store(state, REMAINING, part.length);
      Atomics.add(state, EPOCH, 1);
      Atomics.notify(state, EPOCH);
      while (this.#takeOne(abi, work));
      for (let done = 0; ; ) {
        done = Atomics.load(state, DONE);
        if (done === part.length) break;
        Atomics.wait(state, DONE, done);
      }
    }
  }

  /** A helper's side: blocks its thread until it is asked to leave. Every task in between is finished. */
  assist(abi: Abi, member: number, work: number): void {
    const state = this.#state;
    const asked = () => Atomics.load(state, LEAVE + member) === 1;
    Atomics.add(state, HELPERS, 1);
    while (!asked()) {
      const epoch = Atomics.load(state, EPOCH);
      while (!asked() && this.#takeOne(abi, work));
      if (!asked()) Atomics.wait(state, EPOCH, epoch);
    }
    Atomics.sub(state, HELPERS, 1);
  }

  /** Lets a member come, before it is sent. */
  admit(member: number): void {
    Atomics.store(this.#state, LEAVE + member, 0);
  }

  /** Asks a helper to come back. */
  dismiss(member: number): void {
    Atomics.store(this.#state, LEAVE + member, 1);
    Atomics.add(this.#state, EPOCH, 1);
    Atomics.notify(this.#state, EPOCH);
  }

  #write(index: number, [kernel, ...args]: Task): void {
    const at = index * STRIDE;
    this.#table[at] = KERNELS.indexOf(kernel);
    this.#table[at + 1] = args.length;
    this.#table.set(args.map(Number), at + 2);
  }

  #takeOne(abi: Abi, work: number): boolean {
    const left = Atomics.sub(this.#state, REMAINING, 1);
    if (left <= 0) return false;
    const at = (left - 1) * STRIDE;
    const [kernel, count] = this.#table.subarray(at, at + 2);
    const args = this.#table.subarray(at + 2, at + 2 + count);
    (abi[KERNELS[kernel]] as (...args: number[]) => void)(...args, work);
    Atomics.add(this.#state, DONE, 1);
    Atomics.notify(this.#state, DONE);
    return true;
  }
}
