// The script that runs in a worker, built into dist/worker.js with all that it needs: what it answers to a pool.

import { instantiate } from '@assemblyscript/loader';
import { expose, transfer } from 'comlink';
import { type Abi, Kernels } from '../kernel/index.ts';
import { installErrorTransfer } from './errors.ts';
import { parallelAbi, scratchBytes } from './parallel.ts';
import { platform } from './platform.ts';
import type { PoolOptions } from './pool.ts';
import { type Task, Team } from './team.ts';
import { type Arguments, answer, type Request, Thread } from './thread.ts';
import { buffersOf } from './transfer.ts';

export interface ServiceOptions extends Omit<PoolOptions, 'workerUrl'> {
  readonly module: WebAssembly.Module;
  /** Where memory is shared: what others need to help this worker. */
  readonly shared?: SharedState;
}

export interface SharedState {
  readonly memory: WebAssembly.Memory;
  readonly team: SharedArrayBuffer;
}

export class Service {
  #module!: WebAssembly.Module;
  #thread!: Thread;

  async start(options: ServiceOptions): Promise<void> {
    const { module, simd, maximumBytes, shared } = options;
    const abi = await instance(module, shared?.memory);
    this.#module = module;
    this.#thread = new Thread(shared ? leading(abi, options, shared) : new Kernels(abi, simd, maximumBytes));
  }

  run<N extends Request>(name: N, args: Arguments<N>): unknown {
    const result = answer(this.#thread, name, args);
    return typeof result === 'object' ? transfer(result, buffersOf(result)) : result;
  }

  /** Helps another worker on its memory, until it is called back. Blocks this thread. */
  async assist({ memory, team }: SharedState, member: number): Promise<void> {
    const abi = await instance(this.#module, memory);
    new Team(team).assist(abi, member, scratchOf(abi, member));
  }
}

async function instance(module: WebAssembly.Module, memory?: WebAssembly.Memory): Promise<Abi> {
  const { exports } = await instantiate(module, memory && { env: { memory } });
  return exports as unknown as Abi;
}

/** Kernels that share their large operations out, on memory that begins with the scratch of all who may help. */
function leading(abi: Abi, { simd, maximumBytes, threads }: ServiceOptions, shared: SharedState): Kernels {
  const team = new Team(shared.team);
  const base = scratchOf(abi, threads);
  const crew = {
    get helpers() {
      return team.helpers;
    },
    run: (tasks: readonly Task[], work: number) => team.run(abi, tasks, work),
  };
  return new Kernels(parallelAbi({ ...abi, heapBase: () => base }, crew), simd, maximumBytes + base);
}

/** Where a member's scratch lies in the memory of whom it helps. */
function scratchOf(abi: Abi, member: number): number {
  return (abi.heapBase() >>> 0) + member * Math.ceil(scratchBytes(abi) / 64) * 64;
}

installErrorTransfer();
expose(new Service(), platform().parent());
