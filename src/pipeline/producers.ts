// The layers that make a structure's channels, refitted: once it is known which channels stay, what these hold can change too.
// The layers behind them are linear in their weights, these are not, so that they go downhill from the dense weights, in
// few steps that the curvature of the layer's inputs and outputs makes large, as long as samples that are held out gain.

import type { EngineSession, FloatTensor } from '../engine/index.ts';
import { InputError, UnsupportedModelError } from '../errors.ts';
import {
  type GradientModel,
  gradientModel,
  type LinearMap,
  type Live,
  linearMap,
  type Model,
  readWeights,
  rowsOf,
  type Structure,
  samplesOf,
  shrink,
  sum,
  toFloat32,
  usesOf,
  weightTensors,
  writeWeights,
} from '../graph/index.ts';
import { type SolvedLayers, triangle } from '../solve/index.ts';
import { turn } from '../turn.ts';
import type { Frontier, Values } from './frontier.ts';
import type { Frontiers } from './frontiers.ts';
import { type Evaluated, minimize } from './lbfgs.ts';
import type { OpenedModel } from './open.ts';
import type { Run } from './pass.ts';
import type { Target } from './recipe.ts';
import { canSplit, imageOf, isHeldOut } from './split.ts';
import { inputSums, picked, valuesFor, wantedOf } from './statistics.ts';
import type { PlannedStep } from './steps.ts';
import { inOrder } from './work.ts';

/** New weights of a layer, as `readWeights` gives them. */
export interface Refitted {
  readonly node: string;
  readonly W: Float64Array;
  readonly bias?: Float64Array;
}

/** Steps downhill: OPT's perplexity at keep 0.3 was 35.1 without, 31.1 after 8 and 30.8 after 15 (measured). */
const ITERATIONS = 8;
/** Of the preconditioned gradient, where nothing is known of the curvature between outputs. */
const FIRST_STEP = 0.5;
/** Of inputs and targets, in memory; of more samples some are left out. */
const EXAMPLE_BYTES = 2 ** 27;
/**
 * Samples and rows for each input of a layer, of which no more are needed: at 400 rows and 125 of 500 samples ResNet20 keeps
 * 0.859 and 0.766 at keep 0.5 and 0.3, at all 0.855 and 0.766 (measured).
 */
const ENOUGH_SAMPLES = 125;
const ENOUGH_ROWS = 400;
/** Weights that stay of one structure's producers, up to which they are refitted: a descent remembers 20 times as many. */
const MOST_WEIGHTS = 2 ** 21;
const REMEMBERED = 20;
/** Inputs of a layer up to which their covariance is inverted. */
const MOST_INVERTED = 2048;
/** What is added to the variances of inputs, of their mean. */
const RIDGE = 1e-3;
/** And of their mean square at least, which the sums are rounded to: of inputs that hardly vary it is more. */
const ROUNDING = 1e-5;
/** Outputs that hardly matter move no further than these of the mean importance. */
const LEAST_POWER = 1e-3;

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
    // Gradients by weights are of convolutions in the plane.
    const isOther = map?.conv?.inputDilations || map?.conv?.depth;
    if (!map || isOther || info.unreached?.has(map.input)) return [];
    const { weight, bias } = weightTensors(model, map);
    const isOwn = [weight, bias].every(
      (it) => !it || (it.type === 'float32' && model.uses(it.name).length === 1),
    );
    return isOwn ? [map] : [];
  });
}

/** A layer that makes channels, as it is in the network without those that go. */
interface Maker extends LinearMap {
  /** Its outputs, as they were numbered. */
  readonly columns: readonly number[];
  /** Those that are no channels of the structure, as they are numbered now: their weights stay as they are. */
  readonly fixed: ReadonlySet<number>;
}

function makerOf(map: LinearMap, { slices, groups }: Structure, kept: readonly number[]): Maker {
  // Of a layer that makes queries, keys and values there are three.
  const blocks = slices.filter(({ node, input }) => node === map.node && input === 1);
  const channels = new Set(rowsOf({ blocks }, [...Array(groups).keys()]));
  const staying = new Set(rowsOf({ blocks }, kept));
  const columns = [...Array(map.m).keys()].filter((j) => !channels.has(j) || staying.has(j));
  const fixed = new Set(columns.flatMap((column, j) => (channels.has(column) ? [] : [j])));
  return { ...map, m: columns.length, columns, fixed };
}

/**
 * Layers that make a step's channels, as they are estimated: about as many inputs as those behind have outputs, and as many weights. Of
 * heads there are three.
 */
const makersOf = ({ isHead }: PlannedStep) => (isHead ? 3 : 1);

/** Their weights that stay. */
function weightsThatStay(step: PlannedStep): number {
  const { maps, keep = 0 } = step;
  return makersOf(step) * sum(maps.map(({ groupSize, m }) => keep * groupSize * m));
}

/** Bytes that a refit takes. */
export function refitBytes(step: PlannedStep): number {
  const weights = weightsThatStay(step);
  return weights === 0 || weights > MOST_WEIGHTS ? 0 : EXAMPLE_BYTES + 8 * REMEMBERED * weights;
}

/** Flops of the engine that a refit takes: forwards, and back for those that are fitted to. Of attention, those of its layers. */
export function refitFlops(step: PlannedStep, samples: number): number {
  const { maps, keep = 0, isHead } = step;
  const isOther = maps.some(({ groupSize, conv }) => groupSize > 1 && !conv && !isHead);
  const weights = weightsThatStay(step);
  if (isOther || weights === 0 || weights > MOST_WEIGHTS) return 0;
  const macs = (1 + makersOf(step)) * sum(maps.map(({ groupSize, m, rows }) => keep * groupSize * m * rows));
  const bytes = 4 * sum(maps.map(({ m, rows }) => 2 * m * rows));
  const producers = maps.map(({ m, groupSize, rows, conv }) => ({ p: conv ? m * groupSize : m, rows }));
  const examples = Math.min(samples / sampleStep(producers, samples), EXAMPLE_BYTES / bytes);
  return ITERATIONS * 2 * macs * examples * (1 + 2 * 0.75);
}

/** What a refit is of. */
export interface Site {
  readonly run: Run;
  readonly opened: OpenedModel;
  readonly frontiers: Frontiers;
  /** The pruned network with the structure's channels whole. */
  readonly weighted: Model;
  readonly samples: number;
  /** Samples before those of a shard. */
  before(shard: number): number;
  readonly target: Target;
  readonly structure: Structure;
  readonly producers: readonly LinearMap[];
  /** A place that the dense network runs on to with the targets. */
  ahead(frontier: Frontier): Live | undefined;
  /** Rows of the layers' weights that went with structures before this one, and stay zero. */
  readonly gone: ReadonlyMap<string, readonly number[]>;
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
 * @param solved  the channels that stay, and the readers' weights
 * @param about  all that this depends on
 */
export async function refitProducers(site: Site, solved: SolvedLayers, about: object): Promise<Refit> {
  const { opened, weighted, structure, producers, samples, run } = site;
  const maps = producers.map((map) => makerOf(map, structure, solved.kept));
  const weights = sum(maps.map(({ p, m }) => p * m));
  if (!canSplit({ ...run.calibration, size: samples }) || weights > MOST_WEIGHTS) return {};
  const whole = weighted.clone();
  for (const [i, map] of structure.consumers.entries())
    writeWeights(whole, map, solved.layers[i].W, solved.layers[i].bias);
  for (const map of producers) {
    const { W, bias } = readWeights(whole, map);
    writeWeights(whole, map, W, bias); // factors go into the weights
  }
  const small = shrink(whole, new Map([[structure, solved.kept]]));
  const readers = structure.consumers.flatMap(usesOf);
  const cut = structure.values.map(({ value }) => value);
  const gradient = gradientModel(small, maps, readers, opened.info, cut);
  if (!gradient) return {};
  const pieces = await run.work.each('examples', about, (shard) => examplesOf(site, shard, gradient));
  return run.work.one(
    'producers',
    about,
    async (): Promise<Refit> => {
      const examples: Examples = { fit: [], heldOut: [] };
      for await (const { fit, heldOut } of inOrder(pieces, run.work)) {
        examples.fit.push(...fit);
        examples.heldOut.push(...heldOut);
      }
      let left: number;
      try {
        left = await descend(site, small, maps, gradient, examples);
      } catch (error) {
        // What engines say of models and of runs. The network itself has run: nothing but the derivatives is at fault.
        if (!(error instanceof UnsupportedModelError || error instanceof InputError)) throw error;
        return { refused: error.message };
      }
      if (left === 1) return {};
      return { refitted: producers.map((map, i) => spread(whole, map, small, maps[i])), left };
    },
    [pieces],
  );
}

/** Leaves the best weights in the small model. @returns what is left of the error on samples held out: 1 with those of before */
async function descend(
  site: Site,
  small: Model,
  maps: readonly Maker[],
  gradient: GradientModel,
  examples: Examples,
): Promise<number> {
  const { run } = site;
  const metrics = await metricsOf(site, examples.fit);
  const sessions: EngineSession[] = [];
  try {
    for (const bytes of [gradient.bytes, gradient.forward]) sessions.push(await run.chain.engine.load(bytes));
    const [backward, forward] = sessions;
    return await new Descent(small, maps, gradient, { backward, forward }, examples, metrics, run).run();
  } finally {
    for (const session of sessions) await session.release();
  }
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

/** The mean of a layer's inputs (zero without a bias, which could not make up for it) and the inverse of their covariance. */
interface Metric {
  readonly mean: Float64Array;
  /** Inputs whose weights stay zero: zero in the mean, apart in the inverse. */
  readonly gone: ReadonlySet<number>;
  /** p × p; absent for many inputs. */
  readonly inverse?: Float64Array;
}

async function metricsOf(
  { opened, weighted, producers, run, gone }: Site,
  examples: readonly Example[],
): Promise<Metric[]> {
  return Promise.all(
    producers.map(async (map) => {
      const { p, node } = map;
      const { XtX, sumX, n } = await inputSums(opened, map, examples, run);
      const { bias } = weightTensors(weighted, map); // correction may have given it one
      const rows = new Set(gone.get(node));
      const mean = sumX.map((total, row) => (bias && !rows.has(row) ? total / n : 0));
      if (p > MOST_INVERTED) return { mean, gone: rows };
      const covariance = new Float64Array(p * p);
      let [trace, squares] = [0, 0];
      for (let a = 0; a < p; a++) {
        if (rows.has(a)) continue;
        for (let b = 0; b <= a; b++)
          if (!rows.has(b)) covariance[a * p + b] = XtX[triangle(a) + b] / n - mean[a] * mean[b];
        trace += covariance[a * p + a];
        squares += XtX[triangle(a) + a] / n;
      }
      const ridge = Math.max(RIDGE * trace, ROUNDING * squares) / p || 1;
      for (let a = 0; a < p; a++) covariance[a * p + a] += ridge;
      return { mean, gone: rows, inverse: await run.session.inverse(covariance, p, run) };
    }),
  );
}

type Feeds = Record<string, FloatTensor>;

/** Samples as inputs of the gradient's model. */
interface Example {
  readonly feeds: Feeds;
  readonly samples: number;
}

/** Those that are fitted to and others. */
interface Examples {
  readonly fit: Example[];
  readonly heldOut: Example[];
}

async function examplesOf(site: Site, shard: number, { layers, inputs }: GradientModel): Promise<Examples> {
  const { opened, frontiers, samples, before, target, structure, producers, run, ahead } = site;
  const readers = structure.consumers.flatMap(usesOf);
  const { dense, pruned } = valuesFor(readers, target);
  const watched = new Set([
    ...pruned,
    ...inputs,
    ...(target.blend < 1 ? readers.map((it) => it.output) : []),
  ]);
  const examples: Examples = { fit: [], heldOut: [] };
  let first = before(shard);
  const frontier = frontiers.of(shard);
  for await (const values of frontier.run(dense, [...watched], run.signal, { ahead: ahead(frontier) })) {
    const { batch } = values;
    const whole = [
      ...inputs.map((name) => ({ name, of: name, tensor: values.pruned[name] })),
      ...readers.map((map, i) => {
        const { data } = blended(map, values, target);
        const tensor = { dims: dimsOf(opened, map.output, batch), data };
        return { name: layers[i].target, of: map.output, tensor };
      }),
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
        picked(tensor, indices, batch, samplesOf(opened.info, of)),
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
function blended(map: LinearMap, values: Values, target: Target): FloatTensor {
  if (target.blend === 0) return values.pruned[map.output];
  const wanted = wantedOf(map, values, target);
  if (target.blend === 1) return wanted;
  const own = values.pruned[map.output].data;
  return { ...wanted, data: wanted.data.map((value, i) => own[i] + target.blend * (value - own[i])) };
}

/** Dims of a value in a batch: sums behind a layer may have it in another shape. */
function dimsOf({ info, input }: OpenedModel, value: string, batch: number): number[] {
  const [dims, { axis }] = [info.shapes.get(value)!, samplesOf(info, value)];
  return dims.with(axis, (dims[axis] / (input.fixedBatch || 1)) * batch);
}

/** Of the gradient's model, and of it without gradients. */
interface Sessions {
  readonly backward: EngineSession;
  readonly forward: EngineSession;
}

/** Goes downhill in the weights of layers, all of them one vector: W, p × m, and what the layer gives of its mean input. */
class Descent {
  readonly #model: Model;
  readonly #maps: readonly Maker[];
  readonly #gradient: GradientModel;
  readonly #sessions: Sessions;
  readonly #examples: Examples;
  readonly #metrics: readonly Metric[];
  readonly #run: Pick<Run, 'session' | 'signal'>;
  /** Curvature by each output of each layer. */
  #power?: Float64Array[];

  constructor(
    model: Model,
    maps: readonly Maker[],
    gradient: GradientModel,
    sessions: Sessions,
    examples: Examples,
    metrics: readonly Metric[],
    run: Pick<Run, 'session' | 'signal'>,
  ) {
    this.#model = model;
    this.#maps = maps;
    this.#gradient = gradient;
    this.#sessions = sessions;
    this.#examples = examples;
    this.#metrics = metrics;
    this.#run = run;
  }

  /** As `descend`. */
  async run(): Promise<number> {
    const start = this.#start();
    const before = await this.#heldOut();
    let [best, least] = [start, before];
    await minimize((point) => this.#evaluate(point), start, {
      iterations: ITERATIONS,
      firstStep: FIRST_STEP,
      precondition: (gradient) => this.#precondition(gradient),
      accept: async (point) => {
        this.#write(point);
        const error = await this.#heldOut();
        const isBetter = error < least;
        if (isBetter) [best, least] = [point, error];
        return isBetter;
      },
    });
    this.#write(best);
    return best === start ? 1 : least / before;
  }

  #start(): Float64Array {
    return this.#joined((map, i) => {
      const { W, bias } = readWeights(this.#model, map);
      const { mean } = this.#metrics[i];
      const centre = Float64Array.from({ length: map.m }, (_, j) => bias?.[j] ?? 0);
      forEach(map, (row, j, at) => (centre[j] += mean[row] * W[at]));
      return { W, centre };
    });
  }

  #write(point: Float64Array): void {
    this.#parts(point).forEach(({ W, centre }, i) => {
      const map = this.#maps[i];
      const { mean } = this.#metrics[i];
      const bias = centre.slice();
      forEach(map, (row, j, at) => (bias[j] -= mean[row] * W[at]));
      writeWeights(this.#model, map, W, weightTensors(this.#model, map).bias && bias);
    });
  }

  async #evaluate(point: Float64Array): Promise<Evaluated> {
    this.#write(point);
    const { gradients } = this.#gradient;
    const totals = this.#maps.map(({ p, m }) => ({ W: new Float64Array(p * m), bias: new Float64Array(m) }));
    const powers = this.#maps.map(({ m }) => new Float64Array(m));
    const names = gradients.flatMap(({ weight, bias, power }) => [weight, ...(bias ? [bias] : []), power]);
    const value = await this.#squares(this.#examples.fit, names, (results) => {
      gradients.forEach(({ weight, bias, power }, i) => {
        addTo(totals[i].W, results[weight].data);
        if (bias) addTo(totals[i].bias, results[bias].data);
        addTo(powers[i], results[power].data);
      });
    });
    this.#power ??= powers.map((squares) => importance(squares, value / this.#residuals()));
    const gradient = this.#joined((map, i) => {
      const { W, bias } = totals[i];
      const { mean, gone } = this.#metrics[i];
      forEach(map, (row, j, at) => (W[at] -= mean[row] * bias[j]));
      for (const row of gone) W.fill(0, row * map.m, (row + 1) * map.m);
      for (const j of map.fixed) {
        for (let at = j; at < W.length; at += map.m) W[at] = 0;
        bias[j] = 0;
      }
      return { W, centre: bias };
    });
    return { value: value / 2, gradient };
  }

  /** How many values the squares are summed of. */
  #residuals(): number {
    const { layers } = this.#gradient;
    return sum(
      this.#examples.fit.map(({ feeds }) => sum(layers.map(({ target }) => feeds[target].data.length))),
    );
  }

  #heldOut(): Promise<number> {
    return this.#squares(this.#examples.heldOut, [], () => {});
  }

  /** Σ‖y − t‖² with the model's weights as they are. */
  async #squares(
    examples: readonly Example[],
    names: readonly string[],
    add: (results: Record<string, FloatTensor>) => void,
  ): Promise<number> {
    const weights: Feeds = {};
    for (const map of this.#maps) {
      for (const tensor of Object.values(weightTensors(this.#model, map)))
        weights[tensor.name] = { dims: tensor.dims, data: toFloat32(tensor) };
    }
    const layers = this.#gradient.layers.map(({ squares }) => squares);
    const session = this.#sessions[names.length > 0 ? 'backward' : 'forward'];
    let total = 0;
    for (const { feeds } of examples) {
      await turn(this.#run.signal);
      const results = await session.run({ ...feeds, ...weights }, [...layers, ...names]);
      for (const name of layers) total += sum([...results[name].data]);
      add(results);
    }
    return total;
  }

  /** By the inverse covariance of each layer's inputs, and the importance of its outputs. */
  async #precondition(gradient: Float64Array): Promise<Float64Array> {
    const parts = this.#parts(gradient);
    const weights = parts.map(({ W }, i) => {
      const { inverse } = this.#metrics[i];
      const { session, signal } = this.#run;
      return inverse ? session.multiply(inverse, W, this.#maps[i].p, { signal }) : W.slice();
    });
    const scaled = await Promise.all(weights);
    return this.#joined((map, i) => {
      const power = this.#power![i];
      const W = scaled[i];
      forEach(map, (_, j, at) => (W[at] /= power[j]));
      return { W, centre: parts[i].centre.map((value, j) => value / power[j]) };
    });
  }

  #joined(
    part: (map: Maker, i: number) => { W: ArrayLike<number>; centre: ArrayLike<number> },
  ): Float64Array {
    const result = new Float64Array(sum(this.#maps.map(({ p, m }) => (p + 1) * m)));
    let at = 0;
    this.#maps.forEach((map, i) => {
      const { W, centre } = part(map, i);
      result.set(W, at);
      result.set(centre, at + W.length);
      at += W.length + map.m;
    });
    return result;
  }

  #parts(vector: Float64Array): { W: Float64Array; centre: Float64Array }[] {
    let at = 0;
    return this.#maps.map(({ p, m }) => {
      const W = vector.subarray(at, at + p * m);
      at += (p + 1) * m;
      return { W, centre: vector.subarray(at - m, at) };
    });
  }
}

/**
 * The curvature by each output, Σ(∂y/∂z)²: Σδ² is that times the mean square of a residual, where these are as good as
 * independent.
 */
function importance(squares: Float64Array, residual: number): Float64Array {
  const least = (LEAST_POWER * sum([...squares])) / squares.length;
  return squares.map((square) => Math.max(square, least) / residual || 1);
}

function forEach({ p, m }: LinearMap, visit: (row: number, column: number, at: number) => void): void {
  for (let row = 0; row < p; row++) for (let j = 0; j < m; j++) visit(row, j, row * m + j);
}

function addTo(a: Float64Array, b: Float32Array): void {
  for (let i = 0; i < a.length; i++) a[i] += b[i];
}
