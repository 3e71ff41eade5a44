// Whole models pruned on the threads of a session: the same bytes for any number of them.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type * as Library from '../../src/model.ts';
import { DIST, workers } from './built.ts';

const library: typeof Library = await import(new URL('model.js', DIST).href);
const FIXTURES = join(import.meta.dirname, '../fixtures');

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const engine = await library.openEngine({ threads: 1 });

async function onThreads<R>(threads: number, run: (session: Library.Session) => Promise<R>): Promise<R> {
  const before = workers.length;
  const session = await library.openSession({ threads, simd: 'baseline' });
  try {
    const result = await run(session);
    expect(workers.length - before).toBe(threads === 1 ? 0 : threads);
    return result;
  } finally {
    await session.close();
  }
}

test('an ONNX model', async () => {
  const model = await library.openModel(readFileSync(join(FIXTURES, 'fashion-resnet.onnx')), { engine });
  const folder = join(FIXTURES, 'calib');
  const images = readdirSync(folder).flatMap((label) =>
    readdirSync(join(folder, label))
      .slice(0, 2)
      .map((name) => ({ name, read: async () => readFileSync(join(folder, label, name)) })),
  );
  const preprocessing = library.parsePreprocessing({ mean: [0.286], std: [0.353] });
  const calibration = library.imageDataset(images, preprocessing, model.input.shape);
  const prune = (session: Library.Session) =>
    library.prune(model, { engine, session, calibration, keep: 0.5, target: 'residual' });
  const results: Library.PruneResult[] = [];
  for (const threads of [1, 2, 4]) results.push(await onThreads(threads, prune));
  const [one, ...others] = results;
  for (const { written, report } of others) {
    expect(report.layers.map(({ kept }) => kept)).toEqual(one.report.layers.map(({ kept }) => kept));
    expect(sha256(written!.model)).toBe(sha256(one.written!.model));
  }
});

test('a language model', async () => {
  const files = readdirSync(join(FIXTURES, 'opt-kjv')).map(
    (name) => [name, readFileSync(join(FIXTURES, 'opt-kjv', name))] as const,
  );
  const language = await library.openLanguageModel(library.blobFolder(files));
  const encode = library.openTokenizer(
    JSON.parse(readFileSync(join(FIXTURES, 'opt-kjv/tokenizer.json'), 'utf8')),
  );
  const text = readFileSync(join(FIXTURES, 'text/kjv-train.txt'), 'utf8').slice(0, 20_000);
  const calibration = library.tokenWindows(encode(text), { samples: 12, seqlen: 32 });
  const hashes: string[] = [];
  for (const threads of [1, 2]) {
    const output = library.memoryOutput();
    await onThreads(threads, (session) =>
      library.prune(language, {
        ...{ engine, session, calibration, output, keep: 0.5, target: 'residual' },
      }),
    );
    const weights = await output.files().get('model.safetensors')!.arrayBuffer();
    hashes.push(sha256(new Uint8Array(weights)));
  }
  expect(hashes[1]).toBe(hashes[0]);
});
