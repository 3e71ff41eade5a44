// A whole prune in Chromium gives the bits that it gives in Node.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { calibrationImages } from '../runtimes/images.ts';
import { openChromium } from './chromium.ts';
import { type StaticServer, serve } from './server.ts';
import { type Pruned, type PrunedLayers, pruneFixture, pruneLayersBySession } from './site/job.js';
import { buildSite, type Site } from './sites.ts';
import { visit } from './visit.ts';

type Entry = 'runInPage' | 'runInWorker';

const FIXTURES = join(import.meta.dirname, '../fixtures');

const modelJob = { images: calibrationImages(FIXTURES), simd: 'baseline', engine: { threads: 1 } };

let browser: Browser;
let expectedModel: Pruned;
let expectedLayers: PrunedLayers;

beforeAll(async () => {
  browser = await openChromium();
  const dist = await import('../../dist/model.js' as string);
  expectedModel = await pruneFixture(dist, (name: string) => readFile(join(FIXTURES, name)), modelJob);
  expectedLayers = await pruneLayersBySession(dist, { threads: 1, simd: 'baseline' });
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

    const request = (entry: Entry, kind: string, job: object) =>
      visit(browser, `${server.url}/index.html`, entry, { kind, job });

    // Where bundlers put files is nothing to isolation: of bundled files each half is seen once.
    const isPlain = site === 'plain';
    const half = isolated ? 0 : 1;
    const entries: readonly [string, Entry][] = [
      ['the page', 'runInPage'],
      ['a module worker', 'runInWorker'],
    ];
    test.each(isPlain ? entries : [entries[half]])(
      'gives the channels and the file of Node in %s',
      async (_, entry) => {
        const { result, complaints } = await request(entry, 'model', modelJob);
        expect(result).toEqual({ ...expectedModel, inWorker: entry === 'runInWorker', isolated });
        expect(complaints).toEqual([]);
      },
    );

    if (isPlain || !isolated)
      test('prunes in one call', async () => {
        const { result, complaints, workers } = await request('runInPage', 'call', modelJob);
        expect(result.bytes).toBeLessThan(60_000);
        expect(workers).toBeGreaterThan(1); // that of the guard, and those that solve
        expect(complaints).toEqual([]);
      });

    const sessions: readonly [number, Entry][] = [
      [2, 'runInPage'],
      [4, 'runInWorker'],
      [1, 'runInPage'],
    ];
    test.each(isPlain ? sessions : [sessions[half]])(
      'gives the layers of Node with %i threads of a session (%s)',
      async (threads, entry) => {
        const { result, complaints, workers } = await request(entry, 'layers', { threads, simd: 'baseline' });
        const shared = isolated && threads > 1;
        const inWorker = entry === 'runInWorker';
        expect(result).toEqual({ ...expectedLayers, threads, shared, inWorker, isolated });
        if (!inWorker) expect(workers).toBe(threads > 1 ? threads : 0);
        expect(complaints).toEqual([]);
      },
    );

    // onnxruntime refuses threads without isolation.
    if (!isolated) return;
    test('keeps the same channels with two threads in the engine', async () => {
      const threaded = { ...modelJob, engine: { threads: 2 } };
      const { result, complaints, workers } = await request('runInPage', 'model', threaded);
      expect(workers).toBe(1);
      expect(result).toMatchObject({ kept: expectedModel.kept, isolated });
      expect(complaints).toEqual([]);
    });
  });
});

test('a session goes on without workers where the policy refuses them', async () => {
  const server = await serve({
    isolated: true,
    folders: { '': await buildSite('plain'), fixtures: FIXTURES },
    workers: "'none'",
  });
  try {
    const { result, workers } = await visit(browser, `${server.url}/index.html`, 'runInPage', {
      kind: 'layers',
      job: { threads: 4, simd: 'baseline' },
    });
    const { kept, sha256 } = expectedLayers;
    expect(result).toMatchObject({ kept, sha256, threads: 1, reason: expect.stringMatching(/script/) });
    expect(workers).toBe(0);
  } finally {
    await server.close();
  }
});
