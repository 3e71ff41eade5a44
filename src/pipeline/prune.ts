// A whole model: choose the target, prune part by part, write, and prove the result by running it.

import { expectEngine, isOfEngine } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import { expectMethods } from '../expect.ts';
import type { WrittenModel } from '../graph/index.ts';
import { expectOptions } from '../options.ts';
import { openSession, type Session } from '../pool/index.ts';
import { allocate, analyzeRun, type TradeoffReport, tradeoffFound } from './allocate/index.ts';
import { checkLoss, expectBound } from './budget.ts';
import { abortable, type Dataset, expectDataset } from './data/index.ts';
import { type Metric, measure } from './measure/evaluate.ts';
import { doubtOf, flatness } from './measure/plausible.ts';
import { firstSamples, type Proof, prove, proveGraph } from './measure/verify.ts';
import type { FolderOptions } from './models/folder.ts';
import { wholeHeadsTexts } from './models/pinned.ts';
import { subjectOf } from './models/subjects.ts';
import type { OpenedLanguageModel } from './models/twin.ts';
import { named, type OpenedModel, prunableOf } from './open/open.ts';
import { EVALUATE_OPTIONS, type EvaluateOptions, PRUNE_OPTIONS, type PruneOptions } from './options.ts';
import { again, type Distillation, distill } from './pass/distill.ts';
import { lookedAt, passOver } from './pass/pass.ts';
import type { PrunedLayer, PrunedPart } from './pass/pruned.ts';
import { type Pass, recipeOf, refitsProducers, type Target } from './recipe.ts';
import { type PruneReport, reportOf } from './report.ts';
import type { Run } from './run.ts';
import { checkStart, type Started, startRun } from './start.ts';
import type { Subject } from './subject.ts';
import { chooseTarget } from './target.ts';

/** The pruned model, and what became of it. */
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
 *
 * @example
 * const { written, report } = await prune(model, { engine, session, calibration, keep: 0.5 });
 * console.log(report.metric, written.model.length);
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
  const subject = subjectOf(model, options);
  expectPieces('prune', options);
  expectBound(recipeOf(options).spend);
  return naming(
    subject,
    inSession(options, (session) => pruneWith(session, subject, readingOf(options))),
  );
}

/**
 * Refuses what `prune` and `analyze` refuse before they run the model.
 *
 * @throws {InputError} for options or data that cannot work
 * @throws {UnsupportedModelError} where nothing is prunable
 * @throws {OutOfMemoryError} where a layer or the activations cannot fit
 */
export async function checkRun(
  call: 'prune' | 'analyze',
  model: OpenedModel | OpenedLanguageModel,
  options: PruneOptions & Required<Pick<PruneOptions, 'session'>>,
): Promise<void> {
  const subject = subjectOf(model, options);
  expectPieces(call, options);
  await checkStart(options.session, subject, options);
}

/**
 * What sizes a model can be cut to, and what that is expected to cost: every structure is pruned alone at some widths, and
 * their losses are added up for the best sizes at every cost. With a `store`, budgets of `prune` then begin with it.
 *
 * @param options  as of `prune`; the budget says which size is counted, and bounds nothing
 *
 * @example
 * const { points, knee } = await analyze(model, { engine, session, calibration, store, macs: 1 });
 * await prune(model, { engine, session, calibration, store, macs: knee.fraction });
 */
export async function analyze(
  model: OpenedModel | OpenedLanguageModel,
  options: PruneOptions,
): Promise<TradeoffReport> {
  const subject = subjectOf(model, options);
  expectPieces('analyze', options);
  const analysed = inSession(options, async (session) => {
    const started = await startRun(session, subject, readingOf(options));
    const { run } = started;
    if (!run.recipe.spend) throw new InputError('analyze: expected a budget, which says what is counted');
    await run.clock.stage('measuring', () => measureDense(started));
    return analyzeRun(run, run.recipe.spend);
  });
  return naming(subject, analysed);
}

/** What the engine says of a model while it runs, with the model's name in front. */
async function naming<R>({ name, file }: Subject, running: Promise<R>): Promise<R> {
  try {
    return await running;
  } catch (error) {
    throw isOfEngine(error) ? named(name, error, file?.source) : error;
  }
}

/** In the session that is given, or one of its own. */
async function inSession<R>(
  { session: given }: Pick<PruneOptions, 'session'>,
  run: (session: Session) => Promise<R>,
): Promise<R> {
  const session = given ?? (await openSession({ threads: 1 }));
  try {
    return await run(session);
  } finally {
    if (!given) await session.close();
  }
}

/**
 * Top-1 accuracy on labelled samples, or perplexity of a language model.
 *
 * @returns nothing where samples carry no labels
 * @throws {InputError} where a label or token is outside the model's classes
 *
 * @example
 * const metric = await evaluate(model, samples, { engine });
 * if (metric) console.log(metric.name, metric.value);
 */
export async function evaluate(
  model: OpenedModel | OpenedLanguageModel,
  samples: Dataset,
  options: EvaluateOptions,
): Promise<Metric | undefined> {
  const subject = subjectOf(model);
  expectDataset('evaluate', 'samples', samples);
  expectOptions('evaluate', options, EVALUATE_OPTIONS);
  expectEngine('evaluate', options.engine);
  await subject.check(samples);
  const read = abortable(samples, options.signal);
  return naming(subject, measure(subject.chain(options.engine, read), read, options));
}

/** The same with data whose reading ends with the signal. */
function readingOf(options: PruneOptions): PruneOptions {
  const { calibration: given, evaluation, signal } = options;
  const calibration = abortable(given, signal);
  const isSame = evaluation === given;
  return {
    ...options,
    calibration,
    evaluation: isSame ? calibration : evaluation && abortable(evaluation, signal),
  };
}

/** @throws {InputError} naming what a run is not given, or is given of another kind */
function expectPieces(operation: string, options: PruneOptions): void {
  expectOptions(operation, options, PRUNE_OPTIONS);
  const { engine, calibration, evaluation, session } = options;
  expectEngine(operation, engine);
  expectDataset(operation, 'calibration', calibration);
  if (evaluation !== undefined) expectDataset(operation, 'evaluation', evaluation);
  if (session !== undefined)
    expectMethods(operation, 'session', session, 'a session (openSession(…))', 'solveLayers');
}

async function pruneWith(session: Session, subject: Subject, options: PruneOptions): Promise<PruneResult> {
  const started = await startRun(session, subject, options);
  const { run, planned, memory } = started;
  const { clock } = run;
  const { spend } = run.recipe;
  // Before the long work, so that labels that do not go with the model are found at once.
  const { metric: before, doubt } = await clock.stage('measuring', () => measureDense(started));
  if (before?.name === 'accuracy' && !options.evaluation)
    checkLoss(spend, before.value, "the dense model's accuracy");
  const allocation = spend && (await allocate(run, spend, options.latencyTable));
  const { sizes, target } = allocation ?? {
    sizes: planned,
    target: await clock.stage('target', () => chooseTarget(run, planned)),
  };
  run.findings.forget(); // most of it is of fewer samples than the pass that counts is over
  // Of a budget the targets were tried at other sizes, and what is fitted as a whole is another network.
  const isOther = allocation || run.recipe.distill;
  const heldOut = isOther || options.evaluation ? undefined : target.candidates?.[0].fidelity;
  const { layers, distilled, proof } = await pruneTowards(
    target.chosen,
    { sizes, supports: allocation?.supports },
    run,
    memory.wasmBytes,
    heldOut !== undefined,
  );
  await run.work.end();
  options.queue?.tell?.({ stage: 'done', label: 'done', done: 1, total: 1, overall: 1 });
  const report = reportOf(run, {
    layers,
    distilled,
    proof,
    target,
    allocation: allocation?.report,
    // Of latency it is no sum over what one structure keeps.
    tradeoff: spend && spend.of !== 'latency' ? await tradeoffFound(run, spend) : undefined,
    before,
    doubt,
    heldOut,
    data: options.evaluation ? 'evaluation' : 'calibration',
    memory,
  });
  return { written: proof.model, report };
}

/** Workers that may have more memory than this are renewed when they are done. */
const RENEWED_BYTES = 2 ** 28;

/** The pass that counts, and the proof of what it has written. */
async function pruneTowards(
  target: Target,
  { sizes, supports }: Pick<Pass, 'sizes' | 'supports'>,
  run: Run,
  wasmBytes: number,
  isJudged: boolean,
): Promise<{ layers: PrunedLayer[]; distilled?: Distillation; proof: Proof }> {
  const { subject, recipe, engine, clock } = run;
  const { search } = recipe;
  const writer = await subject.writer(recipe, sizes, engine);
  const layers: PrunedLayer[] = [];
  const parts = new Map<number, PrunedPart>();
  const write = async (index: number, pruned: PrunedPart) => {
    await writer.part(index, pruned);
    layers.push(...pruned.layers);
  };
  const onPart = recipe.distill
    ? async (...part: Parameters<typeof write>) => void parts.set(...part)
    : write;
  try {
    const pass: Pass = {
      label: 'pruning',
      sizes,
      supports,
      target,
      search,
      wholeCurve: true,
      samples: 'all',
      refitsProducers: refitsProducers(recipe),
    };
    let last = await clock.stage('pruning', () => passOver(run, pass, { onPart }));
    let distilled: Distillation | undefined;
    if (recipe.distill) {
      await last.close();
      distilled = await clock.stage('distilling', () => distill(run, parts));
      for (const part of parts) await write(...part);
      last = await again(run, parts, firstSamples(run));
    }
    return await lookedAt(last, async () => {
      // The proof needs memory, and the solver none any more.
      if (wasmBytes > RENEWED_BYTES) await run.session.renew();
      const proof = await clock.stage('proving', () => prove(run, last, target, writer, isJudged));
      return { layers, distilled, proof };
    });
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/**
 * Has the graph proved, and gives the dense network's metric, which does not depend on how it is pruned, and what it says against the
 * data.
 */
async function measureDense({
  run,
  few,
  onWarning,
  evaluationHash: hash,
}: Started): Promise<{ metric?: Metric; doubt?: string }> {
  const { subject, engine, evaluation, findings } = run;
  const find = async () => {
    await proveGraph(run);
    const chain = subject.chain(engine, evaluation);
    const metric = await measure(chain, evaluation, run);
    const doubt = metric ? doubtOf(metric) : await flatness(chain, evaluation, run);
    return { metric, doubt: doubt && `dense ${doubt}` };
  };
  const found = await findings.once('metric', hash, find);
  if (found.doubt !== undefined) onWarning({ kind: 'implausible', text: found.doubt });
  if (few) onWarning(few);
  const whole = subject.file ? wholeHeadsTexts(prunableOf(subject.file)) : [];
  for (const text of whole) onWarning({ kind: 'whole-heads', text });
  return found;
}
