// The README's page, copied from there, prunes a model in Chromium.

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { imageDataset, openEngine, openModel, parsePreprocessing } from '../../src/model.ts';
import { calibrationImages } from '../runtimes/images.ts';
import { openChromium } from './chromium.ts';
import { type StaticServer, serve } from './server.ts';

const ROOT = join(import.meta.dirname, '../..');
const FIXTURES = join(ROOT, 'test/fixtures');
const MODEL = join(FIXTURES, 'fashion-mobilenet.onnx');
const EXAMPLE = readFileSync(join(ROOT, 'examples/browser/index.html'), 'utf8');

const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
const inReadme = /```html\n([^`]*?osscar\/index\.js.*?)```/s.exec(readme)?.[1];
const html = inReadme ?? EXAMPLE;

const images = calibrationImages(FIXTURES).map(({ name }) => join(FIXTURES, name));

let browser: Browser;
let server: StaticServer;

beforeAll(async () => {
  browser = await openChromium();
  const folder = join(ROOT, 'build/browser/example');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'index.html'), html);
  const script = /<script type="module">(.*?)<\/script>/s.exec(html)![1];
  const hash = createHash('sha256').update(script).digest('base64');
  server = await serve({
    isolated: false,
    folders: { '': folder, osscar: join(ROOT, 'dist/browser') },
    scripts: [`'sha256-${hash}'`],
  });
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

test('the page has 20 lines and is the one of the examples', () => {
  expect(html.trimEnd().split('\n').length).toBeLessThanOrEqual(20);
  expect(html).toBe(EXAMPLE);
});

test('the page offers the model that Node prunes', async () => {
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.goto(`${server.url}/index.html`);
  await page.setInputFiles('#file', MODEL);
  await page.setInputFiles('#images', images);
  await page.click('#prune');
  await page.waitForSelector('#link[href]');
  const waiting = page.waitForEvent('download');
  await page.click('#link');
  const download = await waiting;
  expect(errors).toEqual([]);
  // The policy was in force. What the debugger calls is exempt, until it waits.
  const evaluating = page.evaluate(async () => {
    await new Promise((resolve) => setTimeout(resolve));
    return new Function('return 1')();
  });
  await expect(evaluating).rejects.toThrow(/unsafe-eval/);
  expect(download.suggestedFilename()).toBe('smaller.onnx');

  const engine = await openEngine({ threads: 1 });
  const model = await openModel(await readFile(MODEL), { engine });
  const entries = images.map((path) => ({ name: path, read: () => readFile(path) }));
  const preprocessing = parsePreprocessing({ mean: [0.286], std: [0.353] });
  const calibration = imageDataset(entries, preprocessing, model.input.shape);
  const { prune } = await import('../../dist/node.js' as string);
  const picked = images.map((path) => [basename(path), readFileSync(path)]);
  const { files } = await prune(MODEL, { calibration: picked, mean: 0.286, std: 0.353, keep: 0.5 });
  const expectedBytes = new Uint8Array(await files.get(basename(MODEL)).arrayBuffer());

  const bytes = await readFile(await download.path());
  expect(bytes.byteLength).toBeLessThan(readFileSync(MODEL).byteLength);
  expect(bytes.byteLength).toBe(expectedBytes.byteLength);
  // The fast binary may round differently in another engine: other channels would answer quite differently.
  const outputs: Float32Array[] = [];
  for (const file of [bytes, expectedBytes]) {
    const session = await engine.load(file);
    for await (const { inputs, count } of calibration.batches(images.length)) {
      const feed = { dims: [count, ...calibration.shape], data: inputs };
      const { [session.outputs[0].name]: output } = await session.run({ [session.inputs[0].name]: feed });
      outputs.push(output.data);
    }
    await session.release();
  }
  const [actual, expected] = outputs;
  const range = Math.max(...expected) - Math.min(...expected);
  expect(range).toBeGreaterThan(0);
  const differences = Array.from(expected, (value, i) => Math.abs(value - actual[i]) / range);
  expect(Math.max(...differences)).toBeLessThan(1e-3);
});
