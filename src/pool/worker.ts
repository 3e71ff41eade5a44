// The script that runs in a worker, built into dist/worker.js with all that it needs: what it answers to a pool.

import { expose } from 'comlink';
import { type Abi, instance, Kernels, type Simd } from '../kernel/index.ts';
import { lines } from '../solve/memory';
import { type Arguments, answer, Calculator, type Request } from './calculator.ts';
import { installErrorTransfer } from './errors.ts';
import { platform } from './platform.ts';
import { scratchBytes, Team } from './team.ts';
import { handedOver } from './transfer.ts';

export interface ServiceOptions {
  readonly threads: number;
  readonly simd: Simd;
  readonly maximumBytes: number;
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
  #calculator!: Calculator;

  async start(options: ServiceOptions): Promise<void> {
    const { module, simd, maximumBytes, shared, threads } = options;
    const own = await instance(module, shared?.memory, shared && new Team(shared.team));
    // Shared memory begins with the scratch of all who may help.
    const base = shared ? scratchOf(own, threads) : 0;
    const abi = shared ? { ...own, heapBase: () => base } : own;
    this.#module = module;
    this.#calculator = new Calculator(new Kernels(abi, simd, maximumBytes + base));
  }

  async run<N extends Request>(name: N, args: Arguments<N>): Promise<unknown> {
    return handedOver(await answer(this.#calculator, name, args));
  }

  /** Helps another worker on its memory, until it is called back. Blocks this thread. */
  async assist({ memory, team }: SharedState, member: number): Promise<void> {
    const abi = await instance(this.#module, memory);
    new Team(team).assist(abi, member, scratchOf(abi, member));
  }
}

/** Where a member's scratch lies in the memory of whom it helps. */
function scratchOf(abi: Abi, member: number): number {
  return (abi.heapBase() >>> 0) + member * lines(scratchBytes(abi));
}

installErrorTransfer();
expose(new Service(), platform().parent());
