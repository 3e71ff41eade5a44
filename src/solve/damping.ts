// How strongly a layer's new weights are pulled towards its old ones, by what holds on samples that the fit
// has not seen. Few calibration rows for many inputs need far more than the published 1e-2: at the end of a
// convolutional network a layer of 1024 inputs may see one row per image.

import { expectObject } from '../expect.ts';
import type { Kernels } from '../kernel/index.ts';
import { expectOptions, required, wholeFrom } from '../options.ts';
import { DEFAULT_DAMPING, type LayerStatistics, layerProblem, type ProblemOptions } from './problem.ts';
import { pruneLayer } from './prune.ts';
import { objectiveOf, refitBias, refitRows } from './refit.ts';
import { freePart, type LayerRows, rowsLeft } from './rows.ts';
import { triangle } from './triangle.ts';
import { expectKernels, type LayerProblem } from './workspace.ts';

/** Tried from the weakest on, until the error on unseen samples rises. */
const DAMPINGS = [DEFAULT_DAMPING, 3e-2, 1e-1, 3e-1, 1];

/**
 * The damping λ under which the layer, pruned to `keep` groups and refitted on `fit`, errs least on `heldOut`.
 *
 * @param rows  which rows the groups are of; where some stay in any case, `options.groupSize` is 1
 *
 * @throws {InputError} for impossible options, or statistics with NaN or infinite values
 *
 * One elimination, then k³/3 + 3k²m flops for each λ that is tried.
 *
 * @example
 * const damping = chooseDamping(kernels, fit, heldOut, W0, { groupSize: 1 }, 128);
 * const problem = layerProblem(kernels, [fit, heldOut], W0, { groupSize: 1, damping });
 */
export function chooseDamping(
  kernels: Kernels,
  fit: LayerStatistics,
  heldOut: LayerStatistics,
  W0: Float32Array | Float64Array,
  options: Omit<ProblemOptions, 'damping'>,
  keep: number,
  rows: LayerRows = options,
): number {
  expectObject('chooseDamping', 'options', options);
  expectKernels('chooseDamping', kernels);
  expectOptions('chooseDamping', { keep }, { keep: required(wholeFrom(0)) });
  const [weakest, ...stronger] = DAMPINGS;
  const problem = layerProblem(kernels, fit, W0, { ...options, damping: weakest });
  const part = freePart(kernels, problem, rows);
  const { kept, W: first } = pruneLayer(kernels, part, { keep, search: 'greedy' });
  const left = rowsLeft(problem.p, rows, kept);
  const unseen = layerProblem(kernels, heldOut, W0, { ...options, H: undefined, damping: 0, dampDead: true });
  const damp = damper(problem, weakest);
  const error = (damping: number, known?: Float64Array) => {
    const damped = damp(damping);
    const W = known ?? refitRows(kernels, damped, left).W;
    return 2 * objectiveOf(kernels, unseen, W, left) + heldOut.n * squaredShift(damped, unseen, W);
  };
  let best = {
    damping: weakest,
    error: error(weakest, part === problem && !rows.gone ? first : undefined),
  };
  for (const damping of stronger) {
    const attempt = { damping, error: error(damping) };
    if (!(attempt.error < best.error)) break;
    best = attempt;
  }
  return best.damping;
}

/**
 * Gives the same problem under another λ: ρ enters H on the diagonal and G through ρW0. All share one H, the given
 * one, which is the last one's: H can be the largest array there is.
 */
function damper(problem: LayerProblem, from: number): (to: number) => LayerProblem {
  const { p, m, H, G, W0, rho } = problem;
  const diagonal = Float64Array.from({ length: p }, (_, i) => H[triangle(i) + i]);
  return (to) => {
    const pulled = new Float64Array(G.length);
    const damped = rho!.map((value) => value * (to / from));
    for (let i = 0; i < p; i++) {
      const more = rho![i] * (to / from - 1);
      H[triangle(i) + i] = diagonal[i] + more;
      for (let at = i * m; at < (i + 1) * m; at++) pulled[at] = G[at] + more * W0[at];
    }
    return { ...problem, G: pulled, rho: damped };
  };
}

/**
 * How far the mean of outputs is off, squared, where the bias is the one that goes with W on the rows of the fit: the rest
 * of the squared error on unseen rows is their objective, without damping, twice.
 */
function squaredShift(
  { means: fit, ...problem }: LayerProblem,
  { means }: LayerProblem,
  W: Float64Array,
): number {
  if (!fit || !means) return 0;
  const less = (a: Float64Array, b: Float64Array) => a.map((value, i) => value - b[i]);
  const apart = { x: less(means.x, fit.x), y: less(means.y, fit.y) };
  return refitBias({ ...problem, means: apart }, W)!.reduce((sum, value) => sum + value * value, 0);
}
