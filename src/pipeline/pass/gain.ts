// Layers that scale channels one by one, refitted: depthwise convolutions, and the norm before a language model's scores.
//
// They read what pruning has left of noise and pass it on at full strength, or scale it up with all else, as a norm does.
// Of each channel a line is drawn by least squares, through what comes of the pruned network and what the dense network
// has there. docs/architecture.md has what that is worth.

import type { FloatTensor } from '../../engine/index.ts';
import {
  elements,
  fromFloat32,
  type Gain,
  type Model,
  ownTensor,
  subgraph,
  toFloat64,
} from '../../graph/index.ts';
import { turn } from '../../turn.ts';
import { withSessions } from '../open/load.ts';
import { fitOf, type Pass } from '../recipe.ts';
import type { Run } from '../run.ts';
import type { Frontier } from './frontier.ts';
import type { LastPlace } from './through.ts';

/** y ≈ slope·z + shift, channel by channel. */
export interface Lines {
  readonly slope: Float64Array;
  readonly shift: Float64Array;
}

/** The last part with its gain refitted to the dense network's output of it. */
export async function withGain(
  { chain, signal, calibration }: Run,
  { part, source }: LastPlace,
  gain: Gain,
  pass: Pass,
): Promise<Model> {
  const model = (await part.read()).clone();
  const [{ name: from }] = model.inputs;
  const anyShape = { shapes: new Map(), types: new Map() };
  const load = () => chain.engine.load(subgraph(model, [from], [gain.output], anyShape));
  const sums = new LineSums(gain);
  await withSessions([load], async (session) => {
    const output = async (input: FloatTensor) => (await session.run({ [from]: input }))[gain.output];
    for await (const { input, pruned = input } of source(fitOf(pass, calibration)).batches()) {
      await turn(signal);
      sums.add(await output(pruned), await output(input));
    }
  });
  writeGain(model, gain, sums.lines());
  return model;
}

/** What the gain gives, wherever it is in the graph. */
export function gainOutputs({ output, others = [] }: Gain): string[] {
  return [output, ...others];
}

/** Sums over what the gain gives in both networks behind a frontier. */
export async function lineSums(frontier: Frontier, gain: Gain): Promise<LineSums> {
  const values = gainOutputs(gain);
  const sums = new LineSums(gain);
  for await (const { dense, pruned, count } of frontier.run(values, values))
    for (const value of values) sums.add(pruned[value], dense[value], count);
  return sums;
}

/** γ' = aγ and β' = aβ + c, for lines az + c. */
export function writeGain(model: Model, gain: Gain, { slope, shift }: Lines): void {
  const { weight, centre = 0, bias } = gain;
  const nodes = new Set([model.node(gain.node), ...gainOutputs(gain).map((value) => model.producer(value))]);
  const change = (name: string, to: (value: number, channel: number) => number) => {
    // Other nodes may have the same numbers for channels of their own.
    const places = model.uses(name).filter(({ node }) => nodes.has(node));
    const tensor = places.length > 0 ? ownTensor(model, places) : model.tensors.get(name)!;
    const row = elements(tensor.dims) / slope.length;
    const values = toFloat64(tensor).map((value, at) => to(value, Math.floor(at / row)));
    model.tensors.set(tensor.name, fromFloat32(values, tensor.dims, tensor));
  };
  change(weight, (value, j) => slope[j] * (centre + value) - centre);
  if (bias) change(bias, (value, j) => slope[j] * value + shift[j]);
}

/** Of Σz², as values are f32. */
const ROUNDING = 2 ** -24;

/** Σz, Σy, Σz² and Σzy of n values of each channel. */
interface LineTotals {
  n: number;
  readonly z: Float64Array;
  readonly y: Float64Array;
  readonly zz: Float64Array;
  readonly zy: Float64Array;
}

function zeroTotals(channels: number): LineTotals {
  const zeros = () => new Float64Array(channels);
  return { n: 0, z: zeros(), y: zeros(), zz: zeros(), zy: zeros() };
}

/** Sums over outputs z of the pruned and y of the dense network: slope = cov(z, y) / var(z), about 0 without a bias. */
export class LineSums {
  readonly #gain: Gain;
  #totals: LineTotals | undefined;

  constructor(gain: Gain) {
    this.#gain = gain;
  }

  /** @param count  samples of the batch that count; default: all */
  add({ dims, data: z }: FloatTensor, { data: y }: FloatTensor, count = dims[0]): void {
    const channels = dims.at(this.#gain.axis)!;
    const inner = elements(dims.slice(this.#gain.axis).slice(1));
    this.#totals ??= zeroTotals(channels);
    const sums = this.#totals;
    const size = (z.length / dims[0]) * count;
    for (let at = 0, j = 0; at < size; j = (j + 1) % channels) {
      // In variables, which stay in registers: more than twice as fast.
      let [sumZ, sumY, sumZZ, sumZY] = [sums.z[j], sums.y[j], sums.zz[j], sums.zy[j]];
      for (const end = at + inner; at < end; at++) {
        sumZ += z[at];
        sumY += y[at];
        sumZZ += z[at] * z[at];
        sumZY += z[at] * y[at];
      }
      [sums.z[j], sums.y[j], sums.zz[j], sums.zy[j]] = [sumZ, sumY, sumZZ, sumZY];
    }
    sums.n += size / channels;
  }

  /** What was summed so far. */
  read(): LineTotals {
    return this.#totals!;
  }

  /** Adds what was summed over other samples. */
  merge(more: LineTotals): void {
    this.#totals ??= zeroTotals(more.z.length);
    for (const key of ['z', 'y', 'zz', 'zy'] as const)
      for (let j = 0; j < more.z.length; j++) this.#totals[key][j] += more[key][j];
    this.#totals.n += more.n;
  }

  /** Channels that are constant stay as they are. */
  lines(): Lines {
    const { n, zz, zy, ...sums } = this.#totals!;
    const mean = (values: Float64Array) => values.map((sum) => (this.#gain.bias ? sum / n : 0));
    const [z, y] = [mean(sums.z), mean(sums.y)];
    const slope = z.map((mean, j) => {
      const variance = zz[j] - n * mean * mean;
      const covariance = zy[j] - n * mean * y[j];
      return variance > ROUNDING * zz[j] ? covariance / variance : 1;
    });
    return { slope, shift: slope.map((a, j) => y[j] - a * z[j]) };
  }
}
