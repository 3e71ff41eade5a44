// The layers that make a structure's channels, refitted: once it is known which channels stay, what these hold can change too.
// The layers behind them are linear in their weights, these are not, so that they go downhill from the dense weights (`descent.ts`).

import { type FloatTensor, isOfEngine } from '../../engine/index.ts';
import { UnsupportedModelError } from '../../errors.ts';
import {
  type GradientModel,
  gradientModel,
  inFloat32,
  infoInFloat32,
  type LinearMap,
  linearMap,
  type Model,
  readWeights,
  roundsOf,
  rowsOf,
  type Structure,
  samplesOf,
  shrink,
  sum,
  usesOf,
  type ValueInfo,
  weightTensors,
  writeWeights,
} from '../../graph/index.ts';
import type { SolvedLayers } from '../../solve/index.ts';
import { canSplit, imageOf, isHeldOut } from '../data/split.ts';
import type { OpenedModel } from '../open/open.ts';
import type { Target } from '../recipe.ts';
import { descend, type Examples, ITERATIONS, type Maker, type Surroundings } from './descent.ts';
import type { Frontier, Values } from './frontier.ts';
import type { Frontiers } from './frontiers.ts';
import { writeLayers } from './solve.ts';
import { picked, placedAs, placeIn, valuesFor, wantedName, wantedOf } from './statistics.ts';
import { type PlannedStep, rowsThatStay } from './steps.ts';
import { inOrder } from './work.ts';

/** New weights of a layer, as `readWeights` gives them. */
export interface Refitted {
  readonly node: string;
  readonly W: Float64Array;
  readonly bias?: Float64Array;
}

/** Of inputs and targets, in memory; of more samples some are left out. */
const EXAMPLE_BYTES = 2 ** 27;
/**
 * Samples and rows for each input of a layer, of which no more are needed: with 400 rows of 512 windows stories260K has a perplexity of 24.5
 * at keep 0.3 instead of 23.0 (measured).
 */
const ENOUGH_SAMPLES = 125;
const ENOUGH_ROWS = 1600;
/** Weights that stay of a step's producers, up to which they are refitted: a descent remembers 20 times as many. */
const MOST_WEIGHTS = 2 ** 21;
const REMEMBERED = 20;
/** Of weights, which are float32 while they are refitted. */
const REFITTED_TYPES = new Set(['float32', 'float16']);

/**
 * The layers that make a structure's channels, and come before all that reads these. One behind, as the last of a gate that is made of
 * the channels themselves, keeps its weights.
 */
export function producersOf({ model, info }: OpenedModel, structure: Structure): LinearMap[] {
  const { isResidual, producers, consumers } = structure;
  if (isResidual || producers.length === 0) return [];
  if (consumers.some((it) => it.isInner)) return []; // recurrent layers have no derivative here
  // What a layer makes of channels has a target for all of it: none where that is cut with them.
  const makers = new Set(producers.map(({ node }) => node));
  if (consumers.some(({ node }) => makers.has(node))) return [];
  const place = (node: string) => model.position(model.node(node)!);
  const first = Math.min(...consumers.map(({ node }) => place(node)));
  const before = [...makers].filter((node) => place(node) < first);
  return before.flatMap((node) => {
    const map = linearMap(model, model.node(node)!, info.shapes);
    return map && isDerived(model, info, map) ? [map] : [];
  });
}

/** Whether there is a gradient by a layer's weights, and nothing else reads them. */
export function isDerived(model: Model, info: ValueInfo, map: LinearMap): boolean {
  const { conv, input } = map;
  if (conv?.inputDilations || conv?.depth || info.unreached?.has(input)) return false; // of convolutions in the plane
  return Object.values(weightTensors(model, map)).every(
    ({ type, name }) => REFITTED_TYPES.has(type) && model.uses(name).length === usesOf(map).length,
  );
}

function makerOf(map: LinearMap, cuts: ReadonlyMap<Structure, readonly number[]>): Maker {
  const channels = new Set<number>();
  const staying = new Set<number>();
  for (const [{ slices, groups }, kept] of cuts) {
    // Of a layer that makes queries, keys and values there are three.
    const blocks = slices.filter(({ node, input }) => node === map.node && input === 1);
    for (const row of rowsOf({ blocks }, [...Array(groups).keys()])) channels.add(row);
    for (const row of rowsOf({ blocks }, kept)) staying.add(row);
  }
  const columns = [...Array(map.m).keys()].filter((j) => !channels.has(j) || staying.has(j));
  const fixed = new Set(columns.flatMap((column, j) => (channels.has(column) ? [] : [j])));
  return { ...map, m: columns.length, columns, fixed };
}

/**
 * Layers that make a step's channels, as they are estimated: about as many inputs as those behind have outputs, and as many weights. Of
 * heads there are three.
 */
const makersOf = ({ isHead }: PlannedStep) => (isHead ? 3 : 1);

/** Their weights that are refitted. */
function weightsRefitted(step: PlannedStep): number {
  const { maps, cuts } = step;
  const own = cuts.map(({ keep, groupSizes }) =>
    sum(maps.map(({ m }, i) => makersOf(step) * keep * groupSizes[i] * m)),
  );
  return Math.min(MOST_WEIGHTS, sum(own.filter((weights) => weights <= MOST_WEIGHTS)));
}

/** Bytes that a refit takes. */
export function refitBytes(step: PlannedStep): number {
  const weights = weightsRefitted(step);
  return weights === 0 ? 0 : EXAMPLE_BYTES + 8 * REMEMBERED * weights;
}

/** Of what `refitBoth` repeats, on an average: 17 for the 9 structures of ResNet20, 14 for the 8 of a small OPT (measured). */
const ROUNDS_MADE = 1.8;

/** Flops of the engine that a refit takes: forwards, and back for those that are fitted to. Of attention, those of its layers. */
export function refitFlops(step: PlannedStep, samples: number): number {
  const { maps, cuts, isHead } = step;
  const sizes = maps.map((_, i) => Math.max(1, ...cuts.map(({ groupSizes }) => groupSizes[i])));
  const isOther = maps.some(({ conv }, i) => sizes[i] > 1 && !conv && !isHead);
  if (isOther || weightsRefitted(step) === 0) return 0;
  const macs = (1 + makersOf(step)) * sum(maps.map(({ m, rows }, i) => rowsThatStay(step, i) * m * rows));
  const bytes = 4 * sum(maps.map(({ m, rows }) => 2 * m * rows));
  const producers = maps.map(({ m, rows, conv }, i) => ({ p: conv ? m * sizes[i] : m, rows }));
  const examples = Math.min(samples / sampleStep(producers, samples), EXAMPLE_BYTES / bytes);
  return ROUNDS_MADE * ITERATIONS * 2 * macs * examples * (1 + 2 * 0.75);
}

/** What a refit is of. */
interface Site extends Surroundings {
  readonly frontiers: Frontiers;
  readonly target: Target;
  /** The layers behind. */
  readonly readers: readonly LinearMap[];
}

/** What comes of a refit. */
export interface Refit {
  /** Absent where a derivative is not known, samples are too few to hold some out, or these gain nothing. */
  readonly refitted?: readonly Refitted[];
  /** What is left of the squared error on those held out. */
  readonly left?: number;
  /** Why the engine does not run the derivatives. */
  readonly refused?: string;
}

/**
 * Weights under which what the readers give comes closer to their target. Those of removed channels stay as they are.
 *
 * @param cuts  the channels that stay
 * @param solved  the readers' weights
 * @param about  all that this depends on
 */
export async function refitProducers(
  site: Site,
  cuts: ReadonlyMap<Structure, readonly number[]>,
  solved: SolvedLayers['layers'],
  about: object,
): Promise<Refit> {
  const { frontiers, run } = site;
  if (!canSplit({ ...run.calibration, size: frontiers.samples })) return {};
  const derived = derivedOf(site, cuts, solved);
  if (!derived) return {};
  const own = { ...site, producers: derived.producers };
  const pieces = await run.work.each('examples', about, (shard) =>
    examplesOf(own, frontiers.of(shard), derived.gradient),
  );
  const fit = async (): Promise<Refit> => {
    const examples: Examples = { fit: [], heldOut: [] };
    for await (const { fit, heldOut } of inOrder(pieces, run.work)) {
      examples.fit.push(...fit);
      examples.heldOut.push(...heldOut);
    }
    const { whole, small, makers, gradient } = derived;
    let left: number;
    try {
      left = await descend(own, small, makers, gradient, examples);
    } catch (error) {
      // The network itself has run: nothing but the derivatives is at fault. Other engines refuse models in their own words.
      if (!(error instanceof UnsupportedModelError || isOfEngine(error))) throw error;
      return { refused: error.message };
    }
    if (left === 1) return {};
    return { refitted: own.producers.map((map, i) => spread(whole, map, small, makers[i])), left };
  };
  return run.work.one('producers', about, fit, [pieces]);
}

/** A network with a step's readers solved, and the derivative by the layers that are refitted. */
interface Derived {
  readonly whole: Model;
  /** Without the channels that go. */
  readonly small: Model;
  /** The layers in the one and in the other. */
  readonly producers: readonly LinearMap[];
  readonly makers: readonly Maker[];
  readonly gradient: GradientModel;
}

/** Of all producers where that is known; else of those of which it is: what one of them gives may pass through what has no derivative. */
function derivedOf(
  { opened, weighted, readers, producers }: Site,
  cuts: ReadonlyMap<Structure, readonly number[]>,
  solved: SolvedLayers['layers'],
): Derived | undefined {
  const whole = inFloat32(weighted);
  const info = infoInFloat32(opened.info);
  writeLayers(whole, readers, solved);
  for (const map of producers) {
    const { W, bias } = readWeights(whole, map);
    writeWeights(whole, map, W, bias); // factors go into the weights
  }
  const small = shrink(whole, cuts);
  const cut = [...cuts.keys()].flatMap(({ values }) => values.map(({ value }) => value));
  const by = (makers: readonly Maker[]): Derived | undefined => {
    if (makers.length === 0) return undefined;
    const gradient = gradientModel(small, makers, readers.flatMap(usesOf), info, cut);
    if (!gradient) return undefined;
    const nodes = new Set(makers.map(({ node }) => node));
    return { whole, small, producers: producers.filter(({ node }) => nodes.has(node)), makers, gradient };
  };
  const all = withinLimit(producers.map((map) => makerOf(map, cuts)));
  const some = () => all.filter((map) => by([map]));
  return by(all) ?? by(some());
}

/** As many as `MOST_WEIGHTS` lets be. */
export function withinLimit<M extends Pick<Maker, 'p' | 'm'>>(makers: readonly M[]): M[] {
  let weights = 0;
  return makers.filter(({ p, m }) => {
    const fits = weights + p * m <= MOST_WEIGHTS;
    if (fits) weights += p * m;
    return fits;
  });
}

/** A layer's weights with the columns of channels that stay replaced. */
function spread(whole: Model, map: LinearMap, small: Model, maker: Maker): Refitted {
  const dense = readWeights(whole, map);
  const refitted = readWeights(small, maker);
  const W = Float64Array.from(dense.W);
  const bias = dense.bias && Float64Array.from(dense.bias);
  for (const [j, column] of maker.columns.entries()) {
    for (let row = 0; row < map.p; row++) W[row * map.m + column] = refitted.W[row * maker.m + j];
    if (bias) bias[column] = refitted.bias![j];
  }
  return { node: map.node, W, bias };
}

async function examplesOf(
  site: Site,
  frontier: Frontier,
  { layers, inputs }: GradientModel,
): Promise<Examples> {
  const { opened, target, producers, run } = site;
  const { samples } = frontier;
  const readers = site.readers.flatMap(usesOf);
  const { dense, pruned } = valuesFor(readers, target);
  const watched = new Set([
    ...pruned,
    ...inputs,
    ...(target.blend < 1 || opened.info.varies ? readers.map((it) => it.output) : []),
  ]);
  const examples: Examples = { fit: [], heldOut: [] };
  let { first } = frontier;
  for await (const values of frontier.run(dense, [...watched])) {
    const { batch } = values;
    const whole = [
      ...inputs.map((name) => ({ name, of: name, tensor: values.pruned[name] })),
      ...readers.map((map, i) => ({
        name: layers[i].target,
        of: map.output,
        tensor: blended(opened, map, values, target),
      })),
    ];
    const bytes = sum(whole.map(({ tensor }) => tensor.data.byteLength)) / batch;
    const step = Math.max(Math.ceil((bytes * samples) / EXAMPLE_BYTES), sampleStep(producers, samples));
    const image = (i: number) => imageOf(first + i, run.calibration);
    const used = Array.from({ length: values.count }, (_, i) => i).filter((i) => image(i) % step === 0);
    const isUnseen = (i: number) => isHeldOut(image(i) / step);
    for (const [list, indices] of [
      [examples.fit, used.filter((i) => !isUnseen(i))],
      [examples.heldOut, used.filter(isUnseen)],
    ] as const) {
      if (indices.length === 0) continue;
      const feeds = whole.map(({ name, of, tensor }) => [
        name,
        picked(tensor, indices, batch, placeIn(opened, of, tensor, batch)),
      ]);
      list.push({ feeds: Object.fromEntries(feeds), samples: indices.length });
    }
    first += values.count;
  }
  return examples;
}

/** Of how many samples one is enough. */
export function sampleStep(producers: readonly Pick<LinearMap, 'rows' | 'p'>[], samples: number): number {
  const rows = producers.map(({ rows, p }) => (samples * rows) / (ENOUGH_ROWS * p));
  return Math.max(1, Math.floor(Math.min(samples / ENOUGH_SAMPLES, ...rows)));
}

/** What a reader should give: its dense weights' output on what reaches it, and from there towards the target. */
function blended(opened: OpenedModel, map: LinearMap, values: Values, target: Target): FloatTensor {
  const { output } = map;
  if (target.blend === 0) return values.pruned[output];
  const { batch } = values;
  const wanted = wantedOf(map, values, target);
  // A sum behind it may have another shape, and samples elsewhere.
  const dims = values.pruned[output]?.dims ?? dimsOf(opened, output, batch);
  const rounds = (name: string, tensor: FloatTensor) =>
    roundsOf(tensor.dims, placeIn(opened, name, tensor, batch));
  const data = placedAs(wanted.data, batch, [
    rounds(wantedName(map, target), wanted),
    rounds(output, { ...wanted, dims }),
  ]);
  if (target.blend === 1) return { dims, data };
  const { blend } = target;
  const own = values.pruned[output].data;
  const result = new Float32Array(data.length); // a callback for each takes seven times as long (measured)
  for (let i = 0; i < data.length; i++) result[i] = own[i] + blend * (data[i] - own[i]);
  return { dims, data: result };
}

/** Dims of a value in a batch. */
function dimsOf({ info, input }: OpenedModel, value: string, batch: number): number[] {
  const [dims, { axis }] = [info.shapes.get(value)!, samplesOf(info, value)];
  return dims.with(axis, (dims[axis] / (input.fixedBatch || 1)) * batch);
}
