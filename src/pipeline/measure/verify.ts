// Compares what is pruned with the file, before any work, and what was written with what was computed, before it gets its name.

import type { FloatTensor } from '../../engine/index.ts';
import { InputError, OsscarError } from '../../errors.ts';
import { nonFiniteAt } from '../../finite.ts';
import { elements, groupBy, isRandom, type StoredType } from '../../graph/index.ts';
import type { Chain } from '../chain.ts';
import { batchSize, batchSource, inStep, listed } from '../data/batches.ts';
import { type Dataset, selectSamples } from '../data/index.ts';
import { takesTokens } from '../open/inputs.ts';
import { rounding } from '../pass/round.ts';
import { type LastPlace, through } from '../pass/through.ts';
import type { BeforeAfter } from '../profile.ts';
import type { Target } from '../recipe.ts';
import type { Run } from '../run.ts';
import type { Copy, StoredCopy, Subject, Writer, Written } from '../subject.ts';
import { type Metric, measure, metricOf } from './evaluate.ts';
import { type Fidelity, fidelityOf } from './fidelity.ts';
import { modelOutputs, type Outputs, outputsOf } from './outputs.ts';
import { latencies } from './timing.ts';

/** Windows of tokens on which the written model is compared with the masked one; of other samples it is a batch. */
export const VERIFIED_WINDOWS = 4;

/** How far outputs may be off where weights are rounded to these, as a part of their range: what is further off is another network. */
const ROUNDING: Readonly<Record<StoredType, number>> = {
  float16: 2e-2,
  int8: 0.25,
  int4: 0.5,
  q8: 0.25,
  q4: 0.5,
};

/** A value of the model's outputs, for a batch. */
interface Output extends FloatTensor {
  readonly name: string;
}

/** What the proof of a written model has shown. */
export interface Proof extends Written {
  /** As of `PruneReport`. */
  readonly maxDifference: number;
  readonly latencyMs?: BeforeAfter;
  readonly after?: Metric;
  readonly stored?: StoredCopy & { readonly metric?: Metric };
  /** Of the samples for evaluation, where nothing else measures the model. */
  readonly fidelity?: Fidelity;
}

/**
 * Has what was written compared with the pruned network, measured, and named.
 *
 * @param isJudged  whether held-out samples have said already how near the outputs are
 */
export async function prove(
  run: Run,
  last: LastPlace,
  target: Target,
  writer: Writer,
  isJudged: boolean,
): Promise<Proof> {
  const { chain, subject, engine, calibration, evaluation } = run;
  const samples = firstSamples(run);
  const expected = await listed(
    oneByOne(outputsOf(chain, last, 'pruned', run, (index) => index < samples.size)),
  );
  const proveWritten = async (written: Written): Promise<Proof> => {
    const { exact } = written;
    const copyOf = (it: Subject, rounding?: StoredType): Copy => {
      return { outputs: () => oneByOne(modelOutputs(it.chain(engine, samples), samples, run)), rounding };
    };
    const itself = copyOf(written.subject, written.rounding);
    let maxDifference = 0;
    for (const { outputs, rounding } of [...(exact ? [copyOf(exact)] : []), itself, ...written.copies]) {
      const allowed = Math.max(rounding ? ROUNDING[rounding] : 0, written.subject.tolerance);
      const difference = await differenceOf(subject.name, expected, outputs(samples));
      if (!(difference <= allowed)) {
        const [stored, hint] = rounding
          ? [` with weights as ${rounding}`, "; let them be stored as they are (`weights: 'float32'`)"]
          : ['', ''];
        throw unproven(
          `the pruned model${stored} differs from the masked one by ${difference} of its output range, more than ${allowed}${hint}`,
        );
      }
      maxDifference = Math.max(maxDifference, difference);
    }
    const [before, small] = [subject, written.subject].map((it) => it.chain(engine, evaluation));
    const after = await measure(small, evaluation, run);
    const stored = written.stored && {
      ...written.stored,
      metric: await measureCopy(small, written.stored, evaluation),
    };
    return {
      ...written,
      maxDifference,
      latencyMs: await timed(subject, written.subject, samples, run),
      after,
      stored,
      fidelity:
        after || isJudged
          ? undefined
          : await fidelityOf(
              chain,
              modelOutputs(before, evaluation, run),
              modelOutputs(small, evaluation, run),
            ),
    };
  };
  const how = { target, samples: calibration.size, calibration: run.calibrationHash };
  return writer.finish(how, { round: rounding(run), prove: proveWritten });
}

/**
 * Has the graph of a file that is pruned compared with the file itself: it was taken apart, computed and unrolled by what one sample
 * shows, and many go through it at a time.
 *
 * @throws {InputError} naming a node for random numbers, where the graph gives other outputs than the file
 * @throws {OsscarError} where it does so without one
 */
export async function proveGraph(run: Run): Promise<void> {
  const { chain, subject } = run;
  const { name, file } = subject;
  if (!file) return;
  const tolerance = Math.max(file.dequantized ? ROUNDING.int4 : 0, subject.tolerance);
  const last = await through(chain, firstSamples(run), run);
  try {
    const expected = await listed(oneByOne(outputsOf(chain, last, 'dense', run)));
    // What overflows is named by the layer that it begins at.
    if (expected.some(({ data }) => nonFiniteAt(data) >= 0)) return;
    const taken = outputsOf(chain, { ...last, pruned: file.model }, 'pruned', run);
    const difference = await differenceOf(name, expected, oneByOne(taken));
    if (difference <= tolerance) return;
    const random = file.source.nodes.find(isRandom);
    if (random)
      throw new InputError(
        `${name}: node "${random.name || random.output[0]}" (${random.opType}) gives other numbers in every network; export the model without it`,
      );
    if (file.dequantized)
      throw new InputError(
        `${name}: it is quantized, and differs from the network of floats that it stands for by ${difference} of its output range, more than ${tolerance}: prune the float model that it was made of, then quantise the result`,
      );
    throw unproven(
      `${name}: as it is taken apart, the network differs from the file by ${difference} of its output range, more than ${tolerance}`,
    );
  } finally {
    await last.close();
  }
}

/** Those that a proof is made on. */
export function firstSamples({ chain: { input }, calibration }: Run): Dataset {
  const count = takesTokens(input) ? VERIFIED_WINDOWS : batchSize(input, elements(calibration.shape));
  return selectSamples(calibration, (index) => index < count);
}

/** What a copy is worth, of a model whose chain this is. */
function measureCopy(chain: Chain, { outputs }: Copy, samples: Dataset): Promise<Metric | undefined> {
  const one = batchSource(samples, { ...chain.input, fixedBatch: 1 });
  const all = async function* (): AsyncGenerator<Outputs> {
    for await (const [tensor, sent] of inStep(outputs(samples), one.batches())) {
      const batch = chain.takesLabels ? sent : { ...sent, labels: undefined };
      yield { batch, values: new Map([['', tensor]]) };
    }
  };
  return metricOf(all(), chain, samples);
}

/** Milliseconds of a sample in both, where they are files. */
async function timed(
  { file: dense }: Subject,
  { file: small }: Subject,
  samples: Dataset,
  { engine, signal }: Run,
): Promise<BeforeAfter | undefined> {
  if (!dense || !small) return undefined;
  const [before, after] = await latencies([dense, small], samples, { engine, signal });
  return { before, after };
}

async function* oneByOne(outputs: AsyncIterable<Outputs>): AsyncGenerator<Output> {
  for await (const { values, states = [] } of outputs)
    for (const [name, tensor] of [...values, ...states]) yield { name, ...tensor };
}

/**
 * Outputs that vary less than by this part of 1, or of their largest value, are compared as if they varied by so much: below lie the
 * last bits of float32. A sigmoid that is 0 for every sample gives multiples of 2⁻²⁴.
 */
const LEAST_RANGE = 1e-3;

/**
 * The largest difference of outputs, as a part of their range; infinite or NaN where they cannot be compared.
 * @throws {OsscarError} where there is nothing to compare
 */
async function differenceOf(
  model: string,
  expected: readonly Output[],
  found: AsyncIterable<FloatTensor>,
): Promise<number> {
  const ranges = rangesOf(model, expected);
  let [tensors, values, maximum] = [0, 0, 0];
  for await (const { data } of found) {
    const { name, data: a } = expected[tensors++] ?? { name: '', data: [] };
    maximum = Math.max(maximum, largestDifference(a, data) / (ranges.get(name) ?? 1));
    values += data.length;
  }
  if (tensors !== expected.length) return Number.POSITIVE_INFINITY;
  if (values === 0) throw unproven(`${model}: outputs have no numbers to compare the pruned model by`);
  return maximum;
}

const unproven = (message: string) => new OsscarError('ERR_OSSCAR_VERIFY', message);

/** max a − min a of each output over all batches, or what counts in its place. */
function rangesOf(model: string, outputs: readonly Output[]): Map<string, number> {
  const ranges = [...groupBy(outputs, ({ name }) => name)].map(([name, tensors]) => {
    let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const { data } of tensors) {
      if (nonFiniteAt(data) >= 0) {
        throw new InputError(`${model}: output "${name}" of the pruned network holds NaN or infinite values`);
      }
      for (let i = 0; i < data.length; i++) {
        low = Math.min(low, data[i]);
        high = Math.max(high, data[i]);
      }
    }
    return [name, Math.max(high - low, LEAST_RANGE * Math.max(1, -low, high))] as const;
  });
  return new Map(ranges);
}

/** max |a − b|: NaN where one of them is, infinite where there are not equally many. */
function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference = Math.max(difference, Math.abs(a[i] - b[i]));
  return difference;
}
