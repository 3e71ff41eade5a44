// Kernels on the calling thread, with workers that help with their large operations, as they help one another in a session.

import { wrap } from 'comlink';
import { type Abi, compile, instance, Kernels, openKernels, type Simd } from '../kernel/index.ts';
import { canShareMemory, platform } from '../pool/platform.ts';
import { scratchBytes, Team } from '../pool/team.ts';
import type { Service } from '../pool/worker.ts';

interface CrewOptions {
  readonly threads: number;
  readonly simd: Simd;
  readonly maximumBytes: number;
  readonly workerUrl?: string | URL;
}

/** Kernels, and how many threads make the parts of their operations. */
export interface CrewedKernels {
  readonly kernels: Kernels;
  readonly threads: number;
  close(): Promise<void>;
}

/** On one thread where memory cannot be shared. */
export async function openCrew({
  threads,
  simd,
  maximumBytes,
  workerUrl,
}: CrewOptions): Promise<CrewedKernels> {
  if (threads === 1 || !canShareMemory()) {
    return { kernels: await openKernels({ simd, maximumBytes }), threads: 1, async close() {} };
  }
  const module = await compile(simd, 'shared');
  const memory = sharedMemory();
  const team = Team.create(threads);
  const own = await instance(module, memory, team);
  // Shared memory begins with the scratch of all who may help.
  const base = (own.heapBase() >>> 0) + threads * Math.ceil(scratchBytes(own) / 64) * 64;
  const abi: Abi = { ...own, heapBase: () => base };
  const workers = Array.from({ length: threads - 1 }, () => platform().spawn(workerUrl));
  const end = () => Promise.all(workers.map((worker) => worker.terminate()));
  try {
    const started = workers.map(async (worker, at) => {
      const lost = new Promise<never>((_, reject) => {
        worker.onLost((why) => reject(new Error(`tiles: a worker was lost: ${why}`)));
      });
      lost.catch(() => {});
      const remote = wrap<Service>(worker.endpoint);
      const shared = { memory: sharedMemory(), team: Team.create(threads).buffer };
      await Promise.race([remote.start({ module, simd, threads, maximumBytes, shared }), lost]);
      const helping = remote.assist({ memory, team: team.buffer }, at + 1);
      helping.catch(() => {});
    });
    await Promise.all(started);
    while (team.helpers < threads - 1) await new Promise((resolve) => setTimeout(resolve, 5));
  } catch (error) {
    await end();
    throw error;
  }
  return {
    kernels: new Kernels(abi, simd, maximumBytes),
    threads,
    async close() {
      await end();
    },
  };
}

function sharedMemory(): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
}
