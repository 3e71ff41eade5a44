// Choosing what layers are fitted to, by the error of the pruned network on calibration samples that were held out
// from the fit. No labels are needed.

import type { FloatTensor } from '../engine/index.ts';
import { sum } from '../graph/index.ts';
import { refits } from '../solve/index.ts';
import { listed, type Select } from './data/batches.ts';
import type { Dataset } from './data/dataset.ts';
import { imageOf, isBetter, splitSamples } from './data/split.ts';
import type { Sizes } from './keep.ts';
import { textLoss } from './measure/evaluate.ts';
import { type Fidelity, fidelityOf } from './measure/fidelity.ts';
import { modelOutputs, type Outputs, outputsOf } from './measure/outputs.ts';
import { lookedAt, passOver } from './pass/pass.ts';
import type { LastPlace } from './pass/through.ts';
import { fittingOf, type Target, TRIAL, targetOf } from './recipe.ts';
import type { Run } from './run.ts';

/** What a pruned network's outputs are worth, on held-out samples. */
interface Judged {
  /** Σ‖y − ŷ‖² / Σ‖y − ȳ‖² of the network's outputs, or a language model's loss. */
  readonly error: number;
  /** What each image or sample has of the error; of networks that predict tokens it is not known. */
  readonly shares?: readonly number[];
  /** Of other networks than language models. */
  readonly fidelity?: Fidelity;
}

/** A target that was tried. */
export interface Candidate extends Target, Omit<Judged, 'shares'> {}

/** What layers were fitted to. */
export interface TargetReport {
  readonly chosen: Target;
  /** What `auto` measured: the chosen one, then the others, the best first. */
  readonly candidates?: readonly Candidate[];
}

/**
 * The target of a run's recipe; where it leaves that open, the one under which the pruned network errs least on samples
 * that it was not fitted on.
 */
export async function chooseTarget(run: Run, sizes: Sizes): Promise<TargetReport> {
  const { method, target } = run.recipe;
  // The baselines that fit nothing have no target to choose.
  if (!refits(method)) return { chosen: { kind: 'self', blend: 0 } };
  if (target !== 'auto') return { chosen: targetOf(target) };
  const { isHeldOut } = splitSamples(run.calibration);
  const judge = await heldOutJudge(run, isHeldOut);
  const attempt = async (target: Target) => {
    const label = `target ${target.kind} ${target.blend}`;
    const pass = { label, sizes, target, samples: 'fit of a search' as const, ...TRIAL };
    return lookedAt(await passOver(run, pass), judge);
  };
  const { recipe, findings, subject } = run;
  const candidates = await searchTarget(
    (target) =>
      findings.once('target', { ...fittingOf(recipe), sizes: [...sizes], tried: target }, () =>
        attempt(target),
      ),
    subject.hasShortcuts,
  );
  const [{ kind, blend }] = candidates;
  return { chosen: { kind, blend }, candidates };
}

/** Compares a pruned network's outputs with the dense one's, or gives its loss where it is a language model. */
async function heldOutJudge(run: Run, isHeldOut: Select): Promise<(last: LastPlace) => Promise<Judged>> {
  const { chain, calibration } = run;
  const prunedOutputs = (last: LastPlace) => outputsOf(chain, last, 'pruned', run, isHeldOut);
  if (chain.predictsTokens) return async (last) => ({ error: (await textLoss(prunedOutputs(last))).loss });
  const dense = await listed(modelOutputs(chain, calibration, run, isHeldOut));
  return async (last) => {
    const pruned = await listed(prunedOutputs(last));
    const all = outputsShares(dense, pruned);
    const isAlike = all.every(({ length }) => length === all[0].length);
    const shares = isAlike ? byImage(all, calibration) : undefined;
    return {
      error: sum(all.map((own) => sum([...own]))) / all.length,
      shares,
      fidelity: await fidelityOf(chain, each(dense), each(pruned)),
    };
  };
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

/** `errorShares` of each output. */
function outputsShares(dense: readonly Outputs[], pruned: readonly Outputs[]): Float64Array[] {
  const names = [...dense[0].values.keys()];
  const batches = (all: readonly Outputs[], name: string) => all.map(({ values }) => values.get(name)!);
  return names.map((name) => errorShares(batches(dense, name), batches(pruned, name)));
}

/** Sums over all outputs and the views of an image, which are no independent samples. */
function byImage(outputs: readonly Float64Array[], views: Pick<Dataset, 'views'>): number[] {
  const totals: number[] = [];
  for (const shares of outputs)
    shares.forEach((share, i) => {
      const image = imageOf(i, views);
      totals[image] = (totals[image] ?? 0) + share;
    });
  return totals;
}

const BLEND_STEP = 0.25;
/** Of the least error, how much more a blend may have that the samples do not tell from the best. */
const CLOSE = 1.05;

/**
 * The best blend towards the residual target, by steps of a quarter: the error is a smooth bowl over the
 * blend, so the two halves are tried first and then the neighbours of the better one, the larger one first, until none is better. Of blends that are
 * close and that the samples do not tell apart, the smallest is the best: the less a layer mends of what came before, the less it
 * fits to few samples.
 *
 * @param measure  judges the network pruned towards a target, on samples that the fit did not see
 * @param hasResidual  whether any layer feeds a shortcut; without, `dense` and `residual` are one
 * @returns everything tried, the best first, the others by their error
 */
export async function searchTarget(
  measure: (target: Target) => Promise<Judged>,
  hasResidual: boolean,
): Promise<Candidate[]> {
  const tried: (Target & Judged)[] = [];
  const attempt = async (target: Target) => {
    if (tried.some(({ kind, blend }) => kind === target.kind && blend === target.blend)) return;
    tried.push({ ...target, ...(await measure(target)) });
    tried.sort((a, b) => a.error - b.error);
    const [{ error: least, shares: best }] = tried;
    const isAsGood = ({ error, shares }: Judged) =>
      best && shares && error <= CLOSE * least && !isBetter(best, shares);
    const [smallest] = tried.filter(isAsGood).sort((a, b) => a.blend - b.blend);
    if (smallest) tried.unshift(...tried.splice(tried.indexOf(smallest), 1));
  };
  const blended = (blend: number): Target =>
    blend === 0 ? { kind: 'self', blend } : { kind: 'residual', blend };
  for (const blend of [1, 0.5]) await attempt(blended(blend));
  for (let best: Target | undefined; best !== tried[0]; ) {
    best = tried[0];
    for (const blend of [best.blend + BLEND_STEP, best.blend - BLEND_STEP]) {
      if (blend < 0 || blend > 1) continue;
      await attempt(blended(blend));
      if (best !== tried[0]) break; // the other side rises from here
    }
  }
  // On some networks what a shortcut lost is better left lost.
  if (hasResidual) await attempt({ kind: 'dense', blend: tried[0].blend || 1 });
  return tried.map(({ shares: _, ...candidate }) => candidate);
}

/**
 * What each sample has of Σ‖y − ŷ‖² / Σ‖y − ȳ‖² of an output, ȳ the mean of each of its values over the samples (of all of them,
 * where samples have different sizes): their sum is 0 for a perfect copy of the dense network, 1 for what is no better than its
 * mean answer.
 */
export function errorShares(dense: readonly FloatTensor[], pruned: readonly FloatTensor[]): Float64Array {
  const widths = new Set(dense.map(({ dims, data }) => data.length / dims[0]));
  const width = widths.size === 1 ? [...widths][0] : 1;
  const mean = new Float64Array(width);
  let rows = 0;
  for (const { dims, data } of dense) {
    rows += widths.size === 1 ? dims[0] : data.length;
    for (let i = 0; i < data.length; i++) mean[i % width] += data[i];
  }
  for (let j = 0; j < width; j++) mean[j] /= rows;
  const errors = new Float64Array(sum(dense.map(({ dims }) => dims[0])));
  let sample = 0;
  let spread = 0;
  dense.forEach(({ dims, data }, batch) => {
    const other = pruned[batch].data;
    const size = data.length / dims[0];
    for (let i = 0; i < data.length; i++) {
      errors[sample + Math.floor(i / size)] += (data[i] - other[i]) ** 2;
      spread += (data[i] - mean[i % width]) ** 2;
    }
    sample += dims[0];
  });
  return spread > 0 ? errors.map((error) => error / spread) : errors;
}
