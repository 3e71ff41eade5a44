// Minimising a smooth function of many variables (limited-memory BFGS; Nocedal and Wright, Numerical Optimization, 7.2).

import type { Floats } from '../../graph/index.ts';
import { dot } from '../../sum.ts';

/** Variables up to which vectors are double: of many of them memory counts for more than the last bits, as weights are single anyway. */
const MOST_DOUBLE = 2 ** 22;

const isDouble = (variables: number) => variables <= MOST_DOUBLE;

/** Of zeros. */
export function vectorOf(variables: number): Floats {
  return isDouble(variables) ? new Float64Array(variables) : new Float32Array(variables);
}

/** A function's value and its gradient. */
export interface Evaluated {
  readonly value: number;
  readonly gradient: Floats;
}

export interface Objective {
  evaluate(point: Floats): Promise<Evaluated>;
  /** The value alone, for less. */
  value(point: Floats): Promise<number>;
  /** The error on samples held out, which ends the search where it no longer falls. */
  heldOut(point: Floats): Promise<number>;
}

export interface MinimizeOptions {
  readonly iterations: number;
  /** An estimate of the inverse of the Hessian times a vector. */
  precondition(gradient: Floats): Promise<Floats>;
  /** How much of the preconditioned gradient is tried first. */
  readonly firstStep: number;
  /** Steps in a row that may leave the error on samples held out as it is. Default: none. */
  readonly patience?: number;
  /** Called after every step. */
  readonly onStep?: (step: number) => void;
}

interface Tried extends Pick<Evaluated, 'value'> {
  readonly point: Floats;
  readonly heldOut: number;
  /** Absent where the search ends. */
  readonly gradient?: Floats;
}

/** Steps that the curvature is remembered of: fewer of many variables, of which each takes two vectors. */
export function pairsFor(variables: number): number {
  return Math.max(4, Math.min(16, Math.floor(2 ** 26 / variables)));
}
/** Vectors beside these: where the search is and goes, and derivatives. */
const OTHER_VECTORS = 8;

/** Bytes that a search remembers. */
export function minimizeBytes(variables: number): number {
  const each = isDouble(variables) ? 8 : 4;
  return each * variables * (2 * pairsFor(variables) + OTHER_VECTORS);
}

/** Steps that are tried along a direction, each a third of the one before. */
const TRIED_STEPS = 6;
/** Of the decrease that the gradient promises, what a step has to give. */
const SUFFICIENT = 1e-4;

/**
 * Goes downhill from `start`, with early stopping.
 *
 * @returns the point with the least error on samples held out, and what is left of that error: 1 at `start`
 */
export async function minimize(
  objective: Objective,
  start: Floats,
  { iterations, precondition, firstStep, patience = 0, onStep }: MinimizeOptions,
): Promise<{ point: Floats; left: number }> {
  const pairs: { s: Floats; y: Floats; ys: number }[] = [];
  const before = await objective.heldOut(start);
  let [best, least, waited] = [start, before, 0];
  let point = start;
  let at = await objective.evaluate(start);
  for (let i = 1; i <= iterations; i++) {
    const direction = await descent(at.gradient, pairs, precondition, firstStep);
    const slope = dot(at.gradient, direction);
    if (!(slope < 0)) break;
    // Derivatives take most of the time, and are not needed where the search ends.
    const attempt = async (tried: Floats): Promise<Tried> => {
      const heldOut = await objective.heldOut(tried);
      const isLast = i === iterations || (!(heldOut < least) && waited === patience);
      const found = isLast ? { value: await objective.value(tried) } : await objective.evaluate(tried);
      return { point: tried, heldOut, ...found };
    };
    const next = await lineSearch(attempt, point, at.value, direction, slope);
    if (!next) break;
    onStep?.(i);
    const from = point;
    point = next.point;
    if (next.heldOut < least) [best, least, waited] = [point, next.heldOut, 0];
    else waited++;
    if (!next.gradient) break;
    const s = difference(point, from);
    const y = difference(next.gradient, at.gradient);
    const ys = dot(y, s);
    if (ys > 0) pairs.push({ s, y, ys });
    if (pairs.length > pairsFor(start.length)) pairs.shift();
    at = { value: next.value, gradient: next.gradient };
  }
  return { point: best, left: best === start ? 1 : least / before };
}

async function lineSearch(
  attempt: (point: Floats) => Promise<Tried>,
  from: Floats,
  value: number,
  direction: Floats,
  slope: number,
): Promise<Tried | undefined> {
  let step = 1;
  for (let tried = 0; tried < TRIED_STEPS; tried++) {
    const length = step;
    const found = await attempt(from.map((x, i) => x + length * direction[i]));
    if (found.value <= value + SUFFICIENT * step * slope) return found;
    step /= 3;
  }
  return undefined;
}

/** The two-loop recursion. */
async function descent(
  gradient: Floats,
  pairs: readonly { s: Floats; y: Floats; ys: number }[],
  precondition: MinimizeOptions['precondition'],
  firstStep: number,
): Promise<Floats> {
  const q = gradient.map((g) => -g);
  const weights: number[] = [];
  for (const { s, y, ys } of pairs.toReversed()) {
    const weight = dot(s, q) / ys;
    weights.unshift(weight);
    addTo(q, y, -weight);
  }
  const result = await precondition(q);
  const last = pairs.at(-1);
  const scale = last ? last.ys / dot(last.y, await precondition(last.y)) : firstStep;
  for (let i = 0; i < result.length; i++) result[i] *= scale;
  for (const [at, { s, y, ys }] of pairs.entries()) addTo(result, s, weights[at] - dot(y, result) / ys);
  return result;
}

function difference(a: Floats, b: Floats): Floats {
  return a.map((x, i) => x - b[i]);
}

function addTo(a: Floats, b: Floats, factor: number): void {
  for (let i = 0; i < a.length; i++) a[i] += factor * b[i];
}
