// Calibration and evaluation data in the batches that a model takes.

import type { EngineSession, FloatTensor } from '../../engine/index.ts';
import { InputError } from '../../errors.ts';
import { elements } from '../../graph/index.ts';
import { type Feeds, type ModelInput, otherFeeds, takesTokens } from '../open/inputs.ts';
import { type Dataset, expectBatch, pickRows } from './dataset.ts';
import { mulberry32 } from './sample.ts';

export interface Batch {
  /** batch × sample dims. A model with a fixed batch gets its size, the surplus repeating the last sample. */
  readonly input: FloatTensor;
  /** What the pruned network gets instead, where something before it has been pruned. */
  readonly pruned?: FloatTensor;
  /** What the model's first part got for these samples, or the token ids that this was made of. */
  readonly sample: FloatTensor;
  /** All other inputs of the model. */
  readonly others?: Feeds;
  /** Samples that count; the others are padding. */
  readonly count: number;
  /** Where these are among all samples that `select` was asked about. */
  readonly places: readonly number[];
  readonly labels?: Int32Array;
}

/** Samples of the calibration data: all of them or a part. */
export interface BatchSource {
  readonly samples: number;
  batches(): AsyncIterable<Batch>;
}

/** Values in a batch: enough that a session call costs little beside its work, few enough to stay small. */
const VALUES_PER_BATCH = 2 ** 20;
/** Scores of a whole vocabulary for every position outnumber all else. */
const OUTPUTS_PER_BATCH = 2 ** 22;
export const LARGEST_BATCH = 64;

/** Samples of so many values that go through a model at a time. */
export function batchSize({ fixedBatch, outputs = 1 }: ModelInput, values: number): number {
  return fixedBatch || wholeBatch(Math.min(VALUES_PER_BATCH / values, OUTPUTS_PER_BATCH / outputs));
}

/** As many samples as there is room for, in whole ones. */
export function wholeBatch(room: number): number {
  return Math.max(1, Math.min(LARGEST_BATCH, Math.round(room)));
}

/** Samples by their position. */
export type Select = (index: number) => boolean;

/** The dataset, or the samples that `select` names, in batches for this input. */
export function batchSource(dataset: Dataset, input: ModelInput, select?: Select): BatchSource {
  const size = batchSize(input, elements(dataset.shape));
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
      for await (const batch of dataset.batches(size)) {
        expectBatch(batch, dataset);
        const chosen: number[] = [];
        for (let i = 0; i < batch.count; i++, position++) if (!select || select(position)) chosen.push(i);
        if (chosen.length === 0) continue;
        const count = chosen.length;
        const first = position - batch.count;
        const places = chosen.map((i) => first + i);
        while (chosen.length < input.fixedBatch) chosen.push(chosen[count - 1]);
        const { inputs, labels, dims = dataset.shape, others } = pickRows(batch, chosen);
        const given = { dims: [chosen.length, ...dims], data: inputs };
        yield {
          input: given,
          sample: dataset.tokens === undefined ? given : others![dataset.tokens],
          others: otherFeeds(input, given.dims, { ...dataset.constants, ...others }),
          count,
          places,
          labels: labels?.subarray(0, count),
        };
      }
      if (position !== dataset.size)
        throw new InputError(
          `"${dataset.name ?? 'data set'}": expected ${dataset.size} samples, its batches hold ${position}`,
        );
    },
  };
}

const SEED = 1;

/**
 * So many samples, or the batch that the model insists on: values in [0, 1), which have no subnormal numbers that some machines are
 * slow at, or token 0.
 * @throws {InputError} naming an input of which no convention says what it is
 */
export function madeUp(input: ModelInput, samples: number): Pick<Batch, 'input' | 'others'> {
  const dims = [input.fixedBatch || samples, ...input.shape];
  const value = takesTokens(input) ? () => 0 : mulberry32(SEED);
  const data = Float32Array.from({ length: elements(dims) }, value);
  return { input: { dims, data }, others: otherFeeds(input, dims) };
}

/** What a session of a part takes: a batch's tensor, as the input that does not go along, and what does. */
export function feedsOf(
  session: EngineSession,
  { others = {} }: Pick<Batch, 'others'>,
  tensor: FloatTensor,
): Feeds {
  const inputs = session.inputs.map((input) => input.name);
  const own = inputs.filter((input) => Object.hasOwn(others, input)).map((input) => [input, others[input]]);
  const main = inputs.find((input) => !Object.hasOwn(others, input)) as string;
  return { ...Object.fromEntries(own), [main]: tensor };
}

/** The first output of a part. */
export async function onlyOutput(
  session: EngineSession,
  input: FloatTensor,
  batch: Pick<Batch, 'others'> = {},
): Promise<FloatTensor> {
  return Object.values(await session.run(feedsOf(session, batch, input)))[0];
}

/** All of them. */
export async function listed<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Two things of as many batches, one beside the other; the second one is ended with the first. */
export async function* inStep<A, B>(a: AsyncIterable<A>, b: AsyncIterable<B>): AsyncGenerator<[A, B]> {
  const others = b[Symbol.asyncIterator]();
  try {
    for await (const it of a) yield [it, (await others.next()).value];
  } finally {
    await others.return?.(undefined);
  }
}
