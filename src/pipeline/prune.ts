// A whole model: choose the target, prune part by part, write, and prove the result by running it.

import type { LanguageModel } from '../checkpoint/architectures/index.ts';
import type { Engine } from '../engine/index.ts';
import { UnsupportedModelError } from '../errors.ts';
import type { WrittenModel } from '../graph/index.ts';
import { openSession, type Session } from '../pool/index.ts';
import { version } from '../version.ts';
import type { RunOptions } from './chain.ts';
import { Clock } from './clock.ts';
import type { Dataset } from './data/index.ts';
import { latencies, type Metric, measure } from './evaluate.ts';
import { Findings } from './findings.ts';
import { type FolderOptions, folderSubject, languageProfile, type OpenedLanguageModel } from './folder.ts';
import { checkNames } from './keep.ts';
import { type FileOptions, onnxSubject } from './onnx.ts';
import type { OpenedModel } from './open.ts';
import { passOver, type Run } from './pass.ts';
import { checkPlan, type Plan, type PlanOptions, planRun } from './plan.ts';
import { parseRecipe, type RecipeOptions } from './recipe.ts';
import type { LayerReport, PruneReport } from './report.ts';
import type { PrunedLayer } from './sequence.ts';
import { contentHash, type Part } from './store/hash.ts';
import { openRun } from './store/manifest.ts';
import type { RunStore } from './store/store.ts';
import type { ModelSize, Subject, Written } from './subject.ts';
import { chooseTarget, type TargetReport } from './target.ts';
import { allOutputs, compare, comparedSamples, firstOutputs } from './verify.ts';

export interface Progress {
  /** What is being done, for a person. */
  readonly label: string;
  readonly done: number;
  readonly total: number;
}

export interface EvaluateOptions extends RunOptions {
  readonly engine: Engine;
}

export interface PruneOptions extends EvaluateOptions, RecipeOptions, FileOptions, FolderOptions {
  /** Threads that the layers are solved on. Default: the calling one. */
  readonly session?: Session;
  /** Images, or windows of token ids. */
  readonly calibration: Dataset;
  /** Samples for the accuracy or perplexity before and after. Default: the calibration samples. */
  readonly evaluation?: Dataset;
  /** Keeps what the run finds: it can be continued, and other runs need not find it again. */
  readonly store?: RunStore;
  readonly onProgress?: (progress: Progress) => void;
}

export interface PruneResult {
  readonly report: PruneReport;
  /** ONNX bytes, and the parts of the external data file where there is one. A folder goes to `output`. */
  readonly written?: WrittenModel;
}

/**
 * Prunes every prunable structure of a model (OSSCAR, arXiv 2403.12983): channels, neurons and attention heads (key-value
 * groups). Verifies the result.
 *
 * @throws {InputError} for options or data that cannot work, or a store of another run
 * @throws {UnsupportedModelError} where nothing is prunable
 * @throws {OutOfMemoryError} before any work, where a layer or the activations cannot fit
 */
export function prune(
  model: OpenedModel,
  options: PruneOptions,
): Promise<PruneResult & { readonly written: WrittenModel }>;
export function prune(
  model: OpenedLanguageModel,
  options: PruneOptions & Required<Pick<FolderOptions, 'output'>>,
): Promise<PruneResult>;
export async function prune(
  model: OpenedModel | OpenedLanguageModel,
  options: PruneOptions,
): Promise<PruneResult> {
  const session = options.session ?? (await openSession({ threads: 1 }));
  try {
    return await pruneWith(session, subjectOf(model, options), options);
  } finally {
    if (!options.session) await session.close();
  }
}

/**
 * Top-1 accuracy on labelled samples, or perplexity of a language model.
 *
 * @returns nothing where samples carry no labels
 * @throws {InputError} where a label or token is outside the model's classes
 */
export async function evaluate(
  model: OpenedModel | OpenedLanguageModel,
  samples: Dataset,
  options: EvaluateOptions,
): Promise<Metric | undefined> {
  const subject = subjectOf(model);
  await subject.check(samples);
  return measure(subject.chain(options.engine, samples), samples, options);
}

/**
 * What pruning will take. Of a folder, its config.json is enough (`describeFolder`).
 *
 * @throws {InputError} for impossible ratios
 */
export function plan(
  model: OpenedModel | OpenedLanguageModel | LanguageModel,
  options: RecipeOptions & PlanOptions,
): Plan {
  const recipe = parseRecipe(options);
  const { sample = [] } = options;
  const profile =
    'architecture' in model
      ? languageProfile(model, recipe, sample[0])
      : subjectOf(model).profile(recipe, sample);
  return planRun(profile, recipe, options);
}

function subjectOf(
  model: OpenedModel | OpenedLanguageModel,
  options: FileOptions & FolderOptions = {},
): Subject {
  return 'language' in model ? folderSubject(model, options) : onnxSubject(model, options);
}

async function pruneWith(session: Session, subject: Subject, options: PruneOptions): Promise<PruneResult> {
  const { calibration, evaluation = calibration, onProgress } = options;
  const recipe = parseRecipe(options);
  if (subject.structures.length === 0) {
    throw new UnsupportedModelError(
      `${subject.name}: no prunable structure; \`osscar inspect\` lists the reasons`,
    );
  }
  checkNames(recipe.keep, subject.structures);
  const profile = subject.profile(recipe, calibration.shape);
  const wasmBytes = checkPlan(profile, recipe, session.maximumBytes);
  const plan = planRun(profile, recipe, { ...options, samples: calibration.size, threads: session.threads });
  for (const samples of new Set([calibration, evaluation])) await subject.check(samples);

  const clock = new Clock();
  const engine = clock.engine(options.engine);
  const findings = await findingsOf(subject, session, options);
  const run: Run = {
    ...options,
    session,
    recipe,
    findings,
    clock,
    chain: subject.chain(engine, calibration),
  };
  // Before the long work, so that labels that do not go with the model are found at once.
  const before = await clock.stage('measuring', () => denseMetric(subject, engine, evaluation, run));
  const target = await clock.stage('target', () =>
    chooseTarget(run, subject.hasShortcuts, ({ kind, blend }, done, total) =>
      onProgress?.({ label: `target ${kind} ${blend}`, done, total }),
    ),
  );
  const { layers, written } = await pruneTowards(target, subject, engine, evaluation, run, onProgress);
  return {
    written: written.model,
    report: {
      recipe,
      target,
      samples: calibration.size,
      sample: calibration.shape,
      ...sizesOf(subject, written),
      metric: before &&
        written.metric && {
          name: before.name,
          before: before.value,
          after: written.metric.value,
          samples: before.samples,
          data: options.evaluation ? 'evaluation' : 'calibration',
        },
      maxDifference: written.maxDifference,
      latencyMs: written.latencyMs,
      layers: layers.map(layerReport),
      notPrunable: subject.notPrunable,
      sizes: written.sizes,
      statement: written.statement,
      memory: { plannedBytes: plan.bytes.total, wasmBytes },
      seconds: clock.seconds,
      stages: clock.stages,
      engine: engine.name,
      simd: session.simd,
      threads: session.threads,
    },
  };
}

/** The pass that counts, and the proof of what it has written. */
async function pruneTowards(
  { chosen: target }: TargetReport,
  subject: Subject,
  engine: Engine,
  evaluation: Dataset,
  run: Run,
  onProgress: PruneOptions['onProgress'],
): Promise<{ layers: PrunedLayer[]; written: Proof }> {
  const { chain, calibration, recipe, clock } = run;
  const writer = await subject.writer(recipe, engine);
  const layers: PrunedLayer[] = [];
  try {
    const last = await clock.stage('pruning', () =>
      passOver(run, {
        target,
        search: recipe.search,
        wholeCurve: true,
        samples: 'all',
        onStep: (done, total) => onProgress?.({ label: 'pruning', done, total }),
        async onPart(index, pruned) {
          await writer.part(index, pruned);
          layers.push(...pruned.layers);
        },
      }),
    );
    try {
      const samples = comparedSamples(chain, calibration);
      const expected = await firstOutputs(chain, last, 'pruned', samples.size, run);
      const written = await clock.stage('proving', () =>
        writer.finish({ target, samples: calibration.size }, async (found) => {
          const again = found.subject.chain(engine, samples);
          const outputs = [
            () => allOutputs(again, samples, run),
            ...found.copies.map((copy) => () => copy(samples)),
          ];
          const differences: number[] = [];
          for (const output of outputs) {
            differences.push(compare(subject.name, expected, await output(), found.subject.tolerance));
          }
          return {
            ...found,
            maxDifference: Math.max(...differences),
            latencyMs: chain.parts === 1 ? await latencies(chain, again, samples, run) : undefined,
            metric: await measure(found.subject.chain(engine, evaluation), evaluation, run),
          };
        }),
      );
      return { layers, written };
    } finally {
      await last.close();
    }
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

interface Proof extends Written, Pick<PruneReport, 'maxDifference' | 'latencyMs'> {
  readonly metric: Metric | undefined;
}

/** The dense network's, which does not depend on how it is pruned. */
async function denseMetric(
  subject: Subject,
  engine: Engine,
  samples: Dataset,
  run: Run,
): Promise<Metric | undefined> {
  const find = async () => ({ metric: await measure(subject.chain(engine, samples), samples, run) });
  const about = run.findings.areKept && (await contentHash(contentsOf(samples)));
  return (await run.findings.once('metric', about, find)).metric;
}

/** @throws {InputError} where the store is of another run */
async function findingsOf(
  subject: Subject,
  session: Session,
  { store, calibration, engine }: PruneOptions,
): Promise<Findings> {
  if (!store) return new Findings();
  const { name = `${calibration.size} samples of [${calibration.shape}]` } = calibration;
  await openRun(store, {
    model: { name: subject.name, hash: await contentHash(subject.contents()) },
    data: { name, hash: await contentHash(contentsOf(calibration)) },
    version,
  });
  // The engine's version counts, its threads do not.
  return new Findings(store, [session.simd, engine.name.split(',')[0]]);
}

async function* contentsOf(samples: Dataset): AsyncGenerator<Part> {
  yield samples.shape.join();
  for await (const { inputs, labels } of samples.batches(64)) {
    yield inputs;
    if (labels) yield labels;
  }
}

function sizesOf(
  before: ModelSize,
  { subject: after }: Written,
): Pick<PruneReport, 'parameters' | 'bytes' | 'macs'> {
  return {
    parameters: { before: before.parameters, after: after.parameters },
    bytes: { before: before.bytes, after: after.bytes },
    macs: before.macs === undefined ? undefined : { before: before.macs, after: after.macs! },
  };
}

function layerReport({ structure, curve, relativeError = 0, ...layer }: PrunedLayer): LayerReport {
  return { ...layer, groups: structure.groups, relativeError, curve: curve && [...curve] };
}
