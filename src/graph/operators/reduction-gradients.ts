// The derivatives of reductions.

import { attributeInt, attributeInts } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { wrapAxis } from '../propagation.ts';
import { asFloats, axesFrom, integersOf } from './gradients.ts';
import type { Backward, GradientRule } from './operator.ts';

/** Of a node that reduces `x` to `y` along some axes, `y` and the gradient with extents of 1 there. */
interface Reduced {
  readonly x: string;
  readonly y: string;
  readonly axes: readonly number[];
}

const reduction =
  (rule: (graph: Backward, reduced: Reduced, gradient: string) => string): GradientRule =>
  (graph, node, index, gradient) => {
    const [x] = node.input;
    const axes = index === 0 ? axesOf(graph, node) : undefined;
    if (!axes || axes.length === 0 || axes.includes(graph.samples(x))) return undefined;
    const isKept = attributeInt(node, 'keepdims', 1) !== 0;
    const [y, own] = [node.output[0], gradient].map((it) => (isKept ? it : graph.unsqueeze(it, axes)));
    return rule(graph, { x, y, axes }, own);
  };

/** All positions, or those that an attribute or input names. */
function axesOf(graph: Backward, node: NodeProto): number[] | undefined {
  const [x, named] = node.input;
  const rank = graph.dims(x)?.length;
  if (!rank) return undefined;
  if (node.opType.startsWith('Global')) return axesFrom(2, rank);
  const given = named ? integersOf(graph, named) : attributeInts(node, 'axes');
  return given?.map((axis) => wrapAxis(axis, rank));
}

const spread = (graph: Backward, x: string, value: string) =>
  graph.node('Expand', [value, graph.node('Shape', [x])]);

export const total = reduction((graph, { x }, gradient) => spread(graph, x, gradient));

export const mean = reduction((graph, { x, axes }, gradient) =>
  spread(graph, x, graph.node('Div', [gradient, graph.extent(x, axes)])),
);

/** The largest or smallest; where several are, each has its part. */
export const extreme = reduction((graph, { x, y, axes }, gradient) => {
  const isIt = asFloats(graph, graph.node('Equal', [x, y]));
  return graph.node('Mul', [isIt, graph.node('Div', [gradient, graph.sum(isIt, axes, true)])]);
});

/** The root of the squares' sum: x/y, and 0 where all are 0. */
export const length = reduction((graph, { x, y }, gradient) => {
  const positive = graph.node('Max', [y, graph.scalar(SMALLEST)]);
  return graph.node('Mul', [x, graph.node('Div', [gradient, positive])]);
});

/** Of floats that have all their digits. */
const SMALLEST = 2 ** -126;
