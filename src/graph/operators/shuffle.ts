// Channel shuffles: a Reshape takes an axis apart, a Transpose turns round what comes of it, and a Reshape puts it together again. Each
// channel keeps its own label; one Gather makes of those that stay what the three nodes made.

import { type Axis, Label, splitAxis } from '../labels.ts';
import { attributeInt, isStandard, transposeOrder } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, wrapAxis } from '../propagation.ts';
import { elements, fromIntegers, isOrder, permute, toIntegers } from '../tensor.ts';

/** A node that gives positions of an axis of a value, different ones, in this order. */
interface Pick {
  readonly node: NodeProto;
  readonly places: readonly number[];
}

/** Follows the label from a Reshape to where its channels are together again, if a shuffle begins there; else does nothing. */
export function shuffled(state: Propagation, node: NodeProto): boolean {
  const [value] = node.input;
  const [found, ...others] = state.labelled(value);
  const turn = onlyReader(state, node.output[0], 'Transpose');
  const last = turn && onlyReader(state, turn.output[0], 'Reshape');
  if (!found || others.length > 0 || !last) return false;
  const [place, axis] = found;
  if (axis.outer > 1) return false;
  const order = orderOf(state, node, turn, place);
  const picks = order && picksOf(state, node, last, place, order);
  if (!picks) return false;
  for (const passed of [turn, last, ...picks.map(({ node }) => node)]) state.passed.add(passed);
  for (const pick of picks) pickPlaces(state, value, place, axis, pick);
  return true;
}

/** Hands on what a node takes of a labelled axis; it becomes a Gather where channels go. */
export function pickPlaces(
  state: Propagation,
  value: string,
  place: number,
  axis: Axis,
  { node, places }: Pick,
): void {
  const { label, extent } = axis;
  const taken = new Set(places);
  const left = Array.from({ length: extent }, (_, at) => at).filter((at) => !taken.has(at));
  state.patience.spend(extent);
  const order = Label.of([{ label, share: 1 }], [...places, ...left]);
  const parts =
    taken.size === places.length && splitAxis({ ...axis, label: order }, [places.length, left.length]);
  if (!parts) {
    state.pin(axis, `${called(node)} picks from it`);
    return;
  }
  state.slice(axis, node, 0, place, 0, { whole: extent, tensor: value, picks: places });
  state.mark(node.output[0], place, parts[0]);
}

function onlyReader({ model }: Propagation, value: string, opType: string): NodeProto | undefined {
  const [use, ...others] = model.uses(value);
  const isOnly = use?.index === 0 && others.length === 0 && !model.isOutput(value);
  return isOnly && use.node.opType === opType && isStandard(use.node) ? use.node : undefined;
}

/** In what order positions of an axis are where nothing but the axes that it is taken apart into change places. */
function orderOf(
  state: Propagation,
  { input: [value], output: [apart] }: NodeProto,
  turn: NodeProto,
  place: number,
): number[] | undefined {
  const [before, dims] = [state.dims(value), state.dims(apart)];
  if (!before || !dims) return undefined;
  const outside = elements(before.slice(0, place));
  const first = dims.findIndex((_, at) => elements(dims.slice(0, at)) === outside);
  const inner = dims.slice(Math.max(0, first));
  const count = inner.findIndex((_, at) => elements(inner.slice(0, at + 1)) === before[place]) + 1;
  const perm = transposeOrder(turn, dims.length);
  const isInside = (at: number) => first <= at && at < first + count;
  const areFixed = perm.every((axis, at) => (isInside(at) ? isInside(axis) : axis === at));
  if (first < 0 || count < 2 || !isOrder(perm, dims.length) || !areFixed) return undefined;
  state.patience.spend(before[place]);
  const places = fromIntegers('', [...Array(before[place]).keys()], inner.slice(0, count));
  const order = perm.slice(first, first + count).map((axis) => axis - first);
  return toIntegers(permute(places, order));
}

/** The nodes that give the axis again: the last Reshape, or Gathers that each take one of some equal pieces. */
function picksOf(
  state: Propagation,
  { input: [value] }: NodeProto,
  last: NodeProto,
  place: number,
  order: readonly number[],
): Pick[] | undefined {
  const [together] = last.output;
  const [before, dims] = [state.dims(value)!, state.dims(together) ?? []];
  if (String(dims) === String(before)) return [{ node: last, places: order }];
  const [parts] = dims;
  const width = before[place] / parts;
  // Before the pieces there is nothing else that they could be taken from.
  const areFirst = elements(before.slice(0, place)) === 1;
  if (
    !areFirst ||
    state.model.isOutput(together) ||
    String(dims) !== String([parts, ...before.with(place, width)])
  )
    return undefined;
  const picks = state.model.uses(together).map(({ node, index }) => {
    const isGather = node.opType === 'Gather' && isStandard(node) && index === 0;
    const isOne = isGather && state.dims(node.input[1])?.length === 0 && attributeInt(node, 'axis', 0) === 0;
    const [part] = (isOne && state.integers(node, 1)) || [];
    const start = part === undefined ? -1 : wrapAxis(part, parts) * width;
    return { node, places: order.slice(start, start + width) };
  });
  return picks.every(({ places }) => places.length === width) ? picks : undefined;
}
