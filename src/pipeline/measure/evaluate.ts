// What a model is worth: accuracy on labelled samples, and perplexity on text.

import type { FloatTensor } from '../../engine/index.ts';
import { InputError } from '../../errors.ts';
import type { Chain, RunOptions } from '../chain.ts';
import type { Dataset } from '../data/index.ts';
import { modelOutputs, type Outputs } from './outputs.ts';

/** How good a model is, and on how much. */
export interface Metric {
  /**
   * - `accuracy`: fraction of samples whose largest output is at the label's index
   * - `perplexity`: e to the mean negative log likelihood of every token but the first of each window
   */
  readonly name: 'accuracy' | 'perplexity';
  readonly value: number;
  readonly samples: number;
  /** What guessing gets: one of the number of classes, or the size of the vocabulary. */
  readonly chance?: number;
}

/**
 * Top-1 accuracy on the first output, or perplexity of a language model.
 * @returns nothing where samples carry no labels
 * @throws {InputError} where a label or token is outside the model's classes
 */
export async function measure(
  chain: Chain,
  samples: Dataset,
  options: RunOptions,
): Promise<Metric | undefined> {
  return metricOf(modelOutputs(chain, samples, options), chain, samples);
}

/** The same of what a model, as that of this chain, gives. */
export async function metricOf(
  outputs: AsyncIterable<Outputs>,
  { predictsTokens }: Pick<Chain, 'predictsTokens'>,
  samples: Dataset,
): Promise<Metric | undefined> {
  if (!predictsTokens) return accuracy(outputs, samples.name);
  const { loss, vocabulary } = await textLoss(outputs);
  return { name: 'perplexity', value: Math.exp(loss), samples: samples.size, chance: vocabulary };
}

async function accuracy(batches: AsyncIterable<Outputs>, name?: string): Promise<Metric | undefined> {
  let [right, samples, classes] = [0, 0, 0];
  for await (const { batch, values } of batches) {
    const { labels, count } = batch;
    if (!labels) return undefined;
    const [scores] = values.values();
    right += hits(scores, labels, count, name).filter(Boolean).length;
    samples += count;
    classes = scores.data.length / count;
  }
  return { name: 'accuracy', value: right / samples, samples, chance: 1 / classes };
}

/**
 * Whether the largest of a sample's scores is at its label.
 *
 * @param name  of the dataset
 * @throws {InputError} where a label is outside the classes
 */
export function hits({ data }: FloatTensor, labels: Int32Array, count: number, name?: string): boolean[] {
  const classes = data.length / count;
  return Array.from({ length: count }, (_, i) => {
    if (labels[i] < 0 || labels[i] >= classes) {
      throw new InputError(
        `${name === undefined ? '' : `"${name}": `}label ${labels[i]} is outside the model's ${classes} classes, which are 0 to ${classes - 1}; see \`labelOffset\``,
      );
    }
    return argmax(data.subarray(i * classes, (i + 1) * classes)) === labels[i];
  });
}

/** Mean negative log likelihood, in nats, of every token but the first of each window, given those before it. */
export async function textLoss(
  outputs: AsyncIterable<Outputs>,
): Promise<{ loss: number; vocabulary: number }> {
  let [total, windows, vocabulary] = [0, 0, 0];
  for await (const { batch, values } of outputs) {
    const [logits] = values.values();
    const losses = windowLosses(logits, batch.sample, batch.count);
    for (const it of losses) total += it;
    windows += losses.length;
    vocabulary = logits.dims[logits.dims.length - 1];
  }
  return { loss: total / windows, vocabulary };
}

/**
 * Mean negative log likelihood of the tokens behind the first of each window.
 *
 * @param logits  count × t × vocabulary
 * @param ids  n × t; the first `count` windows are looked at
 */
export function windowLosses(logits: FloatTensor, ids: FloatTensor, count: number): number[] {
  const [, t] = ids.dims;
  const vocabulary = logits.data.length / (count * t);
  const sums = logSums(logits.data, vocabulary);
  const losses = new Array<number>(count).fill(0);
  for (let row = 0; row < count * t; row++) {
    if (row % t === t - 1) continue;
    const next = ids.data[row + 1];
    if (!(next < vocabulary)) {
      throw new InputError(`token ${next} is outside the model's vocabulary of ${vocabulary}`);
    }
    losses[Math.floor(row / t)] += (sums[row] - logits.data[row * vocabulary + next]) / (t - 1);
  }
  return losses;
}

/** ln Σ eˣ of each row of scores over `classes`: computed once, whoever asks. */
export function logSums(scores: Float32Array, classes: number): Float64Array {
  let sums = KNOWN_SUMS.get(scores);
  if (sums?.length !== scores.length / classes) {
    sums = new Float64Array(scores.length / classes);
    for (let row = 0, at = 0; row < sums.length; row++, at += classes) {
      let top = scores[at];
      for (let i = at + 1; i < at + classes; i++) if (scores[i] > top) top = scores[i];
      let sum = 0;
      for (let i = at; i < at + classes; i++) sum += Math.exp(scores[i] - top);
      sums[row] = top + Math.log(sum);
    }
    KNOWN_SUMS.set(scores, sums);
  }
  return sums;
}

const KNOWN_SUMS = new WeakMap<Float32Array, Float64Array>();

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
