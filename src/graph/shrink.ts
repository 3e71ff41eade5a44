// The physically smaller model: every constant that carries removed channels is cut.

import { clone } from '@bufbuild/protobuf';
import { InputError } from '../errors.ts';
import { said } from '../expect.ts';
import { bypass } from './bypass.ts';
import { type FloatType, isFloat, typeFromCode } from './dtype.ts';
import { removeUnread } from './fold.ts';
import { gatherNode, insertBehind } from './gather.ts';
import { expectModel, type Model } from './model.ts';
import { attributeInt, attributeInts, attributeOf, removeAttribute, setAttribute } from './node.ts';
import { type NodeProto, type TypeProto_Tensor, ValueInfoProtoSchema } from './onnx_pb.ts';
import { type Gap, putBack } from './states.ts';
import { type Edit, removedOf, rowsOf, type Slice, type Structure } from './structure.ts';
import { elements, fromFloat32, fromIntegers, gather, groupBy, type Tensor, toIntegers } from './tensor.ts';

/** What happens to the constant, or to the value that is gathered from, at one input of one node. */
interface Change {
  node: NodeProto;
  input: number;
  cuts: Map<number, Set<number>>; // axis to positions removed
  wholes: Map<number, number>; // axis of a value to its positions
  picks?: Slice; // of a node that gives some positions
  numbers: Map<number, number>; // index to what it loses
}

/**
 * A new model without the removed channels. Apart from rounding it computes what the old one computes with the
 * consumers' weights of those channels at zero.
 *
 * @param cuts  for each structure of an analysis of this model the channels that stay, ascending; none of one that can go whole, where what
 *   reads it is zero, its bias too
 * @throws {InputError} if a structure cannot be cut or the channels are not as above
 *
 * @example
 * const structure = opened.analysis.structures.find(({ prunable }) => prunable)!;
 * const smaller = shrink(opened.model, new Map([[structure, [0, 1, 2, 3]]]));
 * await writeFile('smaller.onnx', writeModel(smaller).model);
 */
export function shrink(model: Model, cuts: ReadonlyMap<Structure, readonly number[]>): Model {
  expectModel('shrink', model);
  if (!(cuts instanceof Map)) throw new InputError(`shrink: "cuts" expected a Map, got ${said(cuts)}`);
  const small = model.clone();
  const changes = new Map<string, Change>();
  const gaps: Gap[] = [];
  const whole: Structure[] = [];
  const at = (node: string, input: number): Change => {
    const key = `${node}\0${input}`;
    const old = changes.get(key);
    if (old) return old;
    const change = {
      node: nodeOf(small, node),
      input,
      cuts: new Map(),
      wholes: new Map(),
      numbers: new Map(),
    };
    changes.set(key, change);
    return change;
  };
  for (const [structure, kept] of cuts) {
    checkKept(structure, kept);
    if (kept.length === structure.groups) continue;
    if (kept.length === 0) {
      whole.push(structure);
      continue;
    }
    const removed = removedOf(structure, kept);
    const slices = [...structure.slices, ...newBiases(small, structure)];
    for (const slice of slices) {
      const places = rowsOf({ blocks: [slice] }, removed);
      if (slice.state) {
        gaps.push({ slice, gone: places });
        continue;
      }
      const change = at(slice.node, slice.input);
      const { cuts, wholes } = change;
      if (slice.picks) change.picks = slice;
      if (slice.whole !== undefined) wholes.set(slice.axis, slice.whole);
      const gone = cuts.get(slice.axis) ?? new Set();
      for (const position of places) gone.add(position);
      cuts.set(slice.axis, gone);
    }
    for (const edit of structure.edits) {
      const loss = edit.unit * removed.length;
      if (edit.kind === 'constant') {
        if (edit.values) spellOut(small, nodeOf(small, edit.node), edit.input, edit.values);
        const { numbers } = at(edit.node, edit.input);
        numbers.set(edit.index, (numbers.get(edit.index) ?? 0) + loss);
      } else if (edit.kind === 'infer') infer(small, nodeOf(small, edit.node), edit.input);
      else if (edit.kind === 'attribute') lowerAttribute(nodeOf(small, edit.node), edit, loss);
      else if (edit.kind === 'hold') hold(small, nodeOf(small, edit.node), edit);
      else lowerDim(small, edit.value, edit.index, loss);
    }
  }
  apply(
    small,
    [...changes.values()].filter(({ picks }) => !picks),
  );
  for (const change of changes.values()) if (change.picks) pick(small, change, change.picks);
  putBack(small, gaps, true);
  bypass(model, small, whole);
  small.graph.valueInfo = []; // stale shapes; readers infer them anew
  small.removeUnused(small.tensors.keys());
  return small;
}

/** A copy whose constants of these names hold the numbers of their elements: what `shrink` leaves of them tells where it was. */
export function numbered(model: Model, names: Iterable<string>): Model {
  const copy = model.clone();
  for (const name of names) {
    const { dims } = copy.tensors.get(name)!;
    const places = Float64Array.from({ length: elements(dims) }, (_, i) => i);
    copy.tensors.set(name, { name, type: 'float64', dims, bytes: new Uint8Array(places.buffer) });
  }
  return copy;
}

/** @throws {InputError} unless `kept` is ascending and within range, not empty but where all can go, and the structure can be cut */
function checkKept(structure: Structure, kept: readonly number[]): void {
  const { name, groups, prunable, reason, canGo } = structure;
  if (!prunable) throw new InputError(`structure "${name}" cannot be cut: ${reason}`);
  const ascending = kept.every(
    (c, i) => Number.isInteger(c) && c >= 0 && c < groups && (i === 0 || c > kept[i - 1]),
  );
  if ((kept.length === 0 && !canGo) || !ascending) {
    throw new InputError(
      `structure "${name}": expected 1 to ${groups} ascending channels below ${groups}, got [${kept}]`,
    );
  }
}

// writeWeights may have given a layer the bias that it did not have when the model was analysed: it is cut as the
// weights are that make the channels.
function newBiases(model: Model, { slices }: Structure): Slice[] {
  return [...new Set(slices.map((slice) => slice.node))].flatMap((name) => {
    const node = nodeOf(model, name);
    const layer = model.operator(node)?.layer;
    const bias = layer?.bias ?? -1;
    const tensor = model.tensors.get(node.input[bias] ?? '');
    const own = slices.filter((slice) => slice.node === name);
    const isKnown = own.some(({ input }) => input === bias);
    if (!layer || !tensor || isKnown || tensor.dims.length === 0 || tensor.dims.at(-1) === 1) return [];
    return own
      .filter(({ input, axis }) => input === 1 && axis === layer.outputAxis(node))
      .map((slice) => ({ ...slice, tensor: tensor.name, input: bias, axis: tensor.dims.length - 1 }));
  });
}

// Several nodes may read one constant. Those that need the same version of it go on sharing.
function apply(model: Model, changes: readonly Change[]): void {
  const byTensor = groupBy(changes, ({ node, input }) => node.input[input]);
  for (const [name, list] of byTensor) {
    const tensor = model.tensors.get(name);
    const untouched = !tensor || model.uses(name).length > list.length || model.isOutput(name);
    const versions = new Map<string, string>();
    for (const change of list) {
      const cuts = [...change.cuts].map(([axis, gone]) => [axis, ...[...gone].sort((a, b) => a - b)]);
      const key = JSON.stringify([cuts.sort(byFirst), [...change.numbers].sort(byFirst)]);
      let version = versions.get(key);
      if (version === undefined) {
        version = versions.size === 0 && !untouched ? name : model.fresh(`${name}_cut`);
        versions.set(key, version);
        if (tensor) model.tensors.set(version, { ...changed(tensor, change), name: version });
        else addGather(model, name, change, version);
      }
      if (version !== name) model.setInput(change.node, change.input, version);
    }
  }
}

const byFirst = ([a]: readonly number[], [b]: readonly number[]) => a - b;

function changed(tensor: Tensor, { cuts, numbers }: Change): Tensor {
  if (numbers.size > 0) {
    const values = toIntegers(tensor);
    for (const [index, loss] of numbers) values[index] -= loss;
    return fromIntegers(tensor.name, values, tensor.dims, tensor.type === 'int32' ? 'int32' : 'int64');
  }
  let result = tensor;
  for (const [axis, gone] of cuts) {
    result = gather(result, axis, placesLeft(tensor.dims[axis], gone));
  }
  return result;
}

/** Adds the nodes that take from a value what stays of some axes. */
function addGather(model: Model, value: string, { cuts, wholes }: Change, output: string): void {
  let from = value;
  const nodes = [...cuts].map(([axis, gone], i) => {
    const to = i === cuts.size - 1 ? output : model.fresh(`${output}.part`);
    const node = gatherNode(model, from, axis, placesLeft(wholes.get(axis)!, gone), to);
    from = to;
    return node;
  });
  insertBehind(model, value, nodes);
}

/** Makes a node a Gather of what stays of the positions that it gives. */
function pick(model: Model, { node, cuts }: Change, { tensor, whole, picks, axis }: Slice): void {
  const at = new Map(placesLeft(whole!, cuts.get(axis)!).map((place, i) => [place, i]));
  const left = picks!.flatMap((place) => at.get(place) ?? []);
  const unread = [...node.input];
  const input = [tensor, model.integers(`${node.name}.places`, left)];
  Object.assign(node, { opType: 'Gather', input, attribute: [attributeOf('axis', axis)] });
  model.edited();
  removeUnread(model, unread);
}

/** Positions of an axis that are not gone. */
function placesLeft(extent: number, gone: ReadonlySet<number>): number[] {
  return Array.from({ length: extent }, (_, place) => place).filter((place) => !gone.has(place));
}

function lowerAttribute(
  node: NodeProto,
  { name, index, values = [] }: Extract<Edit, { kind: 'attribute' }>,
  loss: number,
): void {
  const lowered =
    index === undefined
      ? attributeInt(node, name, 0) - loss
      : (attributeInts(node, name) ?? values).map((value, i) => (i === index ? value - loss : value));
  setAttribute(node, name, lowered);
}

/** Writes a list of integers down where a node has none or computes it. */
function spellOut(model: Model, node: NodeProto, input: number, values: readonly number[]): void {
  if (model.tensors.has(node.input[input] ?? '')) return;
  removeAttribute(node, 'num_outputs'); // of a Split
  model.setInput(node, input, model.integers(`${node.name}.values`, values));
}

function hold(model: Model, node: NodeProto, { value, rank }: Extract<Edit, { kind: 'hold' }>): void {
  const [output] = node.output;
  model.redirect(output, sizeLike(model, node, `${output}.held`, value, rank));
}

/** A constant for one size, of the type that a node computes with. */
function sizeLike(model: Model, node: NodeProto, base: string, value: number, rank: number): string {
  const name = model.fresh(base);
  const [type, dims] = [sizeType(model, node), new Array<number>(rank).fill(1)];
  const number = isFloat(type)
    ? fromFloat32(Float32Array.of(value), dims, { name, type })
    : fromIntegers(name, [value], dims, type);
  model.tensors.set(name, number);
  return name;
}

/** What a node that computes from sizes computes in. */
function sizeType(model: Model, node: NodeProto): FloatType | 'int32' | 'int64' {
  const before = ({ input }: NodeProto) => input.map((value) => model.producer(value)).find(Boolean);
  for (let own: NodeProto | undefined = node; own; own = before(own)) {
    const type = own.opType === 'Cast' ? typeFromCode(attributeInt(own, 'to', 0)) : undefined;
    if (type === 'int32' || (type && isFloat(type))) return type;
    if (type || own.opType === 'Shape') break;
  }
  return 'int64';
}

function infer(model: Model, node: NodeProto, input: number): void {
  model.setInput(node, input, sizeLike(model, node, 'inferred', -1, 1));
}

// Dims that are left open or have a name stay as they are.
function lowerDim(model: Model, value: string, index: number, loss: number): void {
  for (const list of [model.graph.input, model.graph.output]) {
    const at = list.findIndex(({ name }) => name === value);
    const type = list[at]?.type?.value;
    if (type?.case !== 'tensorType') continue;
    const dim = type.value.shape?.dim[index]?.value;
    if (dim?.case !== 'dimValue') continue;
    list[at] = clone(ValueInfoProtoSchema, list[at]);
    const copy = list[at].type!.value.value as TypeProto_Tensor;
    copy.shape!.dim[index].value = { case: 'dimValue', value: dim.value - BigInt(loss) };
  }
}

function nodeOf(model: Model, name: string): NodeProto {
  const node = model.node(name);
  if (!node)
    throw new InputError(`${model.name}: the structure names a node "${name}" that the model does not have`);
  return node;
}
