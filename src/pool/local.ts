// A session of one thread: everything on the thread that asks.

import { InputError } from '../errors.ts';
import type { Kernels } from '../kernel/index.ts';
import { Accumulators } from './accumulators.ts';
import type { Executor, Member } from './executor.ts';
import { perform } from './operations.ts';

export function localExecutor(kernels: Kernels): Executor {
  const accumulators = new Accumulators(kernels);
  let closed = false;
  /** Lets everything else have its turn first: a signal, a timer, the page. */
  const turn = async (signal?: AbortSignal) => {
    signal?.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 0));
    signal?.throwIfAborted();
    if (closed) throw new InputError('session: closed');
  };
  const member: Member = {
    async accumulate(method, args) {
      if (closed) throw new InputError('session: closed');
      const call = accumulators[method] as (...values: unknown[]) => ReturnType<Accumulators[typeof method]>;
      return call.apply(accumulators, args);
    },
  };
  return {
    threads: 1,
    shared: false,
    members() {
      if (closed) throw new InputError('session: closed');
      return [member];
    },
    lend: (array) => () => array,
    async run(name, args, { signal }) {
      await turn(signal);
      return perform(kernels, name, args);
    },
    async close() {
      closed = true;
    },
  };
}
