// Choosing what layers are fitted to, by the error of the pruned network on calibration samples that were held out
// from the fit. No labels are needed.

import type { Engine, FloatTensor } from '../engine/index.ts';
import type { Model } from '../graph/index.ts';
import type { BatchSource } from './batches.ts';
import { loadModel } from './open.ts';
import type { Target } from './sequence.ts';
import { turn } from './turn.ts';

/** A target that was tried. */
export interface Candidate extends Target {
  /** On held-out samples: Σ‖y − ŷ‖² / Σ‖y − ȳ‖² of the network's outputs, or a language model's loss. */
  readonly error: number;
}

const BLEND_STEP = 0.25;

/**
 * The best blend towards the residual target, by steps of a quarter: the error is a smooth bowl over the
 * blend, so the two halves are tried first and then the neighbours of the better one, until none is better.
 *
 * @param measure  error of the network pruned towards a target, on samples that the fit did not see
 * @param hasResidual  whether any layer feeds a shortcut; without, `dense` and `residual` are one
 * @returns everything tried, the best first
 */
export async function searchTarget(
  measure: (target: Target) => Promise<number>,
  hasResidual: boolean,
): Promise<Candidate[]> {
  const tried: Candidate[] = [];
  const attempt = async (target: Target) => {
    if (tried.some(({ kind, blend }) => kind === target.kind && blend === target.blend)) return;
    tried.push({ ...target, error: await measure(target) });
    tried.sort((a, b) => a.error - b.error);
  };
  const blended = (blend: number): Target =>
    blend === 0 ? { kind: 'self', blend } : { kind: 'residual', blend };
  for (const blend of [1, 0.5]) await attempt(blended(blend));
  for (let best: Candidate | undefined; best !== tried[0]; ) {
    best = tried[0];
    for (const blend of [best.blend - BLEND_STEP, best.blend + BLEND_STEP]) {
      if (blend >= 0 && blend <= 1) await attempt(blended(blend));
    }
  }
  // On some networks what a shortcut lost is better left lost.
  if (hasResidual) await attempt({ kind: 'dense', blend: tried[0].blend || 1 });
  return tried;
}

/** Outputs of a model on every sample, one batch after the other, padding left out. */
export async function outputsOf(
  engine: Engine,
  model: Model,
  source: BatchSource,
  signal?: AbortSignal,
): Promise<FloatTensor[]> {
  const session = await loadModel(engine, model);
  const outputs: FloatTensor[] = [];
  try {
    for await (const { input, count } of source.batches()) {
      await turn(signal);
      const results = await session.run({ [session.inputs[0].name]: input });
      for (const { name } of session.outputs) {
        const { dims, data } = results[name];
        outputs.push({
          dims: [count, ...dims.slice(1)],
          data: data.subarray(0, (data.length / dims[0]) * count),
        });
      }
    }
  } finally {
    await session.release();
  }
  return outputs;
}

/**
 * Σ‖y − ŷ‖² / Σ‖y − ȳ‖² over all outputs, ȳ the mean of each output over the samples: 0 is a perfect
 * copy of the dense network, 1 no better than its mean answer.
 */
export function outputError(dense: readonly FloatTensor[], pruned: readonly FloatTensor[]): number {
  const width = dense[0].data.length / dense[0].dims[0];
  const mean = new Float64Array(width);
  let rows = 0;
  for (const { dims, data } of dense) {
    rows += dims[0];
    for (let i = 0; i < data.length; i++) mean[i % width] += data[i];
  }
  for (let j = 0; j < width; j++) mean[j] /= rows;
  let error = 0;
  let spread = 0;
  dense.forEach(({ data }, batch) => {
    const other = pruned[batch].data;
    for (let i = 0; i < data.length; i++) {
      error += (data[i] - other[i]) ** 2;
      spread += (data[i] - mean[i % width]) ** 2;
    }
  });
  return spread > 0 ? error / spread : error;
}
