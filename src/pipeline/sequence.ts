// One part of a model from input to output: each structure's layers are fitted on what the network pruned so far gives
// them, towards a target that the dense network sets.

import { InputError, NotPositiveDefiniteError } from '../errors.ts';
import {
  type Gain,
  type LinearMap,
  type Live,
  layerKey,
  type Model,
  maskInner,
  type Reader,
  readWeights,
  removedOf,
  rowsOf,
  type Structure,
  shrink,
  sum,
  writeWeights,
} from '../graph/index.ts';
import type { Layer, SolvedLayers } from '../solve/index.ts';
import { isTiledLayer, type TiledLayer } from '../tiles/layers.ts';
import { activationLimit } from './activations.ts';
import type { BatchSource } from './batches.ts';
import type { Part } from './chain.ts';
import { Frontier } from './frontier.ts';
import { Frontiers } from './frontiers.ts';
import { gainOutputs, LineSums, type Lines, writeGain } from './gain.ts';
import type { OpenedModel } from './open.ts';
import { fitOf, type Pass, type Run } from './pass.ts';
import { producersOf, type Refit, refitProducers } from './producers.ts';
import type { Named, Target } from './recipe.ts';
import { addSums } from './shards.ts';
import { collect, type Sums, valuesFor } from './statistics.ts';
import { type Cut, isFree, type PlacedStep, placed, type Step, stepsOf } from './steps.ts';
import type { PartOutputs, Place } from './through.ts';
import { type History, inOrder, type Pieces, shardOf } from './work.ts';

export interface PrunedLayer extends Named, SolvedCut, Pick<Refit, 'refused'> {
  readonly structure: Structure;
}

/** A structure whose channels were chosen. */
interface SolvedCut extends Pick<SolvedLayers, 'kept' | 'relativeError' | 'curve'> {
  /** λ of each consumer. */
  readonly damping: readonly number[];
}

export interface PrunedPart {
  /** The part's graph with its new weights, those of removed channels zero. */
  readonly weighted: Model;
  readonly layers: readonly PrunedLayer[];
}

/** What comes of pruning a part. */
interface Pruning {
  readonly pruned: PrunedPart;
  readonly history: History;
  /** What both networks give, where there is a part behind it. To be closed. */
  readonly outputs?: PartOutputs;
}

/** The part without its removed channels. */
export function shrunk({ weighted, layers }: PrunedPart): Model {
  return shrink(weighted, cutsOf(layers));
}

/** The smaller network's function at the dense one's shapes. */
export function masked({ weighted, layers }: PrunedPart): Model {
  return maskInner(weighted, cutsOf(layers));
}

function cutsOf(layers: readonly PrunedLayer[]) {
  return new Map(layers.map(({ structure, kept }) => [structure, kept]));
}

/** Statistics that are kept for other runs take no more bytes than this. */
const KEPT_BYTES = 2 ** 28;

/** What the steps of a part share. */
interface Walk {
  readonly run: Run;
  readonly pass: Pass;
  readonly part: number;
  /** Whether no part is behind this one. */
  readonly isLast: boolean;
  readonly opened: OpenedModel;
  readonly weighted: Model;
  /** Whether what reaches the part has changed already. */
  readonly diverged?: boolean;
  readonly frontiers: Frontiers;
  readonly samples: number;
  /** Samples of the pass before those of a shard. */
  before(shard: number): number;
  /** All that was solved until then. */
  history: History;
  /** Rows of the layers' weights that went with structures that are solved. */
  readonly gone: Map<string, number[]>;
}

/** Prunes the structures of a part one after the other on a copy of it. */
export async function prunePart(place: Place, run: Run, pass: Pass): Promise<Pruning> {
  const { part } = place;
  const { model } = part.opened!;
  const pruned = { weighted: model.clone(), layers: [] as PrunedLayer[] };
  const { weighted, layers } = pruned;
  const walk = walkOf(place, run, pass, pruned);
  const { frontiers, gone, isLast } = walk;
  const steps = stepsIn(part, walk);
  let isHandedOn = false;
  try {
    frontiers.tell((frontier) => {
      const to = steps.length > 0 ? frontier.placeBefore(steps[0].position) : undefined;
      if (to) frontier.moveDense(to);
    });
    for (const [i, step] of steps.entries()) {
      const { gain } = step;
      if (gain) writeGain(weighted, gain, await refitGain(walk, step, gain));
      else {
        const solved = await solveStep(walk, step);
        writeSolved(weighted, step, solved);
        for (const [i, { structure }] of step.cuts.entries()) {
          const { refused, cuts } = solved;
          removeRows(gone, structure, cuts[i].kept);
          layers.push({ ...part.named(structure), structure, ...cuts[i], refused });
        }
      }
      // No pass comes after one over all samples.
      if (pass.samples === 'all') run.findings.forget();
      if (run.chain.parts === 1) {
        const layer = gain?.node ?? step.maps[0].node;
        run.onProgress?.({ label: pass.label, done: i + 1, total: steps.length, layer });
      }
    }
    const { history } = walk;
    isHandedOn = !isLast && !history.isDense;
    if (!isHandedOn) return { pruned, history };
    const outputs = {
      samples: pass.samples,
      fit: fitOf(pass, run.calibration),
      of: (shard: number) => frontiers.of(shard).outputs(),
      path: (shard: number) => frontiers.of(shard).path,
      close: () => frontiers.close(),
    };
    return { pruned, history, outputs };
  } finally {
    if (!isHandedOn) await frontiers.close();
  }
}

/** @param pruned  what has become of the part so far */
function walkOf(
  { part: { opened }, at: { part, history }, source, dense }: Place,
  run: Run,
  pass: Pass,
  pruned: PrunedPart,
): Walk {
  const { shards } = run.work;
  const sources = Array.from({ length: shards }, (_, shard) => source(fitOf(pass, run.calibration), shard));
  const samplesOf = (some: readonly BatchSource[]) => sum(some.map(({ samples }) => samples));
  // What may be held is for all shards.
  const within = shards > 1 ? { ...run, activationBytes: activationLimit(run) / shards } : run;
  const frontiers = new Frontiers((shard) => {
    const about = { part, samples: pass.samples, dense, ...shardOf(run.work, shard) };
    const current = () => masked(pruned);
    return new Frontier(within, opened!, current, sources[shard], about);
  });
  return {
    run,
    pass,
    part,
    isLast: part === run.chain.parts - 1,
    opened: opened!,
    weighted: pruned.weighted,
    diverged: sources[0].diverged,
    frontiers,
    samples: samplesOf(sources),
    before: (shard) => samplesOf(sources.slice(0, shard)),
    history,
    gone: new Map(),
  };
}

/** What is to be solved of a part, in its order. */
function stepsIn(part: Part, { run, pass, opened, diverged }: Walk): PlacedStep[] {
  const nameOf = (it: Structure) => part.named(it).name;
  const kept = (it: Structure) => pass.sizes.get(nameOf(it))!;
  const steps = stepsOf(opened, kept, run.recipe, pass.target, diverged).map((step) => {
    const cuts = step.cuts.map((cut) => ({ ...cut, support: pass.supports?.get(nameOf(cut.structure)) }));
    const makers = pass.refitsProducers
      ? cuts.flatMap(({ structure }) => producersOf(opened, structure))
      : [];
    // One layer can make channels of several structures.
    return { ...step, cuts, producers: [...new Map(makers.map((map) => [map.node, map])).values()] };
  });
  return placed(opened.model, steps);
}

/** What a step asks of the dense network. */
function targetsOf({ gain, maps }: Step, target: Target): readonly string[] {
  return gain ? gainOutputs(gain) : valuesFor(maps, target).dense;
}

/**
 * Where the dense network goes on to while it runs for a step's targets: to before the following one, or to the end of a part that another
 * is behind. Every run for these does, so that what one of them finds is what another would.
 */
function aheadOf(frontier: Frontier, { isLast, pass }: Walk, step: PlacedStep): Live | undefined {
  const targets = targetsOf(step, pass.target);
  if (targets.length === 0) return undefined;
  if (step.nextPosition !== undefined) return frontier.placeBehind(targets, step.nextPosition);
  return isLast ? undefined : frontier.end;
}

/**
 * Does a step, unless an earlier run has, and has both networks go on: the pruned one to the step, the dense one behind it.
 *
 * @param about  all that comes of it depends on
 * @param values  of the pruned network, that it takes
 */
async function doStep<T extends object>(
  walk: Walk,
  step: PlacedStep,
  about: object,
  values: readonly string[],
  find: () => Promise<T>,
): Promise<T> {
  const { run, pass, frontiers } = walk;
  frontiers.tell((frontier) => frontier.movePruned(step.from, values));
  const found = await run.findings.once('solved', about, find);
  await run.work.settle();
  walk.history = { name: await run.findings.hash(about), isDense: walk.history.isDense };
  frontiers.tell((frontier) => {
    const to = aheadOf(frontier, walk, step);
    if (to) frontier.moveDense(to, targetsOf(step, pass.target));
  });
  return found;
}

function refitGain(walk: Walk, step: PlacedStep, gain: Gain): Promise<Lines> {
  const { run, part, frontiers, history } = walk;
  const about = { part, gain: gain.node, before: history.name };
  const values = gainOutputs(gain);
  return doStep(walk, step, about, values, async () => {
    const pieces = await run.work.each('lines', about, async (shard) => {
      const sums = new LineSums(gain);
      const frontier = frontiers.of(shard);
      const ahead = aheadOf(frontier, walk, step);
      for await (const { dense, pruned, count } of frontier.run(values, values, { ahead }))
        for (const value of values) sums.add(pruned[value], dense[value], count);
      return sums.read();
    });
    const total = new LineSums(gain);
    await pieces.ready();
    for await (const sums of inOrder(pieces, run.work)) total.merge(sums);
    return total.lines();
  });
}

function removeRows(gone: Map<string, number[]>, structure: Structure, kept: readonly number[]): void {
  const removed = removedOf(structure, kept);
  for (const reader of structure.consumers) {
    const key = layerKey(reader);
    gone.set(key, [...(gone.get(key) ?? []), ...rowsOf(reader, removed)]);
  }
}

/** A step's layers solved, and those before it that were refitted with them. */
interface SolvedStep extends Pick<SolvedLayers, 'layers'>, Pick<Refit, 'refused'> {
  /** As the step's. */
  readonly cuts: readonly SolvedCut[];
  readonly producers?: Refit['refitted'];
}

function writeSolved(weighted: Model, { maps, producers }: Step, solved: SolvedStep): void {
  for (const [at, map] of maps.entries())
    writeWeights(weighted, map, solved.layers[at].W, solved.layers[at].bias);
  for (const { node, W, bias } of solved.producers ?? [])
    writeWeights(weighted, producers!.find((map) => map.node === node)!, W, bias);
}

/** Rounds of a refit and a solution, each of which begins where the one before has ended, at most. */
const ROUNDS = 3;
/** What a round leaves of the error on samples held out for another one to follow. */
const WORTH_ANOTHER = 0.95;

/** Refits what makes the channels that stay, and then what reads them once more; and both again, where that has gained much. */
async function refitBoth(
  walk: Walk,
  step: PlacedStep,
  about: object,
  first: SolvedStep,
): Promise<SolvedStep> {
  const { run, pass, weighted, gone } = walk;
  const { maps, producers = [] } = step;
  let solved = first;
  if (producers.length === 0) return solved;
  const ahead = (frontier: Frontier) => aheadOf(frontier, walk, step);
  const site = { ...walk, target: pass.target, readers: maps, producers, ahead };
  const cuts = new Map(step.cuts.map(({ structure }, i) => [structure, first.cuts[i].kept]));
  const removed = new Map(gone);
  for (const [structure, kept] of cuts) removeRows(removed, structure, kept);
  for (let round = 1; round <= ROUNDS; round++) {
    const now = { ...about, round };
    const { refitted, refused, left = 1 } = await refitProducers(site, cuts, solved.layers, now);
    if (!refitted) return { ...solved, refused };
    solved = { ...solved, producers: refitted };
    writeSolved(weighted, step, solved);
    if (pass.target.blend > 0) {
      const again = { ...now, again: true };
      const sums = await piecesOf(walk, step, again, true);
      const found = await run.work.one(
        'solve',
        again,
        async () => {
          const layers = layersOf(weighted, maps, await totalOf(walk, sums), undefined, removed);
          return { layers: await solveEach(walk, maps, layers) };
        },
        [sums],
      );
      solved = { ...solved, ...found };
    }
    if (left > WORTH_ANOTHER) break;
  }
  return solved;
}

async function solveStep(walk: Walk, step: PlacedStep): Promise<SolvedStep> {
  const { part, pass, history } = walk;
  const about = {
    part,
    layers: namesOf(step),
    cuts: step.cuts.map(({ structure, keep, support }) => ({ structure: structure.name, keep, support })),
    before: history.name,
  };
  const { pruned } = valuesFor(step.maps, pass.target);
  const solved = await doStep(walk, step, about, pruned, async () =>
    refitBoth(walk, step, about, await solveSums(walk, step, about)),
  );
  walk.history = { ...walk.history, isDense: false };
  return solved;
}

async function solveSums(walk: Walk, step: PlacedStep, about: object): Promise<SolvedStep> {
  const { run, pass, part, history } = walk;
  const { work, findings, clock } = run;
  // Before anything is pruned they depend on neither ratio nor blend.
  const dense = {
    part,
    layers: namesOf(step),
    target: pass.target.kind,
    samples: pass.samples,
    isThin: pass.isThin,
  };
  const isKept = history.isDense && sumsBytes(step) <= KEPT_BYTES;
  const pieces = await piecesOf(walk, step, isKept ? dense : about, pass.isThin, isKept);
  const total = async () => ({ sums: await totalOf(walk, pieces) });
  // Elsewhere the pieces themselves are kept.
  const find = () =>
    isKept && work.isHere ? findings.once('statistics', { ...dense, ...shardOf(work) }, total) : total();
  return work.one(
    'solve',
    about,
    async () => {
      const { sums } = await find();
      return clock.time('solve', () => solve(walk, step, sums));
    },
    [pieces],
  );
}

function sumsBytes({ maps }: Step): number {
  return 2 * sum(maps.map(({ p, m }) => 8 * p * (p + m)));
}

/** What a step's layers are solved by, of each shard. */
function piecesOf(
  walk: Walk,
  step: PlacedStep,
  about: object,
  isThin: boolean | undefined,
  isShared = false,
): Promise<Pieces<Sums[]>> {
  const { run, pass, opened, frontiers, samples, before } = walk;
  const { target } = pass;
  const make = async (shard: number) => {
    const frontier = frontiers.of(shard);
    const ahead = aheadOf(frontier, walk, step);
    return collect(opened, frontier, run, step, { target, samples, before: before(shard), ahead, isThin });
  };
  return run.work.each('sums', about, make, { isShared });
}

async function totalOf({ run }: Walk, pieces: Pieces<Sums[]>): Promise<Sums[]> {
  let total: Sums[] | undefined;
  for await (const sums of inOrder(pieces, run.work)) total = addSums(total, sums);
  return total!;
}

function namesOf({ maps }: Step): string[] {
  return maps.map(layerKey);
}

async function solve(walk: Walk, { maps, cuts }: Step, sums: readonly Sums[]): Promise<SolvedStep> {
  const { run, pass, gone } = walk;
  const { model, name } = walk.opened;
  if (cuts.length === 0) {
    const layers = layersOf(model, maps, sums, undefined, gone);
    return { cuts: [], layers: await solveEach(walk, maps, layers) };
  }
  const removed = new Map(gone);
  const chosen: SolvedCut[] = [];
  let solved: SolvedLayers['layers'] = [];
  // What went with a structure is zero in the layers, though not in the sums: the next one is chosen as if it had been removed before.
  for (const cut of cuts) {
    const { structure } = cut;
    const layers = layersOf(model, maps, sums, structure, removed);
    const { layers: own, ...rest } = await solveTogether(run, pass, name, maps, layers, cut);
    removeRows(removed, structure, rest.kept);
    chosen.push({ ...rest, damping: own.map(({ damping }) => damping) });
    solved = own;
  }
  return { cuts: chosen, layers: solved };
}

/** Layers that keep all that they read: as many at a time as there are threads; those in tiles, whose memory is bounded, one after the other. */
async function solveEach(
  { run, pass, opened }: Walk,
  maps: readonly LinearMap[],
  layers: readonly AnyLayer[],
): Promise<SolvedLayers['layers']> {
  const alone = (layer: AnyLayer, i: number) => solveTogether(run, pass, opened.name, [maps[i]], [layer]);
  const solved: SolvedLayers[] = [];
  if (layers.some(isTiledLayer))
    for (const [i, layer] of layers.entries()) solved.push(await alone(layer, i));
  else solved.push(...(await Promise.all(layers.map(alone))));
  return solved.flatMap((it) => it.layers);
}

/** What layers are solved by. */
type SolverRun = Pick<Run, 'session' | 'recipe' | 'signal' | 'layerBytes'>;
type SolverPass = Pick<Pass, 'target' | 'search' | 'wholeCurve'>;

/** Whole or in tiles. */
type AnyLayer = Layer | TiledLayer;

/**
 * Solves layers that read the same channels, in one job.
 *
 * @param cut  left out, all channels stay
 */
export async function solveTogether(
  { session, recipe, signal, layerBytes }: SolverRun,
  { target, search, wholeCurve }: SolverPass,
  model: string,
  [{ node }]: readonly LinearMap[],
  layers: readonly AnyLayer[],
  { keep, support }: Partial<Pick<Cut, 'keep' | 'support'>> = {},
): Promise<SolvedLayers> {
  const how = { ...recipe, search, wholeCurve, support, blend: target.blend };
  try {
    const [layer] = layers;
    if (isTiledLayer(layer)) {
      return await session.solveTiled(layer, how, keep, { signal, memory: layerBytes });
    }
    return await session.solveLayers(layers as readonly Layer[], how, keep, { signal });
  } catch (error) {
    if (error instanceof InputError) error.message = `${model}: layer "${node}": ${error.message}`;
    throw error instanceof NotPositiveDefiniteError
      ? undetermined(`${model}: layer "${node}"`, layers, error)
      : error;
  }
}

/** What a failed factorisation is to the user: inputs that never differ, or fewer rows than inputs. */
function undetermined(
  where: string,
  layers: readonly AnyLayer[],
  cause: NotPositiveDefiniteError,
): NotPositiveDefiniteError {
  const [{ fit, heldOut }] = layers;
  const rows = fit.n + (heldOut?.n ?? 0);
  const { message, pivot, value } = cause;
  return new NotPositiveDefiniteError(
    `${where}: ${rows} calibration rows do not determine its ${fit.p} inputs (${message}); ${fit.p} rows or more of samples that differ do (\`samples\`), or a larger \`damping\``,
    pivot,
    { cause, value },
  );
}

/**
 * The layers of a step, with what was seen of their inputs.
 *
 * @param structure  that is to lose channels
 * @param gone  rows of their weights, by layer, that went before
 */
export function layersOf(
  model: Model,
  maps: readonly LinearMap[],
  sums: readonly Sums[],
  structure?: Structure,
  gone: ReadonlyMap<string, readonly number[]> = new Map(),
): AnyLayer[] {
  return maps.map((map, i) => {
    const { W, bias } = readWeights(model, map);
    // Only a bare MatMul has nowhere to put a bias.
    const own = bias ?? (map.kind === 'matmul' ? undefined : new Float64Array(map.m));
    const reader = structure?.consumers[i];
    const free = structure && reader && freeRows(structure, reader);
    const removed = gone.get(layerKey(map));
    return {
      W,
      bias: own,
      groupSize: (reader ?? map).groupSize,
      ...sums[i],
      free,
      gone: removed && Int32Array.from(removed),
    } as AnyLayer;
  });
}

/** The rows that the structure may remove, group by group; undefined where these are all rows in their order. */
function freeRows(structure: Structure, reader: Reader): Int32Array | undefined {
  if (isFree(reader, structure)) return undefined;
  return Int32Array.from(rowsOf(reader, [...Array(structure.groups).keys()]));
}
