// dist/worker.js whose threads stop at a kernel that the test names, until it lets them go on: how far a job has come is
// then no matter of time.

import { getEnvironmentData, threadId } from 'node:worker_threads';
import '../../dist/worker.js';

const { KERNELS, EVERY, STOPPED, WAITING, stops, states } = getEnvironmentData('stops');

const { instantiate } = WebAssembly;
WebAssembly.instantiate = async (...args) => {
  const exports = { ...(await instantiate(...args)).exports };
  KERNELS.forEach((name, i) => {
    const kernel = exports[name];
    exports[name] = (...args) => {
      stopAt(1 + i);
      return kernel(...args);
    };
  });
  return { exports };
};

// A thread that helps waits where it finds nothing to do.
const { wait } = Atomics;
Atomics.wait = (...args) => {
  Atomics.store(states, threadId, WAITING);
  return wait(...args);
};

function stopAt(kernel) {
  const at = [threadId, EVERY].find((at) => Atomics.load(stops, at) === kernel);
  if (at === undefined) return;
  Atomics.store(states, threadId, STOPPED);
  wait(stops, at, kernel);
  Atomics.store(states, threadId, 0);
}
