// A guard in Chromium: what strangers' files ask to be run goes on beside the page, and is ended there as it is in Node.

import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTokenizer } from '../../src/pipeline/index.ts';
import { looping } from '../hostile/models.ts';
import { endless, TEXT, whole as tokenizer } from '../hostile/tokenizer.ts';
import { openChromium } from './chromium.ts';
import { type StaticServer, serve } from './server.ts';
import type { GuardJob } from './site/job.js';
import { buildSite } from './sites.ts';
import { visit } from './visit.ts';

const FIXTURES = join(import.meta.dirname, '../fixtures');

let browser: Browser;
let server: StaticServer;
beforeAll(async () => {
  browser = await openChromium();
  server = await serve({ isolated: false, folders: { '': await buildSite('plain'), fixtures: FIXTURES } });
});
afterAll(async () => {
  await server?.close();
  await browser?.close();
});

const guarded = (job: GuardJob) =>
  visit(browser, `${server.url}/index.html`, 'runInPage', { kind: 'guard', job });

test('gives the tokens and the structures that there are without one', async () => {
  const text = 'In the beginning God created the heaven and the earth.';
  const { result, complaints, workers } = await guarded({ seconds: 600, tokenizer, text });
  expect(result).toMatchObject({ tokens: [...openTokenizer(tokenizer)(text)], structures: 7 });
  expect([complaints, workers]).toEqual([[], 1]);
});

test.each([
  ['a regular expression', async () => ({ tokenizer: endless, text: TEXT }), 'splitting the text'],
  ['a loop', async () => ({ model: [...(await looping(2n ** 62n))] }), '(loading|running) the model'],
])('ends %s that never ends', async (_, job, what) => {
  const { result } = await guarded({ seconds: 3, ...(await job()) });
  expect(result).toMatchObject({
    error: {
      code: 'ERR_OSSCAR_TIME_LIMIT',
      message: expect.stringMatching(new RegExp(`${what} took longer than 3 s`)),
      seconds: 3,
    },
  });
});
