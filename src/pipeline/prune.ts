// A whole model: choose the target, prune in sequence, shrink, and prove the result by running it.

import type { Engine, EngineSession, FloatTensor } from '../engine/index.ts';
import { InputError, OsscarError, UnsupportedModelError } from '../errors.ts';
import { type Model, type Structure, shrink, type WrittenModel, writeModel } from '../graph/index.ts';
import type { Session } from '../pool/index.ts';
import type { Method, Search } from '../solve/index.ts';
import { type BatchSource, batchSource, takesTokens } from './batches.ts';
import { supplied } from './decoder.ts';
import { accuracy, latencies, loss, type Metric, perplexity } from './evaluate.ts';
import { checkNames, type KeepRatios, keepRatio } from './keep.ts';
import { externalReader, loadModel, type OpenedModel, openModel } from './open.ts';
import {
  type BeforeAfter,
  type CommonOptions,
  checkChoices,
  chooseTarget,
  DEFAULT_ACTIVATION_BYTES,
  type TargetReport,
  withSession,
} from './options.ts';
import { checkMemory, pruneSequence, type Target } from './sequence.ts';
import { splitSamples } from './split.ts';
import { type Candidate, outputError, outputsOf, searchTarget } from './target.ts';

/** Of `pruneModel`. */
export interface PruneOptions extends CommonOptions {
  /** Name of the written model's data file, should it need one. */
  readonly externalName?: string;
}

/** What was pruned, how, and what it cost. */
export interface PruneReport {
  readonly method: Method;
  readonly keep: number | KeepRatios;
  readonly target: TargetReport;
  readonly samples: number;
  readonly parameters: BeforeAfter;
  /** Multiply-adds for one sample. */
  readonly macs: BeforeAfter;
  readonly bytes: BeforeAfter;
  /** Median of one sample in the engine. */
  readonly latencyMs: BeforeAfter;
  readonly metric?: BeforeAfter & {
    readonly name: Metric['name'];
    readonly samples: number;
    readonly data: 'evaluation' | 'calibration';
  };
  /** Largest difference between the written model and the masked dense network, as a part of the output's range. */
  readonly maxDifference: number;
  readonly layers: readonly {
    readonly name: string;
    readonly layer: string;
    readonly groups: number;
    readonly kept: readonly number[];
    readonly relativeError: number;
    /** λ of each layer that reads the channels. */
    readonly damping: readonly number[];
  }[];
  readonly notPrunable: readonly { readonly name: string; readonly reason: string }[];
  /** Bytes of WebAssembly memory that the largest layer was said to take, in one thread. */
  readonly memory: { readonly wasmBytes: number };
  readonly seconds: number;
  readonly engine: string;
  readonly simd: string;
  /** Of the solver. */
  readonly threads: number;
}

/** The pruned model, and what became of it. */
export interface PruneResult {
  /** ONNX bytes, and the parts of the external data file where there is one. */
  readonly written: WrittenModel;
  readonly report: PruneReport;
}

/** The bound on `maxDifference`: rounding of float32 is near 1e-6, of float16 near 1e-3. */
const TOLERANCE = { float32: 1e-3, float16: 2e-2 };

/**
 * Prunes every prunable structure of a model (OSSCAR, arXiv 2403.12983) and verifies the result.
 *
 * @throws {InputError} for options or data that cannot work
 * @throws {UnsupportedModelError} where nothing is prunable
 * @throws {OutOfMemoryError} before any work, where a layer cannot fit
 */
export function pruneModel(opened: OpenedModel, options: PruneOptions): Promise<PruneResult> {
  return withSession(options.session, (session) => pruneWith(session, opened, options));
}

async function pruneWith(session: Session, opened: OpenedModel, options: PruneOptions): Promise<PruneResult> {
  const { calibration, method = 'osscar', signal } = options;
  const start = performance.now();
  const keep = keepRatio(options.keep);
  checkChoices(options);
  const structures = opened.analysis.structures.filter(({ prunable }) => prunable);
  if (structures.length === 0) {
    throw new UnsupportedModelError(
      `${opened.name}: no prunable structure; \`osscar inspect\` lists the reasons`,
    );
  }
  checkNames(options.keep, structures);
  const correct = options.correct ?? true;
  // With correction where there may be one: the target is not chosen yet.
  const wasmBytes = checkMemory(opened, {
    ...{ session, structures, keep, method, correct, search: options.search },
    target: { kind: 'dense', blend: 1 },
  });

  const engine = engineFor(opened, options.engine);
  const source = batchSource(calibration, opened.input);
  const labelled = batchSource(options.evaluation ?? calibration, opened.input);
  // Before the long work, so that labels that do not go with the model are found at once.
  const before = await metricOf(opened, engine, opened.source, labelled, signal);
  const sequence = (data: BatchSource, towards: Target, label: string, search?: Search) =>
    pruneSequence(opened, {
      ...{ engine, session, structures, keep, method, signal },
      source: data,
      target: towards,
      damping: options.damping,
      groupsPerStep: options.groupsPerStep,
      search,
      correct,
      activationBytes: options.activationBytes ?? DEFAULT_ACTIVATION_BYTES,
      onStep: (done, total) => options.onProgress?.({ label, done, total }),
    });

  const target = await chooseTarget(options, () =>
    searchBlend(opened, structures, source, { ...options, engine }, sequence),
  );
  const { masked, layers } = await sequence(source, target.chosen, 'pruning', options.search);

  const small = shrink(masked, new Map(layers.map(({ structure, kept }) => [structure, kept])));
  for (const [key, value] of Object.entries(options.metadata ?? {})) small.setMetadata(key, value);
  small.setMetadata(
    'osscar.pruning',
    JSON.stringify({ method, keep: options.keep, target: target.chosen, samples: source.samples }),
  );
  const written = writeModel(small, { externalName: options.externalName });
  const { model: reread, ...verified } = await verify(opened, masked, written, source, {
    ...options,
    engine,
  });
  const after = before && (await metricOf(opened, engine, reread, labelled, signal));

  return {
    written,
    report: {
      method,
      keep: options.keep,
      target,
      samples: source.samples,
      ...verified,
      ...(before &&
        after && {
          metric: {
            name: before.name,
            before: before.value,
            after: after.value,
            samples: before.samples,
            data: options.evaluation ? ('evaluation' as const) : ('calibration' as const),
          },
        }),
      layers: layers.map(({ structure, kept, relativeError, damping }) => ({
        name: structure.name,
        layer: structure.layer,
        groups: structure.groups,
        kept,
        relativeError,
        damping,
      })),
      notPrunable: opened.analysis.structures
        .filter(({ prunable }) => !prunable)
        .map(({ name, reason = '' }) => ({ name, reason })),
      memory: { wasmBytes },
      seconds: (performance.now() - start) / 1000,
      engine: engine.name,
      simd: session.simd,
      threads: session.threads,
    },
  };
}

/** The engine, with what a decoder takes beside the token ids supplied. */
function engineFor({ input }: OpenedModel, engine: Engine): Engine {
  return takesTokens(input) ? supplied(engine, input.name, input.shape[0]) : engine;
}

/** Accuracy, or perplexity of a language model. */
function metricOf(
  { input }: OpenedModel,
  engine: Engine,
  model: Model,
  source: BatchSource,
  signal?: AbortSignal,
): Promise<Metric | undefined> {
  const measure = takesTokens(input) ? perplexity : accuracy;
  return running(engine, model, (session) => measure(session, source, signal));
}

async function running<R>(
  engine: Engine,
  model: Model,
  use: (session: EngineSession) => Promise<R>,
): Promise<R> {
  const session = await loadModel(engine, model);
  try {
    return await use(session);
  } finally {
    await session.release();
  }
}

/** Looks for the target by the output error, or a language model's loss, on samples held out from the fit. */
async function searchBlend(
  opened: OpenedModel,
  structures: readonly Structure[],
  source: BatchSource,
  { engine, calibration, signal }: PruneOptions,
  sequence: (data: BatchSource, to: Target, label: string, search: Search) => Promise<{ masked: Model }>,
): Promise<Candidate[]> {
  const { isFit, isHeldOut } = splitSamples(source.samples);
  const fit = batchSource(calibration, opened.input, isFit);
  const heldOut = batchSource(calibration, opened.input, isHeldOut);
  const tokens = takesTokens(opened.input);
  const dense = tokens ? [] : await outputsOf(engine, opened.model, heldOut, signal);
  const hasResidual = structures.some(({ consumers }) => consumers.some(({ residual }) => residual));
  return searchTarget(async (target) => {
    // The local search moves all candidates alike.
    const { masked } = await sequence(fit, target, `target ${target.kind} ${target.blend}`, 'greedy');
    if (tokens) return running(engine, masked, (session) => loss(session, heldOut, signal));
    return outputError(dense, await outputsOf(engine, masked, heldOut, signal));
  }, hasResidual);
}

/** Loads the written bytes again, compares their outputs with the masked network's, and measures both sizes. */
async function verify(
  opened: OpenedModel,
  masked: Model,
  written: WrittenModel,
  source: BatchSource,
  options: PruneOptions,
) {
  const { engine } = options;
  const again = await openModel(written.model, {
    engine,
    name: 'the written model',
    external: externalReader(written),
    size: opened.size,
  });
  const sessions: EngineSession[] = [];
  try {
    for (const model of [opened.source, masked, again.source]) sessions.push(await loadModel(engine, model));
    const [dense, reference, pruned] = sessions;
    const maximum = await maxDifference(opened.name, reference, pruned, source);
    const float16 = [...opened.model.tensors.values()].some(({ type }) => type === 'float16');
    const tolerance = float16 ? TOLERANCE.float16 : TOLERANCE.float32;
    if (!(maximum <= tolerance)) {
      throw new OsscarError(
        'ERR_OSSCAR_VERIFY',
        `the pruned model differs from the masked one by ${maximum} of its output range, more than ${tolerance}`,
      );
    }
    const [before, after] = await latencies(
      [dense, pruned],
      await firstSample(source, opened.input.fixedBatch || 1),
      options.signal,
    );
    return {
      model: again.source,
      parameters: { before: opened.parameters, after: again.parameters },
      macs: { before: opened.macs, after: again.macs },
      bytes: { before: opened.bytes, after: again.bytes },
      latencyMs: { before, after },
      maxDifference: maximum,
    };
  } finally {
    for (const session of sessions) await session.release();
  }
}

/** The largest of `largestDifference` over the outputs on the first batch. */
async function maxDifference(
  model: string,
  reference: EngineSession,
  other: EngineSession,
  source: BatchSource,
): Promise<number> {
  for await (const { input } of source.batches()) {
    const expected = await reference.run({ [reference.inputs[0].name]: input });
    const actual = await other.run({ [other.inputs[0].name]: input });
    const differences = reference.outputs.map(({ name }) =>
      largestDifference(model, name, expected[name].data, actual[name].data),
    );
    return Math.max(...differences);
  }
  throw new InputError('no calibration samples');
}

/**
 * max |a − b| / (max a − min a).
 * @throws {InputError} where a holds NaN or infinite values
 */
export function largestDifference(model: string, output: string, a: Float32Array, b: Float32Array): number {
  if (!a.every(Number.isFinite)) {
    throw new InputError(`${model}: output "${output}" of the pruned network holds NaN or infinite values`);
  }
  let [low, high, difference] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
  for (let i = 0; i < a.length; i++) {
    low = Math.min(low, a[i]);
    high = Math.max(high, a[i]);
    // Not Math.max, which a NaN on one side would pass through unseen by a comparison.
    if (!(Math.abs(a[i] - b[i]) <= difference)) difference = Math.abs(a[i] - b[i]);
  }
  return high > low ? difference / (high - low) : difference;
}

async function firstSample(source: BatchSource, batch: number): Promise<FloatTensor> {
  for await (const { input } of source.batches()) {
    const size = input.data.length / input.dims[0];
    return { dims: [batch, ...input.dims.slice(1)], data: input.data.slice(0, size * batch) };
  }
  throw new InputError('no calibration samples');
}
