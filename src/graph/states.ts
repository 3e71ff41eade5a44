// States of networks that run step by step: they come in and go out again, and hosts hand them on from one step to the next. They stay as
// large as they are. What comes in is gathered from where it is read (`whole` of a slice); into what goes out, zeros are put
// in the place of channels that go, before it is laid out with others.

import { gatherNode, insertBehind } from './gather.ts';
import type { Graph } from './graph.ts';
import type { Model } from './model.ts';
import { attributeOf, isStandard } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { nodeOf } from './stored.ts';
import type { Slice } from './structure.ts';
import { groupBy } from './tensor.ts';

/** A graph input, and the output that it is in the next step. */
export interface State {
  readonly input: string;
  readonly output: string;
}

/** Operators that lay values out and compute nothing, or write into one, which they are given first. */
const MOVES =
  /^(Cast|Concat|Flatten|Gather|Identity|Reshape|Scatter(Elements|ND)|Slice|Split|Squeeze|Transpose|Unsqueeze)$/;

/** The nodes from which states alone are made, and those that write into one that came in: all channels are there, as zeros where they went. */
export function statesMade(model: Graph, states: readonly State[]): Set<NodeProto> {
  const found = new Set<NodeProto>();
  const given = new Set(states.map(({ output }) => output));
  const leadsThere = (value: string) =>
    (given.has(value) || !model.isOutput(value)) && model.uses(value).every(({ node }) => found.has(node));
  const moves = states.length > 0 ? model.nodes.filter(isMove) : [];
  for (const node of moves.toReversed()) if (node.output.every(leadsThere)) found.add(node);
  const came = new Set(states.map(({ input }) => input)); // grows
  for (const node of moves) {
    if (!came.has(node.input[0])) continue;
    if (node.opType.startsWith('Scatter')) found.add(node);
    for (const value of node.output) came.add(value);
  }
  return found;
}

const isMove = (node: NodeProto) => isStandard(node) && MOVES.test(node.opType);

/** Positions of what a state is made of that go. */
export interface Gap {
  readonly slice: Slice;
  readonly gone: readonly number[];
}

/** Puts zeros in the place of what goes. @param isCut  whether it has gone already; else it is there, and zeros take its place */
export function putBack(model: Model, gaps: readonly Gap[], isCut: boolean): void {
  const byPlace = groupBy(gaps, ({ slice: { node, input, tensor, axis } }) =>
    JSON.stringify([node, input, tensor, axis]),
  );
  for (const list of byPlace.values()) {
    const [{ slice }] = list;
    const gone = new Set(list.flatMap((gap) => gap.gone));
    const end = slice.whole! - (isCut ? gone.size : 0);
    let left = 0;
    const places = Array.from({ length: slice.whole! }, (_, place) => {
      if (gone.has(place)) return end;
      return isCut ? left++ : place;
    });
    gatherWithZero(model, slice, places);
  }
}

/** @param places  of the axis, behind which there is one of zeros */
function gatherWithZero(model: Model, slice: Slice, places: readonly number[]): void {
  const { axis, input, state } = slice;
  const node = model.node(slice.node)!;
  const isOwn = input < 0;
  const value = isOwn ? slice.tensor : node.input[input];
  const fresh = (what: string) => model.fresh(`${value}.${what}`);
  const from = isOwn ? fresh('left') : value;
  const to = isOwn ? value : fresh('whole');
  if (isOwn) {
    const maker = model.producer(value)!;
    model.redirect(value, from);
    model.setOutput(maker, maker.output.indexOf(value), from);
  } else model.setInput(node, input, to);
  const pads = Array.from({ length: 2 * state!.rank }, (_, i) => Number(i === state!.rank + axis));
  const padded = fresh('padded');
  const pad =
    model.opset < 11
      ? nodeOf(model, 'Pad', [from], padded, [attributeOf('pads', pads)])
      : nodeOf(model, 'Pad', [from, model.integers(`${value}.pads`, pads)], padded);
  insertBehind(model, from, [pad, gatherNode(model, padded, axis, places, to)]);
}
