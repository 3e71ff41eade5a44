// A whole prune in Chromium gives the bits that it gives in Node.

import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openChromium } from './chromium.ts';
import { type StaticServer, serve } from './server.ts';
import { pruneFixture } from './site/job.js';
import { buildSite, type Site } from './sites.ts';
import { visit } from './visit.ts';

const FIXTURES = join(import.meta.dirname, '../fixtures');

const images = readdirSync(join(FIXTURES, 'calib'))
  .sort()
  .flatMap((folder, label) =>
    readdirSync(join(FIXTURES, 'calib', folder))
      .sort()
      .slice(0, 2)
      .map((file) => ({ name: `calib/${folder}/${file}`, label })),
  );
const job = { images, simd: 'baseline', engine: { threads: 1 } };

let browser: Browser;
let expected: Awaited<ReturnType<typeof pruneFixture>>;

beforeAll(async () => {
  browser = await openChromium();
  const dist = await import('../../dist/index.js' as string);
  expected = await pruneFixture(dist, (name: string) => readFile(join(FIXTURES, name)), job);
});
afterAll(() => browser?.close());

describe.each<[Site]>([['plain'], ['esbuild'], ['vite']])('%s files', (site) => {
  let folder: string;
  beforeAll(async () => {
    folder = await buildSite(site);
  });

  describe.each([
    ['with', true],
    ['without', false],
  ])('%s cross-origin isolation', (_, isolated) => {
    let server: StaticServer;
    beforeAll(async () => {
      server = await serve({ isolated, folders: { '': folder, fixtures: FIXTURES } });
    });
    afterAll(() => server.close());

    test.each([
      ['the page', 'runInPage'],
      ['a module worker', 'runInWorker'],
    ])('gives the channels and the file of Node in %s', async (_, entry) => {
      const { result, complaints } = await visit(browser, `${server.url}/index.html`, entry, job);
      const inWorker = entry === 'runInWorker';
      expect(result).toEqual({ ...expected, inWorker, isolated });
      expect(complaints).toEqual([]);
    });

    // onnxruntime refuses threads without isolation.
    if (!isolated) return;
    test('keeps the same channels with two threads in the engine', async () => {
      const threaded = { ...job, engine: { threads: 2 } };
      const { result, complaints, workers } = await visit(
        browser,
        `${server.url}/index.html`,
        'runInPage',
        threaded,
      );
      expect(workers).toBe(1);
      expect(result).toMatchObject({ kept: expected.kept, isolated });
      expect(complaints).toEqual([]);
    });
  });
});
