import { pruneFixtureLanguage } from './job.js';
import * as osscar from './osscar/model.js';

globalThis.onmessage = async ({ data }) => {
  try {
    const read = async (path) => new Uint8Array(await (await fetch(`./fixtures/${path}`)).arrayBuffer());
    const store = await osscar.opfsStore('run');
    postMessage(await pruneFixtureLanguage(osscar, read, osscar.opfsScratch, store, data));
  } catch (error) {
    postMessage({ error: String(error?.stack ?? error) });
  }
};
