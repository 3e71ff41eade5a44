// The shapes and types of all values of a model for inputs of some dims, as the engine infers them when it loads the
// graph; what it leaves open (the results of loops and of data) is read off a run.

import type { Engine, FloatTensor, ValueDescription } from '../engine/index.ts';
import {
  attributeInts,
  describeValue,
  type Model,
  type Shapes,
  shapeOutline,
  shapeReader,
  type ValueInfo,
} from '../graph/index.ts';
import { loadModel } from './load.ts';

/**
 * Values that are no tensors have no shape.
 *
 * @param feeds  all inputs of the model; what they hold counts only where shapes depend on it
 */
export async function inferShapes(
  engine: Engine,
  model: Model,
  feeds: Readonly<Record<string, FloatTensor>>,
): Promise<ValueInfo> {
  const shapes = new Map(Object.entries(feeds).map(([name, { dims }]) => [name, dims]));
  const described = await outputsOf(engine, shapeOutline(model, shapes));
  const types = new Map(
    [...model.inputs.map(describeValue), ...described].map(({ name, type }) => [name, type]),
  );
  const tensors = described.filter(({ type }) => type !== 'non-tensor');
  // Engines give no dims to numbers, nor to what they know nothing of.
  const flat = tensors.filter(({ dims }) => dims.length === 0).map(({ name }) => name);
  const numbers = new Set(flat.length > 0 ? await scalarsAmong(engine, model, shapes, flat) : []);
  const open: string[] = [];
  for (const { name, dims } of tensors) {
    if (isKnown(dims) && (dims.length > 0 || numbers.has(name))) shapes.set(name, dims);
    else open.push(name);
  }
  if (open.length > 0) {
    const found = await shapesInRun(engine, model, open, { shapes, types }, feeds);
    for (const [i, name] of open.entries()) shapes.set(name, found[i]);
  }
  return { shapes, types };
}

/** Whether a Transpose moves the first axis, so that samples may be counted by another one. */
export function movesBatch({ nodes }: Model): boolean {
  return nodes.some((node) => node.opType === 'Transpose' && attributeInts(node, 'perm')?.[0] !== 0);
}

/** The axis that counts samples, of values where it is not the first. @param shapes, others  for `n` and `m` samples */
export function batchAxesOf(
  shapes: Shapes,
  others: Shapes,
  [n, m]: readonly [number, number],
): Map<string, number> {
  const found = new Map<string, number>();
  for (const [name, dims] of shapes) {
    const other = others.get(name) ?? dims;
    const axis = dims.findIndex((dim, i) => other[i] !== dim && other[i] * n === dim * m);
    if (axis > 0) found.set(name, axis);
  }
  return found;
}

/** Values whose first axis counts positions and, within them, samples: a Reshape merged the two where samples were not first. */
export function mergedValues(model: Model, batchAxes: ReadonlyMap<string, number>): Set<string> {
  const merged = new Set<string>();
  for (const node of model.nodes) {
    const isMerged = node.opType === 'Reshape' && batchAxes.has(node.input[0]);
    if (!isMerged && !node.input.some((value) => merged.has(value))) continue;
    for (const output of node.output) if (!batchAxes.has(output)) merged.add(output);
  }
  return merged;
}

const isKnown = (dims: ValueDescription['dims']): dims is readonly number[] =>
  dims.every((dim) => typeof dim === 'number' && dim >= 0);

async function outputsOf(engine: Engine, bytes: Uint8Array): Promise<readonly ValueDescription[]> {
  const session = await engine.load(bytes);
  await session.release();
  return session.outputs;
}

/** Those of some values that are known to have no axes. */
async function scalarsAmong(
  engine: Engine,
  model: Model,
  dims: ReadonlyMap<string, readonly number[]>,
  values: readonly string[],
): Promise<string[]> {
  const ranks = (await outputsOf(engine, shapeOutline(model, dims, values))).slice(-values.length);
  return values.filter((_, i) => ranks[i].dims[0] === 0);
}

/** Shapes in a run in which nothing but what they need is computed, and nothing is held longer than it is read. */
async function shapesInRun(
  engine: Engine,
  model: Model,
  values: readonly string[],
  info: ValueInfo,
  feeds: Readonly<Record<string, FloatTensor>>,
): Promise<number[][]> {
  const session = await loadModel(engine, shapeReader(model, values, info));
  try {
    const results = await session.run(feeds);
    return session.outputs.map(({ name }) => [...results[name].data]);
  } finally {
    await session.release();
  }
}
