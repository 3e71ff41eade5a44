// Arithmetic on shapes: what exporters compute between a Shape and a Reshape, element by element.
//
// An element that counts labelled channels changes with them by itself. One that is a constant has to be edited
// where it stands. A number of channels that goes anywhere else pins them.

import { isFloat, typeCode, typeFromCode } from './dtype.ts';
import type { Axis, EditPlace } from './labels.ts';
import { attribute, attributeInt, attributeInts, isStandard, reads, transposeOrder } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { called, type Propagation, type Size, wrapAxis } from './propagation.ts';
import { elements, fromIntegers, gather, isOrder, permute, sum, type Tensor, toIntegers } from './tensor.ts';
import { decodeTensor } from './wire.ts';

type Sizes = readonly Size[] | undefined;
type SizeRule = (state: Propagation, node: NodeProto, inputs: readonly Sizes[]) => Sizes;

/** No tensor has more axes; longer lists, which files can double at every node, are no shapes. */
const LONGEST = 64;

/** Inputs that are shapes. */
export const SHAPED: ReadonlyMap<string, number> = new Map([
  ['Reshape', 1],
  ['Expand', 1],
  ['Resize', 3],
  ['Slice', 2],
  ['ConstantOfShape', 0],
]);

/** Computes the sizes that a node gives, and pins channels whose number it uses in a way not known here. */
export function followSizes(state: Propagation, node: NodeProto): void {
  const known = reads(node).filter((value) => state.sizes.has(value));
  const isConstant = node.input.length > 0 && node.input.every((_, input) => state.integers(node, input));
  if (known.length === 0 && node.opType !== 'Shape' && !isConstant) return;
  const inputs = node.input.map((_, input) => sizesOf(state, node, input));
  const results = isStandard(node) ? resultsOf(state, node, inputs) : [];
  if (results.length > 0 && results.every((sizes) => sizes && sizes.length <= LONGEST)) {
    for (const [i, sizes] of results.entries()) state.sizes.set(node.output[i], sizes!);
    return;
  }
  // the rules of these look at the shapes that they are given
  const shape = isStandard(node) ? node.input[SHAPED.get(node.opType) ?? -1] : undefined;
  for (const value of known) {
    if (value === shape && node.input.filter((own) => own === value).length === 1) continue;
    pinCounted(state, node, state.sizes.get(value));
  }
}

/** The sizes that each output of a node has. */
function resultsOf(state: Propagation, node: NodeProto, inputs: readonly Sizes[]): readonly Sizes[] {
  if (node.opType === 'Split') return pieces(state, node, inputs[0]);
  return [RULES.get(node.opType)?.(state, node, inputs)];
}

/** Of a shape, as onnxruntime takes one apart that several Gathers pick from. */
function pieces(state: Propagation, node: NodeProto, data: Sizes): readonly Sizes[] {
  if (!data || !isVector(state, node.input[0])) return [];
  const lengths = node.output.map((value) => state.dims(value)?.[0] ?? Number.NaN);
  if (sum(lengths) !== data.length) return [];
  let from = 0;
  return lengths.map((length) => {
    const start = from;
    from += length;
    return data.slice(start, from).map(unplaced);
  });
}

/** Pins the channels that sizes count. */
export function pinCounted(state: Propagation, node: NodeProto, sizes: Sizes): void {
  for (const { axis } of sizes ?? []) state.pin(axis, `${called(node)} reads the number of channels`);
}

/** The elements of an input that is a shape or part of one; undefined where nothing is known of it. */
export function sizesOf(state: Propagation, node: NodeProto, input: number): Sizes {
  const value = node.input[input] ?? '';
  const known = state.sizes.get(value);
  if (known) return writable(known, node, input);
  const constant = state.integers(node, input);
  if (constant) {
    if (constant.length > LONGEST) return undefined;
    const place = { kind: 'constant', node: node.name, input } as const;
    return constant.map((value, index) => ({ value, isFixed: true, place: { ...place, index } }));
  }
  const producer = state.model.producer(value);
  return producer?.opType === 'Concat' ? concatenated(state, producer) : undefined;
}

/** Sizes that are the same in every run can be written down where the node reads them, whatever computes them. */
function writable(sizes: readonly Size[], node: NodeProto, input: number): readonly Size[] {
  if (!sizes.every(({ axis, isFixed }) => isFixed && !axis)) return sizes;
  const values = sizes.map(({ value }) => value);
  const place = { kind: 'constant', node: node.name, input, values } as const;
  return sizes.map((size, index) => ({ ...size, place: { ...place, index } }));
}

/** True if a size will be that of a labelled axis when it is cut, by itself or by an edit. */
export function follows(state: Propagation, node: NodeProto, size: Size | undefined, axis: Axis): boolean {
  if (size?.value !== axis.extent) return false;
  if (size.axis) {
    const reason = `${called(node)} names the number of other channels`;
    state.agreements.push({ labels: [size.axis.label, axis.label], reason });
    return true;
  }
  if (size.place?.kind !== 'constant') return false;
  state.edit(axis, size.place, node.name);
  return true;
}

const extents: SizeRule = (state, node) => {
  const dims = state.dims(node.input[0]);
  if (!dims) return undefined;
  const axes = state.axes(node.input[0]);
  const start = wrapAxis(attributeInt(node, 'start', 0), dims.length);
  const end = attribute(node, 'end') ? wrapAxis(attributeInt(node, 'end', 0), dims.length) : dims.length;
  return dims.map((value, i) => ({ value, axis: axes[i] })).slice(Math.max(0, start), Math.max(0, end));
};

const isVector = (state: Propagation, value: string) => state.dims(value)?.length === 1;
const unplaced = ({ value, axis, isFixed, factor }: Size): Size => ({ value, axis, isFixed, factor });

/** It can become the mark −1, which what looks for marks would find. */
const isInferred = ({ place }: Size) => place?.kind === 'infer';

/** A size that is handed on as it is: it may be edited, or left to be inferred, where a Concat reads it, which `settle` holds against all readers. */
function listed(state: Propagation, size: Size): Size {
  const { place } = size;
  const isListed = place && 'node' in place && state.model.node(place.node)?.opType === 'Concat';
  return isListed ? size : unplaced(size);
}

/** Inputs of which a node gives the sizes as they are. */
const HANDED_ON = new Map([
  ['Abs', [0, 0]],
  ['Cast', [0, 0]],
  ['Concat', [0, Number.POSITIVE_INFINITY]],
  ['Identity', [0, 0]],
  ['Reshape', [0, 0]],
  ['Squeeze', [0, 0]],
  ['Unsqueeze', [0, 0]],
  ['Where', [1, 2]],
]);

/** What has all sizes of an input of a node, in the same places or others. */
export function handedOn(node: NodeProto, input: number): string | undefined {
  const [first, last] = (isStandard(node) && HANDED_ON.get(node.opType)) || [1, 0];
  return first <= input && input <= last ? node.output[0] : undefined;
}

/** Whether a node finds the same whatever the sizes are at this input: how many there are, or whether they are marks. */
export function isIndifferent(state: Propagation, node: NodeProto, input: number): boolean {
  if (!isStandard(node)) return false;
  const isMark = ({ value }: Size) => value <= 0;
  return (
    node.opType === 'Shape' ||
    (node.opType === 'Equal' && sizesOf(state, node, 1 - input)?.every(isMark) === true)
  );
}

/** The integers of an input that are the same in every run. */
export function fixedIntegers(state: Propagation, node: NodeProto, input: number): number[] | undefined {
  const sizes = sizesOf(state, node, input);
  return sizes?.every(({ isFixed }) => isFixed) ? sizes.map(({ value }) => value) : undefined;
}

const same: SizeRule = (_, __, [data]) => data?.map(unplaced);

const pick: SizeRule = (state, node, [data]) => {
  const indices = fixedIntegers(state, node, 1);
  if (!data || !indices || !isVector(state, node.input[0])) return undefined;
  const picked = indices.map((i) => data[wrapAxis(i, data.length)]);
  return picked.every(Boolean) ? picked.map(unplaced) : undefined;
};

/** Of a list, or of rows of a matrix, as exporters turn paddings round. */
const range: SizeRule = (state, node, [data]) => {
  const bound = (name: string, input: number) =>
    attributeInts(node, name) ?? fixedIntegers(state, node, input);
  const [starts, ends] = [bound('starts', 1), bound('ends', 2)];
  const [step] = node.input[4] ? (state.integers(node, 4) ?? []) : [1];
  const dims = state.dims(node.input[0]);
  const [axis = 0] = bound('axes', 3) ?? [];
  if (!data || !dims?.length || wrapAxis(axis, dims.length) !== 0) return undefined;
  if (starts?.length !== 1 || ends?.length !== 1) return undefined;
  const rows = [...Array(dims[0]).keys()];
  const isReversal = step === -1 && starts[0] === -1 && ends[0] < -dims[0];
  if (step !== 1 && !isReversal) return undefined;
  return moved(data, dims, (places) =>
    gather(places, 0, isReversal ? rows.reverse() : rows.slice(starts[0], ends[0])),
  );
};

const turned: SizeRule = (state, node, [data]) => {
  const dims = state.dims(node.input[0]) ?? [];
  const order = transposeOrder(node, dims.length);
  return data && isOrder(order, dims.length) ? moved(data, dims, (it) => permute(it, order)) : undefined;
};

/** Sizes as elements of a tensor are moved. */
function moved(data: readonly Size[], dims: readonly number[], move: (places: Tensor) => Tensor): Sizes {
  if (elements(dims) !== data.length) return undefined;
  return toIntegers(move(fromIntegers('', [...data.keys()], dims))).map((place) => unplaced(data[place]));
}

function concatenated(state: Propagation, node: NodeProto): Sizes {
  if (state.dims(node.output[0])?.some((dim) => dim > LONGEST)) return undefined;
  const parts = node.input.map((value, input) => {
    if (state.constant(node, input)) return sizesOf(state, node, input);
    const [length] = state.dims(value) ?? [];
    const known = state.sizes.get(value);
    if (!known && !(length < LONGEST)) return undefined;
    const sizes = known ?? new Array<Size>(length).fill({ value: Number.NaN });
    // of a list, those of the Concat that made it can be inferred
    const isList = length > 1 && state.model.producer(value)?.opType !== 'Concat';
    const own: EditPlace | undefined = length === 1 ? { kind: 'infer', node: node.name, input } : undefined;
    return sizes.map((size) => ({ ...unplaced(size), place: own ?? (isList ? undefined : size.place) }));
  });
  if (!node.input.every((value) => isVector(state, value))) return undefined;
  return parts.every((part) => part !== undefined) ? parts.flat() : undefined;
}

/** Applies `f` to the elements at each place; a single element goes with all. */
const elementwise =
  (f: (state: Propagation, node: NodeProto, ...sizes: Size[]) => Size | undefined): SizeRule =>
  (state, node, inputs) => {
    const lists = inputs.filter((list) => list !== undefined);
    const length = Math.max(...lists.map((list) => list.length));
    if (lists.length < inputs.length || lists.some((list) => list.length !== 1 && list.length !== length)) {
      return undefined;
    }
    const at = (i: number) => lists.map((list) => list[list.length === 1 ? 0 : i]);
    const result = Array.from({ length }, (_, i) => f(state, node, ...at(i)));
    return result.every((size) => size !== undefined) ? result : undefined;
  };

/** Of two numbers; a number of channels is held as it is, if what it is computed with is fixed. */
const arithmetic = (f: (a: number, b: number) => number) =>
  elementwise((state, node, a, b) => {
    const value = f(a.value, b.value);
    const isFixed = [a, b].every((size) => size.axis || size.isFixed);
    if (!a.axis && !b.axis) return { value, isFixed };
    return isFixed ? held(state, node, value, [a, b]) : undefined;
  });

/** A number that stays what it is today, whatever is cut of the channels that it is computed from. */
function held(state: Propagation, node: NodeProto, value: number, from: readonly Size[]): Size | undefined {
  const dims = state.dims(node.output[0]);
  if (!dims || dims.some((dim) => dim !== 1) || from.some(isMerged)) return undefined;
  for (const { axis } of from) {
    if (axis) state.edit(axis, { kind: 'hold', node: node.name, value, rank: dims.length }, node.name);
  }
  return { value, isFixed: true };
}

/** It counts a slower axis too, such as the batch, and is another number in other runs. */
const isMerged = ({ axis }: Size) => axis !== undefined && (axis.outer > 1 || axis.isMerged === true);

function multiplied(state: Propagation, node: NodeProto, a: Size, b: Size): Size | undefined {
  const value = a.value * b.value;
  const axis = a.axis ?? b.axis;
  if (a.axis && b.axis) return held(state, node, value, [a, b]);
  if (axis) {
    const isMerged = axis.isMerged || !(a.axis ? b : a).isFixed;
    return { value, axis: { ...axis, extent: value, isMerged } };
  }
  const [constant] = [a, b].filter(({ place }) => place?.kind === 'constant' && place.node === node.name);
  const factor = constant && { place: constant.place!, value: constant.value };
  return { value, isFixed: a.isFixed && b.isFixed, ...(factor && { factor }) };
}

const times = elementwise(multiplied);

/** Of all elements, as TensorFlow's exports merge axes before a product of matrices. */
const product: SizeRule = (state, node, [data]) => {
  const dims = state.dims(node.output[0]);
  if (!data || !dims || elements(dims) !== 1) return undefined;
  let whole: Size | undefined = { value: 1, isFixed: true };
  for (const size of data) whole = whole && multiplied(state, node, whole, size);
  return whole && [whole];
};

const quotient = arithmetic((a, b) => Math.trunc(a / b));

const divided: SizeRule = (state, node, inputs) => {
  const [[a] = [], [b] = []] = [inputs[0], inputs[1]];
  const areNumbers = inputs.every((list) => list?.length === 1);
  const isBatch = areNumbers && isMerged(a) && b.value * a.axis!.outer === a.value;
  if (isBatch && b.place?.kind === 'constant') {
    // batch · heads / heads
    state.edit({ ...a.axis!, extent: b.value, outer: 1 }, b.place, node.name);
    return [{ value: a.axis!.outer }];
  }
  if (areNumbers && a.axis && !b.axis && b.isFixed && isDividedAlike(a.axis, b.value)) {
    const value = a.value / b.value;
    return [{ value, axis: { ...a.axis, extent: value } }];
  }
  if (!areNumbers || !a?.axis || !b?.axis) return quotient(state, node, inputs);
  // query heads per key-value head: stays if both change alike
  const reason = `${called(node)} divides numbers of channels`;
  state.agreements.push({ labels: [a.axis.label, b.axis.label], reason });
  return [{ value: Math.trunc(a.value / b.value) }];
};

/** Whether what each channel counts can be divided: batch · channels · height / 2 changes by itself with the channels. */
function isDividedAlike({ label, extent, outer }: Axis, by: number): boolean {
  if (outer > 1 || extent % by > 0) return false;
  for (const { label: own, extent: share } of label.pieces(extent / by))
    if (!Number.isInteger(share / own.groups)) return false;
  return true;
}

const equal = elementwise((_, __, a, b) => {
  // no number of channels is ever 0 or −1, the marks in shapes
  const [counted, other] = a.axis ? [a, b] : [b, a];
  if (counted.axis && (other.axis || !(other.value <= 0))) return undefined;
  const isFixed = other.isFixed && (counted.isFixed || counted.axis !== undefined);
  return { value: a.value === b.value ? 1 : 0, isFixed };
});

const where: SizeRule = (state, node, inputs) => {
  const chosen = elementwise((_, __, condition, a, b) => {
    if (condition.axis || Number.isNaN(condition.value)) return undefined;
    const own = condition.value === 0 ? b : a;
    return { ...own, isFixed: own.isFixed && condition.isFixed };
  })(state, node, inputs);
  const isRepeated = inputs.some((list) => list?.length !== chosen?.length);
  return chosen?.map((size) => (isRepeated || isInferred(size) ? unplaced(size) : listed(state, size)));
};

/** A vector of one number, as long as another shape is. */
const filled: SizeRule = (_, node, [shape]) => {
  const [length] = shape ?? [];
  const tensor = attribute(node, 'value')?.t;
  if (shape?.length !== 1 || length.axis || !(length.value >= 0 && length.value < LONGEST)) return undefined;
  if (tensor?.dataType !== typeCode('int64')) return undefined;
  const [value] = toIntegers(decodeTensor(tensor, node.name));
  return new Array(length.value).fill({ value, isFixed: length.isFixed });
};

/** Of a shape, not by one; where a node gives the elements as they are. */
const handed: SizeRule = (state, node, [data]) =>
  (state.sizes.get(node.input[0]) ?? data)?.map((size) => listed(state, size));

/** PyTorch's newer exporter has the mark of an extent that stays as it is, −1, become 1 so. */
const magnitude: SizeRule = (state, node, inputs) =>
  handed(state, node, inputs)?.map((size) =>
    size.value < 0 || isInferred(size) ? { ...unplaced(size), value: Math.abs(size.value) } : size,
  );

/** As a fraction, for a scale, a number of channels stays what it is. */
const cast: SizeRule = (state, node, inputs) => {
  const [size, ...others] = inputs[0] ?? [];
  const type = typeFromCode(attributeInt(node, 'to', 0));
  const isScale = size?.axis && others.length === 0 && type && isFloat(type);
  const own = isScale ? held(state, node, size.value, [size]) : undefined;
  return own ? [own] : handed(state, node, inputs);
};

const RULES = new Map<string, SizeRule>([
  ...['Squeeze', 'Unsqueeze'].map((name) => [name, same] as const),
  ...['Identity', 'Reshape'].map((name) => [name, handed] as const),
  ['Abs', magnitude],
  ['Cast', cast],
  ['Shape', extents],
  ['Gather', pick],
  ['Slice', range],
  ['Transpose', turned],
  ['Concat', concatenated],
  ['Mul', times],
  ['ReduceProd', product],
  ['Div', divided],
  ['Add', arithmetic((a, b) => a + b)],
  ['Sub', arithmetic((a, b) => a - b)],
  ['Mod', arithmetic((a, b) => a - b * Math.floor(a / b))],
  ['Equal', equal],
  ['Where', where],
  ['ConstantOfShape', filled],
]);
