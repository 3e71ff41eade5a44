// The core's tests and the jobs in an isolated page of headless Chromium. Run by a Node that strips types.

import { copyFileSync, writeFileSync } from 'node:fs';
import { openChromium } from '../browser/chromium.ts';
import { serve } from '../browser/server.ts';
import type { Pruned, PrunedLayers } from '../browser/site/job.js';
import { buildSite } from '../browser/sites.ts';
import { visit } from '../browser/visit.ts';
import type { CoreResult } from './core.ts';
import { calibrationImages } from './images.ts';
import { type RuntimeResult, THREADS } from './result.ts';

const FIXTURES = 'test/fixtures';
const BINARY = 'ort-wasm-simd-threaded.wasm';

const folder = await buildSite('plain');
copyFileSync('build/runtimes/page.js', `${folder}/core.js`);
copyFileSync(`${folder}/osscar/${BINARY}`, `${folder}/${BINARY}`);
writeFileSync(`${folder}/core.html`, '<!doctype html><script type="module" src="./core.js"></script>');
const server = await serve({ isolated: true, folders: { '': folder, fixtures: FIXTURES } });
const browser = await openChromium();
try {
  const call = async <T>(page: string, entry: string, argument?: unknown) =>
    (await visit(browser, `${server.url}/${page}`, entry, argument)).result as T;
  const core = await call<CoreResult>('core.html', 'runCore');
  const images = calibrationImages(FIXTURES);
  const job = { images, simd: 'baseline', engine: { threads: 1 } };
  const model = await call<Pruned>('index.html', 'runInPage', { kind: 'model', job });
  const layers: PrunedLayers[] = [];
  for (const threads of THREADS) {
    const job = { threads, simd: 'baseline' };
    layers.push(await call('index.html', 'runInPage', { kind: 'layers', job }));
  }
  const version = browser.version();
  console.log(JSON.stringify({ version, core, model, layers } satisfies RuntimeResult));
} finally {
  await browser.close();
  await server.close();
}
