// What a model is worth: accuracy on labelled samples, perplexity on text, and the latency of one sample.

import type { EngineSession, FloatTensor } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import type { BatchSource } from './batches.ts';
import { turn } from './turn.ts';

/** How good a model is, and on how much. */
export interface Metric {
  /**
   * - `accuracy`: fraction of samples whose largest output is at the label's index
   * - `perplexity`: e to the mean negative log likelihood of every token but the first of each window
   */
  readonly name: 'accuracy' | 'perplexity';
  readonly value: number;
  readonly samples: number;
}

/**
 * Top-1 accuracy on the first output.
 * @returns nothing where the samples carry no labels
 * @throws {InputError} where a label is outside the model's classes
 */
export async function accuracy(
  session: EngineSession,
  source: BatchSource,
  signal?: AbortSignal,
): Promise<Metric | undefined> {
  const input = session.inputs[0].name;
  const output = session.outputs[0].name;
  let right = 0;
  let samples = 0;
  for await (const { input: tensor, count, labels } of source.batches()) {
    await turn(signal);
    if (!labels) return undefined;
    const scores = (await session.run({ [input]: tensor }, [output]))[output];
    const classes = scores.data.length / tensor.dims[0];
    for (let i = 0; i < count; i++) {
      if (labels[i] < 0 || labels[i] >= classes) {
        throw new InputError(
          `label ${labels[i]} is outside the model's ${classes} classes; see --label-offset`,
        );
      }
      if (argmax(scores.data.subarray(i * classes, (i + 1) * classes)) === labels[i]) right++;
    }
    samples += count;
  }
  return { name: 'accuracy', value: right / samples, samples };
}

/** Perplexity over windows of token ids. */
export async function perplexity(
  session: EngineSession,
  source: BatchSource,
  signal?: AbortSignal,
): Promise<Metric> {
  return {
    name: 'perplexity',
    value: Math.exp(await loss(session, source, signal)),
    samples: source.samples,
  };
}

/** Mean negative log likelihood, in nats, of every token but the first of each window, given those before it. */
export async function loss(
  session: EngineSession,
  source: BatchSource,
  signal?: AbortSignal,
): Promise<number> {
  const output = session.outputs[0].name;
  let total = 0;
  let tokens = 0;
  for await (const { input, count } of source.batches()) {
    await turn(signal);
    const logits = (await session.run({ [session.inputs[0].name]: input }, [output]))[output];
    total += windowsLoss(logits, input, count);
    tokens += count * (input.dims[1] - 1);
  }
  return total / tokens;
}

/**
 * Summed negative log likelihood of the tokens behind the first of each window.
 *
 * @param logits  n × t × vocabulary
 * @param ids  n × t; the first `count` windows are looked at
 */
export function windowsLoss(logits: FloatTensor, ids: FloatTensor, count: number): number {
  const [, t] = ids.dims;
  const vocabulary = logits.data.length / ids.data.length;
  let total = 0;
  for (let row = 0; row < count * t; row++) {
    if (row % t === t - 1) continue;
    const next = ids.data[row + 1];
    if (!(next < vocabulary)) {
      throw new InputError(`token ${next} is outside the model's vocabulary of ${vocabulary}`);
    }
    const scores = logits.data.subarray(row * vocabulary, (row + 1) * vocabulary);
    let top = scores[0];
    for (let i = 1; i < vocabulary; i++) if (scores[i] > top) top = scores[i];
    let sum = 0;
    for (let i = 0; i < vocabulary; i++) sum += Math.exp(scores[i] - top);
    total += top + Math.log(sum) - scores[next];
  }
  return total;
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

const WARM_UP_RUNS = 5;
const TIMED_RUNS = 31;
/** Slow models are timed fewer times, never fewer than five. */
const TIME_LIMIT_MS = 4000;

/**
 * Median milliseconds of one run of each session on the same input, in turn, so that a machine whose
 * speed drifts slows all of them alike.
 */
export async function latencies(
  sessions: readonly EngineSession[],
  input: FloatTensor,
  signal?: AbortSignal,
): Promise<number[]> {
  const feeds = sessions.map((session) => ({ [session.inputs[0].name]: input }));
  const times: number[][] = sessions.map(() => []);
  const start = performance.now();
  for (let round = -WARM_UP_RUNS; round < TIMED_RUNS; round++) {
    if (round >= 5 && performance.now() - start > TIME_LIMIT_MS) break;
    await turn(signal);
    for (let i = 0; i < sessions.length; i++) {
      const before = performance.now();
      await sessions[i].run(feeds[i]);
      if (round >= 0) times[i].push(performance.now() - before);
    }
  }
  return times.map(median);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}
