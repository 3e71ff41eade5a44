// Workers and the jobs for them. One job at a time to a worker; whoever has none helps with a large one where memory
// can be shared. A worker that is lost takes down what it was doing, is replaced by a new one, and its job is tried
// once more.

import { type Remote, wrap } from 'comlink';
import { WorkerLostError } from '../errors.ts';
import { compile, linearMemory } from '../kernel/index.ts';
import type { Arguments, Request, Result } from './calculator.ts';
import type { Script, WorkerHandle } from './environment.ts';
import { installErrorTransfer } from './errors.ts';
import { closed, type Executor, type Member, type RunOptions } from './executor.ts';
import { canShareMemory, platform } from './platform.ts';
import { Team } from './team.ts';
import { buffersOf, copyOf, handedOver, type Stage } from './transfer.ts';
import type { Service, ServiceOptions, SharedState } from './worker.ts';

/** A job is given up after so many workers were lost over it. */
const ATTEMPTS = 2;
/**
 * A script that loads but never answers is taken for refused after this long, in ms: far beyond what a worker takes to
 * start on a busy machine (seconds), which must not cost the session its threads.
 */
const START_TIMEOUT = 60_000;

const SCRIPT: Script = {
  name: './worker.js',
  start: () => new Worker(new URL('./worker.js', import.meta.url), { type: 'module' }),
};

export interface PoolOptions extends Omit<ServiceOptions, 'module' | 'shared'> {
  readonly workerUrl?: string | URL;
}

interface Slot {
  readonly index: number;
  readonly handle: WorkerHandle;
  readonly remote: Remote<Service>;
  readonly shared?: SharedState;
  /** Where the arguments of its job lie. */
  readonly stage?: Stage;
  /** What to call off should the worker be lost, by the name of the operation. */
  readonly pending: Map<(error: WorkerLostError) => void, string>;
  job?: Job;
  /** Whom it helps. */
  assisting?: Slot;
  /** Why the worker is gone. */
  lost?: string;
}

interface Job {
  large: boolean;
  readonly name: Request;
  readonly args: Arguments<Request>;
  readonly given?: object;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
  attempts: number;
}

export class Pool implements Executor {
  readonly shared: boolean;
  readonly #options: PoolOptions;
  readonly #module: WebAssembly.Module;
  readonly #slots: Slot[] = [];
  readonly #queue: Job[] = [];
  /** Workers on their way in place of lost ones. */
  readonly #replacements = new Set<Promise<void>>();
  #closed = false;

  private constructor(options: PoolOptions, module: WebAssembly.Module, shared: boolean) {
    this.#options = options;
    this.#module = module;
    this.shared = shared;
  }

  /** @throws {WorkerLostError} where workers are refused */
  static async open(options: PoolOptions): Promise<Pool> {
    installErrorTransfer();
    const shared = canShareMemory() && canReserve();
    const pool = new Pool(options, await compile(options.simd, shared ? 'shared' : 'own'), shared);
    try {
      await Promise.all(Array.from({ length: options.threads }, (_, index) => pool.#start(index)));
    } catch (error) {
      await pool.close();
      throw error;
    }
    return pool;
  }

  get threads(): number {
    return this.#slots.length + this.#replacements.size;
  }

  members(count: number): Member[] {
    if (this.#closed) throw closed();
    const byLoad = [...this.#slots].sort((a, b) => a.pending.size - b.pending.size || a.index - b.index);
    return byLoad.slice(0, count).map((slot) => <N extends Request>(name: N, ...args: Arguments<N>) => {
      this.#callBack(slot);
      const answer = this.#call(slot, 'statistics', (remote) => remote.run(name, handedOver(args)));
      return answer as Promise<Result<N>>;
    });
  }

  lend<T>(value: T, stage: Stage): () => T {
    const copy = this.shared ? copyOf(value, stage) : value;
    const isShared = this.shared && buffersOf(copy).length === 0; // all of it had room on the stage
    return () => (isShared ? copy : copyOf(value));
  }

  async run<N extends Request>(name: N, args: Arguments<N>, options: RunOptions): Promise<Result<N>> {
    const { signal, large = false, given } = options;
    signal?.throwIfAborted();
    if (this.#closed) throw closed();
    const settled = new AbortController();
    try {
      const result = await new Promise((resolve, reject) => {
        const job: Job = { large, name, args, given, attempts: 0, resolve, reject };
        signal?.addEventListener('abort', () => this.#stop(job, signal.reason), { signal: settled.signal });
        this.#queue.push(job);
        this.#distribute();
      });
      return result as Result<N>;
    } finally {
      settled.abort();
    }
  }

  #stop(job: Job, reason: unknown): void {
    job.attempts = ATTEMPTS;
    job.reject(reason);
    const queued = this.#queue.indexOf(job);
    if (queued >= 0) this.#queue.splice(queued, 1);
    const slot = this.#slots.find((slot) => slot.job === job);
    if (slot) void this.#lose(slot, 'it was stopped');
  }

  async renew(): Promise<void> {
    const idle = this.#slots.filter(({ pending }) => pending.size === 0);
    await Promise.all(idle.map((slot) => this.#lose(slot, 'it was renewed')));
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const job of this.#queue.splice(0)) job.reject(closed());
    await Promise.all(this.#slots.splice(0).map((slot) => this.#end(slot, 'the session was closed')));
  }

  /** Starts a worker and waits for its answer. */
  async #start(index: number): Promise<void> {
    const { workerUrl, ...options } = this.#options;
    const handle = platform().spawn(SCRIPT, workerUrl);
    const shared = this.shared
      ? { memory: linearMemory(true), team: Team.create(options.threads).buffer }
      : undefined;
    const remote = wrap<Service>(handle.endpoint);
    const slot: Slot = { index, handle, remote, shared, stage: shared && {}, pending: new Map() };
    let onLost = (why: string): void => {
      void this.#end(slot, why);
    };
    handle.onLost((why) => onLost(why));
    const timer = setTimeout(() => onLost(`no answer within ${START_TIMEOUT} ms`), START_TIMEOUT);
    try {
      const started = { ...options, module: this.#module, shared };
      await this.#call(slot, 'start', (remote) => remote.start(started));
      if (this.#closed) throw closed();
    } catch (error) {
      await handle.terminate();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    onLost = (why) => void this.#lose(slot, why);
    this.#slots.push(slot);
    this.#slots.sort((a, b) => a.index - b.index);
  }

  /** comlink's promises stay open when a worker dies; these do not. `after` runs when the worker has answered. */
  #call<T>(
    slot: Slot,
    operation: string,
    send: (remote: Remote<Service>) => Promise<T>,
    after: () => void = () => {},
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const { pending, handle } = slot;
      if (slot.lost) {
        reject(lost(operation, slot.lost));
        return;
      }
      const settled = () => {
        if (slot.lost) return;
        after();
        pending.delete(reject);
        if (pending.size === 0) handle.hold(false);
        this.#distribute();
      };
      pending.set(reject, operation);
      handle.hold(true);
      send(slot.remote).then(resolve, reject).finally(settled);
    });
  }

  /** Gives queued jobs to idle workers, and then idle workers to large jobs. */
  #distribute(): void {
    const idle = this.#slots.filter(({ pending }) => pending.size === 0);
    while (idle.length > 0 && this.#queue.length > 0) this.#perform(idle.shift()!, this.#queue.shift()!);
    if (this.#queue.length > 0) {
      const helpers = this.#slots.filter(({ assisting }) => assisting);
      for (const slot of helpers.slice(0, this.#queue.length)) this.#callBack(slot);
      if (this.#slots.length === 0 && this.#replacements.size === 0) {
        for (const job of this.#queue.splice(0)) job.reject(givenUp(job, 'no worker is left'));
      }
      return;
    }
    const lead = this.#slots.find(({ job }) => job?.large);
    if (this.shared && lead) for (const slot of idle) this.#assist(slot, lead, lead.job!);
  }

  async #perform(slot: Slot, job: Job): Promise<void> {
    job.attempts++;
    try {
      const args = handedOver(copyOf(job.args, slot.stage, job.given));
      slot.job = job;
      const ended = () => {
        slot.job = undefined;
        this.#callBackHelpersOf(slot);
      };
      job.resolve(await this.#call(slot, job.name, (remote) => remote.run(job.name, args), ended));
    } catch (error) {
      if (!(error instanceof WorkerLostError)) job.reject(error);
      else if (this.#closed) job.reject(closed());
      else if (job.given || job.attempts >= ATTEMPTS) {
        // Whoever goes on finds workers.
        await Promise.all(this.#replacements);
        job.reject(givenUp(job, error.message));
      } else {
        this.#queue.unshift(job);
        this.#distribute();
      }
    }
  }

  #assist(slot: Slot, lead: Slot, job: Job): void {
    const shared = lead.shared!;
    slot.assisting = lead;
    new Team(shared.team).admit(slot.index);
    const ended = () => {
      slot.assisting = undefined;
    };
    this.#call(slot, 'assist', (remote) => remote.assist(shared, slot.index), ended).catch((error) => {
      if (!(error instanceof WorkerLostError)) job.large = false; // no help is to be had: goes on alone
    });
  }

  #callBackHelpersOf(lead: Slot): void {
    for (const slot of this.#slots) if (slot.assisting === lead) this.#callBack(slot);
  }

  #callBack({ assisting, index }: Slot): void {
    if (assisting) new Team(assisting.shared!.team).dismiss(index);
  }

  /** After a worker's death. One that helped may have left a task half done, so its lead goes too. */
  async #lose(slot: Slot, why: string): Promise<void> {
    const at = this.#slots.indexOf(slot);
    if (at < 0) return;
    this.#slots.splice(at, 1);
    void this.#end(slot, why);
    this.#callBackHelpersOf(slot);
    if (slot.assisting) void this.#lose(slot.assisting, 'a worker that helped it was lost');
    const replacement = this.#start(slot.index).catch(() => {});
    this.#replacements.add(replacement);
    await replacement;
    this.#replacements.delete(replacement);
    this.#distribute();
  }

  #end(slot: Slot, why: string): Promise<void> {
    slot.lost = why;
    for (const [reject, operation] of slot.pending) reject(lost(operation, why));
    slot.pending.clear();
    return slot.handle.terminate();
  }
}

function lost(operation: string, why: string): WorkerLostError {
  return new WorkerLostError(`${operation}: the worker was lost: ${why}`, operation);
}

function givenUp({ name, attempts }: Job, why: string): WorkerLostError {
  const tries = attempts === 1 ? '1 attempt' : `${attempts} attempts`;
  return new WorkerLostError(`${name}: given up after ${tries}: ${why}`, name, { attempts });
}

/** Shared memory takes its whole address space at once, more than a 32-bit process has. */
function canReserve(): boolean {
  try {
    return linearMemory(true).buffer.byteLength > 0;
  } catch {
    return false;
  }
}
