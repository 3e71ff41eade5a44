// The core's tests and the jobs in a runtime that knows Node's modules: Node itself, Deno, Bun.

import { readFile } from 'node:fs/promises';
import { pruneFixture, pruneLayersBySession } from '../browser/site/job.js';
import { runCore } from './core.ts';
import { calibrationImages } from './images.ts';
import { type RuntimeResult, THREADS } from './result.ts';

const FIXTURES = 'test/fixtures';

const core = await runCore(process.argv.includes('--count'));
const osscar = await import(new URL('../../dist/model.js', import.meta.url).href);
const images = calibrationImages(FIXTURES);
const read = async (name: string) => new Uint8Array(await readFile(`${FIXTURES}/${name}`));
const model = await pruneFixture(osscar, read, { images, simd: 'baseline', engine: { threads: 1 } });
const layers = [];
for (const threads of THREADS) layers.push(await pruneLayersBySession(osscar, { threads, simd: 'baseline' }));
const { deno, bun, node } = process.versions;
const version = deno ?? bun ?? node;
console.log(JSON.stringify({ version, core, model, layers } satisfies RuntimeResult));
