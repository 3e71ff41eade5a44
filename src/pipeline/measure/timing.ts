// How long models take for one sample, beside each other.

import { type Engine, type EngineSession, expectEngine } from '../../engine/index.ts';
import { InputError } from '../../errors.ts';
import { expectObjects } from '../../expect.ts';
import { describeValue, elements, isNumeric, type Model, withOutputs } from '../../graph/index.ts';
import { expectOptions, FUNCTION, LATER, type Options, SIGNAL } from '../../options.ts';
import type { AbortOptions } from '../../pool/index.ts';
import { turn } from '../../turn.ts';
import { type Batch, batchSource, feedsOf } from '../data/batches.ts';
import { type Dataset, expectDataset } from '../data/index.ts';
import { mulberry32, shuffle } from '../data/sample.ts';
import type { Feeds, ModelInput } from '../open/inputs.ts';
import { loadModel, withSessions } from '../open/load.ts';
import { expectOpened, type OpenedModel } from '../open/open.ts';

/** What timing models takes. */
export interface TimingOptions extends AbortOptions {
  readonly engine: Engine;
  /** The clock: milliseconds since some moment. Default `performance.now`. */
  readonly now?: () => number;
}

/** Of another kind, engines are told in more words. */
export const TIMING_OPTIONS: Options<TimingOptions> = { engine: LATER, now: FUNCTION, signal: SIGNAL };

/** How often models are timed. */
export interface Rounds {
  readonly warmUp: number;
  readonly most: number;
  /** Slow models are timed fewer times, never fewer than five. */
  readonly limitMs: number;
}

/** For a number that is reported, or that a budget is held to. */
export const CAREFUL: Rounds = { warmUp: 5, most: 31, limitMs: 4000 };
const LEAST_ROUNDS = 5;
/** What is timed at once takes so long at least: the clocks of browsers have steps of up to 0.1 ms. */
const LEAST_MS = 2;
const MOST_RUNS = 64;

/**
 * Median milliseconds of one sample in each of several ONNX models, which are run in turn: equal ones show equal times.
 *
 * @param samples  the first one is run, through models that all take it
 *
 * @example
 * const [dense, small] = await latencies([model, smaller], samples, { engine });
 * console.log(`${(dense / small).toFixed(2)} times as fast`);
 */
export async function latencies(
  models: readonly OpenedModel[],
  samples: Dataset,
  options: TimingOptions,
): Promise<number[]> {
  expectOptions('latencies', options, TIMING_OPTIONS);
  const { engine, signal, now } = options;
  expectEngine('latencies', engine);
  expectObjects('latencies', 'models', models);
  for (const model of models) expectOpened('latencies', model);
  expectDataset('latencies', 'samples', samples);
  // A run has to give something.
  const givesNumbers = ({ outputs }: Model) => outputs.some((it) => isNumeric(describeValue(it).type));
  const load = ({ source, measured = [] }: OpenedModel) =>
    loadModel(engine, givesNumbers(source) ? source : withOutputs(source, measured), { asUsed: true });
  const loads = models.map((model) => () => load(model));
  return withSessions(loads, async (...sessions) => {
    const sample = await firstSample(samples, models[0].input);
    return (await alternately(sessions, sample, CAREFUL, { signal, now })).map(median);
  });
}

/** Milliseconds of every round, by session. In turn, so that a machine whose speed drifts slows all of them alike. */
export async function alternately(
  sessions: readonly EngineSession[],
  sample: Pick<Batch, 'input' | 'others'>,
  { warmUp, most, limitMs }: Rounds,
  { signal, now = () => performance.now() }: Pick<TimingOptions, 'signal' | 'now'>,
): Promise<number[][]> {
  const feeds = sessions.map((session) =>
    feedsOf(session, { others: fitted(session, sample.others) }, sample.input),
  );
  const times: number[][] = sessions.map(() => []);
  const start = now();
  const next = mulberry32(1);
  let runs = 1;
  for (let round = -warmUp; round < most; round++) {
    if (round >= LEAST_ROUNDS && now() - start > limitMs) break;
    // Each after a pause, in an order of its own every round, so that no model has the same place in all of them.
    for (const i of shuffle([...sessions.keys()], next)) {
      await turn(signal);
      const before = now();
      for (let run = 0; run < runs; run++) await sessions[i].run(feeds[i]);
      const ms = (now() - before) / runs;
      if (round >= 0) times[i].push(ms);
      else if (i === 0) runs = Math.max(1, Math.min(MOST_RUNS, Math.ceil(LEAST_MS / (ms || LEAST_MS))));
    }
  }
  return times;
}

/** Caches and states of a smaller model have fewer heads or units: they are the same number throughout. */
function fitted({ inputs }: EngineSession, others: Feeds = {}): Feeds {
  const declared = new Map(inputs.map(({ name, dims }) => [name, dims]));
  const entries = Object.entries(others).map(([name, tensor]) => {
    const own = declared.get(name) ?? [];
    const dims = tensor.dims.map((extent, axis) => {
      const dim = own[axis];
      return typeof dim === 'number' && dim > 0 ? dim : extent;
    });
    const length = elements(dims);
    if (length === tensor.data.length) return [name, { ...tensor, dims }];
    return [name, { dims, data: new Float32Array(length).fill(tensor.data[0] ?? 0) }];
  });
  return Object.fromEntries(entries);
}

/** How much longer one takes than the other, both timed in the same rounds. What else the machine does only adds to times. */
export function ratioOf(times: readonly number[], base: readonly number[]): number {
  return quantile(times, RATIO_QUANTILE) / quantile(base, RATIO_QUANTILE);
}

const RATIO_QUANTILE = 0.25;

/** With all that goes along. */
export async function firstSample(samples: Dataset, input: ModelInput): Promise<Batch> {
  for await (const batch of batchSource(samples, { ...input, outputs: 1 }, (index) => index === 0).batches())
    return batch;
  throw new InputError('no calibration samples');
}

export const median = (values: readonly number[]) => quantile(values, 0.5);

function quantile(values: readonly number[], part: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * part)];
}
