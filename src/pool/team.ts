// How workers help one of them, the lead, with a large operation: the lead publishes it on its memory and everyone makes
// the next part until none is left. Whoever is not there is not missed: the lead alone finishes too.

import type { Abi, Crew } from '../kernel/index.ts';

/** Counts up whenever there is something to look at: an operation, or a request to leave. */
const EPOCH = 0;
/** Parts that nobody has taken yet; taken by counting down. Below 0 where many looked and found nothing. */
const REMAINING = 1;
const DONE = 2;
const HELPERS = 3;
/** Its address. */
const OPERATION = 4;
/** From here on one word for each member: 1 asks it to leave. */
const LEAVE = 16;

/** Looks at a word before a thread sleeps, some 50 µs: to be woken takes as long as many a part (3 % of what layers of 512 and 1024 inputs take). */
const LOOKS = 20_000;

/** Scratch that one part may take: the most that any kernel needs at any size. */
export function scratchBytes(abi: Abi): number {
  const large = 2 ** 14; // beyond every block that is packed
  return abi.workBytes(large, large);
}

/** Shared by the lead, its helpers and the thread that sends and calls back the helpers. */
export class Team implements Crew {
  readonly buffer: SharedArrayBuffer;
  readonly #state: Int32Array;
  /** Whether this thread is making parts: what they are made of is not shared out again. */
  #isBusy = false;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#state = new Int32Array(buffer);
  }

  static create(members: number): Team {
    return new Team(new SharedArrayBuffer(4 * (LEAVE + members)));
  }

  get helpers(): number {
    return this.#isBusy ? 0 : Atomics.load(this.#state, HELPERS);
  }

  /** The lead's side. */
  run(abi: Pick<Abi, 'part'>, operation: number, parts: number, work: number): void {
    const state = this.#state;
    // Everything is in place before the count goes up: a late look at the round before takes nothing by mistake.
    Atomics.store(state, OPERATION, operation);
    Atomics.store(state, DONE, 0);
    Atomics.store(state, REMAINING, parts);
    Atomics.add(state, EPOCH, 1);
    Atomics.notify(state, EPOCH);
    this.#isBusy = true;
    while (this.#makeOne(abi, work));
    this.#isBusy = false;
    for (;;) {
      const done = Atomics.load(state, DONE);
      if (done === parts) break;
      this.#sleep(DONE, done);
    }
  }

  /** A helper's side: blocks its thread until it is asked to leave. Every part in between is finished. */
  assist(abi: Pick<Abi, 'part'>, member: number, work: number): void {
    const state = this.#state;
    const asked = () => Atomics.load(state, LEAVE + member) === 1;
    Atomics.add(state, HELPERS, 1);
    while (!asked()) {
      const epoch = Atomics.load(state, EPOCH);
      while (!asked() && this.#makeOne(abi, work));
      if (!asked()) this.#sleep(EPOCH, epoch);
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

  /** Until a word is no longer what it was. */
  #sleep(word: number, value: number): void {
    const state = this.#state;
    for (let i = 0; i < LOOKS; i++) if (Atomics.load(state, word) !== value) return;
    Atomics.wait(state, word, value);
  }

  #makeOne(abi: Pick<Abi, 'part'>, work: number): boolean {
    const state = this.#state;
    const left = Atomics.sub(state, REMAINING, 1);
    if (left <= 0) return false;
    abi.part(Atomics.load(state, OPERATION), left - 1, work);
    Atomics.add(state, DONE, 1);
    Atomics.notify(state, DONE);
    return true;
  }
}
