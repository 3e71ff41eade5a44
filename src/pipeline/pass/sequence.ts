// One part of a model from input to output: each structure's layers are fitted on what the network pruned so far gives
// them, towards a target that the dense network sets. Of every step the sums are taken, the channels chosen, what makes and
// reads those that stay is solved again, and both networks go on.

import {
  type Gain,
  layerKey,
  type Model,
  onSteps,
  type Structure,
  steppedMaps,
  sum,
  writeWeights,
} from '../../graph/index.ts';
import type { SolvedLayers } from '../../solve/index.ts';
import type { OpenedModel } from '../open/open.ts';
import type { Pass } from '../recipe.ts';
import type { Run } from '../run.ts';
import { featureMaps, featureValues, watchedBy } from './features.ts';
import { Frontiers } from './frontiers.ts';
import { gainOutputs, LineSums, type Lines, lineSums, writeGain } from './gain.ts';
import { FeatureMoments, narrow, writeNarrowed } from './narrow.ts';
import { producersOf, type Refit, type Refitted, refitProducers } from './producers.ts';
import { masked, type PrunedLayer, type PrunedPart, type SolvedCut } from './pruned.ts';
import { type Gone, goneWith, layersOf, solveEach, solveTogether, writeLayers } from './solve.ts';
import { collect, valuesFor } from './statistics.ts';
import { isPreliminary, type PlacedStep, placed, type Step, stepsOf } from './steps.ts';
import { addSums, type Sums } from './sums.ts';
import type { PartOutputs, Place } from './through.ts';
import { type History, inOrder, shardOf } from './work.ts';

/** What comes of pruning a part. */
interface Pruning {
  readonly pruned: PrunedPart;
  readonly history: History;
  /** What both networks give, where there is a part behind it. To be closed. */
  readonly outputs?: PartOutputs;
}

/** Statistics that are kept for other runs take no more bytes than this. */
const KEPT_BYTES = 2 ** 28;

/** What the steps of a part share. */
interface Walk {
  readonly run: Run;
  readonly pass: Pass;
  readonly place: Place;
  readonly opened: OpenedModel;
  readonly frontiers: Frontiers;
  /** What has become of the part so far. */
  readonly weighted: Model;
  readonly layers: PrunedLayer[];
  /** With structures that are solved. */
  gone: Gone;
  history: History;
}

/** Prunes the structures of a part one after the other on a copy of it. */
export async function prunePart(place: Place, run: Run, pass: Pass): Promise<Pruning> {
  const { history } = place.at;
  const opened = place.part.opened!;
  const pruned = { weighted: opened.model.clone(), layers: [] as PrunedLayer[] };
  const frontiers = new Frontiers(place, run, pass, () => masked(pruned));
  const walk: Walk = { run, pass, place, opened, frontiers, ...pruned, gone: new Map(), history };
  const steps = stepsIn(walk);
  const isLast = place.at.part === run.chain.parts - 1;
  let isHandedOn = false;
  try {
    if (steps.length > 0)
      frontiers.tell((frontier) => frontier.moveDense(Math.min(...steps.map((step) => step.position))));
    for (const [i, step] of steps.entries()) {
      const isBeforeOthers = step.nextPosition !== undefined || !isLast;
      await takeStep(walk, step, isBeforeOthers);
      // No pass comes after one over all samples.
      if (pass.samples === 'all') run.findings.forget();
      if (run.chain.parts === 1) {
        const layer = step.gain?.node ?? step.maps[0].node;
        run.onProgress?.({ label: pass.label, done: i + 1, total: steps.length, layer });
      }
    }
    isHandedOn = !isLast && !walk.history.isDense;
    const stepped =
      pass.steps === undefined
        ? undefined
        : onSteps(
            pruned.weighted,
            steps.flatMap(({ maps }) => maps),
          );
    return {
      pruned: { ...pruned, onSteps: stepped },
      history: walk.history,
      outputs: isHandedOn ? frontiers.outputs : undefined,
    };
  } finally {
    if (!isHandedOn) await frontiers.close();
  }
}

/** What is to be solved of a part, in its order. */
function stepsIn({ place: { part, at }, run, pass, opened }: Walk): PlacedStep[] {
  const nameOf = (it: Structure) => part.named(it).name;
  const kept = (it: Structure) => pass.sizes.get(nameOf(it))!;
  const isDiverged = pass.steps !== undefined || !at.history.isDense;
  const steps = stepsOf(opened, kept, run.recipe, pass.target, isDiverged).map((step) => {
    const cuts = step.cuts.map((cut) => ({ ...cut, support: pass.supports?.get(nameOf(cut.structure)) }));
    const structures = isPreliminary(step, run.recipe)
      ? []
      : [...cuts.filter(({ keep }) => keep > 0).map(({ structure }) => structure), ...(step.made ?? [])];
    const makers = pass.refitsProducers ? structures.flatMap((it) => producersOf(opened, it)) : [];
    // One layer can make channels of several structures.
    return { ...step, cuts, producers: [...new Map(makers.map((map) => [map.node, map])).values()] };
  });
  return placed(opened.model, pass.steps === undefined ? steps : steppedIn(opened, steps));
}

/** Of layers that can be put on steps, and what scales channels. */
function steppedIn({ model, info }: OpenedModel, steps: readonly Step[]): Step[] {
  const stepped = new Set(steppedMaps(model, info.shapes).map(layerKey));
  return steps
    .map((step) => ({ ...step, maps: step.maps.filter((map) => stepped.has(layerKey(map))) }))
    .filter(({ maps, gain }) => gain || maps.length > 0);
}

/**
 * Does a step, unless an earlier run has, and has both networks go on: the pruned one to the step, the dense one behind it.
 *
 * @param isBeforeOthers  whether another step or part is behind it
 */
async function takeStep(walk: Walk, step: PlacedStep, isBeforeOthers: boolean): Promise<void> {
  const { run, pass, place, frontiers, history, weighted } = walk;
  const { gain, maps } = step;
  const own = gain && gainOutputs(gain);
  const { dense, pruned } = own ? { dense: own, pruned: own } : valuesFor(maps, pass.target);
  const what = gain ? { gain: gain.node } : { layers: namesOf(step), cuts: namesOfCuts(step) };
  const about = { part: place.at.part, ...what, before: history.name };
  frontiers.tell((frontier) => {
    frontier.movePruned(step.from, watchedBy(walk.opened, step, pruned));
    if (isBeforeOthers) frontier.aim(dense, step.nextPosition);
  });
  const once = <T extends object>(find: () => Promise<T>) => run.findings.once('solved', about, find);
  if (gain) writeGain(weighted, gain, await once(() => refitGain(walk, gain, about)));
  else writeStep(walk, step, await once(() => solveStep(walk, step, about)));
  await run.work.settle();
  walk.history = { name: await run.findings.hash(about), isDense: history.isDense && gain !== undefined };
  frontiers.tell((frontier) => frontier.follow());
}

async function refitGain({ run, frontiers }: Walk, gain: Gain, about: object): Promise<Lines> {
  const pieces = await run.work.each('lines', about, async (shard) =>
    (await lineSums(frontiers.of(shard), gain)).read(),
  );
  const total = new LineSums(gain);
  for await (const sums of inOrder(pieces, run.work)) total.merge(sums);
  return total.lines();
}

/** A step's layers solved, and those before it that were refitted with them. */
interface SolvedStep extends Pick<SolvedLayers, 'layers'>, Pick<Refit, 'refused'> {
  /** As the step's. */
  readonly cuts: readonly SolvedCut[];
  readonly producers?: Refit['refitted'];
}

/** What of a step is known once it is solved. */
function writeStep(walk: Walk, step: Step, solved: SolvedStep): void {
  const { run, place, weighted, layers } = walk;
  // What reads the channels is fitted to its dense weights still, where it is solved again.
  if (!isPreliminary(step, run.recipe)) writeSolved(weighted, step, solved);
  const { refused, cuts } = solved;
  for (const [i, layer] of layers.entries())
    if (refused && step.made?.includes(layer.structure)) layers[i] = { ...layer, refused };
  for (const [i, { structure }] of step.cuts.entries()) {
    walk.gone = goneWith(walk.gone, structure, cuts[i].kept);
    layers.push({ ...place.part.named(structure), structure, ...cuts[i], refused });
  }
}

function writeSolved(weighted: Model, { maps, producers = [], turned = [] }: Step, solved: SolvedStep): void {
  writeLayers(weighted, maps, solved.layers);
  for (const { node, W, bias } of solved.producers ?? [])
    writeWeights(weighted, [...producers, ...turned].find((map) => map.node === node)!, W, bias);
}

async function solveStep(walk: Walk, step: PlacedStep, about: object): Promise<SolvedStep> {
  const { place, pass, run, history } = walk;
  if (step.turned?.length) return refitBoth(walk, step, about, await narrowStep(walk, step, about));
  const { isThin } = pass;
  // Before anything is pruned its sums depend on neither ratio nor blend.
  const isShared = history.isDense && sumsBytes(step) <= KEPT_BYTES;
  const { kind: target } = pass.target;
  const dense = { part: place.at.part, layers: namesOf(step), target, samples: pass.samples, isThin };
  const solve = (sums: readonly Sums[]) => run.clock.time('solve', () => choose(walk, step, sums));
  const chosen = await solveBySums(walk, step, about, solve, {
    isThin,
    shared: isShared ? dense : undefined,
  });
  return refitBoth(walk, step, about, chosen);
}

/** Turns the features of each head until the last matter least, leaves these out, and solves what reads the others. */
async function narrowStep(walk: Walk, step: PlacedStep, about: object): Promise<SolvedStep> {
  const { run, opened, frontiers, weighted, gone } = walk;
  const { cuts } = step;
  const structures = cuts.map(({ structure }) => structure);
  const around = structures.map((structure) => featureMaps(opened, structure));
  const sums = () => new FeatureMoments(opened, structures, frontiers.samples);
  const pieces = await run.work.each('moments', about, async (shard) => {
    const moments = sums();
    await moments.addAll(frontiers.of(shard));
    return moments.read();
  });
  const find = async () => {
    const all = sums();
    for await (const more of inOrder(pieces, run.work)) all.merge(more);
    const moments = all.read();
    const model = weighted.clone();
    const narrowed = cuts.map(({ structure, keep }, i) => {
      const own = moments.splice(0, featureValues(opened, structure).length);
      const found = narrow(model, structure, around[i], own, keep);
      writeNarrowed(model, around[i], found);
      return found;
    });
    return { narrowed };
  };
  const { narrowed } = await run.work.one('features', about, find, [pieces]);
  const made = new Map<string, Refitted>(); // of a layer that makes all three, with what was turned last
  let removed = gone;
  const turned = cuts.map(({ structure, keep }, i) => {
    const { makers, curve } = narrowed[i];
    const kept = Array.from({ length: keep }, (_, feature) => feature);
    writeNarrowed(weighted, around[i], narrowed[i]);
    for (const [j, { node }] of around[i].makers.entries()) made.set(node, { node, ...makers[j] });
    removed = goneWith(removed, structure, kept);
    return { kept, relativeError: curve[keep], curve };
  });
  const { layers } = await solveReaders(walk, step, { ...about, features: true }, removed);
  const damping = layers.map((layer) => layer.damping);
  return { layers, producers: [...made.values()], cuts: turned.map((cut) => ({ ...cut, damping })) };
}

/** Solves what reads channels that are chosen, by what reaches it in the network as it is. @param gone  its rows */
async function solveReaders(
  walk: Walk,
  step: PlacedStep,
  about: object,
  gone: Gone,
): Promise<Pick<SolvedLayers, 'layers'>> {
  const { run, pass, opened, weighted } = walk;
  const { maps } = step;
  const solve = async (sums: readonly Sums[]) => ({
    layers: await solveEach(run, pass, opened, maps, layersOf(weighted, maps, sums, gone)),
  });
  return solveBySums(walk, step, about, solve, { isThin: true });
}

/**
 * Solves a step's layers by sums over all samples, wherever these lie.
 *
 * @param shared  all that the sums depend on, where other passes of the run, or other runs, ask for the same
 */
async function solveBySums<T extends object>(
  { run, pass, frontiers }: Walk,
  step: PlacedStep,
  about: object,
  solve: (sums: readonly Sums[]) => Promise<T>,
  { isThin, shared }: Pick<Pass, 'isThin'> & { readonly shared?: object },
): Promise<T> {
  const { work, findings } = run;
  const make = (shard: number) => collect(frontiers.of(shard), run, step, pass.target, isThin);
  const pieces = await work.each('sums', shared ?? about, make, { isShared: shared !== undefined });
  const add = async () => {
    let total: Sums[] | undefined;
    for await (const sums of inOrder(pieces, work)) total = addSums(total, sums);
    return { sums: total! };
  };
  // Elsewhere the pieces themselves are kept.
  const find = () =>
    shared && work.isHere ? findings.once('statistics', { ...shared, ...shardOf(work) }, add) : add();
  return work.one('solve', about, async () => solve((await find()).sums), [pieces]);
}

function sumsBytes({ maps }: Step): number {
  return 2 * sum(maps.map(({ p, m }) => 8 * p * (p + m)));
}

function namesOf({ maps }: Step): string[] {
  return maps.map(layerKey);
}

function namesOfCuts({ cuts }: Step): object[] {
  return cuts.map(({ structure, keep, support }) => ({ structure: structure.name, keep, support }));
}

/** The channels that stay of each structure, and the layers that read them. */
async function choose(
  { run, pass, gone, opened, layers: before }: Walk,
  { maps, cuts, unsettled }: PlacedStep,
  sums: readonly Sums[],
): Promise<SolvedStep> {
  const { model } = opened;
  if (cuts.length === 0)
    return { cuts: [], layers: await solveEach(run, pass, opened, maps, layersOf(model, maps, sums, gone)) };
  const keys = maps.map(layerKey);
  const known = new Map(
    before.flatMap(({ structure, damping }) =>
      structure.consumers.map((it, i) => [layerKey(it), damping[i]] as const),
    ),
  );
  let removed = gone;
  const chosen: SolvedCut[] = [];
  let solved: SolvedLayers['layers'] = [];
  // What went with a structure is zero in the layers, though not in the sums: the next one is chosen as if it had been removed before.
  for (const [i, cut] of cuts.entries()) {
    const { structure } = cut;
    const isLast = i === cuts.length - 1;
    // Dense blocks: a layer loses rows with each layer before it. Its damping is chosen with the first of them, and with the last.
    const layers = layersOf(model, maps, sums, removed, structure).map((layer, j) =>
      isLast && !unsettled.has(keys[j]) ? layer : { ...layer, damping: known.get(keys[j]) },
    );
    const { layers: own, ...rest } = await solveTogether(run, pass, opened, maps, layers, cut);
    removed = goneWith(removed, structure, rest.kept);
    chosen.push({ ...rest, damping: own.map(({ damping }) => damping) });
    for (const [j, { damping }] of own.entries()) known.set(keys[j], damping);
    solved = own;
  }
  return { cuts: chosen, layers: solved };
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
  const { pass, weighted, gone } = walk;
  const { maps, producers = [] } = step;
  let solved = first;
  if (producers.length === 0) return solved;
  const site = { ...walk, target: pass.target, readers: maps, producers };
  const cuts = new Map([
    ...walk.layers
      .filter(({ structure }) => step.made?.includes(structure))
      .map(({ structure, kept }) => [structure, kept] as const),
    ...step.cuts.map(({ structure }, i) => [structure, first.cuts[i].kept] as const),
  ]);
  let removed = gone;
  for (const [structure, kept] of cuts) removed = goneWith(removed, structure, kept);
  for (let round = 1; round <= ROUNDS; round++) {
    const now = { ...about, round };
    const { refitted, refused, left = 1 } = await refitProducers(site, cuts, solved.layers, now);
    if (!refitted) return { ...solved, refused };
    const others = solved.producers?.filter((it) => refitted.every(({ node }) => node !== it.node)) ?? [];
    solved = { ...solved, producers: [...others, ...refitted] };
    writeSolved(weighted, step, solved);
    if (pass.target.blend > 0) {
      solved = { ...solved, ...(await solveReaders(walk, step, { ...now, again: true }, removed)) };
    }
    if (left > WORTH_ANOTHER) break;
  }
  return solved;
}
