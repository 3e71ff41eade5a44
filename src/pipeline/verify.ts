// Runs what was written, before it gets its name, and compares it with what was computed.

import type { FloatTensor } from '../engine/index.ts';
import { InputError, OsscarError } from '../errors.ts';
import { batchSize, takesTokens } from './batches.ts';
import { type Chain, outputsOf, type Place, type RunOptions, through } from './chain.ts';
import { type Dataset, firstSamples } from './data/index.ts';

/** Windows of tokens on which the written model is compared with the masked one; of other samples it is a batch. */
export const VERIFIED_WINDOWS = 4;

/** A value of the model's outputs, for a batch. */
export interface Output extends FloatTensor {
  readonly name: string;
}

/** The samples on which networks are compared. */
export function comparedSamples({ input }: Chain, samples: Dataset): Dataset {
  const values = samples.shape.reduce((product, dim) => product * dim, 1);
  return firstSamples(samples, takesTokens(input) ? VERIFIED_WINDOWS : batchSize(input, values));
}

/** All outputs of a network for the first `count` samples. */
export async function firstOutputs(
  chain: Chain,
  place: Place,
  network: 'dense' | 'pruned',
  count: number,
  options: RunOptions,
): Promise<Output[]> {
  const found: Output[] = [];
  const select = (index: number) => index < count;
  for await (const { values } of outputsOf(chain, place, network, options, select)) {
    for (const [name, tensor] of values) found.push({ name, ...tensor });
  }
  return found;
}

/** All outputs of a model as it stands for all of some samples. */
export async function allOutputs(chain: Chain, samples: Dataset, options: RunOptions): Promise<Output[]> {
  const last = await through(chain, samples, options);
  try {
    return await firstOutputs(chain, last, 'dense', samples.size, options);
  } finally {
    await last.close();
  }
}

/**
 * The largest difference of outputs, as a part of their range.
 * @throws {OsscarError} where it is larger than it may be
 */
export function compare(
  name: string,
  expected: readonly Output[],
  found: readonly FloatTensor[],
  tolerance: number,
): number {
  const differences = expected.map((output, i) => largestDifference(name, output, found[i].data));
  const maximum = Math.max(...differences);
  if (!(maximum <= tolerance)) {
    throw new OsscarError(
      'ERR_OSSCAR_VERIFY',
      `the pruned model differs from the masked one by ${maximum} of its output range, more than ${tolerance}`,
    );
  }
  return maximum;
}

/** max |a − b| / (max a − min a). */
function largestDifference(model: string, { name, data: a }: Output, b: Float32Array): number {
  if (!a.every(Number.isFinite)) {
    throw new InputError(`${model}: output "${name}" of the pruned network holds NaN or infinite values`);
  }
  let [low, high, difference] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
  for (let i = 0; i < a.length; i++) {
    low = Math.min(low, a[i]);
    high = Math.max(high, a[i]);
    // Not Math.max, which a NaN on one side would pass through unseen by a comparison.
    if (!(Math.abs(a[i] - b[i]) <= difference)) difference = Math.abs(a[i] - b[i]);
  }
  return high > low ? difference / (high - low) : difference;
}
