// What is solved in a graph, in which order, and the WebAssembly memory that it takes.

import { InputError, OutOfMemoryError } from '../../errors.ts';
import {
  dependsOnKept,
  depthwise,
  type Gain,
  insideOf,
  isReadAlone,
  type LinearMap,
  layerKey,
  linearMaps,
  type Model,
  normGains,
  type Reader,
  type Structure,
  sum,
  usesOf,
} from '../../graph/index.ts';
import {
  layersWasmBytes,
  layerWasmBytes,
  refits,
  type Search,
  statisticsWasmBytes,
} from '../../solve/index.ts';
import { type TiledJob, tiledMemory, tiledSummingBytes } from '../../tiles/memory.ts';
import type { OpenedModel } from '../open/open.ts';
import { corrects, type Recipe, type Target } from '../recipe.ts';
import { featureMaps } from './features.ts';

/** A structure that loses channels. */
export interface Cut {
  readonly structure: Structure;
  /** Groups that stay. */
  readonly keep: number;
  /** Which, where that was decided before. */
  readonly support?: readonly number[];
}

/**
 * Structures to prune that the same layers read, or layers that read one value, keep all of it and are refitted to what reaches them,
 * or one that scales channels.
 */
export interface Step {
  /** Of its first layer in the topological order. */
  readonly position: number;
  readonly maps: readonly LinearMap[];
  readonly gain?: Gain;
  /** One after the other; none where all inputs stay. */
  readonly cuts: readonly Cut[];
  /** Structures that were cut before, of which this is the end. */
  readonly made?: readonly Structure[];
  /** What makes the structures' channels, where that is refitted too. */
  readonly producers?: readonly LinearMap[];
  /** Where the channels are features of heads: what makes them, and is turned. */
  readonly turned?: readonly LinearMap[];
}

/**
 * @param kept  groups of a structure that stay
 * @param diverged  whether what reaches the first layer has changed already
 */
export function stepsOf(
  opened: OpenedModel,
  kept: (structure: Structure) => number,
  recipe: Recipe,
  target: Target,
  diverged = false,
): Step[] {
  const { model, info, analysis, name } = opened;
  if (opened.heads === 'narrow' && recipe.method !== 'osscar')
    throw new InputError(
      `${name}: only \`method: 'osscar'\` turns features of heads; open it without \`heads: 'narrow'\` for ${recipe.method}`,
    );
  const position = new Map(model.nodes.map(({ name }, index) => [name, index]));
  const first = (maps: readonly LinearMap[]) =>
    Math.min(...maps.map(({ node }) => position.get(node) as number));
  const steps: Step[] = analysis.structures
    .filter((structure) => structure.prunable && kept(structure) < structure.groups)
    .map((structure) => ({
      cuts: [{ structure, keep: kept(structure) }],
      // Of queries and keys no rows go with: what these have mixed is another.
      maps: structure.consumers.map((it) => (it.groupSize > 0 ? it : { ...it, groupSize: 1 })),
      position: first(structure.consumers),
      ...(structure.features && { turned: featureMaps(opened, structure).makers }),
    }));
  // Norms and recurrent layers give something else when channels go: readers are refitted to that.
  const changed = steps.filter(({ cuts }) => cuts.some(isChangedInside));
  const refitted = refits(recipe.method) ? changed : [];
  const again = new Map(
    refitted
      .flatMap((step) => step.maps.filter((map) => !isEnded(step) || first([map]) > step.position))
      .map((map) => [layerKey(map), map] as const),
  );
  if (corrects(recipe, target)) {
    const solved = new Map(
      steps.flatMap((step) => step.maps.map((map) => [layerKey(map), step.position] as const)),
    );
    const start = diverged ? -1 : Math.min(...steps.map((step) => step.position));
    const all = linearMaps(model, info.shapes).filter(({ isInner }) => !isInner);
    const gone = layersGone(steps);
    for (const map of all) {
      if (gone.has(map.node)) continue;
      const [at, last] = [first([map]), solved.get(layerKey(map)) ?? -1];
      const isCurrent = at <= start || (last >= 0 && !changesBehind(model, map, last, all));
      if (!isCurrent) again.set(layerKey(map), map);
    }
    for (const gain of depthwise(model)) {
      const at = position.get(gain.node) as number;
      if (at > start && !gone.has(gain.node)) steps.push({ maps: [], cuts: [], gain, position: at });
    }
  }
  const ends = refitted.filter(isEnded).flatMap((step) => endOf(opened, step));
  const later = [...again.values()].map((map): Step => ({ maps: [map], cuts: [], position: first([map]) }));
  const inPlace = (step: Step) => ({ step, after: step.position });
  const all = [...steps.map(inPlace), ...ends, ...later.map(inPlace)];
  return together(all.sort((a, b) => a.after - b.after).map(({ step }) => step));
}

/** What makes and what reads channels of which none stay. */
function layersGone(steps: readonly Step[]): ReadonlySet<string> {
  const gone = steps.flatMap(({ cuts }) => cuts.filter(({ keep }) => keep === 0));
  return new Set(
    gone.flatMap(({ structure: { producers, consumers } }) =>
      [...producers, ...consumers].map(({ node }) => node),
    ),
  );
}

/**
 * Whether more than a refit of its readers is to be done once it is known which channels stay, as what is within them depends on that. Not of
 * streams, of which readers come one after the other and nothing else is refitted, and of features of heads.
 */
function isEnded({ cuts, turned }: Step): boolean {
  return !turned && cuts.some((cut) => isChangedInside(cut) && !cut.structure.isResidual);
}

/** Whether what comes of the channels that stay depends on which go. */
function isChangedInside({ structure, keep }: Cut): boolean {
  return keep > 0 && dependsOnKept(structure);
}

/** The factors of norms, and then what reads and what makes the channels. */
export function endOf(
  { model, info }: OpenedModel,
  { cuts, maps, position }: Step,
): { step: Step; after: number }[] {
  const made = cuts.map(({ structure }) => structure);
  const gains = made.flatMap((structure) => normGains(model, structure, info.shapes));
  const ends = gains.map((gain) => {
    const at = model.position(model.node(gain.node)!);
    return { step: { maps: [], cuts: [], gain, position: at }, after: Math.max(at, position) };
  });
  // What recurrent layers give changes with their own weights, which are then fitted to that.
  const recurrent = maps.filter(({ isRecurrent }) => isRecurrent);
  const sweeps = recurrent.length > 0 ? [recurrent, maps] : [maps];
  return [...ends, ...sweeps.map((maps) => ({ step: { maps, cuts: [], made, position }, after: position }))];
}

/**
 * Whether one of the layers, from that at position `last` on, feeds another layer: what reaches it has then changed since it was
 * solved with others that read the same channels far before it.
 */
function changesBehind(model: Model, map: LinearMap, last: number, layers: readonly LinearMap[]): boolean {
  const place = ({ node }: { node: string }) => model.position(model.node(node)!);
  if (place(map) === last) return false;
  const others = layers.filter((it) => place(it) >= last && layerKey(it) !== layerKey(map));
  const later = new Set(others.flatMap((it) => usesOf(it).map(place)));
  const inputs = usesOf(map).map(({ input }) => input);
  return model.isMadeBy(inputs, (node) => later.has(model.position(node)));
}

/** A step among the others of a part. */
export interface PlacedStep extends Step {
  /** The first node that it or a later one changes: what lies before that is final. */
  readonly from: number;
  /** The first of those of the following steps. */
  readonly nextPosition?: number;
  /** Layers, by key, of which later steps remove more rows. */
  readonly unsettled: ReadonlySet<string>;
}

export function placed(model: Model, steps: readonly Step[]): PlacedStep[] {
  let from = Number.POSITIVE_INFINITY;
  let next: number | undefined;
  let unsettled: ReadonlySet<string> = new Set();
  const backwards = steps.toReversed().map((step): PlacedStep => {
    const { position, maps, cuts, producers = [], turned = [] } = step;
    const changed = [...producers, ...turned, ...cuts.flatMap(({ structure }) => insideOf(structure))];
    from = Math.min(from, position, ...changed.map(({ node }) => model.position(model.node(node)!)));
    const all = { ...step, from, nextPosition: next, unsettled };
    next = Math.min(position, next ?? position);
    if (cuts.length > 0) unsettled = new Set([...unsettled, ...maps.map(layerKey)]);
    return all;
  });
  return backwards.reverse();
}

/**
 * Joins neighbours that one run of the networks gives the statistics of: corrections that read the same value, and structures that the same
 * layers read, and nothing else. Of the latter none changes what reaches the layers of another.
 */
function together(steps: readonly Step[]): Step[] {
  const joined: Step[] = [];
  for (const step of steps) {
    const last = joined.at(-1);
    if (last && isCorrection(last) && isCorrection(step) && last.maps[0].input === step.maps[0].input)
      joined[joined.length - 1] = { ...last, maps: [...last.maps, ...step.maps] };
    else if (last && readSame(last, step))
      joined[joined.length - 1] = {
        ...last,
        cuts: [...last.cuts, ...step.cuts],
        turned: turnedIn(last, step),
      };
    else joined.push(step);
  }
  return joined;
}

/** Queries, keys and values may be of one layer. */
function turnedIn(a: Step, b: Step): Step['turned'] {
  const maps = [...(a.turned ?? []), ...(b.turned ?? [])];
  return maps.length > 0 ? [...new Map(maps.map((map) => [map.node, map])).values()] : undefined;
}

function isCorrection({ cuts, gain, made }: Step): boolean {
  return cuts.length === 0 && !gain && !made;
}

/** Whether a step's channels are chosen and no more: another one ends it. */
export function isPreliminary(step: Step, { method }: Pick<Recipe, 'method'>): boolean {
  return refits(method) && isEnded(step);
}

function readSame(a: Step, b: Step): boolean {
  const cuts = [...a.cuts, ...b.cuts];
  return (
    a.cuts.length > 0 &&
    b.cuts.length > 0 &&
    !cuts.some(({ structure }) => dependsOnKept(structure)) &&
    a.maps.length === b.maps.length &&
    a.maps.every((map, i) => layerKey(map) === layerKey(b.maps[i]))
  );
}

/** What is known of a step before a model is opened. */
export interface PlannedStep {
  readonly name: string;
  /** `groupSize` counts where all inputs stay. */
  readonly maps: readonly Pick<LinearMap, 'p' | 'm' | 'groupSize' | 'rows' | 'conv'>[];
  readonly cuts: readonly PlannedCut[];
  /** Whether layers have rows that stay in any case. */
  readonly isPartial?: boolean;
  /** Whether its channels are attention heads. */
  readonly isHead?: boolean;
}

interface PlannedCut extends Pick<Cut, 'keep'> {
  readonly groups: number;
  /** Rows of each layer's weights per group. */
  readonly groupSizes: readonly number[];
}

export function plannedStep({ maps, cuts }: Step): PlannedStep {
  // Of queries and keys no rows go: what they reach is refitted.
  const ofRows = cuts.filter(({ structure }) => structure.consumers.some(({ groupSize }) => groupSize > 0));
  const readers = ofRows.flatMap(({ structure }) =>
    structure.consumers.map((reader) => ({ reader, structure })),
  );
  return {
    name: cuts[0]?.structure.name ?? maps[0].node,
    maps,
    cuts: ofRows.map(({ structure, keep }) => ({
      keep,
      groups: structure.groups,
      groupSizes: structure.consumers.map(({ groupSize }) => groupSize),
    })),
    isPartial: readers.some(({ reader, structure }) => !isFree(reader, structure)),
    isHead: cuts.some(({ structure }) => structure.kind === 'head'),
  };
}

/** Rows of a layer's weights that stay of what is cut. */
export function rowsThatStay({ cuts }: PlannedStep, layer: number): number {
  return sum(cuts.map(({ keep, groupSizes }) => keep * groupSizes[layer]));
}

/** Whether all rows of a reader are the structure's, in their order. */
export function isFree(reader: Reader, structure: Structure): boolean {
  return isReadAlone(reader, structure) && !reader.blocks[0].places;
}

/** Work memory of the kernels: the GEMM's packed panels and an unfolded image. */
const PACKING_BYTES = 16 * 2 ** 20;

/** Bytes of WebAssembly memory, in one thread, of a step's statistics: each layer has two sums, fitted and held out. */
export function stepStatisticsBytes({ maps }: PlannedStep): number {
  return sum(maps.map(({ p, m }) => 2 * statisticsWasmBytes(p, m)));
}

/** Bytes of WebAssembly memory that a step takes, in one thread. */
export function stepBytes(step: PlannedStep, search: Search): number {
  // The groups of layers that share channels are chosen for all of them; weights are solved layer by layer.
  const { maps, cuts } = step;
  const each = maps.map(({ p, m, groupSize }) => layerWasmBytes(p, m, groupSize, 'greedy'));
  const choosing = cuts.map(({ groups, groupSizes }) =>
    layersWasmBytes(
      maps.map(({ m }, i) => ({ p: groups * groupSizes[i], m, groupSize: groupSizes[i] })),
      search,
    ),
  );
  return PACKING_BYTES + Math.max(stepStatisticsBytes(step), ...each, ...choosing);
}

/** Bytes of WebAssembly memory of the thread that solves a step. */
function stepWasmBytes(
  step: PlannedStep,
  recipe: Pick<Recipe, 'method' | 'search'>,
  maximumBytes: number,
): number {
  if (!isInTiles(step, recipe, maximumBytes)) return stepBytes(step, recipe.search);
  const jobs = tiledJobs(step);
  return Math.max(tiledSummingBytes(jobs), ...jobs.map((job) => tiledMemory(job, maximumBytes).wasm));
}

/** Whether a step's layers are solved in tiles: where one memory does not hold them, and nothing stands against it. */
export function isInTiles(
  step: PlannedStep,
  { method, search }: Pick<Recipe, 'method' | 'search'>,
  maximumBytes: number,
): boolean {
  const { cuts, maps, isPartial } = step;
  const isAlone =
    cuts.length === 0
      ? refits(method)
      : method === 'osscar' && cuts.length === 1 && maps.length === 1 && !isPartial;
  return isAlone && stepBytes(step, search) > maximumBytes;
}

/** What the layers of a step in tiles take, each as if it were alone. */
export function tiledJobs({ maps, cuts: [cut] }: PlannedStep): TiledJob[] {
  return maps.map(({ p, m, groupSize }, i) => ({
    p,
    m,
    groupSize: cut?.groupSizes[i] ?? groupSize,
    keep: cut?.keep,
  }));
}

/**
 * Bytes of WebAssembly memory that the largest step takes; 0 without any.
 * @throws {OutOfMemoryError} naming it, where it does not fit a thread's memory
 */
export function checkSteps(
  steps: readonly PlannedStep[],
  recipe: Pick<Recipe, 'method' | 'search'>,
  maximumBytes: number,
): number {
  if (steps.length === 0) return 0;
  const sizes = steps.map((step) => ({ step, bytes: stepWasmBytes(step, recipe, maximumBytes) }));
  const { step, bytes } = sizes.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  if (bytes <= maximumBytes) return bytes;
  const { p, m } = step.maps.reduce((a, b) => (b.p > a.p ? b : a));
  const shared = step.maps.length > 1 ? `, the largest of ${step.maps.length} layers` : '';
  throw new OutOfMemoryError(
    `structure "${step.name}" needs ${bytes} bytes of WebAssembly memory (p = ${p}, m = ${m}${shared}), more than the ${maximumBytes} there are; leave it whole (keep 1) and the other layers as they are (\`correct: false\`)`,
    bytes,
  );
}
