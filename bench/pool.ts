// What threads gain, in Node and with --chromium also in a page, isolated from other origins and not; 2 threads unless said otherwise:
//   npm run bench -- pool [threads] [--chromium] [--quick] [--json]

import { mkdir, writeFile } from 'node:fs/promises';
import type * as Layer from '../src/layer.ts';
import { bench, round } from './support/bench.ts';
import { crosstab } from './support/table.ts';
import { LAYERS, measureThreads, QUICK, SIZES, type Sizes, type ThreadsRow } from './support/threads.ts';

await bench('pool', async ({ quick, emit }) => {
  const threads = Number(process.argv.find((arg) => /^\d+$/.test(arg)) ?? 2);
  const sizes = quick ? QUICK : SIZES;
  const { openSession }: typeof Layer = await import(new URL('../../dist/layer.js', import.meta.url).href);
  const measured = { Node: await measureThreads(openSession, threads, sizes) };
  if (process.argv.includes('--chromium')) {
    Object.assign(measured, {
      Chromium: await inChromium(threads, sizes, true),
      'Chromium, not isolated': await inChromium(threads, sizes, false),
    });
  }
  const rows = Object.entries(measured).flatMap(([runtime, list]) =>
    list.map((row) => ({ runtime, threads, ...row, faster: row.oneMs / row.severalMs })),
  );
  const { n, p, inputs } = sizes;
  emit({
    name: 'threads',
    title: `ms on one thread, on ${threads} (times as fast), medians; Gram of ${n} × ${p}, inverse of order ${p}, a layer of ${p} inputs by the default search, ${LAYERS} layers of ${inputs} by elimination, all to half`,
    rows,
    grid: crosstab(
      rows,
      ['what'],
      ({ runtime, simd }) => `${runtime}, ${simd}`,
      ({ oneMs, severalMs, faster }) => `${round(oneMs)}, ${round(severalMs)} (${faster.toFixed(2)})`,
    ),
  });
});

/** What drives the browser is loaded here: its heap would make every garbage collection of the measurement in Node longer. */
async function inChromium(threads: number, sizes: Sizes, isolated: boolean): Promise<ThreadsRow[]> {
  const { build } = await import('esbuild');
  const { openChromium } = await import('../test/browser/chromium.ts');
  const { serve } = await import('../test/browser/server.ts');
  const site = 'build/bench/site';
  await mkdir(site, { recursive: true });
  await build({
    entryPoints: ['bench/support/threads-page.ts'],
    outfile: `${site}/page.js`,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    loader: { '.deflate': 'binary' },
    logLevel: 'warning',
  });
  await writeFile(`${site}/index.html`, '<!doctype html><script type="module" src="page.js"></script>');
  const server = await serve({ isolated, folders: { '': site, osscar: 'dist/browser' } });
  const browser = await openChromium();
  try {
    const page = await browser.newPage();
    await page.goto(`${server.url}/index.html`);
    await page.waitForFunction('globalThis.measure');
    return await page.evaluate(`measure(${threads}, ${JSON.stringify(sizes)})`);
  } finally {
    await browser.close();
    await server.close();
  }
}
