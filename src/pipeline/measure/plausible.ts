// Whether a model does on the data what it was trained for, asked before the long work. Wrong preprocessing raises no
// error by itself: the model runs, its answers are those of a coin, and pruning it keeps them.

import type { FloatTensor } from '../../engine/index.ts';
import { expectObject } from '../../expect.ts';
import type { LinearMap } from '../../graph/index.ts';
import { counted } from '../../printable.ts';
import type { Chain, RunOptions } from '../chain.ts';
import { type Dataset, selectSamples } from '../data/index.ts';
import type { Profile } from '../profile.ts';
import type { Metric } from './evaluate.ts';
import { modelOutputs } from './outputs.ts';

/** What speaks against the data, or makes little of them. */
export interface Warning {
  /**
   * - `implausible`: the dense model answers no better than by chance, or the same whatever the sample
   * - `few-samples`: layers have fewer calibration rows than inputs
   * - `whole-heads`: of an ONNX file whose heads are to become narrow, attentions that lose whole heads
   */
  readonly kind: 'implausible' | 'few-samples' | 'whole-heads';
  readonly text: string;
}

/** Standard errors above chance within which an accuracy is chance: passed by luck alone once in forty. */
const LUCK = 2;
/** A language model that has learnt nothing of the text has the vocabulary's size as its perplexity, or more. */
const GUESSING = 0.9;
/** Samples that outputs are compared on, where there are no labels. */
const COMPARED = 64;
/**
 * Scores that vary less than this between samples are of inputs that hardly differ to the model. Networks on images that
 * were normalised with means and deviations of pixels in 0…255 instead of 0…1 gave 0.001 to 0.025, right ones 0.97 and
 * more.
 */
const FLAT_SCORES = 0.03;
/** Of outputs that are no scores, such as maps, much is often the same for all samples. */
const FLAT_MAPS = 0.003;

/**
 * Why a metric says that model and data do not go together, if it does.
 *
 * @example
 * const metric = await evaluate(model, samples, { engine });
 * const doubt = metric && doubtOf(metric);
 * if (doubt) console.warn(`${doubt}: are mean and std right?`);
 */
export function doubtOf(metric: Metric): string | undefined {
  expectObject('doubtOf', 'metric', metric);
  const { name, value, samples, chance } = metric;
  if (chance === undefined) return undefined;
  if (name === 'perplexity') {
    if (value < GUESSING * chance) return undefined;
    return `perplexity is ${value.toPrecision(4)}, guessing among the vocabulary gives ${chance}`;
  }
  if (value > chance + LUCK * Math.sqrt((chance * (1 - chance)) / samples)) return undefined;
  return `accuracy is ${value.toFixed(3)} on ${counted(samples, 'sample')}, chance is ${chance.toFixed(3)}`;
}

type Rows = Pick<LinearMap, 'p' | 'rows'>;

/** Refits of layers that have fewer rows than inputs hold on the calibration samples and little beyond. */
export function hasFewRows({ p, rows }: Rows, samples: number): boolean {
  return rows * samples < p;
}

/** Samples that give a layer as many rows as inputs. */
export function samplesFor({ p, rows }: Rows): number {
  return Math.ceil(p / rows);
}

/** What the layers that are solved ask of the number of calibration samples, where it is too small for some. */
export function fewSamples({ steps }: Pick<Profile, 'steps'>, samples: number): Warning | undefined {
  const layers = steps.flatMap(({ maps }) => maps);
  const short = layers.filter((layer) => hasFewRows(layer, samples));
  if (short.length === 0) return undefined;
  const needed = Math.max(...short.map(samplesFor));
  const text = `${samples === 1 ? '1 calibration sample is' : `${samples} calibration samples are`} few: ${short.length} of ${counted(layers.length, 'layer')} ${short.length === 1 ? 'has' : 'have'} fewer rows than inputs; ${needed} samples or more fit better`;
  return { kind: 'few-samples', text };
}

/** Why outputs say so on samples without labels: none of them tells these apart. */
export async function flatness(
  chain: Chain,
  samples: Dataset,
  options: RunOptions,
): Promise<string | undefined> {
  const some = selectSamples(samples, (index) => index < COMPARED);
  if (some.size < 2) return undefined;
  const spreads = new Map<string, Spread>();
  for await (const { batch, values } of modelOutputs(chain, some, options)) {
    for (const [name, tensor] of values) {
      const known = spreads.get(name) ?? new Spread(tensor, batch.count);
      if (!known.takes(tensor, batch.count)) return undefined; // as many as are found in a sample
      known.add(tensor);
      spreads.set(name, known);
    }
  }
  const all = [...spreads.values()];
  if (!all.every((spread) => spread.isFlat)) return undefined;
  const variation = Math.max(...all.map((spread) => spread.variation));
  return `outputs hardly vary: from sample to sample by ${(100 * variation).toPrecision(2)} % of their size`;
}

/** How far samples of an output are from their mean. */
class Spread {
  readonly #rank: number;
  readonly #total: Float64Array;
  #squares = 0;
  #samples = 0;

  constructor({ dims, data }: FloatTensor, count: number) {
    this.#rank = dims.length;
    this.#total = new Float64Array(data.length / count);
  }

  takes({ data }: FloatTensor, count: number): boolean {
    return data.length === this.#total.length * count;
  }

  add({ data }: FloatTensor): void {
    const width = this.#total.length;
    for (let i = 0; i < data.length; i++) {
      this.#total[i % width] += data[i];
      this.#squares += data[i] ** 2;
    }
    this.#samples += data.length / width;
  }

  /** Of their size: (Σ‖y − ȳ‖² / Σ‖y‖²)^½, 0 where all are alike. */
  get variation(): number {
    let alike = 0;
    for (const total of this.#total) alike += total ** 2 / this.#samples;
    return this.#squares > 0 ? Math.sqrt(Math.max(0, 1 - alike / this.#squares)) : 0;
  }

  get isFlat(): boolean {
    return this.variation < (this.#rank === 2 ? FLAT_SCORES : FLAT_MAPS);
  }
}
