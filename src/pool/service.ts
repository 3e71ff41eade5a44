// The worker's side of a pool: what it answers to.

import { instantiate } from '@assemblyscript/loader';
import { transfer } from 'comlink';
import { type Abi, Kernels, type Simd } from '../kernel/index.ts';
import { Accumulators } from './accumulators.ts';
import { type Arguments, type Operation, perform, type Result } from './operations.ts';
import { parallelAbi, scratchBytes } from './parallel.ts';
import { type Task, Team } from './team.ts';
import { buffersOf } from './transfer.ts';

export interface ServiceOptions {
  readonly module: WebAssembly.Module;
  readonly simd: Simd;
  readonly maximumBytes: number;
  /** Where memory is shared: what others need to help this worker. */
  readonly shared?: SharedState;
  /** Workers of the pool. */
  readonly members: number;
}

export interface SharedState {
  readonly memory: WebAssembly.Memory;
  readonly team: SharedArrayBuffer;
}

/** All of the 4 GiB that addresses reach. */
const ADDRESS_SPACE_BYTES = 2 ** 32;

export class Service {
  #options!: ServiceOptions;
  #kernels!: Kernels;
  #accumulators!: Accumulators;

  async start(options: ServiceOptions): Promise<void> {
    const { module, simd, maximumBytes, shared } = options;
    const abi = await instance(module, shared?.memory);
    this.#options = options;
    this.#kernels = shared ? leading(abi, options, shared) : new Kernels(abi, simd, maximumBytes);
    this.#accumulators = new Accumulators(this.#kernels);
  }

  run<N extends Operation>(name: N, args: Arguments<N>): Result<N> {
    return handOver(perform(this.#kernels, name, args));
  }

  accumulate<M extends keyof Accumulators>(method: M, args: Parameters<Accumulators[M]>) {
    const call = this.#accumulators[method] as (...args: unknown[]) => ReturnType<Accumulators[M]>;
    return handOver(call.apply(this.#accumulators, args));
  }

  /** Helps another worker on its memory, until it is called back. Blocks this thread. */
  async assist({ memory, team }: SharedState, member: number): Promise<void> {
    const abi = await instance(this.#options.module, memory);
    new Team(team).assist(abi, member, scratchOf(abi, member));
  }
}

async function instance(module: WebAssembly.Module, memory?: WebAssembly.Memory): Promise<Abi> {
  const { exports } = await instantiate(module, memory && { env: { memory } });
  return exports as unknown as Abi;
}

function handOver<T>(result: T): T {
  return typeof result === 'object' && result !== null ? transfer(result, buffersOf(result)) : result;
}

/** Kernels that share their large operations out, on memory that begins with the scratch of all who may help. */
function leading(abi: Abi, { simd, maximumBytes, members }: ServiceOptions, shared: SharedState): Kernels {
  const team = new Team(shared.team);
  const base = scratchOf(abi, members);
  const crew = {
    get helpers() {
      return team.helpers;
    },
    run: (tasks: readonly Task[], work: number) => team.run(abi, tasks, work),
  };
  const limit = Math.min(maximumBytes + base, ADDRESS_SPACE_BYTES);
  return new Kernels(parallelAbi({ ...abi, heapBase: () => base }, crew), simd, limit);
}

/** Where a member's scratch lies in the memory of whom it helps. */
function scratchOf(abi: Abi, member: number): number {
  return (abi.heapBase() >>> 0) + member * Math.ceil(scratchBytes(abi) / 64) * 64;
}
