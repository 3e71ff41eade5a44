// The page of examples/web, as somebody uses it.

import { readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encode } from 'jpeg-js';
import type { Browser, Page, Request } from 'playwright-core';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  openEngine,
  openModel,
  parsePreprocessing,
  preprocessingMetadata,
  readModel,
  storedPreprocessing,
  writeModel,
} from '../../src/model.ts';
import { encodeAvif, encodeWebp } from '../support/encoders.ts';
import { expectAccessible, expectFits } from './axe.ts';
import { openChromium } from './chromium.ts';
import { type StaticServer, serve } from './server.ts';
import { complaintsOf, strangersOf } from './visit.ts';

const ROOT = join(import.meta.dirname, '../..');
const SITE = join(ROOT, 'build/browser/web');
const FIXTURES = join(ROOT, 'test/fixtures');
const MODEL = join(FIXTURES, 'fashion-mobilenet.onnx');
/** What the page's own policy allows; a server may send the same. */
const POLICY = {
  'style-src': "'self'",
  'img-src': "'self' blob:",
  'manifest-src': "'self'",
  'base-uri': "'none'",
  'form-action': "'none'",
};

let browser: Browser;

beforeAll(async () => {
  browser = await openChromium();
  await build({
    configFile: join(ROOT, 'examples/web/vite.config.ts'),
    logLevel: 'error',
    build: { outDir: SITE },
  });
});
afterAll(() => browser?.close());

interface Visited {
  readonly page: Page;
  readonly complaints: string[];
  readonly strangers: string[];
  /** Until nothing that the page has asked for is on its way: a reload would have it given up, as a failed request. */
  settled(): Promise<void>;
}

/** The page in a fresh profile, while `use` uses it. */
async function visiting(
  use: (visited: Visited, server: StaticServer) => Promise<void>,
  { isolated = true, workers = "'self'" } = {},
): Promise<void> {
  const server = await serve({ isolated, folders: { '': SITE }, policy: POLICY, workers });
  const context = await browser.newContext();
  context.setDefaultTimeout(0);
  try {
    const strangers = strangersOf(context, server.url);
    const page = await context.newPage();
    const complaints = complaintsOf(page);
    const settled = settling(page);
    await page.goto(`${server.url}/index.html`);
    await use({ page, complaints, strangers, settled }, server);
  } finally {
    await context.close();
    await server.close();
  }
}

function settling(page: Page): () => Promise<void> {
  const open = new Set<Request>();
  page.on('request', (request) => open.add(request));
  page.on('requestfinished', (request) => open.delete(request));
  page.on('requestfailed', (request) => open.delete(request));
  return async () => {
    while (open.size > 0)
      await Promise.race([page.waitForEvent('requestfinished'), page.waitForEvent('requestfailed')]);
  };
}

/** The step is open and nothing is at work. An error of the page ends the wait. */
async function opened(page: Page, step: string): Promise<void> {
  await page.waitForSelector(`:is(${step}, #error):not([hidden])`);
  await page.waitForSelector('#progress[hidden]', { state: 'attached' });
  expect(await page.textContent('#error')).toBe('');
}

/** What the page says is wrong, when it does. */
async function errorOf(page: Page): Promise<string> {
  await page.waitForSelector('#error:not([hidden])');
  return (await page.textContent('#error'))!;
}

async function download(page: Page, link: string): Promise<{ name: string; bytes: Uint8Array }> {
  const waiting = page.waitForEvent('download');
  await page.click(link);
  const file = await waiting;
  return { name: file.suggestedFilename(), bytes: await readFile(await file.path()) };
}

describe.each([
  ['with', true],
  ['without', false],
])('%s cross-origin isolation', (_, isolated) => {
  test('the sample goes from the model to a smaller one', async () => {
    await visiting(
      async ({ page, complaints, strangers }) => {
        await expectAccessible(page, 'at first');
        await page.click('#sample');
        await opened(page, '#images-step');
        expect(await page.textContent('#facts')).toMatch(
          /36,160 parameters.* 6 structures can be pruned, 1 cannot/,
        );

        await page.fill('#most', '40');
        await page.click('#analyse');
        await opened(page, '#size-step');
        expect(await page.textContent('#chosen')).toMatch(/^Calibrates with 40 images, .* on 472 others\.$/);
        expect(await page.textContent('#doubts')).toMatch(/^40 calibration samples are few/);
        await page.focus('#budget');
        for (let i = 0; i < 5; i++) await page.keyboard.press('ArrowRight');
        const chosen = (await page.textContent('#budget-text'))!;
        expect(await page.getAttribute('#budget', 'aria-valuetext')).toBe(chosen);
        expect(await page.locator('#structures tbody tr').count()).toBe(6);
        await expectAccessible(page, 'with a size to choose');

        await page.click('#prune');
        await page.waitForSelector('#layers li');
        await opened(page, '#result-step');
        await expectAccessible(page, 'with the result');
        await expectFits(page, 'with the result');
        const { name, bytes } = await download(page, '#download');
        expect(name).toBe('fashion-mobilenet-smaller.onnx');
        const model = await openModel(bytes, { engine: await openEngine({ threads: 1 }) });
        expect(storedPreprocessing(model.source)).toMatchObject({ mean: [0.286], std: [0.353] });
        const [, part] = /^([\d.]+) % of the multiply-adds/.exec(chosen)!;
        expect((100 * model.macs) / 3_290_944).toBeLessThanOrEqual(Number(part) + 0.05);
        expect(await page.textContent('#summary')).toContain(`${bytes.length.toLocaleString('en')} bytes`);
        expect(await page.textContent('#agreement')).toMatch(/^The two agree on \d+ of 24 images\.$/);
        expect(await page.locator('#comparison img').count()).toBe(24);
        expect(await page.locator('#report h3').allTextContents()).toContain('Error curves');
        const report = await download(page, '#download-report');
        expect(new TextDecoder().decode(report.bytes)).toContain('<h1>fashion-mobilenet.onnx, pruned</h1>');
        expect(await page.evaluate(() => crossOriginIsolated)).toBe(isolated);
        expect({ complaints, strangers }).toEqual({ complaints: [], strangers: [] });
      },
      { isolated },
    );
  });
});

test('a model and a folder of one’s own, compared on other images', async () => {
  await visiting(async ({ page, complaints, strangers }) => {
    await page.click('summary');
    await page.fill('[name=mean]', '0.2860');
    await page.fill('[name=std]', '0.3530');
    await page.selectOption('[name=color]', 'gray');
    await page.setInputFiles('#model', MODEL);
    await opened(page, '#images-step');
    await page.setInputFiles('#folder', join(FIXTURES, 'calib'));
    await page.fill('#most', '30');
    await page.click('#analyse');
    await opened(page, '#size-step');
    await page.click('#prune');
    await opened(page, '#result-step');
    const image = join(FIXTURES, 'test/1-trouser/0002.png');
    const photo = join(ROOT, 'build/browser/photo.jpg');
    const data = new Uint8Array(28 * 28 * 4).fill(128);
    writeFileSync(photo, encode({ width: 28, height: 28, data }).data);
    const compressed = ['build/browser/photo.webp', 'build/browser/photo.AVIF'].map((name) =>
      join(ROOT, name),
    );
    const picture = { width: 28, height: 28, data };
    writeFileSync(compressed[0], await encodeWebp(picture));
    writeFileSync(compressed[1], await encodeAvif(picture));
    await page.setInputFiles('#others', [image, photo, ...compressed]);
    await page.waitForFunction(() => document.querySelectorAll('#comparison img').length === 4);
    expect(await page.textContent('#comparison li')).toMatch(/^dense: 1-trouser, [\d.]+ %pruned: 1-trouser/);
    expect({ complaints, strangers }).toEqual({ complaints: [], strangers: [] });
  });
});

test('how inputs are made is read from the model, or from the file beside it', async () => {
  await visiting(async ({ page, complaints }) => {
    const folder = join(ROOT, 'build/browser');
    const [config, named] = [join(folder, 'preprocessor_config.json'), join(folder, 'named.onnx')];
    writeFileSync(config, JSON.stringify({ image_mean: [0.25], image_std: [0.75], rescale_factor: 0.5 }));
    const values = () =>
      Promise.all(['mean', 'std', 'scale'].map((name) => page.inputValue(`[name=${name}]`)));
    await page.setInputFiles('#model', [config, MODEL]);
    await opened(page, '#images-step');
    expect(await values()).toEqual(['0.25', '0.75', '2']);
    const source = await readModel(readFileSync(MODEL));
    const said = parsePreprocessing({ mean: 0.5, std: 0.125, scale: 1 });
    for (const [key, value] of Object.entries(preprocessingMetadata(said))) source.setMetadata(key, value);
    writeFileSync(named, writeModel(source).model);
    await page.setInputFiles('#model', [config, named]);
    await opened(page, '#images-step');
    expect(await values()).toEqual(['0.5', '0.125', '1']);
    expect(complaints).toEqual([]);
  });
});

test('the page opens and works without a network, and can be installed', async () => {
  await visiting(async ({ page, complaints, settled }, server) => {
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => {}));
    const session = await page.context().newCDPSession(page);
    const { installabilityErrors } = await session.send('Page.getInstallabilityErrors');
    expect(installabilityErrors.filter(({ errorId }) => errorId !== 'in-incognito')).toEqual([]);
    await settled();
    await server.close();
    await page.reload();
    await page.click('#sample');
    await opened(page, '#images-step');
    expect(await page.textContent('#facts')).toContain('36,160 parameters');
    expect(complaints).toEqual([]);
  });
});

describe('what goes wrong is said in the page', () => {
  test('a file that is no model', async () => {
    await visiting(async ({ page, complaints }) => {
      const broken = join(ROOT, 'build/browser/broken.onnx');
      writeFileSync(broken, readFileSync(MODEL).subarray(0, 5000));
      await page.setInputFiles('#model', broken);
      expect(await errorOf(page)).toMatch(/^broken\.onnx: /);
      expect(await page.evaluate(() => document.activeElement?.id)).toBe('error');
      await expectAccessible(page, 'with an error');
      await page.setInputFiles('#model', MODEL);
      await opened(page, '#images-step').catch(() => {});
      expect(await page.isHidden('#error')).toBe(true);
      expect(complaints).toEqual([]);
    });
  });

  test('files of other kinds, and a number that none can be drawn by', async () => {
    await visiting(async ({ page, complaints }) => {
      await page.setInputFiles('#model', [MODEL, join(FIXTURES, 'fashion-resnet.onnx')]);
      expect(await errorOf(page)).toBe('One model at a time: fashion-mobilenet.onnx or fashion-resnet.onnx.');
      await page.setInputFiles('#model', MODEL);
      await opened(page, '#images-step').catch(() => {});
      await page.setInputFiles('#images', MODEL);
      await page.click('#analyse');
      expect(await errorOf(page)).toMatch(/^No image is among the files chosen/);
      await page.setInputFiles('#folder', join(FIXTURES, 'calib'));
      for (const most of ['', '2', '8.5']) {
        await page.fill('#most', most);
        await page.click('#analyse');
        expect(await page.isHidden('#progress'), most).toBe(true);
      }
      expect(await page.evaluate(() => document.activeElement?.id)).toBe('most');
      expect(complaints).toEqual([]);
    });
  });

  test('preprocessing that the model was not trained with', async () => {
    await visiting(async ({ page }) => {
      await page.setInputFiles('#model', MODEL);
      await opened(page, '#images-step');
      await page.setInputFiles('#folder', join(FIXTURES, 'calib'));
      await page.fill('#most', '30');
      await page.click('summary');
      await page.fill('[name=mean]', '120');
      await page.press('[name=mean]', 'Tab');
      await page.click('#analyse');
      await opened(page, '#size-step');
      expect(await page.textContent('#doubts')).toMatch(/chance is 0\.100: are mean/);
    });
  });

  test('a run that is cancelled', async () => {
    await visiting(async ({ page }) => {
      await page.click('#sample');
      await opened(page, '#images-step');
      await page.click('#analyse');
      await page.click('#cancel');
      expect(await errorOf(page)).toBe('Cancelled.');
      expect(await page.isHidden('#size-step')).toBe(true);
      expect(await page.isEnabled('#analyse')).toBe(true);
    });
  });

  test('a policy that refuses workers', async () => {
    await visiting(
      async ({ page }) => {
        expect(await errorOf(page)).toMatch(/worker/);
      },
      { workers: "'none'" },
    );
  });
});
