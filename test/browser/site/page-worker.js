import { run } from './run.js';

self.onmessage = async ({ data: request }) => {
  try {
    self.postMessage({ result: await run(request) });
  } catch (error) {
    self.postMessage({ error: String(error.stack) });
  }
};
