// Samples in shards, and what was summed over each of them as one sum.

import { type Dataset, joinSamples, pickRows } from './dataset.ts';
import { imageOf, type Positions } from './split.ts';

/** Samples that are read at a time to be taken apart. */
export const READ_AT_ONCE = 64;

/** Positions of samples, the end not among them. */
export interface Range {
  readonly first: number;
  readonly end: number;
}

/** Consecutive samples, as many in each shard as in any other, give or take one image with all of its views. */
export function shardRange({ size, views = 1 }: Positions, shards: number, shard: number): Range {
  const images = imageOf(size - 1, { views }) + 1;
  const place = (at: number) => Math.min(size, views * Math.floor((at * images) / shards));
  return { first: place(shard), end: place(shard + 1) };
}

/** Samples at some positions as a set of their own. Its batches are those that it would have without the others. */
export function sliceOf(samples: Dataset, { first, end }: Range): Dataset {
  if (first === 0 && end === samples.size) return samples;
  if (samples.slice) return samples.slice({ first, end });
  return {
    ...samples,
    size: end - first,
    async *batches(batchSize) {
      async function* rows() {
        let at = 0;
        for await (const batch of samples.batches(READ_AT_ONCE)) {
          for (let i = 0; i < batch.count && at < end; i++, at++) if (at >= first) yield pickRows(batch, [i]);
          if (at >= end) return;
        }
      }
      yield* joinSamples(rows(), batchSize);
    },
  };
}
