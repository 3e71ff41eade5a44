// How strongly a layer's new weights are pulled towards its old ones, by what holds on samples that the fit
// has not seen. Few calibration rows for many inputs need far more than the published 1e-2: at the end of a
// convolutional network a layer of 1024 inputs may see one row per image.

import type { Kernels } from '../kernel/index.ts';
import { eliminate, eliminateIn } from './eliminate.ts';
import { triangle } from './memory';
import {
  DEFAULT_DAMPING,
  type LayerProblem,
  type LayerStatistics,
  layerProblem,
  type ProblemOptions,
} from './problem.ts';
import { type Refit, refitBias } from './refit.ts';
import { freePart, type LayerRows, rowsLeft } from './rows.ts';
import { Workspace } from './workspace.ts';

/** Tried from the weakest on, until the error on unseen samples rises. */
const DAMPINGS = [DEFAULT_DAMPING, 3e-2, 1e-1, 3e-1, 1];

/**
 * The damping λ under which the layer, pruned to `keep` groups and refitted on `fit`, errs least on `heldOut`.
 *
 * @param rows  which rows the groups are of; where some stay in any case, `options.groupSize` is 1
 *
 * One elimination, then k³/3 + 4k²m flops for each λ that is tried.
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
  const [weakest, ...stronger] = DAMPINGS;
  const { H = new Float64Array(fit.p ** 2) } = options;
  const problem = layerProblem(kernels, fit, W0, { ...options, H, damping: weakest });
  const part = freePart(kernels, problem, rows);
  return kernels.scoped(() => {
    const space = Workspace.of(kernels, problem);
    const isWhole = part === problem && !rows.gone;
    const { kept, refit } = isWhole
      ? eliminateIn(space, problem, { keep })
      : eliminate(kernels, part, { keep });
    const left = rowsLeft(problem.p, rows, kept);
    const damp = damper(space, problem);
    // H may be the largest array there is: the held-out rows take it over.
    const unseen = layerProblem(kernels, heldOut, W0, { ...options, H, damping: 0, dampDead: true });
    const unseenSpace = Workspace.of(kernels, unseen);
    const error = (damping: number, known?: Refit) => {
      damp(damping / weakest - 1);
      const { W } = known ?? space.refit(left);
      return 2 * unseenSpace.objectiveOf(left, W) + heldOut.n * squaredShift(problem, unseen, W);
    };
    let best = { damping: weakest, error: error(weakest, isWhole ? refit : undefined) };
    for (const damping of stronger) {
      const attempt = { damping, error: error(damping) };
      if (!(attempt.error < best.error)) break;
      best = attempt;
    }
    return best.damping;
  });
}

/** Adds so many times the damping that there is: ρ enters H on the diagonal and G through ρW0. */
function damper(space: Workspace, { p, m, H, G, W0, rho }: LayerProblem): (times: number) => void {
  const diagonal = Float64Array.from({ length: p }, (_, i) => H[i * p + i]);
  return (times) => {
    const [damped, pulled] = [space.H, space.G];
    for (let i = 0; i < p; i++) {
      const more = times * rho![i];
      damped[triangle(i) + i] = diagonal[i] + more;
      for (let at = i * m; at < (i + 1) * m; at++) pulled[at] = G[at] + more * W0[at];
    }
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
