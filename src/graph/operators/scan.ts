// https://onnx.ai/onnx/operators/onnx__Scan.html

import type { Axis } from '../labels.ts';
import { attribute, attributeInt, attributeInts, isStandard } from '../node.ts';
import type { GraphProto, NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, type Rule, wrapAxis } from '../propagation.ts';

/** Labels go through a body that does the same for each place of an axis, as recurrences do for each head. */
export const scan: Rule = (state, node) => {
  const reason = problem(state, node);
  if (reason) state.pinAll(node, `${called(node)} ${reason}`);
};

/** Operators of a body that leave axes apart, if all that they read has as many; the last of these but the last two. */
const APART = new Set(
  'Add Sub Mul Div Neg Exp Log Sqrt Reciprocal Sigmoid Tanh Relu Softplus Identity Cast MatMul'.split(' '),
);
const MIXED = 2;
/** Before, it went along an axis behind that of samples, and was told lengths first. */
const SINCE = 9;

function problem(state: Propagation, node: NodeProto): string | undefined {
  const body = attribute(node, 'body')?.g;
  const scanned = attributeInt(node, 'num_scan_inputs', 0);
  const states = node.input.length - scanned;
  if (!body || state.model.opset < SINCE || !isApart(body)) return 'computes over what is not seen through';
  /** The axis that it goes along, if any. */
  const along = (values: readonly string[], name: string) => {
    const axes = attributeInts(node, name) ?? [];
    return values.map((value, i) =>
      i < states ? undefined : wrapAxis(axes[i - states] ?? 0, state.dims(value)?.length ?? 0),
    );
  };
  const [into, outOf] = [along(node.input, 'scan_input_axes'), along(node.output, 'scan_output_axes')];
  const inner = node.input.map((value, i) => (state.dims(value) ?? []).filter((_, axis) => axis !== into[i]));
  const rank = inner[0]?.length ?? 0;
  if (!inner.every((dims) => dims.length === rank)) return 'reads values of several ranks';
  const apart = body.node.some(({ opType }) => opType === 'MatMul') ? rank - MIXED : rank;
  /** Where an axis of the body lies on that of a value. */
  const outside = (place: number, at?: number) => (at === undefined || place < at ? place : place + 1);
  for (const [i, value] of node.input.entries())
    for (const [place, axis] of state.labelled(value)) {
      const isBefore = into[i] === undefined || place < into[i];
      if (place === into[i] || (isBefore ? place : place - 1) >= apart)
        state.pin(axis, `${called(node)} computes over it`);
    }
  for (let place = 0; place < apart; place++) {
    const wide = node.input.filter((_, i) => inner[i][place] > 1);
    const found = node.input.map((value, i) => state.axes(value)[outside(place, into[i])]);
    const axes = found.filter((axis): axis is Axis => axis !== undefined);
    if (axes.length === 0) continue;
    const [first] = axes;
    const isTied = axes.length === wide.length && axes.every(({ outer }) => outer === first.outer);
    if (!isTied || !axes.every(({ label }) => first.label.union(label)))
      return 'reads channels beside others';
    for (const [i, value] of node.output.entries()) state.mark(value, outside(place, outOf[i]), first);
  }
  return undefined;
}

/** Whether all that it computes is of what it is given. */
function isApart(body: GraphProto): boolean {
  const known = new Set(body.input.map(({ name }) => name));
  const isKnown = (node: NodeProto) => {
    const fits = isStandard(node) && APART.has(node.opType) && node.input.every((value) => known.has(value));
    for (const value of node.output) known.add(value);
    return fits;
  };
  return body.initializer.length === 0 && body.node.every(isKnown);
}
