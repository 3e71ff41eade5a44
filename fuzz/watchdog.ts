// Beside a process of the fuzzer, on a thread of its own: ends the process once an input has taken too much of the
// processor, whatever the input makes it do. A machine that is busy with other things ends nothing.

import { workerData } from 'node:worker_threads';

/** Ends a process that does not catch it, and says why. */
const SIGNAL = 'SIGXCPU';

export interface Watched {
  /** Of the processor in ms, when the input was begun; infinite between inputs. */
  readonly begun: Float64Array<SharedArrayBuffer>;
  /** In ms, for one input. */
  readonly limit: number;
}

/** Of the processor, by all threads of this process, in ms. */
export function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const { begun, limit } = (workerData ?? {}) as Partial<Watched>;
if (begun && limit !== undefined) {
  setInterval(() => {
    if (processorTime() - begun[0] > limit) process.kill(process.pid, SIGNAL);
  }, 100);
}
