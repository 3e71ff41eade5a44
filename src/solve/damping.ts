// How strongly a layer's new weights are pulled towards its old ones, by what holds on samples that the fit
// has not seen. Few calibration rows for many inputs need far more than the published 1e-2: at the end of a
// convolutional network a layer of 1024 inputs may see one row per image.

import type { Kernels } from '../kernel/index.ts';
import { eliminateIn } from './eliminate.ts';
import { triangle } from './memory';
import {
  DEFAULT_DAMPING,
  type LayerProblem,
  type LayerStatistics,
  layerProblem,
  multiply,
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
 * One elimination, then k³/3 + 2k²m flops for each λ that is tried.
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
  const problem = layerProblem(kernels, fit, W0, { ...options, damping: weakest });
  const part = freePart(kernels, problem, rows);
  return kernels.scoped(() => {
    const { kept, refit } = kernels.scoped(() => eliminateIn(Workspace.of(kernels, part), part, { keep }));
    const left = rowsLeft(problem.p, rows, kept);
    const unseen = blended(kernels, heldOut, problem.W0, options);
    const space = Workspace.of(kernels, problem);
    const error = (damping: number, known?: Refit) => {
      damp(space, problem, damping / weakest - 1);
      const { W } = known ?? space.refit(left);
      return squaredError(kernels, unseen, W, refitBias(problem, W));
    };
    let best = {
      damping: weakest,
      error: error(weakest, part === problem && !rows.gone ? refit : undefined),
    };
    for (const damping of stronger) {
      const attempt = { damping, error: error(damping) };
      if (!(attempt.error < best.error)) break;
      best = attempt;
    }
    return best.damping;
  });
}

/** Adds so many times the damping that there is: ρ enters H on the diagonal and G through ρW0. */
function damp({ H, G }: Workspace, problem: LayerProblem, times: number): void {
  const { p, m, W0, rho } = problem;
  for (let i = 0; i < p; i++) {
    const more = times * rho![i];
    H[triangle(i) + i] = problem.H[i * p + i] + more;
    for (let at = i * m; at < (i + 1) * m; at++) G[at] = problem.G[at] + more * W0[at];
  }
}

/** XᵀX (its lower triangle), and XᵀY and Σy of the blended target y = (1 − a)(W0ᵀx + b0) + a·t. */
function blended(
  kernels: Kernels,
  { p, m, n, XtX, sumX, target }: LayerStatistics,
  W0: Float64Array,
  { blend = target ? 1 : 0, bias }: Omit<ProblemOptions, 'damping'>,
) {
  const XtY = multiply(kernels, XtX, W0, p, m);
  const sumY = new Float64Array(m);
  for (let j = 0; j < m; j++) {
    const b0 = bias?.[j] ?? 0;
    sumY[j] = n * b0;
    for (let i = 0; i < p; i++) {
      const at = i * m + j;
      sumY[j] += W0[at] * sumX[i];
      XtY[at] = (1 - blend) * (XtY[at] + sumX[i] * b0) + (target ? blend * target.XtY[at] : 0);
    }
    sumY[j] = (1 - blend) * sumY[j] + (target ? blend * target.sumY[j] : 0);
  }
  return { p, m, n, XtX, sumX, XtY, sumY };
}

/** Σ‖y − Wᵀx − b‖² less Σ‖y‖², which no weights change. */
function squaredError(
  kernels: Kernels,
  { p, m, n, XtX, sumX, XtY, sumY }: ReturnType<typeof blended>,
  W: Float64Array,
  bias: Float64Array = new Float64Array(m),
): number {
  const XtXW = multiply(kernels, XtX, W, p, m);
  let error = 0;
  for (let at = 0; at < W.length; at++) error += W[at] * (XtXW[at] - 2 * XtY[at]);
  for (let j = 0; j < m; j++) {
    let output = 0;
    for (let i = 0; i < p; i++) output += W[i * m + j] * sumX[i];
    error += 2 * bias[j] * (output - sumY[j]) + n * bias[j] ** 2;
  }
  return error;
}
