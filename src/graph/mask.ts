// The masked network, beside the weights of its readers: what happens to channels before a layer reads them.

import { gcd } from './labels.ts';
import type { Model } from './model.ts';
import { attributeOf, copyMessage } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { type Gap, putBack } from './states.ts';
import { nodeOf } from './stored.ts';
import { dependsOnKept, type Norm, removedOf, rowsOf, type Slice, type Structure } from './structure.ts';
import { elements, fromFloat32, groupBy, toFloat64 } from './tensor.ts';
import { ownTensor } from './weights.ts';

/**
 * A model in which normalisations are of the channels that stay, as they will be when the others are cut, and recurrent layers do not
 * read those that go, which are zero in states that go out. What comes of these is as before or no matter, so that every value keeps its shape and dense weights
 * can be tried on it. The model itself where nothing of the kind is in the structures.
 *
 * @param cuts  for each structure the channels that stay
 */
export function maskInner(model: Model, cuts: ReadonlyMap<Structure, readonly number[]>): Model {
  // Nothing reads what is made of none.
  const all = [...cuts].filter(([{ groups }, kept]) => kept.length < groups && kept.length > 0);
  const changes = (structure: Structure) =>
    dependsOnKept(structure) || structure.slices.some(({ state }) => state);
  if (!all.some(([structure]) => changes(structure))) return model;
  const masked = model.clone();
  const gaps: Gap[] = [];
  const norms: { norm: Norm; gone: number[] }[] = [];
  for (const [structure, kept] of all) {
    const removed = removedOf(structure, kept);
    for (const slice of structure.slices) {
      const gone = rowsOf({ blocks: [slice] }, removed);
      if (slice.isRead) clear(masked, slice, gone);
      else if (slice.state) gaps.push({ slice, gone });
    }
    for (const norm of structure.norms) norms.push({ norm, gone: rowsOf({ blocks: [norm] }, removed) });
  }
  const byNode = groupBy(norms, ({ norm }) => norm.node);
  masked.graph.node = masked.nodes.flatMap((node) => {
    const list = byNode.get(node.name);
    return list ? narrowed(masked, node, list[0].norm, new Set(list.flatMap(({ gone }) => gone))) : [node];
  });
  masked.edited();
  putBack(masked, gaps, false);
  return masked;
}

/** Makes weights zero by which channels are read. */
function clear(model: Model, { node, input, axis }: Slice, positions: readonly number[]): void {
  const tensor = ownTensor(model, [{ node: model.node(node)!, index: input }]);
  const inner = elements(tensor.dims.slice(axis + 1));
  const values = toFloat64(tensor);
  const gone = new Set(positions);
  for (let at = 0; at < values.length; at++)
    if (gone.has(Math.floor(at / inner) % tensor.dims[axis])) values[at] = 0;
  model.tensors.set(tensor.name, fromFloat32(values, tensor.dims, tensor));
}

/** The node on what stays; where it gives channels back, those that go are as the node gave them before. */
function narrowed(model: Model, node: NodeProto, norm: Norm, gone: ReadonlySet<number>): NodeProto[] {
  const unit = norm.isOpen ? unitOf(norm, gone) : 1;
  const positions = Array.from({ length: norm.whole / unit }, (_, position) => position);
  const stays = positions.filter((position) => !gone.has(position * unit));
  const fresh = (what: string) => model.fresh(`${node.name}.${what}`);
  const constant = (what: string, values: readonly number[]) =>
    model.integers(`${node.name}.${what}`, values);
  const along = (opType: string, input: string[], output: string, axis: number, count: number) => {
    const attribute = [attributeOf('axis', axis)];
    if (!norm.isOpen) return [nodeOf(model, opType, input, output, attribute)];
    // With an axis of what each channel has behind that of the channels.
    const shape = (what: string, last: readonly number[]) =>
      constant(what, [...new Array(axis).fill(0), ...last]);
    const apart = shape('apart', [count, -1]);
    const [value, ...others] = input;
    const [own, whole] = ['apart', 'parts'].map((what) => model.fresh(`${output}.${what}`));
    return [
      nodeOf(model, 'Reshape', [value, apart], own),
      nodeOf(model, opType, [own, ...others], whole, attribute),
      nodeOf(model, 'Reshape', [whole, shape('together', [-1])], output),
    ];
  };
  const few = copyMessage(node);
  [few.input, few.output] = [[...node.input], [...node.output]];
  const indices = constant('stays', stays);
  const before = norm.inputs.flatMap(({ index, axis }) => {
    few.input[index] = fresh(`input${index}`);
    return along('Gather', [node.input[index], indices], few.input[index], axis, positions.length);
  });
  if (norm.outputs.length === 0) return [...before, few];
  const all = copyMessage(node);
  [all.name, all.output] = [fresh('all'), node.output.map(() => '')];
  const place = new Map(stays.map((position, at) => [position, at]));
  const order = constant(
    'order',
    positions.map((position) => place.get(position) ?? stays.length + position),
  );
  const behind = norm.outputs.flatMap(({ index, axis }) => {
    few.output[index] = fresh(`few${index}`);
    all.output[index] = fresh(`all${index}`);
    const both = fresh(`both${index}`);
    return [
      nodeOf(model, 'Concat', [few.output[index], all.output[index]], both, [attributeOf('axis', axis)]),
      ...along('Gather', [both, order], node.output[index], axis, stays.length + positions.length),
    ];
  });
  return [...before, few, all, ...behind];
}

/** Positions of an axis that are next to each other go or stay together, so many at once. */
function unitOf({ whole }: Norm, gone: ReadonlySet<number>): number {
  let unit = whole;
  for (let at = 1; at < whole; at++) if (gone.has(at) !== gone.has(at - 1)) unit = gcd(unit, at);
  return unit;
}
