import { run } from './run.js';

self.onmessage = async ({ data: job }) => {
  try {
    self.postMessage({ result: await run(job) });
  } catch (error) {
    self.postMessage({ error: String(error.stack) });
  }
};
