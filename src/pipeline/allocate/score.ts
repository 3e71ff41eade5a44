// How far a pruned network's outputs are from the dense network's, on samples that it was not fitted on.

import type { FloatTensor } from '../../engine/index.ts';
import type { Batch } from '../data/batches.ts';
import { hits, logSums, windowLosses } from '../measure/evaluate.ts';
import { squares } from '../measure/fidelity.ts';
import { type Outputs, outputsOf } from '../measure/outputs.ts';
import type { LastPlace } from '../pass/through.ts';
import type { Run } from '../run.ts';
import type { DenseBatches } from '../store/findings.ts';

/** Distances of pruned networks' outputs from the dense one's, for each of the first `count` of `batch` samples. */
export type Distance = (
  dense: FloatTensor,
  batch: number,
  count: number,
) => (pruned: FloatTensor) => number[];

/**
 * Of text the Kullback-Leibler divergence from the dense network's scores, in nats, the mean over a window's positions. Of
 * all else the squared distance over the dense output's square: a divergence over classes hangs on the few samples that
 * change sides, and from 125 of them differs by a factor of four for the same sizes (measured).
 */
export function distanceFor({ chain }: Run): Distance {
  return chain.predictsTokens ? divergences : relativeSquares;
}

/** A pruned network beside the dense one, sample by sample. */
export interface Comparison {
  readonly distances: Float64Array;
  /** Whether the label was hit, or the mean negative log likelihood of a window: of either network, where samples tell. */
  readonly dense: Float64Array;
  readonly pruned: Float64Array;
}

/** Of every sample that `select` names, in order. */
export async function compare(
  run: Run,
  last: LastPlace,
  distance: Distance,
  select: (index: number) => boolean,
): Promise<Comparison> {
  const found = { distances: [] as number[], dense: [] as number[], pruned: [] as number[] };
  const isText = run.chain.predictsTokens;
  const scores = (output: FloatTensor, { sample, labels, count }: Batch) => {
    if (isText) return windowLosses(output, sample, count);
    return labels ? hits(output, labels, count).map(Number) : [];
  };
  const of = (network: 'dense' | 'pruned') => outputsOf(run.chain, last, network, run, select);
  const samples = Array.from({ length: run.calibration.size }, (_, i) => i).filter(select).length;
  const about = { part: last.at.part, compared: true, dense: last.dense };
  const computed = of('dense');
  let known: DenseBatches<FloatTensor> | undefined;
  let index = 0;
  try {
    for await (const { batch, values } of of('pruned')) {
      const { count } = batch;
      const pruned = firstOf(values);
      known ??= await run.findings.dense(about, (pruned.data.byteLength / count) * samples);
      const dense = await known.at(index++, async () => firstOf((await computed.next()).value!.values));
      found.distances.push(...distance(dense, count, count)(pruned));
      found.dense.push(...scores(dense, batch));
      found.pruned.push(...scores(pruned, batch));
    }
    await known?.keep();
  } finally {
    await computed.return(undefined);
  }
  return {
    distances: Float64Array.from(found.distances),
    dense: Float64Array.from(found.dense),
    pruned: Float64Array.from(found.pruned),
  };
}

/**
 * What a comparison says is lost: of labelled samples accuracy (0.01 is one point), of text the growth of the perplexity
 * (0.01 is one percent), else the relative error of the outputs, ‖y − ŷ‖ / ‖y‖.
 */
export function lossOf({ distances, dense, pruned }: Comparison, isText: boolean): number {
  if (dense.length === 0) return Math.sqrt(mean(distances));
  return isText ? Math.exp(mean(pruned) - mean(dense)) - 1 : mean(dense) - mean(pruned);
}

const firstOf = (values: Outputs['values']) => [...values.values()][0];

export const mean = (values: Float64Array) => values.reduce((a, b) => a + b, 0) / values.length;

/** Mean over a sample's rows of scores of KL(softmax a ‖ softmax b). */
function divergences({ dims, data: a }: FloatTensor, batch: number, count: number) {
  const classes = dims[dims.length - 1];
  const rows = a.length / batch / classes;
  const left = logSums(a, classes);
  const probabilities = a.slice(0, count * rows * classes);
  for (let row = 0, at = 0; row < count * rows; row++)
    for (const end = at + classes; at < end; at++) probabilities[at] = Math.exp(a[at] - left[row]);
  return ({ data: b }: FloatTensor): number[] => {
    const right = logSums(b, classes);
    const totals = new Array<number>(count).fill(0);
    for (let row = 0, at = 0; row < count * rows; row++) {
      const shift = left[row] - right[row];
      let total = 0;
      for (const end = at + classes; at < end; at++) total += probabilities[at] * (a[at] - b[at] - shift);
      totals[Math.floor(row / rows)] += total;
    }
    return totals.map((total) => total / rows);
  };
}

function relativeSquares({ data: a }: FloatTensor, batch: number, count: number) {
  const size = a.length / batch;
  return ({ data: b }: FloatTensor): number[] =>
    Array.from({ length: count }, (_, i) => {
      const [from, to] = [i * size, (i + 1) * size];
      const { error, square } = squares(a.subarray(from, to), b.subarray(from, to));
      return square > 0 ? error / square : error;
    });
}
