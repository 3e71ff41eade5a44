// A worker's side. It runs the pass that a job is of, from the job's part on, until that asks for the job's piece, and makes
// it; everything else that the pass asks for is read from the store. There it waits for the next job: most often it is for
// the same part, whose model is open and whose activations are at hand.

import { InputError } from '../../errors.ts';
import { Clock } from '../clock.ts';
import { subjectOf } from '../models/subjects.ts';
import type { OpenedLanguageModel } from '../models/twin.ts';
import type { OpenedModel } from '../open/open.ts';
import { passOver } from '../pass/pass.ts';
import type { At, Pieces, Work } from '../pass/work.ts';
import type { Pass } from '../recipe.ts';
import type { Run } from '../run.ts';
import type { Findings } from '../store/findings.ts';
import { holds, type RunStore } from '../store/store.ts';
import { type Job, keyOf, pieceOf } from './queue.ts';
import type { PassSnapshot, Snapshot } from './snapshot.ts';
import { readArtefact, readDescription, writeArtefact } from './volumes.ts';

/** A job, and who waits for it. */
interface Waiting {
  readonly job: Job;
  done(): void;
  failed(error: unknown): void;
}

/** The job that is to be done is for another place: nothing that the pass could still ask for. */
class Elsewhere extends Error {}

/** One job at a time, between who hands them over and a pass that takes them. */
class Desk {
  #waiting: Waiting | undefined;
  #arrived: (() => void) | undefined;

  /** @returns when the job is done */
  put(job: Job): Promise<void> {
    return new Promise((done, failed) => {
      this.#waiting = { job, done, failed };
      this.#arrived?.();
    });
  }

  /** The job to do; waits for one. */
  async job(): Promise<Job> {
    while (!this.#waiting) {
      await new Promise<void>((resolve) => {
        this.#arrived = resolve;
      });
    }
    return this.#waiting.job;
  }

  end(error?: unknown): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (error === undefined) waiting?.done();
    else waiting?.failed(error);
  }
}

/** The pass as its worker's pieces have it. */
class ServedWork implements Work {
  readonly isHere = false;
  readonly shards: number;
  readonly #desk: Desk;
  readonly #store: RunStore;
  readonly #findings: Findings;
  /** The job that the pass was begun for. */
  readonly #first: Job;
  #at: At | undefined;

  constructor(desk: Desk, store: RunStore, findings: Findings, shards: number, first: Job) {
    this.#desk = desk;
    this.#store = store;
    this.#findings = findings;
    this.shards = shards;
    this.#first = first;
  }

  async of(): Promise<Work> {
    return this;
  }

  enter(at: At): void {
    this.#at = at;
  }

  async each<T extends object>(
    kind: string,
    about: unknown,
    make: (shard: number) => Promise<T>,
  ): Promise<Pieces<T>> {
    const piece = await pieceOf(kind, about, this.shards, this.#findings);
    if (this.#at) await this.#make(piece, ({ shard }) => make(shard!));
    return {
      async ready() {},
      async forget() {},
      read: (shard) => readArtefact<T>(this.#store, keyOf({ piece, shard })),
    };
  }

  async one<T extends object>(kind: string, about: unknown, make: () => Promise<T>): Promise<T> {
    const piece = await pieceOf(kind, about, this.shards, this.#findings);
    await this.#make(piece, make);
    if (!(await holds(this.#store, piece))) throw new Elsewhere();
    return readArtefact<T>(this.#store, piece);
  }

  async settle(): Promise<void> {}
  async end(): Promise<void> {}

  /** Makes pieces of this name for as long as jobs are for them. */
  async #make(piece: string, make: (job: Job) => Promise<object>): Promise<void> {
    for (;;) {
      const job = await this.#desk.job();
      if (!this.#isHere(job)) throw new Elsewhere();
      if (job.piece !== piece) return;
      await writeArtefact(this.#store, keyOf(job), await make(job));
      this.#desk.end();
    }
  }

  #isHere({ run, pass, part, before, isDense }: Job): boolean {
    const { history, part: here } = this.#at!;
    const isSame = run === this.#first.run && pass === this.#first.pass && part === here;
    return isSame && before === history.name && isDense === history.isDense;
  }
}

/** A run that a worker has opened. */
export interface ServedRun {
  readonly run: Omit<Run, 'work'>;
  readonly shards: number;
}

/** A run out of its description, with what this machine runs it by. */
export function storedRun(
  model: OpenedModel | OpenedLanguageModel,
  { recipe, samples }: Pick<Snapshot, 'recipe' | 'samples'>,
  means: Pick<
    Run,
    'engine' | 'session' | 'calibration' | 'findings' | 'scratch' | 'activationBytes' | 'layerBytes'
  >,
): ServedRun {
  const subject = subjectOf(model);
  const { engine, calibration } = means;
  const chain = subject.chain(engine, calibration);
  const run = { ...means, subject, chain, recipe, evaluation: calibration, clock: new Clock() };
  return { run, shards: samples.shards.length };
}

/** Does jobs, one after the other. */
export class Server {
  readonly #desk = new Desk();
  readonly #store: RunStore;
  readonly #open: (hash: string) => Promise<ServedRun>;
  #isRunning = false;
  /** Every job waits for the one before it. */
  #last: Promise<unknown> = Promise.resolve();

  /** @param open  the run with this description, always the same for the same one */
  constructor(store: RunStore, open: (hash: string) => Promise<ServedRun>) {
    this.#store = store;
    this.#open = open;
  }

  /** @returns when its piece is in the store */
  do(job: Job): Promise<void> {
    const done = this.#last.then(() => this.#do(job));
    this.#last = done.catch(() => {});
    return done;
  }

  async #do(job: Job): Promise<void> {
    const key = keyOf(job);
    if (await holds(this.#store, key)) return;
    const done = this.#desk.put(job);
    if (!this.#isRunning) {
      this.#isRunning = true;
      void this.#serve();
    }
    await done;
  }

  async #serve(): Promise<never> {
    for (;;) {
      const job = await this.#desk.job();
      try {
        await this.#pass(job);
      } catch (error) {
        // A pass that has done its job and finds another on the desk gives way to that one's.
        if (!(error instanceof Elsewhere)) {
          this.#desk.end(error);
          continue;
        }
      }
      if ((await this.#desk.job()) === job)
        this.#desk.end(new InputError(`"${keyOf(job)}" is nothing that its run asks for`));
    }
  }

  async #pass(job: Job): Promise<void> {
    const { run, shards } = await this.#open(job.run);
    const told = await readDescription<PassSnapshot>(this.#store, `passes/${job.pass}`);
    const pass: Pass = {
      ...told,
      label: '',
      sizes: new Map(told.sizes),
      supports: told.supports && new Map(told.supports),
    };
    const work = new ServedWork(this.#desk, this.#store, run.findings, shards, job);
    const { part, before: name, isDense } = job;
    const last = await passOver({ ...run, work }, pass, { at: { part, history: { name, isDense } } });
    await last.close();
  }
}
