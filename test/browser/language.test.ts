// A language model is pruned in a worker of a page, its activations and what is found in the origin's private file system,
// with the bits that Node gives.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratchFile } from '../../src/disk/scratch.ts';
import { openChromium } from './chromium.ts';
import { pruneFixtureLanguage } from './language/job.js';
import { serve } from './server.ts';
import { visit } from './visit.ts';

const FIXTURES = join(import.meta.dirname, '../fixtures');

test('a language model goes through files in Chromium as in Node', async () => {
  const job = { keep: 0.5 };
  const dist = await import('../../dist/model.js' as string);
  const read = (path: string) => readFile(join(FIXTURES, path));
  const expected = await pruneFixtureLanguage(dist, read, scratchFile, dist.memoryStore(), job);
  expect(expected.kept).toHaveLength(8);
  expect(expected.again).toBe(expected.sha256);
  expect(expected.found.length).toBeGreaterThan(16);
  expect(expected.files).toBeGreaterThan(1);

  const folders = {
    '': join(import.meta.dirname, 'language'),
    fixtures: FIXTURES,
    osscar: join(import.meta.dirname, '../../dist/browser'),
  };
  const server = await serve({ isolated: false, folders });
  const browser = await openChromium();
  try {
    const { result, complaints } = await visit(browser, `${server.url}/index.html`, 'prune', job);
    expect(result).toEqual(expected);
    expect(complaints).toEqual([]);
  } finally {
    await browser.close();
    await server.close();
  }
});
