// The shapes and types of all values of a model for inputs of some dims, as the engine infers them when it loads the
// graph; what it leaves open (the results of loops and of data) is read off a run.

import type { Engine, ValueDescription } from '../../engine/index.ts';
import { OutOfMemoryError } from '../../errors.ts';
import {
  attributeInt,
  attributeInts,
  describeValue,
  elements,
  type Model,
  type NodeProto,
  part,
  roundsOf,
  type SamplePlace,
  type Shapes,
  sampledValues,
  samplesOf,
  shapeOutline,
  shapeReader,
  type ValueInfo,
} from '../../graph/index.ts';
import type { Feeds } from './inputs.ts';
import { loadModel, withSessions } from './load.ts';

/**
 * Nodes that are asked for at a time: a load takes nodes times outputs, for a chain of 50,000 18 s instead of 6 (onnxruntime-web 1.30).
 */
const MOST_NODES = 2 ** 13;

/** Of one value: float32 of them fill a WebAssembly memory. */
const MOST_ELEMENTS = 2 ** 30;

/**
 * Values that are no tensors have no shape.
 *
 * @param feeds  all inputs of the model; what they hold counts only where shapes depend on it
 */
export async function inferShapes(
  engine: Engine,
  model: Model,
  feeds: Feeds,
  most?: number,
): Promise<ValueInfo> {
  const { shapes, types, open } = await shapesAtLoad(engine, model, feeds, most);
  if (open.length > 0) {
    const found = await shapesInRun(engine, model, open, { shapes, types }, feeds);
    for (const [i, name] of open.entries()) shapes.set(name, found[i]);
  }
  return { shapes, types };
}

/**
 * What the engine infers when it loads the model, and the tensors that it leaves open.
 *
 * @param most  nodes that are asked for at a time
 * @throws {OutOfMemoryError} where no run could hold a value
 */
export async function shapesAtLoad(engine: Engine, model: Model, feeds: Feeds, most = MOST_NODES) {
  const { nodes } = model;
  const shapes = new Map(Object.entries(feeds).map(([name, { dims }]) => [name, dims]));
  const types = new Map(model.inputs.map(describeValue).map(({ name, type }) => [name, type]));
  const open: string[] = [];
  // Of what samples reach nothing but the shape is known at load; of others numbers may be, as of extents.
  const sampled = sampledValues(model, {});
  const given = new Set(shapes.keys());
  for (let at = 0; at < nodes.length; at += most) {
    const values = nodes.slice(at, at + most).flatMap(({ output }) => output.filter((it) => it !== ''));
    const known = { shapes, types, isSingle: true };
    const own = nodes.length > most ? part(model, [], values, known, given) : model;
    const described = await outputsOf(engine, shapeOutline(own, shapes, values));
    const tensors = described.filter(({ type }) => type !== 'non-tensor');
    const flat = tensors.filter(({ dims }) => dims.length === 0).map(({ name }) => name);
    const numbers = await scalarsAmong(engine, own, shapes, values, flat);
    for (const { name, type } of described) types.set(name, type);
    for (const { name, dims } of tensors) {
      if (isKnown(dims) && (dims.length > 0 || numbers.has(name))) shapes.set(name, expectHeld(name, dims));
      else open.push(name);
      if (shapes.has(name) && sampled.has(name)) given.add(name);
    }
  }
  return { shapes, types, open };
}

/**
 * Whether some node could not be run on such shapes, which the engine infers from the sizes that it is given alone: a Reshape to other
 * elements, an Expand that would have to take values away, a recurrent layer whose states are of other samples.
 */
export function contradictShapes(model: Model, shapes: Shapes): boolean {
  return model.nodes.some((node) => {
    const { opType, domain, input, output } = node;
    const [from, to, state] = [input[0], output[0], input[5]].map(
      (value) => shapes.get(value) ?? model.tensors.get(value)?.dims,
    );
    if (domain !== '' || !from || !to) return false;
    if (opType === 'Reshape') return elements(from) !== elements(to);
    if (opType === 'Expand')
      return from.some((dim, axis) => dim !== 1 && dim !== to[axis + to.length - from.length]);
    const samples = attributeInt(node, 'layout', 0) === 1 ? 0 : 1;
    return runsOverSteps(node) && state !== undefined && state[samples] !== from[samples];
  });
}

/** Whether a node is a layer that runs over steps. */
export const runsOverSteps = ({ opType }: NodeProto) => ['LSTM', 'GRU', 'RNN'].includes(opType);

/**
 * Whether a Transpose moves the first axis, or a layer runs over steps there, so that samples may be counted by another one, extents of
 * values within are asked for, or places are made of extents, as those of masks, which samples share.
 */
export function needsPlaces(model: Model): boolean {
  return model.nodes.some((node) => {
    const { opType, input } = node;
    if (opType === 'Range' || runsOverSteps(node)) return true;
    if (opType === 'Shape') return model.producer(input[0]) !== undefined;
    return opType === 'Transpose' && attributeInts(node, 'perm')?.[0] !== 0;
  });
}

/** As `ValueInfo` has them. @param shapes, others  for `n` and `m` samples */
export function samplePlaces(
  model: Model,
  shapes: Shapes,
  others: Shapes,
  [n, m]: readonly [number, number],
): Map<string, SamplePlace> {
  const found = new Map<string, SamplePlace>();
  const placeOf = (value: string) => samplesOf({ samples: found }, value);
  const add = (value: string, positionsOf: (dims: readonly number[], axis: number) => number) => {
    const dims = shapes.get(value) ?? [];
    const other = others.get(value) ?? dims;
    const axis = dims.findIndex((dim, i) => other[i] !== dim && other[i] * n === dim * m);
    const positions = axis < 0 ? 1 : positionsOf(dims, axis);
    const isMerged = positions > 1 && dims[axis] % (n * positions) === 0; // else a piece of them
    if (axis !== 0 || isMerged) found.set(value, { axis, positions: isMerged ? positions : 1 });
  };
  for (const { name } of model.inputs) add(name, () => 1);
  for (const { opType, input, output } of model.nodes) {
    const [x] = input;
    const isInOrder = opType === 'Reshape' || opType === 'Flatten';
    for (const value of output)
      add(value, (dims, axis) =>
        isInOrder
          ? roundsOf(shapes.get(x) ?? [], placeOf(x)) / elements(dims.slice(0, axis))
          : Math.max(...input.map((it) => placeOf(it).positions), 1),
      );
  }
  return found;
}

const isKnown = (dims: ValueDescription['dims']): dims is readonly number[] =>
  dims.every((dim) => typeof dim === 'number' && dim >= 0);

/** Before anything is run: extents beyond 32 bits, as a chain of Concats may have them, are told as open. */
function expectHeld(name: string, dims: readonly number[]): readonly number[] {
  const count = elements(dims);
  if (count <= MOST_ELEMENTS) return dims;
  throw new OutOfMemoryError(
    `"${name}" [${dims.join(', ')}] has ${count} values, more than the ${MOST_ELEMENTS} that an engine's memory holds`,
    4 * count,
  );
}

function outputsOf(engine: Engine, bytes: Uint8Array): Promise<readonly ValueDescription[]> {
  return withSessions([() => engine.load(bytes)], async ({ outputs }) => outputs);
}

/** Those of some values to which the engine gives no dims that are known to have no axes. */
async function scalarsAmong(
  engine: Engine,
  model: Model,
  dims: Shapes,
  values: readonly string[],
  flat: readonly string[],
): Promise<Set<string>> {
  if (flat.length === 0) return new Set();
  const ranks = (await outputsOf(engine, shapeOutline(model, dims, values, flat))).slice(-flat.length);
  return new Set(flat.filter((_, i) => ranks[i].dims[0] === 0));
}

/** Shapes in a run in which nothing but what they need is computed, and nothing is held longer than it is read. */
function shapesInRun(
  engine: Engine,
  model: Model,
  values: readonly string[],
  info: ValueInfo,
  feeds: Feeds,
): Promise<number[][]> {
  const reader = () => loadModel(engine, shapeReader(model, values, info));
  return withSessions([reader], async (session) => {
    const results = await session.run(feeds);
    return session.outputs.map(({ name }) => [...results[name].data]);
  });
}
