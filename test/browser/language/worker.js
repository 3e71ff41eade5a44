import { pruneFixtureLanguage } from './job.js';
import * as osscar from './osscar/index.js';

globalThis.onmessage = async ({ data }) => {
  try {
    const read = async (path) => new Uint8Array(await (await fetch(`./fixtures/${path}`)).arrayBuffer());
    postMessage(await pruneFixtureLanguage(osscar, read, osscar.opfsScratch, data));
  } catch (error) {
    postMessage({ error: String(error?.stack ?? error) });
  }
};
