// Models and data of the pipeline's tests, opened in this process.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config, ModelPart, SizesRecord } from '../../src/checkpoint/architectures/index.ts';
import {
  blobFolder,
  type Checkpoint,
  CheckpointWriter,
  memoryOutput,
  planSafetensors,
} from '../../src/checkpoint/index.ts';
import { onDisk } from '../../src/disk/place.ts';
import { openEngine } from '../../src/engine/index.ts';
import {
  type Dataset,
  iterableDataset,
  type OpenedLanguageModel,
  type OpenOptions,
  openLanguageModel,
  openModel,
  type PruneOptions,
  parsePreprocessing,
  prune as pruneOpened,
  tokenWindows,
} from '../../src/pipeline/index.ts';
import { openSession } from '../../src/pool/index.ts';
import { openDataset } from '../../src/run/images.ts';
import type { Weights } from '../architectures/source.ts';
import { random } from '../support/random.ts';

export const engine = await openEngine({ threads: 1 });
export const session = await openSession({ threads: 1 });

export const fixtureBytes = (name: string) =>
  new Uint8Array(readFileSync(join(import.meta.dirname, `../fixtures/${name}.onnx`)));

export const openFixture = (name: string) => openModel(fixtureBytes(name), { engine, name });

/** Fashion-MNIST images as the fixtures' models want them. */
export const fashion = (folder: 'calib' | 'test', samples: number, layout: 'nchw' | 'nhwc' = 'nchw') =>
  openDataset(onDisk(join(import.meta.dirname, '../fixtures', folder)), {
    preprocessing: parsePreprocessing({ mean: [0.286], std: [0.353], layout }),
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

/** Seeded windows of 12 of 40 tokens, those of small numbers more often. */
export function texts(samples: number, seed: number): Dataset {
  const [next, seqlen] = [random(seed), 12];
  const tokens = Int32Array.from({ length: samples * seqlen }, () => Math.floor(next() ** 2 * 40));
  return tokenWindows(tokens, { samples, seqlen });
}

/** Opens and prunes a model; by half where nothing else is said. */
export async function prune(
  bytes: Uint8Array,
  calibration: Dataset,
  { size, residual, ...options }: Partial<PruneOptions> & Pick<OpenOptions, 'size' | 'residual'> = {},
) {
  const opened = await openModel(bytes, { engine, size, residual });
  return { opened, ...(await pruneOpened(opened, { engine, session, calibration, keep: 0.5, ...options })) };
}

/** The first output of a model for every sample, row after row. */
export async function outputs(bytes: Uint8Array, data: Dataset): Promise<Float32Array> {
  const session = await engine.load(bytes);
  try {
    const rows: number[] = [];
    for await (const { inputs, count } of data.batches(64)) {
      const feeds = { [session.inputs[0].name]: { dims: [count, ...data.shape], data: inputs } };
      rows.push(...(await session.run(feeds))[session.outputs[0].name].data);
    }
    return Float32Array.from(rows);
  } finally {
    await session.release();
  }
}

/** Largest difference, relative to the range of the first. */
export function difference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) throw new Error(`${a.length} and ${b.length} values`);
  const range = Math.max(...a) - Math.min(...a);
  const largest = a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
  if (!Number.isFinite(range + largest)) throw new Error('not finite');
  return largest / range;
}

/** A folder of random weights. @param record  of blocks that config.json does not say */
export async function folderOf(
  config: Config,
  weights: Weights,
  record?: SizesRecord,
  part?: ModelPart,
): Promise<OpenedLanguageModel> {
  return openLanguageModel(blobFolder(await filesOf(config, weights, record)), { part });
}

/** The files of one. */
export async function filesOf(
  config: Config,
  weights: Weights,
  record?: SizesRecord,
): Promise<ReadonlyMap<string, Blob>> {
  const output = memoryOutput('dense');
  const specs = Array.from(weights, ([name, { shape }]) => ({ name, shape, dtype: 'float32' as const }));
  const writer = new CheckpointWriter(output, planSafetensors(specs));
  for (const [name, { data }] of weights) await writer.write(name, data);
  const json = (value: object) => new TextEncoder().encode(JSON.stringify(value));
  await writer.writeFile('config.json', json(config));
  if (record) await writer.writeFile('osscar.json', json(record));
  await writer.finish();
  return output.files();
}

/** All that a folder's files hold. */
export async function weightsOf(checkpoint: Checkpoint): Promise<Weights> {
  const weights: Weights = new Map();
  for (const [name, { shape }] of checkpoint.tensors)
    weights.set(name, { shape, data: await checkpoint.read(name) });
  return weights;
}
