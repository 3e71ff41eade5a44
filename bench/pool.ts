// What threads gain: `npm run bench -- pool [threads] [--chromium]`, 2 threads unless said otherwise; with --chromium
// in a cross-origin isolated page. Run it on a quiet machine.

import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { build } from 'esbuild';
import type * as Layer from '../src/layer.ts';
import { openChromium } from '../test/browser/chromium.ts';
import { serve } from '../test/browser/server.ts';
import { measureThreads, ROUNDS, type ThreadsRow } from './support/threads.ts';

const args = process.argv.slice(2);
const threads = Number(args.find((arg) => /^\d+$/.test(arg)) ?? 2);
const isChromium = args.includes('--chromium');
const print = ({ name, one, several }: ThreadsRow) => {
  const columns = [name.padEnd(42), one.toFixed(0).padStart(7), several.toFixed(0).padStart(7)];
  console.log(`${columns.join(' ')}   ${(one / several).toFixed(2)}× with ${threads} threads`);
};

const runtime = isChromium ? 'Chromium' : `Node ${process.version}`;
console.log(`${cpus()[0].model}, ${runtime}; medians of ${ROUNDS} in ms\n`);
if (isChromium) {
  for (const row of await inChromium()) print(row);
} else {
  const { openSession }: typeof Layer = await import(new URL('../../dist/layer.js', import.meta.url).href);
  await measureThreads(openSession, threads, print);
}

async function inChromium(): Promise<ThreadsRow[]> {
  const site = 'build/bench/site';
  await mkdir(site, { recursive: true });
  await build({
    entryPoints: ['bench/support/threads-page.ts'],
    outfile: `${site}/page.js`,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    loader: { '.wasm': 'binary' },
    logLevel: 'warning',
  });
  await writeFile(`${site}/index.html`, '<!doctype html><script type="module" src="page.js"></script>');
  const server = await serve({ isolated: true, folders: { '': site, osscar: 'dist/browser' } });
  const browser = await openChromium();
  try {
    const page = await browser.newPage();
    await page.goto(`${server.url}/index.html`);
    await page.waitForFunction('globalThis.measure');
    return await page.evaluate(`measure(${threads})`);
  } finally {
    await browser.close();
    await server.close();
  }
}
