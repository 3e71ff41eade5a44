// Fused attention with projected queries, keys and values: com.microsoft's GroupQueryAttention and
// MultiHeadAttention, and the standard's Attention. Key-value groups and their query heads are tied.
// RotaryEmbedding, of either, turns queries and keys before.

import { type Axis, splitAxis } from '../labels.ts';
import { attributeInt, MICROSOFT } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, type Rule } from '../propagation.ts';

/** Attributes and inputs of an operator that attends with projected queries, keys and values. */
interface Signature {
  /** Attributes: numbers of query heads and of key-value heads. */
  heads: readonly [string, string];
  /** One constant for queries, keys and values, side by side. */
  bias?: number;
  /** Cached keys and values (b, h, past, dh), each with an output: the second and the third. */
  past: readonly [number, number];
  /** Added to the scores: (…, h or 1, t, t'). */
  mask: number;
  /** One number per query head. */
  perHead?: number;
  /** Inputs from here on are not known. */
  inputs: number;
}

const GROUPED = ['num_heads', 'kv_num_heads'] as const;
const ALIKE = ['num_heads', 'num_heads'] as const;
const STANDARD = ['q_num_heads', 'kv_num_heads'] as const;
export const groupQueryAttention = attention({
  heads: GROUPED,
  past: [3, 4],
  mask: 10,
  perHead: 11,
  inputs: 12,
});
export const multiHeadAttention = attention({ heads: ALIKE, bias: 3, mask: 5, past: [6, 7], inputs: 8 });
export const standardAttention = attention({ heads: STANDARD, mask: 3, past: [4, 5], inputs: 6 });

/** A node of such an operator. */
interface Call {
  state: Propagation;
  node: NodeProto;
  at: Signature;
}

function attention(at: Signature): Rule {
  return (state, node) => {
    const reason = problem({ state, node, at });
    if (reason) state.pinAll(node, `${called(node)} ${reason}`);
  };
}

/** (b, t, h·dh), (b, h, t, dh) or, with keys and values packed in, (b, t, h, 3, dh). */
const headPlace = (rank: number) => (rank === 4 ? 1 : 2);

/** The axis of an input that heads may lie on; −1 if it has none. */
function placeOf(input: number, rank: number, at: Signature): number {
  if (input < 3) return headPlace(rank);
  if (at.past.includes(input)) return 1;
  if (input === at.mask) return rank - 3;
  return input === at.perHead ? rank - 1 : -1;
}

/** Ties what one attention reads and writes; gives the reason where that cannot be done. */
function problem(call: Call): string | undefined {
  const { state, node, at } = call;
  if (node.input.slice(at.inputs).some(Boolean)) return 'has inputs that are not known';
  if (node.output.slice(3).some(Boolean)) return 'shows its scores';
  for (const [input, value] of node.input.entries()) {
    const place = value ? placeOf(input, state.dims(value)!.length, at) : -1;
    if (value) state.pinOthers(value, place, `${called(node)} attends over it`);
  }
  const projections = node.input.slice(0, 3).filter(Boolean);
  const found = projections.map((value) => state.axes(value)[headPlace(state.dims(value)?.length ?? 0)]);
  if (!found.every((axis) => axis !== undefined)) return 'attends with values that no layer makes';
  const axes = unpacked(call, found);
  const [query] = axes;
  const [heads, keyHeads] = headCounts(call, axes);
  if (!query || !axes.every(({ outer }) => outer === 1)) return 'reads heads that are mixed with others';
  // all query heads may share one key-value head, which then stays
  const isShared = keyHeads === 1 && axes.length > 1;
  const tied = isShared ? [query] : axes;
  const counts = tied.map(({ label }) => (label.parts ? 1 : label.coarsen(isShared ? heads : keyHeads)));
  if (Math.min(...counts) < 2) return 'has a single group of heads';

  const pasts = at.past.filter((input) => node.input[input]).map((input) => state.axes(node.input[input])[1]);
  for (const axis of isShared ? tied : [...tied, ...pasts]) {
    if (!axis || !query.label.union(axis.label)) return 'attends with values that no layer makes';
  }
  if (isShared)
    for (const axis of axes.slice(1)) state.pin(axis, `${called(node)} shares it among all heads`);
  query.label.markHeads();
  const group = (extent: number): Axis => ({ ...query, extent });
  const names = new Map([
    [at.heads[0], heads],
    [at.heads[1], isShared ? 0 : keyHeads],
  ]);
  for (const [name, count] of names) {
    if (count === 0 || attributeInt(node, name, 0) === 0) continue;
    state.edit(group(count), { kind: 'attribute', node: node.name, name }, node.name);
  }
  const unknown = perHeadInputs(call, axes, heads);
  const [output, ...presents] = node.output;
  const dims = state.dims(output)!;
  state.mark(output, headPlace(dims.length), group(dims[headPlace(dims.length)]));
  if (!isShared) for (const present of presents) state.mark(present, 1, group(keyHeads));
  return unknown;
}

/** Keys and values may be packed behind the queries. */
function unpacked({ state, node, at }: Call, axes: readonly Axis[]): Axis[] {
  const isPacked = axes.length === 1 && state.dims(node.input[0])!.length === 3;
  if (!isPacked) return [...axes];
  const [query, key] = at.heads.map((name) => attributeInt(node, name, 1));
  const size = axes[0].extent / (query + 2 * key);
  const shares = [query * size, key * size, key * size];
  return (Number.isInteger(size) && splitAxis(axes[0], shares)) || [];
}

/** Numbers of query heads and of key-value heads; where axes of their own show them, attributes need not. */
function headCounts({ state, node, at }: Call, axes: readonly Axis[]): number[] {
  return at.heads.map((name, input) => {
    const isShown = state.dims(node.input[input] ?? '')?.length === 4;
    return attributeInt(node, name, isShown ? axes[input].extent : 1);
  });
}

/** Biases, masks and numbers per head are cut along. */
function perHeadInputs({ state, node, at }: Call, axes: readonly Axis[], heads: number): string | undefined {
  const group = (extent: number): Axis => ({ ...axes[0], extent });
  if (at.bias !== undefined && node.input[at.bias]) {
    if (!state.constant(node, at.bias) || axes.length < 3) return 'has a computed bias';
    let offset = 0;
    for (const { extent } of axes) {
      state.slice(group(extent), node, at.bias, 0, offset);
      offset += extent;
    }
  }
  for (const input of [at.mask, at.perHead ?? -1]) {
    const value = node.input[input];
    if (!value) continue;
    const dims = state.dims(value)!;
    const place = placeOf(input, dims.length, at);
    if (place < 0 || dims[place] === 1) continue;
    const own = state.axes(value)[place];
    if (state.constant(node, input)) state.slice(group(heads), node, input, place);
    else if (!own || own.outer > 1 || !group(heads).label.union(own.label)) return 'has a mask per head';
  }
  return undefined;
}

/** RotaryEmbedding turns each head by itself. */
export const rotaryEmbedding: Rule = (state, node) => {
  const [input] = node.input;
  const dims = state.dims(input)!;
  const place = headPlace(dims.length);
  const axis = state.axes(input)[place];
  state.pinOthers(input, place, `${called(node)} depends on it`);
  if (!axis) return;
  const named = attributeInt(node, 'num_heads', 0);
  const cosines = node.domain === MICROSOFT ? 2 : 1;
  const half = state.dims(node.input[cosines])?.at(-1) ?? 0;
  const heads = dims.length === 4 ? dims[1] : named || dims[2] / (2 * half);
  if (axis.outer > 1 || axis.label.parts || !Number.isInteger(heads) || axis.label.coarsen(heads) < 2) {
    state.pin(axis, `${called(node)} reads heads that are mixed with others`);
    return;
  }
  const count = { kind: 'attribute', node: node.name, name: 'num_heads' } as const;
  if (named) state.edit({ ...axis, extent: named }, count, node.name);
  state.mark(node.output[0], place, axis);
};
