// Whether a model does on the data what it was trained for, asked before the long work. Wrong preprocessing raises no
// error by itself: the model runs, its answers are those of a coin, and pruning it keeps them.

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

/** Why outputs say so on samples without labels: they hardly tell them apart. */
export async function flatness(
  chain: Chain,
  samples: Dataset,
  options: RunOptions,
): Promise<string | undefined> {
  const some = selectSamples(samples, (index) => index < COMPARED);
  if (some.size < 2) return undefined;
  const outputs: Float32Array[] = [];
  let rank = 0;
  for await (const { batch, values } of modelOutputs(chain, some, options)) {
    const [{ dims, data }] = values.values();
    rank = dims.length;
    const width = data.length / batch.count;
    for (let i = 0; i < batch.count; i++) outputs.push(data.slice(i * width, (i + 1) * width));
  }
  if (outputs.some(({ length }) => length !== outputs[0].length)) return undefined;
  const variation = sampleVariation(outputs);
  if (!(variation < (rank === 2 ? FLAT_SCORES : FLAT_MAPS))) return undefined;
  return `outputs hardly vary: from sample to sample by ${(100 * variation).toPrecision(2)} % of their size`;
}

/** How far samples are from their mean, of their size: (Σ‖y − ȳ‖² / Σ‖y‖²)^½, 0 where all are alike. */
function sampleVariation(outputs: readonly Float32Array[]): number {
  const mean = new Float64Array(outputs[0].length);
  for (const output of outputs) {
    output.forEach((value, j) => {
      mean[j] += value / outputs.length;
    });
  }
  let [apart, size] = [0, 0];
  for (const output of outputs) {
    output.forEach((value, j) => {
      apart += (value - mean[j]) ** 2;
      size += value ** 2;
    });
  }
  return size > 0 ? Math.sqrt(apart / size) : 0;
}
