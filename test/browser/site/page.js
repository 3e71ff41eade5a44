// What the test calls: the job in this page or in a module worker.

import { run } from './run.js';

globalThis.runInPage = run;
globalThis.runInWorker = (request) =>
  new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./page-worker.js', import.meta.url), { type: 'module' });
    worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data.result));
    worker.onerror = ({ message }) => reject(new Error(`the worker failed to start: ${message}`));
    worker.postMessage(request);
  });
