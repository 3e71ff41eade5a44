// How near the outputs of a pruned network are to the dense network's: what is measured where no labels say more.

import type { FloatTensor } from '../../engine/index.ts';
import { elements } from '../../graph/index.ts';
import type { Chain } from '../chain.ts';
import { inStep } from '../data/batches.ts';
import { takesTokens } from '../open/inputs.ts';
import type { Outputs } from './outputs.ts';

/** The mean over the outputs. */
export interface Fidelity {
  /** ‖y − ŷ‖ / ‖y‖ over all samples: 0 is a perfect copy. */
  readonly relativeError: number;
  /** The mean over the samples of the cosine between y and ŷ. */
  readonly cosine: number;
  readonly samples: number;
}

/**
 * Of outputs of the same samples, batch by batch. Features of every token are averaged over a sample's tokens first, as
 * sentence embeddings are made.
 */
export async function fidelityOf(
  { input, predictsTokens }: Pick<Chain, 'input' | 'predictsTokens'>,
  dense: AsyncIterable<Outputs>,
  pruned: AsyncIterable<Outputs>,
): Promise<Fidelity> {
  const isPooled = takesTokens(input) && !predictsTokens;
  const sums = new Map<string, Sums>();
  let samples = 0;
  for await (const [{ batch, values }, other] of inStep(dense, pruned)) {
    samples += batch.count;
    for (const [name, tensor] of values) {
      const own = sums.get(name) ?? { error: 0, square: 0, cosine: 0 };
      sums.set(name, own);
      const [y, z] = [tensor, other.values.get(name)!].map((it) => rowsOf(it, batch.count, isPooled));
      for (let i = 0; i < batch.count; i++) add(own, y[i], z[i]);
    }
  }
  const all = [...sums.values()];
  const mean = (of: (it: Sums) => number) => all.reduce((total, it) => total + of(it), 0) / all.length;
  return {
    relativeError: mean(({ error, square }) => Math.sqrt(square > 0 ? error / square : error)),
    cosine: mean(({ cosine }) => cosine / samples),
    samples,
  };
}

interface Sums {
  error: number;
  square: number;
  cosine: number;
}

/** Of an output y and one beside it, z: ‖y − z‖², ‖y‖², ‖z‖² and yᵀz. */
export function squares(y: ArrayLike<number>, z: ArrayLike<number>) {
  let [error, square, other, product] = [0, 0, 0, 0];
  for (let i = 0; i < y.length; i++) {
    error += (y[i] - z[i]) ** 2;
    square += y[i] ** 2;
    other += z[i] ** 2;
    product += y[i] * z[i];
  }
  return { error, square, other, product };
}

function add(sums: Sums, y: ArrayLike<number>, z: ArrayLike<number>): void {
  const { error, square, other, product } = squares(y, z);
  sums.error += error;
  sums.square += square;
  const length = Math.sqrt(square * other);
  sums.cosine += length > 0 ? product / length : Number(square === other);
}

/** The samples of a batch, each pooled where it is features of tokens. */
function rowsOf({ dims, data }: FloatTensor, count: number, isPooled: boolean): ArrayLike<number>[] {
  const size = data.length / count;
  const rows = Array.from({ length: count }, (_, i) => data.subarray(i * size, (i + 1) * size));
  if (!isPooled || dims.length !== 3) return rows;
  const width = elements(dims.slice(2));
  return rows.map((row) => {
    const mean = new Float64Array(width);
    for (let i = 0; i < row.length; i++) mean[i % width] += row[i] / (size / width);
    return mean;
  });
}
