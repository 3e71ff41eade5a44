// Web workers: browsers.

import type { Endpoint } from 'comlink';
import type { Platform } from './platform.ts';

export const browser: Platform = {
  get concurrency() {
    return globalThis.navigator?.hardwareConcurrency ?? 1;
  },

  spawn(url) {
    const worker = url
      ? new Worker(url, { type: 'module' })
      : // In this form bundlers see the worker and bring its file along.
        new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    return {
      endpoint: worker,
      onLost(callback) {
        worker.addEventListener('error', (event) => {
          event.preventDefault?.();
          callback(event.message || 'the script did not load');
        });
        worker.addEventListener('messageerror', () => callback('a message could not be read'));
      },
      hold() {},
      async terminate() {
        worker.terminate();
      },
    };
  },

  parent: () => globalThis as unknown as Endpoint,
};
