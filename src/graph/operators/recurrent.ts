// https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html, onnx__RNN.html
//
// A hidden unit goes with the rows of all its gates, with its columns of the recurrent weights, and with what reads it. Both
// directions of a layer have as many units, so unit c of one goes with unit c of the other.

import type { Axis } from '../labels.ts';
import type { LinearMap } from '../linear.ts';
import { attributeInt } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Operator, type Propagation } from '../propagation.ts';
import { consume, opaque, weightOf } from './layer.ts';
import { recurrence } from './macs.ts';

/** Inputs: X (t, n, p), W (d, gates·h, p), R (d, gates·h, h), B (d, 2·gates·h), lengths, states (d, n, h), peepholes (d, 3·h). */
const [X, W, R, B, STATES, PEEPHOLES] = [0, 1, 2, 3, [5, 6], 7] as const;
/** Outputs Y (t, d, n, h) and the last states (d, n, h): where units are. */
const UNITS = [3, 2, 2];

export const lstm = recurrent('LSTM', 4);
export const gru = recurrent('GRU', 3);
export const rnn = recurrent('RNN', 1);

function recurrent(name: string, gates: number): Operator {
  return {
    name,
    kind: 'source',
    // The map from X to the gates; what they are is no value of the graph.
    layer: { axis: 2, outputAxis: () => 0, isStacked: true, isInner: true, isLinear: () => true },
    macs: recurrence,
    rule(state, node) {
      const isKnown = weightOf(state, node) && state.constant(node, R);
      const isPlain = attributeInt(node, 'layout', 0) === 0 && (!node.input[B] || state.constant(node, B));
      if (!isKnown || !isPlain) return opaque(state, node);
      state.pinOthers(node.input[X], 2, `${called(node)} runs over it`);
      const read = state.axes(node.input[X])[2];
      if (read) consume(state, node, read);
      makeUnits(state, node, gates);
    },
  };
}

function makeUnits(state: Propagation, node: NodeProto, gates: number): void {
  const hidden = state.constant(node, R)!.dims[2];
  const outputs = [...node.output.keys()].filter((index) => node.output[index]);
  const [first = 0] = outputs;
  const units = state.produce(node, UNITS[first], hidden, { output: first });
  for (const index of outputs) state.mark(node.output[index], UNITS[index], units);
  const blocks = (input: number, place: number, count: number) => {
    for (let i = 0; i < count; i++) state.slice(units, node, input, place, i * hidden);
  };
  for (const input of [W, R]) blocks(input, 1, gates);
  state.slice(units, node, R, 2, 0, { isRead: true });
  if (node.input[B]) blocks(B, 1, 2 * gates);
  if (node.input[PEEPHOLES]) {
    if (state.constant(node, PEEPHOLES)) blocks(PEEPHOLES, 1, 3);
    else state.pin(units, `${called(node)} has computed peepholes`);
  }
  for (const input of STATES) startFrom(state, node, input, units);
  for (const map of recurrentMaps(state, node)) state.consume(units, map);
  const size = { kind: 'attribute', node: node.name, name: 'hidden_size' } as const;
  state.edit(units, size, node.name);
}

/**
 * What each direction makes of its units a step later. Not of a GRU that resets them before it reads them, and not where steps are
 * no value of the graph (`foldConstants` sees to it that they are).
 */
function recurrentMaps({ model, sample }: Propagation, node: NodeProto): LinearMap[] {
  const [output] = node.output;
  const steps = sample.get(output)?.[0];
  const resetsFirst = node.opType === 'GRU' && attributeInt(node, 'linear_before_reset', 0) === 0;
  if (!steps || resetsFirst) return [];
  const [count, m, p] = model.tensors.get(node.input[R])!.dims;
  return Array.from({ length: count }, (_, index) => ({
    node: node.name,
    kind: 'matmul',
    input: output,
    output,
    weight: node.input[R],
    ...(node.input[B] && { bias: node.input[B] }),
    part: { index, count },
    groupSize: 1,
    p,
    m,
    rows: steps,
    isInner: true,
    isRecurrent: true,
  }));
}

/** The first states have the units too. Where they come from outside or are computed, callers go on giving all of them. */
function startFrom(state: Propagation, node: NodeProto, input: number, units: Axis): void {
  const value = node.input[input];
  if (!value) return;
  state.pinOthers(value, 2, `${called(node)} starts from it`);
  const own = state.axes(value)[2];
  if (state.constant(node, input)) state.slice(units, node, input, 2);
  else if (!own) state.slice(units, node, input, 2, 0, { whole: units.extent });
  else if (own.outer > 1 || !units.label.union(own.label))
    state.pin(units, `${called(node)} starts from "${value}", whose units are others`);
}
