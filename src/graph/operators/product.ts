// Products of activations: the batch axes of a MatMul (the heads of attention), and Einsum.

import { attribute, attributeInt, attributeString } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, type Rule } from '../propagation.ts';
import type { Side } from '../scores.ts';
import { holdsHeads, mixFeatures, sumFeatures } from './features.ts';
import { type Operand, tie, tieBroadcast } from './tie.ts';

/** (…, M, K) · (…, K, N): batch axes are tied, rows and columns go through, and what is summed over must stay. */
export const product: Rule = (state, node) => {
  const [left, right] = node.input;
  const [a, b] = [state.dims(left), state.dims(right)];
  const output = state.dims(node.output[0]);
  if (!a || !b || !output || a.length < 2 || b.length < 2) {
    return state.pinAll(node, `${called(node)} cannot be seen through`);
  }
  const rank = output.length;
  // FusedMatMul transposes the last two axes of an operand
  const [transA, transB] = [attributeInt(node, 'transA', 0) !== 0, attributeInt(node, 'transB', 0) !== 0];
  const [m, ka] = transA ? [a.length - 1, a.length - 2] : [a.length - 2, a.length - 1];
  const [kb, n] = transB ? [b.length - 1, b.length - 2] : [b.length - 2, b.length - 1];
  state.mark(node.output[0], rank - 2, state.axes(left)[m]);
  state.mark(node.output[0], rank - 1, state.axes(right)[n]);
  const side = (value: string, place: number): Side => {
    const missing = rank - state.dims(value)!.length;
    const apart = output.slice(0, -2).map((_, i) => (i < missing ? undefined : i - missing));
    return { value, place, apart };
  };
  const mixed = side(node.output[0], rank - 1);
  const reason = sumFeatures(state, node, side(left, ka), side(right, kb));
  if (reason) for (const axis of [state.axes(left)[ka], state.axes(right)[kb]]) state.pin(axis, reason);
  mixFeatures(state, node, side(left, m), side(right, n), mixed);
  for (let place = 0; place < rank - 2; place++) {
    if (holdsHeads(state, node, [axisAt(state, left, place, rank), axisAt(state, right, place, rank)]))
      continue;
    const axis = tieBroadcast(state, node, [0, 1], place);
    axis?.label.markHeads();
    state.mark(node.output[0], place, axis);
  }
};

/** An axis of a value, counted in a rank that it is broadcast to. */
const axisAt = (state: Propagation, value: string, place: number, rank: number) =>
  state.axes(value)[place - rank + state.dims(value)!.length];

/** FusedMatMul of com.microsoft. */
export const fusedMatMul: Rule = (state, node) => {
  const isPlain = !attribute(node, 'transBatchA')?.i && !attribute(node, 'transBatchB')?.i;
  if (isPlain) product(state, node);
  else state.pinAll(node, `${called(node)} cannot be seen through`);
};

/** Einsum without repeated letters and ellipses: a letter of the output ties, any other is summed over. */
export const einsum: Rule = (state, node) => {
  const terms = termsOf(node);
  if (!terms) return state.pinAll(node, `${called(node)} cannot be seen through`);
  const { operands, result } = terms;
  const output = state.dims(node.output[0])!;
  const summed = attentionOf(state, node, operands, result);
  for (const letter of new Set(operands.join(''))) {
    const places = operands.flatMap((term, input): Operand[] => {
      const place = term.indexOf(letter);
      return place < 0 ? [] : [[input, place]];
    });
    const place = result.indexOf(letter);
    const axes = places.map(([input, own]) => state.axes(node.input[input])[own]);
    if (place < 0) {
      if (summed) for (const axis of axes) state.pin(axis, summed);
      continue;
    }
    if (places.length > 1 && holdsHeads(state, node, axes)) continue;
    const axis = tie(state, node, places, output[place]);
    if (places.length > 1) axis?.label.markHeads();
    state.mark(node.output[0], place, axis);
  }
};

/**
 * Notes what an Einsum of two activations is in an attention. One letter is summed over, and each operand has at most one of its own that
 * a mixture can have as features.
 *
 * @returns why what it sums over has to stay, if it has to
 */
function attentionOf(
  state: Propagation,
  node: NodeProto,
  operands: readonly string[],
  result: string,
): string | undefined {
  const [left, right] = operands;
  const summed = [...left].filter((letter) => !result.includes(letter));
  if (operands.length !== 2 || summed.length !== 1 || !right.includes(summed[0]))
    return `${called(node)} sums over it`;
  const apart = [...result].filter((letter) => left.includes(letter) && right.includes(letter));
  const side = (term: string, value: string, letter: string): Side => ({
    value,
    place: term.indexOf(letter),
    apart: apart.map((it) => term.indexOf(it)),
  });
  const reason = sumFeatures(
    state,
    node,
    side(left, node.input[0], summed[0]),
    side(right, node.input[1], summed[0]),
  );
  const own = [...right].filter((letter) => result.includes(letter) && !apart.includes(letter));
  const features = own.length === 1 ? own[0] : '';
  if (features) {
    const [value] = node.output;
    mixFeatures(
      state,
      node,
      side(left, node.input[0], summed[0]),
      side(right, node.input[1], features),
      side(result, value, features),
    );
  }
  return reason;
}

/**
 * The letters of the operands and of the result, where all are named and none is twice in one.
 *
 * @param ellipsis  what stands for the axes of an ellipsis; left out: an equation with one has no terms
 */
export function termsOf(
  node: NodeProto,
  ellipsis = '.',
): { operands: readonly string[]; result: string } | undefined {
  const equation = attributeString(node, 'equation', '').replaceAll(' ', '').replaceAll('...', ellipsis);
  const [inputs, result = '.'] = equation.split('->');
  const operands = inputs.split(',');
  const isPlain = [...operands, result].every(
    (term) => /^[a-zA-Z_]*$/.test(term) && new Set(term).size === term.length,
  );
  return isPlain && operands.length === node.input.length ? { operands, result } : undefined;
}
