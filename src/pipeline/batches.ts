// Calibration and evaluation data in the batches that a model takes.

import type { EngineSession, FloatTensor } from '../engine/index.ts';
import { InputError, UnsupportedModelError } from '../errors.ts';
import type { Dataset } from './data/index.ts';

export interface Batch {
  /** batch × sample dims. A model with a fixed batch gets its size, the surplus repeating the last sample. */
  readonly input: FloatTensor;
  /** Samples that count; the others are padding. */
  readonly count: number;
  readonly labels?: Int32Array;
}

/** Samples of the calibration data: all of them or a part. */
export interface BatchSource {
  readonly samples: number;
  batches(): AsyncIterable<Batch>;
}

/** The one input of a vision model, with its batch and sample dimensions told apart. */
export interface ModelInput {
  readonly name: string;
  /** Dimensions of one sample; 0 where the model leaves one open. */
  readonly shape: readonly number[];
  /** Batch size the model insists on, or 0. */
  readonly fixedBatch: number;
}

/** @throws {UnsupportedModelError} unless the model has one input with a leading batch dimension */
export function modelInput(session: EngineSession): ModelInput {
  if (session.inputs.length !== 1) {
    throw new UnsupportedModelError(
      `the model has ${session.inputs.length} inputs (${session.inputs.map(({ name }) => name).join(', ')}); one is supported`,
    );
  }
  const { name, dims } = session.inputs[0];
  if (dims.length < 2) {
    throw new UnsupportedModelError(
      `input "${name}" has shape [${dims.join(', ')}]; a leading batch dimension is needed`,
    );
  }
  const size = (dim: number | string) => (typeof dim === 'number' && dim > 0 ? dim : 0);
  return { name, shape: dims.slice(1).map(size), fixedBatch: size(dims[0]) };
}

/** Values in a batch: enough that a session call costs little beside its work, few enough to stay small. */
const VALUES_PER_BATCH = 2 ** 20;
const LARGEST_BATCH = 64;

/** The dataset, or the samples that `select` names by their position, in batches for this input. */
export function batchSource(
  dataset: Dataset,
  input: ModelInput,
  select?: (index: number) => boolean,
): BatchSource {
  const values = dataset.shape.reduce((product, dim) => product * dim, 1);
  const size =
    input.fixedBatch || Math.max(1, Math.min(LARGEST_BATCH, Math.round(VALUES_PER_BATCH / values)));
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
        yield {
          input: { dims: [rows, ...dataset.shape], data },
          count: chosen.length,
          labels: labels && Int32Array.from(chosen, (i) => labels[i]),
        };
      }
    },
  };
}
