// Attention that keeps a matrix from keys to values in the place of keys and values themselves, and the convolution over the last tokens before it, as networks with gated
// delta rules and state spaces are exported: LinearAttention and CausalConvWithState, of com.microsoft and of opset 27.

import type { Axis } from '../labels.ts';
import { attributeInt } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, type Rule } from '../propagation.ts';

/** Inputs behind queries, keys and values. */
const [PAST, DECAY, SHARE] = [3, 4, 5];
const HEADS = ['q_num_heads', 'kv_num_heads'] as const;

/** Groups of a key head with the heads of queries and of states that it serves, or of several that share one of these, are tied. */
export const linearAttention: Rule = (state, node) => {
  const reason = problem(state, node);
  if (reason) state.pinAll(node, `${called(node)} ${reason}`);
};

function problem(state: Propagation, node: NodeProto): string | undefined {
  const axisOf = (input: number) => (input === PAST ? 1 : 2);
  for (const [input, value] of node.input.entries())
    if (value) state.pinOthers(value, axisOf(input), `${called(node)} attends over it`);
  const found = node.input.slice(0, 3).map((value) => state.axes(value)[2]);
  if (found.length < 3 || !found.every((axis) => axis !== undefined))
    return 'attends with values that no layer makes';
  const [query, key, value] = found as Axis[];
  const [heads, states] = HEADS.map((name) => attributeInt(node, name, 1));
  const keyHeads = key.extent / (query.extent / heads);
  const groups = Math.min(heads, keyHeads, states);
  const perHead = [DECAY, SHARE].filter((input) => (state.dims(node.input[input] ?? '')?.at(-1) ?? 1) > 1);
  const others = [...(node.input[PAST] ? [PAST] : []), ...perHead].map(
    (input) => state.axes(node.input[input])[axisOf(input)],
  );
  const tied = [query, key, value, ...others];
  if (!tied.every((axis) => axis !== undefined)) return 'has numbers of each head that no layer makes';
  if (!tied.every(({ outer }) => outer === 1)) return 'reads heads that are mixed with others';
  const counts = tied.map(({ label }) => (label.parts ? 1 : label.coarsen(groups)));
  if (Math.min(...counts) < 2) return 'has a single group of heads';
  for (const { label } of tied)
    if (!query.label.union(label)) return 'reads heads that are mixed with others';
  query.label.markHeads();
  const group = (extent: number): Axis => ({ ...query, extent });
  for (const [at, count] of [heads, states].entries())
    state.edit(group(count), { kind: 'attribute', node: node.name, name: HEADS[at] }, node.name);
  const [output, present] = node.output;
  state.mark(output, 2, group(state.dims(output)![2]));
  state.mark(present, 1, group(states));
  return undefined;
}

/** Each channel for itself. */
export const causalConvolution: Rule = (state, node) => {
  const [input, , bias, past] = node.input;
  const place = attributeInt(node, 'channels_last', 0) ? 2 : 1;
  state.pinOthers(input, place, `${called(node)} mixes the axis`);
  const axis = state.axes(input)[place];
  if (!axis) return;
  const before = past ? state.axes(past)[place] : undefined;
  const isPlain =
    state.dims(input)?.length === 3 && state.constant(node, 1) && (!bias || state.constant(node, 2));
  if (!isPlain || axis.outer > 1 || (past && !(before && axis.label.union(before.label)))) {
    state.pinAll(node, `${called(node)} is of a form that cannot be cut`);
    return;
  }
  state.slice(axis, node, 1, 0);
  if (bias) state.slice(axis, node, 2, 0);
  for (const output of node.output) state.mark(output, place, axis);
};
