// Downhill in the weights of layers whose outputs other layers read: few steps, which the curvature of the layers' inputs and outputs makes
// large, as long as samples that are held out gain.

import type { EngineSession, FloatTensor } from '../../engine/index.ts';
import { NotPositiveDefiniteError } from '../../errors.ts';
import {
  type Floats,
  type GradientModel,
  type LinearMap,
  type Model,
  readWeights,
  sum,
  toFloat32,
  weightTensors,
  writeWeights,
} from '../../graph/index.ts';
import { triangle } from '../../solve/index.ts';
import { turn } from '../../turn.ts';
import { loadModel, withSessions } from '../open/load.ts';
import type { OpenedModel } from '../open/open.ts';
import type { Run } from '../run.ts';
import { type Evaluated, type MinimizeOptions, minimize, vectorOf } from './lbfgs.ts';
import type { Gone } from './solve.ts';
import { inputSums, type Sampled } from './statistics.ts';

/** Steps downhill in the layers of one structure: OPT's perplexity at keep 0.3 was 35.1 without, 31.1 after 8 and 30.8 after 15 (measured). */
export const ITERATIONS = 8;
/** Of the preconditioned gradient, where nothing is known of the curvature between outputs. */
const FIRST_STEP = 0.5;
/** Inputs of a layer up to which their covariance is inverted. */
const MOST_INVERTED = 2048;
/** What is added to the variances of inputs, of their mean. */
const RIDGE = 1e-3;
/** And of their mean square at least, which the sums are rounded to: of inputs that hardly vary it is more. */
const ROUNDING = 1e-5;
/** Outputs that hardly matter move no further than these of the mean importance. */
const LEAST_POWER = 1e-3;

/** A layer that makes channels, as it is in the network without those that go. */
export interface Maker extends LinearMap {
  /** Its outputs, as they were numbered. */
  readonly columns: readonly number[];
  /** Those that are no channels of the structure, as they are numbered now: their weights stay as they are. */
  readonly fixed: ReadonlySet<number>;
}

/** What layers are refitted in. */
export interface Surroundings {
  readonly run: Run;
  readonly opened: OpenedModel;
  /** The pruned network with the structure's channels whole. */
  readonly weighted: Model;
  /** The layers, with all their outputs. */
  readonly producers: readonly LinearMap[];
  /** With structures before this one: these rows stay zero. */
  readonly gone: Gone;
}

/** The mean of a layer's inputs (zero without a bias, which could not make up for it) and the inverse of their covariance. */
export interface Metric {
  readonly mean: Float64Array;
  /** Inputs whose weights stay zero: apart in the inverse. */
  readonly gone: ReadonlySet<number>;
  /** p × p; absent for many inputs. */
  readonly inverse?: Float64Array;
}

/**
 * @param weighted  the network that the layer is in
 * @param gone  inputs whose weights stay zero
 */
export async function metricOf(
  { opened, weighted, run }: Pick<Surroundings, 'weighted' | 'run'> & { readonly opened: Sampled },
  map: LinearMap,
  examples: readonly Pick<Example, 'feeds' | 'samples'>[],
  gone: Iterable<number> = [],
): Promise<Metric> {
  const { p } = map;
  const { XtX, sumX, n } = await inputSums(opened, map, examples, run);
  const { bias } = weightTensors(weighted, map); // correction may have given it one
  const rows = new Set(gone);
  const mean = sumX.map((total) => (bias ? total / n : 0));
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
  return { mean, gone: rows, inverse: await inverseWith(ridge, covariance, p, run) };
}

/** (A + λ)⁻¹ of a covariance, lower triangle. λ is larger where the sums were rounded further than that: of few samples and a thousand inputs. */
export async function inverseWith(
  ridge: number,
  A: Float64Array,
  p: number,
  { session, signal }: Pick<Run, 'session' | 'signal'>,
): Promise<Float64Array> {
  const raised = A.slice();
  let trace = 0;
  for (let i = 0; i < p; i++) {
    trace += A[i * p + i];
    raised[i * p + i] += ridge;
  }
  return session.inverse(raised, p, { signal }).catch((error) => {
    if (!(error instanceof NotPositiveDefiniteError && ridge < trace)) throw error;
    return inverseWith(10 * ridge, A, p, { session, signal });
  });
}

type Feeds = Record<string, FloatTensor>;

/** Samples as inputs of the gradient's model. */
export interface Example {
  readonly feeds: Feeds;
  readonly samples: number;
  /** What the layers should give, where that is not among `feeds`. */
  targets?(): Promise<Feeds>;
}

/** Those that are fitted to and others. */
export interface Examples {
  readonly fit: Example[];
  readonly heldOut: Example[];
}

/** Leaves the best weights in the small model. @returns what is left of the error on samples held out: 1 with those of before */
export async function descend(
  site: Surroundings,
  small: Model,
  maps: readonly Maker[],
  gradient: GradientModel,
  examples: Examples,
): Promise<number> {
  const metrics = await Promise.all(
    site.producers.map((map) => metricOf(site, map, examples.fit, site.gone.get(map.node))),
  );
  return goDown({ model: small, maps, gradient, examples, metrics, iterations: ITERATIONS }, site.run);
}

/** A network, and what is known of the way down in the weights of its layers. */
interface Slope extends Pick<MinimizeOptions, 'iterations' | 'patience' | 'onStep'> {
  /** Gets the best weights. */
  readonly model: Model;
  readonly maps: readonly Maker[];
  readonly gradient: GradientModel;
  readonly examples: Examples;
  /** Of each layer. */
  readonly metrics: readonly Metric[];
}

/** @returns as `descend` */
export async function goDown(slope: Slope, run: Pick<Run, 'session' | 'signal' | 'chain'>): Promise<number> {
  const { backward, forward } = slope.gradient;
  const loads = [backward, forward].map((it) => () => loadModel(run.chain.engine, it));
  return withSessions(loads, (backward, forward) =>
    new Descent(slope, { backward, forward }, run).run(slope),
  );
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
  readonly #examples: Examples;
  readonly #metrics: readonly Metric[];
  readonly #sessions: Sessions;
  readonly #run: Pick<Run, 'session' | 'signal'>;
  /** Curvature by each output of each layer. */
  #power?: Float64Array[];

  constructor(slope: Slope, sessions: Sessions, run: Pick<Run, 'session' | 'signal'>) {
    this.#model = slope.model;
    this.#maps = slope.maps;
    this.#gradient = slope.gradient;
    this.#examples = slope.examples;
    this.#metrics = slope.metrics;
    this.#sessions = sessions;
    this.#run = run;
  }

  /** As `descend`. */
  async run({
    iterations,
    patience,
    onStep,
  }: Pick<Slope, 'iterations' | 'patience' | 'onStep'>): Promise<number> {
    const { fit, heldOut } = this.#examples;
    const squares = (point: Floats, examples: readonly Example[]) => {
      this.#write(point);
      return this.#squares(examples, [], () => {});
    };
    const objective = {
      evaluate: (point: Floats) => this.#evaluate(point),
      value: async (point: Floats) => (await squares(point, fit)) / 2,
      heldOut: (point: Floats) => squares(point, heldOut),
    };
    const { point, left } = await minimize(objective, this.#start(), {
      iterations,
      patience,
      onStep,
      firstStep: FIRST_STEP,
      precondition: (gradient) => this.#precondition(gradient),
    });
    this.#write(point);
    return left;
  }

  #start(): Floats {
    const start = this.#zeros();
    this.#parts(start).forEach(({ W, centre }, i) => {
      const own = readWeights(this.#model, this.#maps[i]);
      const { mean } = this.#metrics[i];
      W.set(own.W);
      if (own.bias) centre.set(own.bias);
      forEach(this.#maps[i], (row, j, at) => (centre[j] += mean[row] * W[at]));
    });
    return start;
  }

  #write(point: Floats): void {
    this.#parts(point).forEach(({ W, centre }, i) => {
      const map = this.#maps[i];
      const { mean } = this.#metrics[i];
      const bias = centre.slice();
      forEach(map, (row, j, at) => (bias[j] -= mean[row] * W[at]));
      writeWeights(this.#model, map, W, weightTensors(this.#model, map).bias && bias);
    });
  }

  async #evaluate(point: Floats): Promise<Evaluated> {
    this.#write(point);
    const { gradients, layers } = this.#gradient;
    let residuals = 0;
    const gradient = this.#zeros();
    const parts = this.#parts(gradient);
    const powers = this.#maps.map(({ m }) => new Float64Array(m));
    const names = gradients.flatMap(({ weight, bias, power }) => [weight, ...(bias ? [bias] : []), power]);
    const value = await this.#squares(this.#examples.fit, names, (results, given) => {
      for (const { target } of layers) residuals += given[target].data.length;
      gradients.forEach(({ weight, bias, power }, i) => {
        addTo(parts[i].W, results[weight].data);
        if (bias) addTo(parts[i].centre, results[bias].data);
        addTo(powers[i], results[power].data);
      });
    });
    this.#power ??= powers.map((squares) => importance(squares, value / residuals));
    for (const [i, { W, centre }] of parts.entries()) {
      const map = this.#maps[i];
      const { mean, gone } = this.#metrics[i];
      forEach(map, (row, j, at) => (W[at] -= mean[row] * centre[j]));
      for (const row of gone) W.fill(0, row * map.m, (row + 1) * map.m);
      for (const j of map.fixed) {
        for (let at = j; at < W.length; at += map.m) W[at] = 0;
        centre[j] = 0;
      }
    }
    return { value: value / 2, gradient };
  }

  /** Σ‖y − t‖² with the model's weights as they are. */
  async #squares(
    examples: readonly Example[],
    names: readonly string[],
    add: (results: Feeds, given: Feeds) => void,
  ): Promise<number> {
    const weights: Feeds = {};
    for (const map of this.#maps) {
      for (const tensor of Object.values(weightTensors(this.#model, map)))
        weights[tensor.name] = { dims: tensor.dims, data: toFloat32(tensor) };
    }
    const layers = this.#gradient.layers.map(({ squares }) => squares);
    const session = this.#sessions[names.length > 0 ? 'backward' : 'forward'];
    let total = 0;
    for (const { feeds, targets } of examples) {
      await turn(this.#run.signal);
      const given: Feeds = { ...feeds, ...(await targets?.()) };
      const results = await session.run({ ...given, ...weights }, [...layers, ...names]);
      for (const name of layers) total += sum([...results[name].data]);
      add(results, given);
    }
    return total;
  }

  /** By the inverse covariance of each layer's inputs, and the importance of its outputs. */
  async #precondition(gradient: Floats): Promise<Floats> {
    const result = gradient.slice();
    const { session, signal } = this.#run;
    for (const [i, { W, centre }] of this.#parts(result).entries()) {
      const map = this.#maps[i];
      const { inverse } = this.#metrics[i];
      const power = this.#power![i];
      if (inverse) W.set(await session.multiply(inverse, new Float64Array(W), map.p, { signal }));
      forEach(map, (_, j, at) => (W[at] /= power[j]));
      power.forEach((value, j) => {
        centre[j] /= value;
      });
    }
    return result;
  }

  #zeros(): Floats {
    return vectorOf(sum(this.#maps.map(({ p, m }) => (p + 1) * m)));
  }

  #parts(vector: Floats): { W: Floats; centre: Floats }[] {
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

function addTo(a: Floats, b: Float32Array): void {
  for (let i = 0; i < a.length; i++) a[i] += b[i];
}
