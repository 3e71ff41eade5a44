// Models and data of the pipeline's tests, opened in this process.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDataset } from '../../src/cli/files.ts';
import { openEngine } from '../../src/engine/index.ts';
import { openKernels } from '../../src/kernel/index.ts';
import { type Dataset, iterableDataset, parsePreprocessing } from '../../src/pipeline/data/index.ts';
import { openModel } from '../../src/pipeline/open.ts';
import { random } from '../support/random.ts';

export const engine = await openEngine({ threads: 1 });
export const kernels = await openKernels();

export const fixtureBytes = (name: string) =>
  new Uint8Array(readFileSync(join(import.meta.dirname, `../fixtures/${name}.onnx`)));

export const openFixture = (name: string) => openModel(fixtureBytes(name), { engine, name });

/** Fashion-MNIST images as the fixtures' models want them. */
export const fashion = (folder: 'calib' | 'test', samples: number, layout: 'nchw' | 'nhwc' = 'nchw') =>
  openDataset(join(import.meta.dirname, '../fixtures', folder), {
    preprocessing: parsePreprocessing({ mean: '0.2860', std: '0.3530', layout }),
    inputShape: layout === 'nchw' ? [1, 28, 28] : [28, 28, 1],
    samples,
  });

/** Seeded inputs in [−1, 1) without labels. */
export function noise(samples: number, shape: readonly number[], seed = 3): Promise<Dataset> {
  const next = random(seed);
  const length = shape.reduce((a, b) => a * b, 1);
  return iterableDataset(
    Array.from({ length: samples }, () => Float32Array.from({ length }, () => 2 * next() - 1)),
    shape,
  );
}
