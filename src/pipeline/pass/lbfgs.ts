// Minimising a smooth function of many variables (limited-memory BFGS; Nocedal and Wright, Numerical Optimization, 7.2).

/** A function's value and its gradient. */
export interface Evaluated {
  readonly value: number;
  readonly gradient: Float64Array;
}

interface MinimizeOptions {
  readonly iterations: number;
  /** An estimate of the inverse of the Hessian times a vector. */
  precondition(gradient: Float64Array): Promise<Float64Array>;
  /** How much of the preconditioned gradient is tried first. */
  readonly firstStep: number;
  /** Called with each point that is better than the last; ends the search where it gives false. */
  accept(point: Float64Array): Promise<boolean>;
}

/** Steps that are tried along a direction, each a third of the one before. */
const TRIED_STEPS = 6;
/** Of the decrease that the gradient promises, what a step has to give. */
const SUFFICIENT = 1e-4;

/** Goes downhill from `start` and tells `accept` of every point on the way. */
export async function minimize(
  evaluate: (point: Float64Array) => Promise<Evaluated>,
  start: Float64Array,
  { iterations, precondition, firstStep, accept }: MinimizeOptions,
): Promise<void> {
  const pairs: { s: Float64Array; y: Float64Array; ys: number }[] = [];
  let point = start;
  let at = await evaluate(point);
  for (let i = 0; i < iterations; i++) {
    const direction = await descent(at.gradient, pairs, precondition, firstStep);
    const slope = dot(at.gradient, direction);
    if (!(slope < 0)) return;
    const found = await lineSearch(evaluate, point, at.value, direction, slope);
    if (!found) return;
    const s = difference(found.point, point);
    const y = difference(found.at.gradient, at.gradient);
    const ys = dot(y, s);
    if (ys > 0) pairs.push({ s, y, ys });
    ({ point, at } = found);
    if (!(await accept(point))) return;
  }
}

async function lineSearch(
  evaluate: (point: Float64Array) => Promise<Evaluated>,
  from: Float64Array,
  value: number,
  direction: Float64Array,
  slope: number,
): Promise<{ point: Float64Array; at: Evaluated } | undefined> {
  let step = 1;
  for (let tried = 0; tried < TRIED_STEPS; tried++) {
    const length = step;
    const point = from.map((x, i) => x + length * direction[i]);
    const at = await evaluate(point);
    if (at.value <= value + SUFFICIENT * step * slope) return { point, at };
    step /= 3;
  }
  return undefined;
}

/** The two-loop recursion. */
async function descent(
  gradient: Float64Array,
  pairs: readonly { s: Float64Array; y: Float64Array; ys: number }[],
  precondition: MinimizeOptions['precondition'],
  firstStep: number,
): Promise<Float64Array> {
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

function difference(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((x, i) => x - b[i]);
}

function addTo(a: Float64Array, b: Float64Array, factor: number): void {
  for (let i = 0; i < a.length; i++) a[i] += factor * b[i];
}

function dot(a: Float64Array, b: Float64Array): number {
  let result = 0;
  for (let i = 0; i < a.length; i++) result += a[i] * b[i];
  return result;
}
