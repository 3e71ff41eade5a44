// A report's page, opened from disk as somebody opens it.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SavedReport } from '../../src/pipeline/index.ts';
import { expectAccessible, expectFits } from './axe.ts';
import { openChromium } from './chromium.ts';
import { complaintsOf, strangersOf } from './visit.ts';

const ROOT = join(import.meta.dirname, '../..');
const FIXTURES = join(ROOT, 'test/fixtures');
const FILE = join(ROOT, 'build/browser/report.html');

let browser: Browser;
let report: SavedReport;

beforeAll(async () => {
  browser = await openChromium();
  const { prune } = await import('../../dist/node.js' as string);
  const { reportHtml } = await import('../../dist/report.js' as string);
  ({ report } = await prune(join(FIXTURES, 'fashion-mobilenet.onnx'), {
    ...{ calibration: join(FIXTURES, 'calib'), samples: 40, mean: 0.286, std: 0.353 },
    ...{ macs: 0.4, effort: 'low', target: 'self', compare: ['magnitude', 'magnitude-refit'], threads: 1 },
  }));
  mkdirSync(join(ROOT, 'build/browser'), { recursive: true });
  writeFileSync(FILE, await reportHtml(report));
});
afterAll(() => browser?.close());

async function reading(
  use: (page: Page) => Promise<void>,
  options: BrowserContextOptions = {},
  file = FILE,
): Promise<void> {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(0);
  try {
    const { href } = pathToFileURL(file);
    const strangers = strangersOf(context, href);
    const page = await context.newPage();
    const complaints = complaintsOf(page);
    await page.goto(href);
    await use(page);
    expect({ complaints, strangers }).toEqual({ complaints: [], strangers: [] });
  } finally {
    await context.close();
  }
}

test('the page can be read by keyboard and screen reader, in both themes and on a phone', async () => {
  await reading(async (page) => {
    await expectAccessible(page, 'the report');
    for (const summary of await page.locator('summary').all()) await summary.press('Enter');
    expect(await page.locator('details[open]').count()).toBe(2);
    await expectAccessible(page, 'the report with its numbers');
    await expectFits(page, 'the report');
  });
});

test('the curves are those of the report, and the keyboard goes from one to the next', async () => {
  await reading(async (page) => {
    const [curve, tradeoff] = [page.locator('[data-chart=curves]'), page.locator('[data-chart=tradeoff]')];
    expect(await page.locator('canvas[role=img]').count()).toBe(2);
    const { points } = report.tradeoff!;
    expect(await tradeoff.locator('.numbers tbody tr').count()).toBe(points.length);
    expect(await tradeoff.locator('.numbers tbody tr', { hasText: 'chosen' }).count()).toBe(1);
    for (const [i, { groups, kept, name }] of report.layers.entries()) {
      if (i > 0) await curve.locator('select').press('ArrowDown');
      expect(await curve.locator('select').inputValue()).toBe(name);
      expect(await curve.locator('.numbers tbody tr').count()).toBe(groups + 1);
      const chosen = curve.locator('.numbers tbody tr', { hasText: 'chosen' });
      expect(await chosen.locator('th').textContent()).toBe(String(kept.length));
    }
  });
});

test('of a run that has pruned nothing there are no structures and no curves', async () => {
  const { reportHtml } = await import('../../dist/report.js' as string);
  const file = join(ROOT, 'build/browser/rounded.html');
  writeFileSync(file, await reportHtml({ ...report, layers: [] }));
  await reading(
    async (page) => {
      const headings = await page.getByRole('heading', { level: 2 }).allTextContents();
      expect(headings).toContain('Time');
      expect(headings).not.toContain('Structures');
      expect(await page.locator('canvas[role=img]').count()).toBe(1);
    },
    {},
    file,
  );
});

test('methods are compared', async () => {
  await reading(async (page) => {
    const section = page.locator('section', { has: page.getByRole('heading', { name: 'Other methods' }) });
    expect(await section.locator('tbody th').allTextContents()).toEqual([
      'osscar',
      'magnitude',
      'magnitude-refit',
    ]);
  });
});

test('paper shows the curves, dark themes too, and nothing to be clicked', async () => {
  await reading(
    async (page) => {
      await page.emulateMedia({ media: 'print', colorScheme: 'light' });
      expect(await page.locator('summary').first().isVisible()).toBe(false);
      const canvas = page.locator('canvas').first();
      expect(await canvas.isVisible()).toBe(true);
      const filter = await canvas.evaluate((it) => getComputedStyle(it).filter);
      expect(filter).toMatch(/^(none|invert\(1\).*)$/);
      expect((await page.pdf()).subarray(0, 5).toString()).toBe('%PDF-');
    },
    { colorScheme: 'dark' },
  );
});

test('without scripts all but the curves is there', async () => {
  await reading(
    async (page) => {
      const headings = await page.getByRole('heading', { level: 2 }).allTextContents();
      expect(headings).toEqual(
        expect.arrayContaining(['Before and after', 'Structures', 'Time', 'Settings']),
      );
      expect(await page.locator('canvas').count()).toBe(0);
    },
    { javaScriptEnabled: false },
  );
});
