// A run before any work: what can be refused is refused here, and what all of it shares is made.

import { InputError, OutOfMemoryError, UnsupportedModelError } from '../errors.ts';
import { isFitted, quantizedText } from '../graph/index.ts';
import type { Session } from '../pool/index.ts';
import { refits } from '../solve/index.ts';
import { turn } from '../turn.ts';
import { version } from '../version.ts';
import { problemOf } from './allocate/index.ts';
import { checkBudget, checkLoss } from './budget.ts';
import { Clock } from './clock.ts';
import { Course, type Progress, type ProgressStep, telling } from './course.ts';
import type { Dataset } from './data/index.ts';
import { type Sizes, sizesOf } from './keep.ts';
import { checkTable } from './measure/latency.ts';
import { fewSamples, type Warning } from './measure/plausible.ts';
import { undecidedTexts } from './open/branches.ts';
import type { PruneOptions } from './options.ts';
import { checkSteps } from './pass/steps.ts';
import { hereWork, type Work } from './pass/work.ts';
import { DEFAULT_SHARDS } from './plan/machines.ts';
import { memoryLimit, type Plan, planRun } from './plan/plan.ts';
import type { Profile } from './profile.ts';
import { QueuedWork } from './queue/produce.ts';
import { type Snapshot, ship, writeDescription } from './queue/snapshot.ts';
import { type Recipe, recipeOf } from './recipe.ts';
import type { PruneReport } from './report.ts';
import type { Run } from './run.ts';
import { engineKind, Findings } from './store/findings.ts';
import { canHash, contentHash, type Hashable } from './store/hash.ts';
import { openRun } from './store/manifest.ts';
import { memoryStore } from './store/store.ts';
import { NARROW_HEADS, type Subject } from './subject.ts';

/** What a run begins with, and what it was said to take. */
export interface Started {
  readonly run: Run;
  readonly planned: Sizes;
  /** Of the evaluation data, where there is a store. */
  readonly evaluationHash?: string;
  readonly few?: Warning;
  readonly onWarning: (warning: Warning) => void;
  readonly memory: PruneReport['memory'];
}

/** What can be refused, before any of the model is run. */
export async function checkStart(session: Session, subject: Subject, options: PruneOptions) {
  const { calibration, evaluation = calibration } = options;
  const recipe = recipeFor(subject, options);
  if (subject.heads === 'narrow' && !subject.structures.some(({ kind }) => kind === 'head'))
    throw new InputError(
      `${subject.name}: \`heads: 'narrow'\`: no attention of it can lose features or heads (osscar inspect says why); leave it out`,
    );
  const planned = sizesOf(recipe, subject.structures);
  const profile = subject.profile(recipe, planned, calibration.shape);
  const wasmBytes = checkSteps(profile.steps, recipe, session.maximumBytes);
  const { bytes, files } = planWithin(subject, profile, recipe, session, options);
  for (const samples of new Set([calibration, evaluation])) await subject.check(samples);
  return { recipe, planned, profile, wasmBytes, bytes, files };
}

export async function startRun(session: Session, subject: Subject, options: PruneOptions): Promise<Started> {
  const { calibration, evaluation = calibration } = options;
  const checked = await checkStart(session, subject, options);
  const { recipe, planned, profile, wasmBytes, bytes, files } = checked;
  const { clock, onProgress, onWarning } = followed(recipe, subject, options);
  const engine = clock.engine(options.engine);
  const chain = subject.chain(engine, calibration);
  // Sizes are found by many passes that have much in common.
  const store = options.store ?? (recipe.spend && memoryStore());
  const denseBytes = options.store ? undefined : bytes.dense;
  const plannedBytes = bytes.total - (options.store ? bytes.dense : 0);
  const hashed = store ? [calibration, evaluation] : canHash() ? [calibration] : [];
  const hashes = await hashesOf(hashed, options.signal);
  const calibrationHash = hashes.get(calibration);
  const findings = await findingsOf(subject, session, { ...options, store }, calibrationHash, denseBytes);
  const run: Run = {
    ...options,
    activationBytes: files.activationBytes,
    layerBytes: files.layerBytes,
    subject,
    engine,
    chain,
    session,
    recipe,
    evaluation,
    findings,
    clock,
    work: await workOf(subject, session, recipe, findings, { ...options, ...files }),
    onProgress,
    calibrationHash,
  };
  return {
    run,
    planned,
    evaluationHash: store && hashes.get(evaluation),
    few: refits(recipe.method) ? fewSamples(profile, calibration.size) : undefined,
    onWarning,
    memory: { plannedBytes, wasmBytes },
  };
}

/**
 * @throws {InputError} where the options ask for what the model has not, or a budget cannot be kept
 * @throws {UnsupportedModelError} where nothing is prunable
 */
function recipeFor(subject: Subject, options: PruneOptions): Recipe {
  const { calibration, latencyTable } = options;
  const asked = recipeOf(options);
  const recipe = subject.loadable?.(asked, calibration.shape) ?? asked;
  const { spend } = recipe;
  checkBudget(spend, subject.file !== undefined);
  if (!subject.chain(options.engine, calibration).predictsTokens)
    checkLoss(spend, 1, 'the accuracy, or of the outputs where there are no labels');
  if (latencyTable && spend?.of !== 'latency')
    throw new InputError(
      '`latencyTable` is for `latency`, and says nothing beside what is given; leave it out',
    );
  if (latencyTable && subject.file) checkTable(latencyTable, subject.file);
  if (subject.structures.length === 0) {
    const { quantized = [], branches = [] } = subject.file ?? {};
    const reason =
      quantizedText(quantized) ??
      undecidedTexts(branches)[0] ??
      'no prunable structure; inspect lists the reasons';
    throw new UnsupportedModelError(`${subject.name}: ${reason}`);
  }
  // Of latency only where the table is known.
  if (spend && (spend.of !== 'latency' || latencyTable))
    problemOf(subject, calibration.shape, spend, latencyTable);
  return recipe;
}

/** @throws {OutOfMemoryError} where the run takes more than `memory` */
function planWithin(
  { name, stored: weights }: Subject,
  profile: Profile,
  recipe: Recipe,
  { threads, maximumBytes }: Session,
  options: PruneOptions,
): Plan {
  const samples = options.calibration.size;
  const plan = planRun(profile, recipe, { ...options, weights, samples, threads, maximumBytes });
  const { bytes } = plan;
  const memory = memoryLimit(options);
  if (bytes.total <= memory) return plan;
  throw new OutOfMemoryError(
    `${name}: takes ${bytes.total} bytes at its peak, more than the ${memory} of \`memory\`, with all in files that can be: ${bytes.weights} for weights, ${bytes.wasm + bytes.helpers} for kernels, ${bytes.heap} for statistics`,
    bytes.total,
  );
}

/** A clock, and what is called at every step and of every warning: whoever asks is told where the run is. */
function followed(recipe: Recipe, { stored }: Subject, options: PruneOptions) {
  const course = new Course(recipe, isFitted(stored));
  const callers = telling();
  const tellCaller = callers(options.onProgress);
  const tell = (progress: Progress) => {
    tellCaller(progress);
    options.queue?.tell?.(progress);
  };
  return {
    clock: new Clock((stage) => tell(course.enter(stage))),
    onProgress: (step: ProgressStep) => tell(course.step(step)),
    onWarning: callers(options.onWarning),
  };
}

/** @throws {InputError} for more shards than half the images or texts, or a queue without a store */
async function workOf(
  subject: Subject,
  { simd }: Session,
  recipe: Recipe,
  findings: Findings,
  options: PruneOptions & Plan['files'],
): Promise<Work> {
  const { queue, store, shards: asked, calibration, engine, signal } = options;
  const { activationBytes, layerBytes } = options;
  const { size, views = 1 } = calibration;
  const most = Math.max(1, Math.floor(size / views / 2));
  const shards = asked ?? (queue ? Math.min(DEFAULT_SHARDS, most) : 1);
  if (!(Number.isInteger(shards) && shards >= 1 && shards <= most))
    throw new InputError(
      `\`shards\`: expected a whole number up to ${most}, half the calibration samples, got ${shards}`,
    );
  if (!queue) return hereWork(shards);
  if (!store) throw new InputError('`queue`: expected a `store` that the workers share');
  const snapshot: Snapshot = {
    ...(await ship(store, await subject.shipment(), calibration, shards)),
    recipe,
    simd,
    engine: engineKind(engine),
    activationBytes,
    layerBytes,
  };
  const run = await writeDescription(store, 'runs', snapshot);
  return new QueuedWork({ queue, store, findings, run, shards, signal });
}

/** @throws {InputError} where the store is of another run */
async function findingsOf(
  subject: Subject,
  { simd }: Session,
  { store, calibration, engine }: PruneOptions,
  hash: string | undefined,
  denseBytes: number | undefined,
): Promise<Findings> {
  if (!store || !hash) return new Findings({ memory: denseBytes });
  const { name = `${calibration.size} samples of [${calibration.shape}]` } = calibration;
  const how = subject.heads === 'narrow' ? [NARROW_HEADS] : [];
  await openRun(store, {
    model: { name: [subject.name, ...how].join(', '), hash: await contentHash(subject.contents()) },
    data: { name, hash },
    version,
  });
  return new Findings({ store, origin: [simd, engineKind(engine)], memory: denseBytes });
}

/** Each dataset is read once, also where calibration and evaluation are the same. */
async function hashesOf(
  datasets: readonly Dataset[],
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<Dataset, string>> {
  const hashes = new Map<Dataset, string>();
  for (const samples of new Set(datasets))
    hashes.set(samples, await contentHash(contentsOf(samples, signal)));
  return hashes;
}

async function* contentsOf(samples: Dataset, signal: AbortSignal | undefined): AsyncGenerator<Hashable> {
  yield samples.shape.join();
  for (const [name, { data }] of Object.entries(samples.constants ?? {})) yield* [name, data];
  for await (const { inputs, labels, others = {} } of samples.batches(64)) {
    await turn(signal); // images may be decoded, or fetched
    yield inputs;
    for (const [name, { data }] of Object.entries(others)) yield* [name, data];
    if (labels) yield labels;
  }
}
