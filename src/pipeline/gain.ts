// The norm before a language model's scores, refitted. What pruning leaves of noise in the last activations the norm
// scales up with all else, so that scores are too sure of themselves: stories260k at 0.5 of all groups is best read 0.82
// times as loud (docs/architecture.md has what that is worth).

import type { FloatTensor } from '../engine/index.ts';
import { fromFloat32, type Model, subgraph, toFloat64 } from '../graph/index.ts';
import type { LastPlace } from './chain.ts';
import type { Pass, Run } from './pass.ts';
import { turn } from './turn.ts';

/** Where a part scales the features of its input one by one. */
export interface Gain {
  /** What comes of it. */
  readonly value: string;
  /** The tensor that features are multiplied with. */
  readonly weight: string;
  /** The one that is added then. */
  readonly bias?: string;
}

/**
 * The last part with the gain γ and the bias β that bring the pruned network's features z closest to the dense network's
 * y: γ' = aγ and β' = a(β − z̄) + ȳ with a = cov(z, y) / var(z), all about 0 instead of the means where there is no bias.
 */
export async function withGain(
  { chain, signal }: Run,
  { part, source }: LastPlace,
  { value, weight, bias }: Gain,
  { fit }: Pass,
): Promise<Model> {
  const model = (await part.read()).clone();
  const [{ name: from }] = model.inputs;
  const anyShape = { shapes: new Map(), types: new Map() };
  const session = await chain.engine.load(subgraph(model, [from], [value], anyShape));
  const features = async (input: FloatTensor) => (await session.run({ [from]: input }))[value].data;
  const sums = new Sums(chain.between[chain.between.length - 1]);
  try {
    for await (const { input, pruned = input } of source(fit).batches()) {
      await turn(signal);
      sums.add(await features(pruned), await features(input));
    }
  } finally {
    await session.release();
  }
  const { slope, shift } = sums.lines(bias !== undefined);
  change(model, weight, (gain, j) => slope[j] * gain);
  if (bias) change(model, bias, (constant, j) => slope[j] * constant + shift[j]);
  return model;
}

function change(model: Model, name: string, to: (value: number, index: number) => number): void {
  const tensor = model.tensors.get(name)!;
  model.tensors.set(name, fromFloat32(toFloat64(tensor).map(to), tensor.dims, tensor));
}

/** Of features z and y, to draw a line through each. */
class Sums {
  #n = 0;
  readonly #z: Float64Array;
  readonly #y: Float64Array;
  readonly #zz: Float64Array;
  readonly #zy: Float64Array;

  constructor(features: number) {
    [this.#z, this.#y, this.#zz, this.#zy] = Array.from({ length: 4 }, () => new Float64Array(features));
  }

  add(z: Float32Array, y: Float32Array): void {
    const features = this.#z.length;
    for (let at = 0; at < z.length; at++) {
      const j = at % features;
      this.#z[j] += z[at];
      this.#y[j] += y[at];
      this.#zz[j] += z[at] * z[at];
      this.#zy[j] += z[at] * y[at];
    }
    this.#n += z.length / features;
  }

  /** y ≈ slope·z + shift; a feature that is constant stays as it is. */
  lines(hasShift: boolean): { slope: Float64Array; shift: Float64Array } {
    const mean = (sums: Float64Array) => sums.map((sum) => (hasShift ? sum / this.#n : 0));
    const [z, y] = [mean(this.#z), mean(this.#y)];
    const slope = z.map((mean, j) => {
      const variance = this.#zz[j] - this.#n * mean * mean;
      const covariance = this.#zy[j] - this.#n * mean * y[j];
      return variance > ROUNDING * this.#zz[j] ? covariance / variance : 1;
    });
    return { slope, shift: slope.map((a, j) => y[j] - a * z[j]) };
  }
}

/** Of Σz², as f32 values have it. */
const ROUNDING = 2 ** -24;
