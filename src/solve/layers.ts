// From the statistics of layers to their new weights, in one operation: damping, problem, support, refit and bias.

import { InputError, ShapeError } from '../errors.ts';
import { expectNumbers, expectObject, expectObjects } from '../expect.ts';
import type { Kernels } from '../kernel/index.ts';
import { expectFields, expectOptions, type Fields, type Options, wholeFrom } from '../options.ts';
import { chooseDamping } from './damping.ts';
import {
  DEFAULT_DAMPING,
  type LayerStatistics,
  layerProblem,
  PROBLEM_OPTIONS,
  type ProblemOptions,
} from './problem.ts';
import { LAYER_OPTIONS, type LayerOptions, type LayerResult, type Method, pruneLayers } from './prune.ts';
import { refitBias, refitRows } from './refit.ts';
import { freePart, type LayerRows, rowsLeft } from './rows.ts';
import { triangle } from './triangle.ts';
import { denseOn, expectKernels, type LayerProblem, type Steps } from './workspace.ts';

/** A layer with what was seen of its inputs. */
export interface Layer extends Pick<ProblemOptions, 'bias'>, LayerRows {
  /** Dense weights, p × m. */
  readonly W: Float32Array | Float64Array;
  /** Of the samples that options are chosen on; the layer is solved on the sums of both. */
  readonly fit: LayerStatistics;
  /** Of samples that were held out, by which the damping is chosen. */
  readonly heldOut?: LayerStatistics;
  /** λ, where this layer's is known; left out, as the recipe says. */
  readonly damping?: number;
  /** Where weights become multiples of scales: rows of W in order that share one for each output, 16 or more; default: all. */
  readonly block?: number;
}

/** Rows of W in order that share a scale, at least: fewer would hold more in scales than is saved. */
const LEAST_BLOCK = 16;

const LAYER: Fields<Layer> = {
  W: true,
  fit: true,
  heldOut: true,
  damping: true,
  bias: true,
  groupSize: true,
  free: true,
  gone: true,
  block: true,
};

/** How layers are solved, whichever they are. */
export interface LayerRecipe
  extends Pick<LayerOptions, 'method' | 'search' | 'groupsPerStep' | 'wholeCurve' | 'support'>,
    Pick<ProblemOptions, 'blend'> {
  /** λ; left out, each layer's is chosen by its held-out samples. */
  readonly damping?: number;
  /**
   * Weights become whole multiples of scales, by so much at most, each rounded so as to make up for those before it (GPTQ, arXiv
   * 2210.17323). Of methods that re-solve weights.
   */
  readonly steps?: number;
}

const { method, search, groupsPerStep, wholeCurve, support } = LAYER_OPTIONS;
const { blend, damping } = PROBLEM_OPTIONS;
const LAYER_BOUNDS = { block: wholeFrom(LEAST_BLOCK), damping };
const RECIPE: Options<LayerRecipe> = {
  method,
  search,
  groupsPerStep,
  wholeCurve,
  support,
  blend,
  damping,
  steps: wholeFrom(1),
};

/** Layers that read the same channels, solved. */
export interface SolvedLayers extends Partial<Pick<LayerResult, 'relativeError' | 'curve'>> {
  /** Group numbers that stay, ascending. */
  readonly kept: readonly number[];
  readonly layers: readonly {
    /** p × m; rows of removed groups are zero. */
    readonly W: Float64Array;
    /** m; absent where the layer's bias stays as it is. */
    readonly bias?: Float64Array;
    /** λ. */
    readonly damping: number;
  }[];
}

/** Whether a method re-solves weights, and so has a target, a damping and a bias to choose. */
export function refits(method: Method): boolean {
  return method === 'osscar' || method === 'magnitude-refit';
}

/**
 * Chooses the groups that layers with the same inputs keep, and their new weights (OSSCAR, arXiv 2403.12983). Several
 * layers share one support, on the sum of their objectives, each relative to its own signal.
 *
 * @param keep  groups to keep; left out, all stay and the weights are refitted to the target
 * @throws {NotPositiveDefiniteError} where H is not positive definite
 * @throws {InputError} for impossible options, or statistics with NaN or infinite values
 *
 * `layerWasmBytes` of wasm memory, and about 8(½p² + 4pm) bytes outside of it; of several layers what each takes.
 *
 * @example
 * const { kept, layers } = solveLayers(kernels, [layer], { method: 'osscar' }, 128);
 * const [{ W, bias, damping }] = layers;
 */
export function solveLayers(
  kernels: Kernels,
  layers: readonly Layer[],
  recipe: LayerRecipe,
  keep?: number,
): SolvedLayers {
  expectKernels('solveLayers', kernels);
  checkLayers('solveLayers', layers, recipe);
  const { damping: _, blend: __, steps, ...choosing } = recipe;
  const { method = 'osscar' } = choosing;
  const damped = layers.map((layer) => dampedProblem(kernels, layer, recipe, keep));
  const problems = damped.map(({ problem }, i) => freePart(kernels, problem, layers[i]));
  const chosen = keep === undefined ? undefined : pruneLayers(kernels, problems, { ...choosing, keep });
  const kept = chosen?.kept ?? [...Array(problems[0].groups).keys()];
  const weightsOn = (problem: LayerProblem, rows: Int32Array, onto?: Steps) =>
    method === 'magnitude' ? denseOn(problem, rows) : refitRows(kernels, problem, rows, onto).W;
  const solved = damped.map(({ problem, damping }, i) => {
    const isWhole = chosen && problems[i] === problem && !layers[i].gone?.length && !steps;
    const onto = steps === undefined ? undefined : { most: steps, block: layers[i].block };
    const W = isWhole ? chosen.W[i] : weightsOn(problem, rowsLeft(problem.p, layers[i], kept), onto);
    return { W, bias: refits(method) ? refitBias(problem, W) : undefined, damping };
  });
  return { kept, layers: solved, relativeError: chosen?.relativeError, curve: chosen?.curve };
}

/** @throws {InputError} naming what is of another kind than it should be, of layers in tiles too */
export function checkLayers(
  operation: string,
  layers: readonly (Omit<Layer, 'fit' | 'heldOut'> & {
    readonly fit: { readonly p: number; readonly m: number };
    readonly heldOut?: object;
  })[],
  recipe: LayerRecipe,
): void {
  expectObjects(operation, 'layers', layers);
  expectObject(operation, 'recipe', recipe);
  expectOptions(operation, recipe, RECIPE);
  const { method = 'osscar', steps } = recipe;
  if (steps !== undefined && !refits(method))
    throw new InputError(
      `${operation}: "steps" is for methods that re-solve weights, which ${method} does not`,
    );
  if (layers.length === 0) throw new ShapeError(`${operation}: "layers" expected at least one`);
  for (const [i, layer] of layers.entries()) {
    expectFields(operation, `layers[${i}]`, layer, LAYER);
    const { fit, heldOut, block, damping } = layer;
    expectObject(operation, 'fit', fit);
    if (heldOut) expectObject(operation, 'heldOut', heldOut);
    expectWeights(operation, layer.W, fit);
    for (const name of ['free', 'gone'] as const) {
      const rows = layer[name];
      if (rows !== undefined && !(rows instanceof Int32Array && rows.every((row) => row >= 0 && row < fit.p)))
        throw new InputError(`${operation}: "${name}" expected an Int32Array of rows of ${fit.p}`);
    }
    expectOptions(operation, { block, damping }, LAYER_BOUNDS);
  }
}

/** @throws {InputError} where they are no weights of a layer with these sums, which are judged where they are added up */
function expectWeights(operation: string, W: Layer['W'], { p, m }: { p: number; m: number }): void {
  if (ArrayBuffer.isView(W)) expectNumbers(operation, 'W', W);
  if (Number.isInteger(p * m) && W?.length !== p * m)
    throw new ShapeError(
      `${operation}: "W" expected ${p}×${m} values (inputs × outputs), got ${W?.length ?? W}`,
    );
}

/** A layer's problem on all samples, damped as holds best on the held-out ones. */
function dampedProblem(
  kernels: Kernels,
  { W, fit, heldOut, bias, damping: own, ...rows }: Layer,
  { method = 'osscar', damping: recipes, blend }: LayerRecipe,
  keep = (rows.free?.length ?? fit.p) / rows.groupSize,
): { problem: LayerProblem; damping: number } {
  // The methods of others choose as published.
  const dampDead = method !== 'osscar';
  const groupSize = rows.free ? 1 : rows.groupSize;
  const options = {
    groupSize,
    bias,
    blend: fit.target ? blend : 0,
    dampDead,
    H: new Float64Array(triangle(fit.p)),
  };
  const given = own ?? recipes;
  const isChosen = given === undefined && heldOut && refits(method);
  const damping = isChosen
    ? chooseDamping(kernels, fit, heldOut, W, options, keep, rows)
    : (given ?? DEFAULT_DAMPING);
  const all = heldOut ? [fit, heldOut] : fit;
  return { problem: layerProblem(kernels, all, W, { ...options, damping }), damping };
}
