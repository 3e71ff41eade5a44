// Operators that only rename positions: where does the labelled axis go?

import type { Use } from '../graph.ts';
import { type Axis, type EditPlace, gcd, type Label, splitAxis } from '../labels.ts';
import { attributeInt, attributeInts, attributeString, reads, transposeOrder } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, Propagation, type Rule, type Size, wrapAxis } from '../propagation.ts';
import { follows, pinCounted, sizesOf } from '../sizes.ts';
import { elements, sum } from '../tensor.ts';
import { carry } from './elementwise.ts';
import { PRODUCTS } from './features.ts';
import { softmax } from './normalization.ts';
import { shuffled } from './shuffle.ts';
import { reduce } from './spatial.ts';

export const transpose: Rule = (state, node) => {
  const rank = state.dims(node.input[0])!.length;
  const order = transposeOrder(node, rank);
  carry(state, node, (place) => order.indexOf(place));
};

export const squeeze: Rule = (state, node) => {
  const dims = state.dims(node.input[0])!;
  const axes = node.input[1] ? state.integers(node, 1) : attributeInts(node, 'axes');
  if (node.input[1] && !axes) return state.pinAll(node, `${called(node)} has computed axes`);
  const isGone = (place: number) =>
    axes ? axes.some((a) => wrapAxis(a, dims.length) === place) : dims[place] === 1;
  const left = [...dims.keys()].filter((place) => !isGone(place));
  carry(state, node, (place) => (isGone(place) ? 'removes it' : left.indexOf(place)));
};

export const unsqueeze: Rule = (state, node) => {
  const rank = state.dims(node.output[0])!.length;
  const axes = node.input[1] ? state.integers(node, 1) : attributeInts(node, 'axes');
  if (!axes) return state.pinAll(node, `${called(node)} has computed axes`);
  const added = axes.map((a) => wrapAxis(a, rank));
  const places = Array.from({ length: rank }, (_, i) => i).filter((i) => !added.includes(i));
  carry(state, node, (place) => places[place] ?? 'contradicts the shapes');
};

const RENAMES: ReadonlySet<Rule> = new Set([transpose, squeeze, unsqueeze]);

/**
 * The labelled axes of the data. Those that stay, or that constants alone have so far, as the centres of clusters, leave the place of two
 * that are merged to the other.
 */
function mayGoFirst(state: Propagation, node: NodeProto): [number, Axis][] {
  const stays = ([, { label }]: [number, Axis]) =>
    Number(
      label.leaves().every((it) => it.pins.length > 0 || (it.producers.length === 0 && it.slices.length > 0)),
    );
  return [...state.labelled(node.input[0])].sort((a, b) => stays(a) - stays(b));
}

/** Flatten: (a, b, c, d) to (a…, …d). Nothing in the graph names the extents, and no axis is too short for its groups. */
export const flatten: Rule = (state, node) => {
  for (const [place, axis] of mayGoFirst(state, node)) {
    const moved = move(state, node, place, axis);
    if (moved) state.mark(node.output[0], moved.place, moved.axis);
    else state.pin(axis, `${called(node)} interleaves it with other axes`);
  }
};

/** Reshape: positions keep their order, so that each group still owns consecutive ones of the axis they fall on. */
export const reshape: Rule = (state, node) => {
  if (shuffled(state, node)) return;
  const named = [...(sizesOf(state, node, 1) ?? [])];
  for (const [place, axis] of mayGoFirst(state, node)) {
    let moved = move(state, node, place, axis);
    const copies = copiesBefore(state, node, moved ?? entered(state, node, place, axis));
    if (copies > 1) moved = move(state, node, place, interleaved(axis, copies));
    if (moved && isNamed(named[moved.place], axis, moved.axis)) moved.axis.isMerged = false;
    if (!moved || !mayResize(state, node, named, place, moved)) {
      state.pin(axis, `${called(node)} takes it apart or names its size`);
      continue;
    }
    moved.axis.label.coarsen(moved.axis.extent / moved.axis.outer);
    state.mark(node.output[0], moved.place, moved.axis);
  }
  const followed = state.axes(node.output[0]);
  const left = named.filter((_, place) => !followed[place]);
  pinCounted(state, node, left);
};

type Moved = NonNullable<ReturnType<typeof move>>;

/**
 * Where a labelled axis goes when dims change and positions keep their order. Before it lie `runs` positions of
 * slower axes and runs of its own; the axis of the output that the boundary falls into takes the label. Where
 * that axis is shorter (a projection of width d that becomes h heads), groups become coarser: as many as divide
 * it, each as wide.
 */
function move(state: Propagation, node: NodeProto, from: number, axis: Axis) {
  const { label, extent } = axis;
  const found = boundary(state, node, from, axis);
  // any axis is a multiple of one channel: it cannot be told which
  if (!found || label.root().groups === 1 || extent === 0) return undefined;
  const { place, dim, outer } = found;
  const isWhole = dim % (extent * outer) === 0;
  if (!Number.isInteger(outer) || !(isWhole || haveGroups(label, dim / outer))) return undefined;
  // the outer of two axes that are merged keeps the place, and its groups together
  if (state.axes(node.output[0])[place]) return undefined;
  const isMerged = place < from || (place === from && axis.isMerged === true);
  return { place, axis: { label, extent: dim, outer, isMerged } };
}

/** The axis of the output that the boundary before a labelled axis falls into, and the runs that there are in it. */
function boundary(state: Propagation, node: NodeProto, from: number, { outer }: Axis) {
  const runs = elements(state.dims(node.input[0])!.slice(0, from)) * outer;
  if (runs === 0) return undefined;
  let before = 1;
  for (const [place, dim] of state.dims(node.output[0])!.entries()) {
    if (runs < before * dim) return { place, dim, outer: runs / before };
    before *= dim;
  }
  return undefined;
}

/** Where an axis begins in the output that is too short for its groups, as 3 of (3, h, dh) is for what is tied to heads already. */
function entered(state: Propagation, node: NodeProto, from: number, axis: Axis) {
  const found = boundary(state, node, from, axis);
  return found && { place: found.place, axis: { ...axis, extent: found.dim, outer: found.outer } };
}

/** Whether a label, or each of its parts, has several groups of the positions of a shorter axis. */
function haveGroups(label: Label, extent: number): boolean {
  if (label.isTorn(extent)) return false;
  for (const piece of label.pieces(extent)) {
    if (!Number.isInteger(piece.extent) || gcd(piece.label.groups, piece.extent) < 2) return false;
  }
  return true;
}

/** Whether a Reshape names the extent of an axis that it leaves as it is: in no run of the model anything is merged into it. */
function isNamed(size: Size | undefined, from: Axis, to: Axis): boolean {
  const isLeft = from.outer === 1 && to.outer === 1 && from.extent === to.extent && !from.isMerged;
  if (!isLeft || size?.value !== to.extent) return false;
  // That of other channels has to turn out to be that of these.
  return size.axis ? size.axis.outer === 1 && !size.axis.isMerged : size.isFixed === true;
}

/**
 * Positions of the axes from where a labelled one goes on that are taken apart or computed over: as (3, h, dh), (branches, c) or
 * (height, width, c), it is the same channels in each.
 */
function copiesBefore(state: Propagation, node: NodeProto, found?: { place: number; axis: Axis }): number {
  if (!found) return 1;
  const { place, axis } = found;
  const dims = state.dims(node.output[0])!;
  let copies = 1;
  for (let at = place; at < dims.length - 1; at++) {
    const own = { place: at, axis: at === place ? axis : { ...axis, extent: dims[at] } };
    if (isTakenApart(state, node.output[0], at)) copies *= dims[at];
    else if (isMixed(state, node, own)) copies *= dims[at] / own.axis.outer;
    else if (state.narrows(node) && isMixed(state, node, own, true)) {
      state.narrowed.add(node);
      copies *= dims[at] / own.axis.outer;
    } else return copies;
  }
  return copies;
}

/** True if nothing reads an axis but nodes that pick one position of it, some behind nodes that rename it. */
function isTakenApart(state: Propagation, value: string, place: number): boolean {
  const open: At[] = [{ value, place }]; // grows
  for (const at of open) {
    const uses = state.model.uses(at.value);
    if (uses.length === 0) return false;
    for (const use of uses) {
      if (isPick(state, at, use)) continue;
      const next = renamed(state, at, use);
      if (!next) return false;
      open.push(next);
    }
  }
  return true;
}

/** Nodes by which an axis is followed: one is some renamings and a product away from what computes over it. */
const AHEAD = 16;
/** The same for heads: rotary positions and what repeats keys are in between. */
const AHEAD_OF_HEADS = 64;

/**
 * Whether a shorter axis than the labelled one is computed over or taken apart before a layer reads it: as the branches of an attention
 * over branches, or masks of several sources that are cut out of one signal.
 *
 * @param asHeads  whether heads are such an axis: each of them has all features
 */
function isMixed(
  state: Propagation,
  node: NodeProto,
  { place, axis }: { place: number; axis: Axis },
  asHeads = false,
): boolean {
  const { outer } = axis;
  const extent = axis.extent / outer;
  // heads that go where the batch is are heads; of others it cannot be told
  if ((outer > 1 && !asHeads) || !Number.isInteger(extent)) return false;
  if (extent >= sum(axis.label.leaves().map(({ groups }) => groups))) return false;
  const { model } = state;
  const scratch = new Propagation(model, state.shapes); // other labels do not matter to what computes over this one
  const own = scratch.free(extent);
  scratch.mark(node.output[0], place, { ...own, extent: axis.extent, outer });
  const next = [...model.uses(node.output[0])];
  for (let left = asHeads ? AHEAD_OF_HEADS : AHEAD; left > 0; left--) {
    next.sort((a, b) => model.position(a.node) - model.position(b.node));
    const use = next.shift();
    const operator = use && model.operator(use.node);
    if (!use || !operator) return false;
    const isOther = operator.kind !== 'join' && use.index !== 0;
    // the second operand of a product of two activations is data too
    if (isOther && !(asHeads && PRODUCTS.has(use.node.opType))) return false;
    const known = [...reads(use.node), use.node.output[0]].every(
      (value) => scratch.dims(value) !== undefined,
    );
    if (!known) return false;
    operator.rule(scratch, use.node);
    const hasWeights = operator.layer !== undefined && state.constant(use.node, 1) !== undefined;
    // a convolution takes it for samples
    if (outer === 1 && hasWeights && operator.layer?.patches && !scratch.axes(use.node.input[0])[1])
      return true;
    if (asHeads && own.label.root().isHead) return true;
    if (outer > 1 && own.label.pins.length > 0) return false;
    if (own.label.pins.length > 0) {
      const [value] = use.node.input;
      const isPicked = isPick(state, { value, place: scratch.axes(value).findIndex(Boolean) }, use);
      return isPicked || hasWeights || operator.rule === softmax || operator.rule === reduce;
    }
    if (own.label.consumers.length > 0) return false;
    for (const value of use.node.output) {
      if (!scratch.isLabelled(value)) continue;
      for (const use of model.uses(value)) {
        state.patience.spend();
        // what halves of a head come together in is gone through once
        if (!asHeads || !next.some(({ node }) => node === use.node)) next.push(use);
      }
    }
  }
  return false;
}

/** An axis of a value. */
interface At {
  readonly value: string;
  readonly place: number;
}

function isPick(state: Propagation, { value, place }: At, { node, index }: Use): boolean {
  const dims = state.dims(value)!;
  if (index !== 0) return false;
  if (node.opType === 'Slice') return String(state.dims(node.output[0])) === String(dims.with(place, 1));
  if (wrapAxis(attributeInt(node, 'axis', 0), dims.length) !== place) return false;
  if (node.opType === 'Split') return node.output.length === dims[place];
  return node.opType === 'Gather' && state.integers(node, 1)?.length === 1;
}

/** Where an axis goes if a node that reads it only renames positions. */
function renamed(state: Propagation, { value, place }: At, { node, index }: Use): At | undefined {
  const rule = index === 0 ? state.model.operator(node)?.rule : undefined;
  if (rule === reshape) return kept(state, node, place);
  if (!rule || !RENAMES.has(rule)) return undefined;
  // follow a label of its own through the node
  const scratch = new Propagation(state.model, state.shapes);
  scratch.mark(value, place, scratch.free(1));
  rule(scratch, node);
  const [output] = node.output;
  const [next] = scratch.labelled(output);
  return next && { value: output, place: next[0] };
}

/** Where an axis is that a Reshape leaves as it is, whatever it makes of those before and behind it. */
function kept(state: Propagation, node: NodeProto, place: number): At | undefined {
  const [input, output] = [state.dims(node.input[0])!, state.dims(node.output[0])!];
  const before = elements(input.slice(0, place));
  const at = output.findIndex(
    (dim, own) => dim === input[place] && elements(output.slice(0, own)) === before,
  );
  return at < 0 ? undefined : { value: node.output[0], place: at };
}

/** Splits a label into equal parts and ties them: what the axis then holds are so many runs of one label. */
function interleaved(axis: Axis, runs: number): Axis {
  const parts = splitAxis(axis, new Array(runs).fill(axis.extent / runs));
  if (!parts) return axis;
  for (const { label } of parts) label.union(parts[0].label);
  return { label: parts[0].label, extent: axis.extent, outer: runs };
}

/**
 * DepthToSpace: blocks of pixels lie in channels. Those of one channel come behind each other (CRD), or every pixel of the
 * block has all channels (DCR).
 */
export const depthToSpace: Rule = (state, node) => {
  const block = attributeInt(node, 'blocksize', 1) ** 2;
  const isTogether = attributeString(node, 'mode', 'DCR') === 'CRD';
  throughBlocks(state, node, (axis) => {
    const extent = axis.extent / block;
    if (axis.outer > 1) return undefined;
    if (!isTogether) {
      const { label, outer } = interleaved(axis, block);
      return outer === block ? { label, extent, outer: 1 } : undefined;
    }
    for (const piece of axis.label.pieces(extent))
      if (!Number.isInteger(piece.extent) || piece.isTorn) return undefined;
    axis.label.coarsen(extent);
    return { ...axis, extent };
  });
};

/** SpaceToDepth: every pixel of a block has all channels. */
export const spaceToDepth: Rule = (state, node) => {
  const block = attributeInt(node, 'blocksize', 1) ** 2;
  throughBlocks(state, node, ({ label, extent, outer }) =>
    outer === 1 ? { label, extent: extent * block, outer: block } : undefined,
  );
};

function throughBlocks(
  state: Propagation,
  node: NodeProto,
  channels: (axis: Axis) => Axis | undefined,
): void {
  for (const [place, axis] of state.labelled(node.input[0])) {
    const moved = place === 0 ? axis : place === 1 ? channels(axis) : undefined;
    if (moved) state.mark(node.output[0], place, moved);
    else state.pin(axis, `${called(node)} takes it apart`);
  }
}

function mayResize(state: Propagation, node: NodeProto, named: Size[], from: number, moved: Moved): boolean {
  const { place, axis } = moved;
  const size = named[place];
  if (size?.value === -1) return true;
  if (size?.value === 0 && attributeInt(node, 'allowzero', 0) === 0) return from === place;
  const listed = size?.place?.kind === 'infer' ? size.place : undefined;
  const isOther = size?.axis !== undefined && size.axis.label.root() !== axis.label.root();
  const isFixed = size?.axis === undefined && size?.isFixed === true;
  if ((isOther || isFixed) && size?.value === axis.extent) {
    // A constant that is computed, or the width of another value: it is written down, and from then on that of this one.
    const written: EditPlace | undefined = listed
      ? { ...listed, kind: 'constant', index: 0, values: [size.value] }
      : ofOther(state, node, named, place);
    if (written) {
      state.edit(axis, written, node.name);
      for (const [own, { axis }] of named.entries()) {
        if (listed && own !== place) continue;
        if (axis) state.edit({ ...axis, extent: 0 }, written, node.name);
        named[own] = { value: own === place ? size.value : 0 };
      }
      return true;
    }
  }
  if (follows(state, node, size, axis)) return true;
  if (size?.factor && size.value === axis.extent && size.factor.value * axis.outer === axis.extent) {
    state.edit({ ...axis, extent: size.factor.value, outer: 1 }, size.factor.place, node.name);
    return true;
  }
  // Computed otherwise: one size of a shape can be left to be inferred.
  if (!listed || named.some(({ value }) => value === -1)) return false;
  state.edit(axis, listed, node.name);
  named[place] = { value: -1 };
  return true;
}

/** The shape of another value, where a Reshape changes the extent of one axis only: all others are left as they are. */
function ofOther(
  state: Propagation,
  node: NodeProto,
  named: readonly Size[],
  place: number,
): EditPlace | undefined {
  const dims = state.dims(node.input[0])!;
  const isAlike = named.every(({ value }, own) => own === place || value === dims[own]);
  if (state.model.producer(node.input[1])?.opType !== 'Shape' || !isAlike) return undefined;
  const values = named.map(({ value }, own) => (own === place ? value : 0));
  return attributeInt(node, 'allowzero', 0) === 0
    ? { kind: 'constant', node: node.name, input: 1, index: place, values }
    : undefined;
}

/**
 * Expand: an axis of extent 1 is repeated, and its copies can be cut with what they are tied to. So can what a constant has on
 * an axis, as a class token that goes before the others.
 */
export const expand: Rule = (state, node) => {
  const input = state.dims(node.input[0]);
  const output = state.dims(node.output[0]);
  if (!input || !output) return state.pinAll(node, `${called(node)} cannot be seen through`);
  const named = sizesOf(state, node, 1) ?? [];
  for (const [place, extent] of output.entries()) {
    const own = place - (output.length - input.length);
    const size = named[place - (output.length - named.length)];
    const isCopied = extent > 1 && (input[own] ?? 1) === 1;
    const axis = state.axes(node.input[0])[own] ?? constantAxis(state, node, own);
    if (axis && (isCopied || (size && size.value !== 1 && !follows(state, node, size, axis)))) {
      state.pin(axis, `${called(node)} names its size`);
    } else if (axis) state.mark(node.output[0], place, axis);
    else if (isCopied) fill(state, node, place, size);
    else if (size) pinCounted(state, node, [size]);
  }
};

/** ConstantOfShape: what it fills can be cut with what it is tied to. */
export const constantOfShape: Rule = (state, node) => {
  const output = state.dims(node.output[0]);
  const named = sizesOf(state, node, 0) ?? [];
  for (const [place, size] of named.entries()) {
    if (output && output[place] > 1) fill(state, node, place, size);
    else pinCounted(state, node, [size]);
  }
};

/** A new label for what a constant of numbers has on an axis. */
function constantAxis(state: Propagation, node: NodeProto, place: number): Axis | undefined {
  const constant = state.constant(node, 0);
  if (!constant || !(constant.dims[place] > 1)) return undefined;
  const axis = state.free(constant.dims[place]);
  state.slice(axis, node, 0, place);
  return axis;
}

/** An axis of the output that is as long as the shape says, all of it alike. */
function fill(state: Propagation, node: NodeProto, place: number, size: Size | undefined): void {
  const [output] = node.output;
  const counted = size?.place?.kind === 'constant' ? { place: size.place, value: size.value } : size?.factor;
  if (size?.axis) state.mark(output, place, size.axis);
  else if (size && counted && size.value === state.dims(output)![place]) {
    const { value: extent } = size;
    const copies = state.free(counted.value);
    state.edit(copies, counted.place, node.name);
    const isMerged = counted === size.factor;
    state.mark(output, place, { ...copies, extent, outer: extent / counted.value, isMerged });
  } else if (size) pinCounted(state, node, [size]);
}
