// The pictures of README.md, docs/pictures: the trade-off of a network of test/fixtures with other methods beside it, and
// the page of examples/web. `node scripts/pictures.mjs` makes both, with the name behind it one of them. What the runs
// find is kept in build/pictures: stopped, or drawn again, they continue there.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { decode, encode } from 'fast-png';
import { build, preview } from 'vite';
import { prune } from '../dist/node.js';
import { bundle } from './bundle.mjs';

const FOLDER = 'docs/pictures';
const LARGEST_BYTES = 60_000;

const pictures = { tradeoff: drawTradeoff, page: showPage };
const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(pictures);
mkdirSync(FOLDER, { recursive: true });
await bundle(['test/browser/chromium.ts'], 'build/pictures');
const { openChromium } = await import(pathToFileURL(resolve('build/pictures/chromium.mjs')).href);
const browser = await openChromium();
for (const name of names) {
  const path = `${FOLDER}/${name}.png`;
  // Chromium's own are of quick compression.
  const { data, width, height, channels } = decode(await pictures[name]());
  const smaller = encode({ data, width, height, channels }, { zlib: { level: 9 } });
  console.log(`${path}: ${smaller.length} bytes`);
  if (smaller.length > LARGEST_BYTES) throw new Error(`${path}: more than ${LARGEST_BYTES} bytes`);
  writeFileSync(path, smaller);
}
await browser.close();

/** Accuracy of one network at several sizes: uniform ones by each method, and as osscar divides the same multiply-adds. */
async function drawTradeoff() {
  const model = 'test/fixtures/fashion-mobilenet.onnx';
  const settings = {
    ...{ calibration: 'test/fixtures/calib', samples: 128, evaluation: 'test/fixtures/test' },
    ...{ mean: 0.286, std: 0.353, work: 'build/pictures/work', simd: 'baseline' },
  };
  const rows = [];
  for (const keep of [0.25, 0.3, 0.4, 0.5, 0.65, 0.8]) {
    const { report } = await prune(model, { ...settings, keep, compare: ['ziplm', 'magnitude'] });
    const macs = report.macs.after / report.macs.before;
    const { report: allocated } = await prune(model, { ...settings, macs });
    const others = report.comparison.map(({ metric }) => metric.after);
    rows.push([100 * macs, allocated.metric.after, report.metric.after, ...others, report.metric.before]);
    console.log(keep, rows.at(-1));
  }
  const names = [
    'osscar, within a budget',
    'osscar, uniform',
    'ZipLM, uniform',
    'magnitude, uniform',
    'dense',
  ];
  const columns = rows[0].map((_, column) => rows.map((row) => row[column]));
  const page = await browser.newPage({ viewport: { width: 720, height: 420 }, deviceScaleFactor: 1.5 });
  await page.setContent('<body style="margin: 0; padding: 8px; background: white; font-family: sans-serif">');
  await page.addStyleTag({ content: readFileSync('node_modules/uplot/dist/uPlot.min.css', 'utf8') });
  await page.addScriptTag({ path: 'node_modules/uplot/dist/uPlot.iife.min.js' });
  await page.evaluate(chart, { names, columns });
  const picture = await page.screenshot();
  await page.close();
  return picture;
}

/** In the browser. */
function chart({ names, columns }) {
  const axis = (label) => ({
    label,
    font: '14px sans-serif',
    labelFont: '14px sans-serif',
    size: 46,
    labelSize: 24,
  });
  // Told apart without colour too.
  const looks = [
    { stroke: '#0b5fc0', width: 3 },
    { stroke: '#12857a', dash: [8, 5] },
    { stroke: '#b3540b' },
    { stroke: '#7a7a7a' },
    { stroke: '#333', dash: [2, 4], points: { show: false } },
  ];
  const lines = names.map((label, i) => ({
    ...{ label, width: 2, points: { show: true, size: 7, fill: looks[i].stroke } },
    ...looks[i],
  }));
  const options = {
    ...{ width: 704, height: 350, cursor: { show: false }, legend: { live: false } },
    scales: { x: { time: false, range: [0, 70] }, y: { range: [0, 1] } },
    axes: [axis('% of the multiply-adds'), axis('accuracy on 1000 images')],
    series: [{}, ...lines],
  };
  new window.uPlot(options, columns, document.body);
}

/** The page with the sample's trade-off, where a size is chosen. */
async function showPage() {
  const config = 'examples/web/vite.config.ts';
  await build({ configFile: config, logLevel: 'error', build: { outDir: resolve('build/pictures/web') } });
  const server = await preview({
    ...{ configFile: config, logLevel: 'error', build: { outDir: resolve('build/pictures/web') } },
    preview: { port: 0 },
  });
  const page = await browser.newPage({ viewport: { width: 660, height: 900 } });
  page.setDefaultTimeout(0);
  await page.goto(server.resolvedUrls.local[0]);
  await page.click('#sample');
  await page.waitForSelector('#images-step:not([hidden])');
  await page.waitForSelector('#progress[hidden]', { state: 'attached' });
  await page.click('#analyse');
  await page.waitForSelector('#size-step:not([hidden])');
  await page.waitForSelector('#progress[hidden]', { state: 'attached' });
  const picture = await page.locator('#size-step').screenshot();
  await page.close();
  await server.close();
  return picture;
}
