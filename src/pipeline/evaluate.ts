// What a model is worth: accuracy on labelled samples, and the latency of one sample.

import type { EngineSession, FloatTensor } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import type { BatchSource } from './batches.ts';
import { turn } from './turn.ts';

export interface Metric {
  readonly name: 'accuracy';
  /** Fraction of samples whose largest output is at the label's index. */
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
