// Samples in shards, and what was summed over each of them as one sum.

import type { LayerStatistics } from '../solve/index.ts';
import { type Dataset, joinSamples, pickRows } from './data/dataset.ts';
import { imageOf, type Positions } from './split.ts';
import type { Sums } from './statistics.ts';

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

const READ_AT_ONCE = 64;

/** Σ over samples of several shards, added in the order in which they come. */
export function addSums(total: Sums[] | undefined, more: readonly Sums[]): Sums[] {
  if (!total) return [...more];
  return total.map(({ fit, heldOut }, i) => ({
    fit: added(fit, more[i].fit)!,
    heldOut: added(heldOut, more[i].heldOut),
  }));
}

function added(a: LayerStatistics | undefined, b: LayerStatistics | undefined): LayerStatistics | undefined {
  if (!a || !b) return a ?? b;
  const add = (to: Float64Array, values: Float64Array) => {
    for (let i = 0; i < to.length; i++) to[i] += values[i];
    return to;
  };
  return {
    ...a,
    n: a.n + b.n,
    XtX: add(a.XtX, b.XtX),
    sumX: add(a.sumX, b.sumX),
    target: a.target && {
      XtY: add(a.target.XtY, b.target!.XtY),
      sumY: add(a.target.sumY, b.target!.sumY),
    },
  };
}

/** Sums on their way through a store: of XᵀX, which is symmetric, the lower triangle. */
export const SUMS = {
  pack: (sums: Sums[]): object => ({ packed: withSquares(sums, lower) }),
  unpack: (packed: object): Sums[] => withSquares((packed as { packed: Sums[] }).packed, square),
};

function withSquares(sums: readonly Sums[], change: (XtX: Float64Array, p: number) => Float64Array): Sums[] {
  const changed = (it: LayerStatistics) => ({ ...it, XtX: change(it.XtX, it.p) });
  return sums.map(({ fit, heldOut }) => ({ fit: changed(fit), heldOut: heldOut && changed(heldOut) }));
}

function lower(XtX: Float64Array, p: number): Float64Array {
  const triangle = new Float64Array((p * (p + 1)) / 2);
  for (let i = 0, at = 0; i < p; at += ++i) triangle.set(XtX.subarray(i * p, i * p + i + 1), at);
  return triangle;
}

function square(triangle: Float64Array, p: number): Float64Array {
  const XtX = new Float64Array(p * p);
  for (let i = 0, at = 0; i < p; at += ++i) XtX.set(triangle.subarray(at, at + i + 1), i * p);
  return XtX;
}
