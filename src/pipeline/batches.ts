// Calibration and evaluation data in the batches that a model takes.

import type { EngineSession, FloatTensor } from '../engine/index.ts';
import { InputError, UnsupportedModelError } from '../errors.ts';
import { elements } from '../graph/index.ts';
import type { Dataset } from './data/index.ts';
import { accompanies } from './decoder.ts';

export interface Batch {
  /** batch × sample dims. A model with a fixed batch gets its size, the surplus repeating the last sample. */
  readonly input: FloatTensor;
  /** What the pruned network gets instead, where something before it has been pruned. */
  readonly pruned?: FloatTensor;
  /** What the model's first part got for these samples. */
  readonly sample: FloatTensor;
  /** Samples that count; the others are padding. */
  readonly count: number;
  readonly labels?: Int32Array;
}

/** Samples of the calibration data: all of them or a part. */
export interface BatchSource {
  readonly samples: number;
  /** Whether batches carry an input of their own for the pruned network. */
  readonly diverged?: boolean;
  batches(): AsyncIterable<Batch>;
}

/** The input that samples go to, with its batch and sample dimensions told apart. */
export interface ModelInput {
  readonly name: string;
  /** As onnxruntime names it, e.g. `float32`. */
  readonly type: string;
  /** Dimensions of one sample; 0 where the model leaves one open. */
  readonly shape: readonly number[];
  /** Batch size the model insists on, or 0. */
  readonly fixedBatch: number;
  /** Values that the model gives for one sample, where known. */
  readonly outputs?: number;
}

/** Whether samples are windows of token ids: the model is a language model. */
export function takesTokens({ type, shape }: ModelInput): boolean {
  return (type === 'int64' || type === 'int32') && shape.length === 1;
}

/** @throws {UnsupportedModelError} unless there is one input, with a leading batch dimension, beside those that `accompanies` knows */
export function modelInput(session: EngineSession): ModelInput {
  const inputs = session.inputs.filter(({ name }) => !accompanies(name));
  if (inputs.length !== 1) {
    throw new UnsupportedModelError(
      `the model has ${inputs.length} inputs (${inputs.map(({ name }) => name).join(', ')}); one is supported`,
    );
  }
  const { name, type, dims } = inputs[0];
  if (dims.length < 2) {
    throw new UnsupportedModelError(
      `input "${name}" has shape [${dims.join(', ')}]; a leading batch dimension is needed`,
    );
  }
  const size = (dim: number | string) => (typeof dim === 'number' && dim > 0 ? dim : 0);
  return { name, type, shape: dims.slice(1).map(size), fixedBatch: size(dims[0]) };
}

/** Values in a batch: enough that a session call costs little beside its work, few enough to stay small. */
const VALUES_PER_BATCH = 2 ** 20;
/** Scores of a whole vocabulary for every position outnumber all else. */
const OUTPUTS_PER_BATCH = 2 ** 22;
const LARGEST_BATCH = 64;

/** Samples of so many values that go through a model at a time. */
export function batchSize({ fixedBatch, outputs = 1 }: ModelInput, values: number): number {
  const fitting = Math.min(VALUES_PER_BATCH / values, OUTPUTS_PER_BATCH / outputs);
  return fixedBatch || Math.max(1, Math.min(LARGEST_BATCH, Math.round(fitting)));
}

/** Samples by their position. */
export type Select = (index: number) => boolean;

/** The dataset, or the samples that `select` names, in batches for this input. */
export function batchSource(dataset: Dataset, input: ModelInput, select?: Select): BatchSource {
  const values = elements(dataset.shape);
  const size = batchSize(input, values);
  let samples = dataset.size;
  if (select) {
    samples = 0;
    for (let i = 0; i < dataset.size; i++) if (select(i)) samples++;
  }
  if (samples === 0) throw new InputError('no calibration samples');
  return {
    samples,
    async *batches() {
      let position = 0;
      for await (const { inputs, count, labels } of dataset.batches(size)) {
        const chosen: number[] = [];
        for (let i = 0; i < count; i++, position++) if (!select || select(position)) chosen.push(i);
        if (chosen.length === 0) continue;
        const rows = input.fixedBatch || chosen.length;
        const data = new Float32Array(rows * values);
        for (let row = 0; row < rows; row++) {
          const from = chosen[Math.min(row, chosen.length - 1)] * values;
          data.set(inputs.subarray(from, from + values), row * values);
        }
        const sample = { dims: [rows, ...dataset.shape], data };
        yield {
          input: sample,
          sample,
          count: chosen.length,
          labels: labels && Int32Array.from(chosen, (i) => labels[i]),
        };
      }
    },
  };
}
