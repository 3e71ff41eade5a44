// How far a pruned network's outputs are from the dense network's, on samples that it was not fitted on.

import type { FloatTensor } from '../../engine/index.ts';
import { type Batch, inStep } from '../data/batches.ts';
import { hits, logSum, windowLosses } from '../measure/evaluate.ts';
import { squares } from '../measure/fidelity.ts';
import { outputsOf } from '../measure/outputs.ts';
import type { LastPlace } from '../pass/through.ts';
import type { Run } from '../run.ts';

/** Distance of outputs for each of the first `count` of `batch` samples. */
export type Distance = (dense: FloatTensor, pruned: FloatTensor, batch: number, count: number) => number[];

/**
 * Of text the Kullback-Leibler divergence from the dense network's scores, in nats, the mean over a window's positions. Of
 * all else the squared distance over the dense output's square: a divergence over classes hangs on the few samples that
 * change sides, and from 125 of them differs by a factor of four for the same sizes (measured).
 */
export function distanceFor({ chain }: Run): Distance {
  const isText = chain.predictsTokens;
  return (dense, pruned, batch, count) => {
    const size = dense.data.length / batch;
    const part = ({ data }: FloatTensor, i: number) => data.subarray(i * size, (i + 1) * size);
    const classes = dense.dims[dense.dims.length - 1];
    const measure = isText ? divergence : relativeSquare;
    return Array.from({ length: count }, (_, i) => measure(part(dense, i), part(pruned, i), classes));
  };
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
  for await (const both of inStep(of('pruned'), of('dense'))) {
    const [{ batch }] = both;
    const [pruned, dense] = both.map(({ values }) => [...values.values()][0]);
    found.distances.push(...distance(dense, pruned, batch.count, batch.count));
    found.dense.push(...scores(dense, batch));
    found.pruned.push(...scores(pruned, batch));
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

export const mean = (values: Float64Array) => values.reduce((a, b) => a + b, 0) / values.length;

/** Mean over rows of `classes` scores of KL(softmax a ‖ softmax b). */
function divergence(a: Float32Array, b: Float32Array, classes: number): number {
  let total = 0;
  for (let at = 0; at < a.length; at += classes) {
    const [p, q] = [a.subarray(at, at + classes), b.subarray(at, at + classes)];
    const [left, right] = [logSum(p), logSum(q)];
    for (let i = 0; i < classes; i++) total += Math.exp(p[i] - left) * (p[i] - left - (q[i] - right));
  }
  return (total * classes) / a.length;
}

function relativeSquare(a: Float32Array, b: Float32Array): number {
  const { error, square } = squares(a, b);
  return square > 0 ? error / square : error;
}
