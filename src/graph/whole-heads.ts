// Attentions whose heads were to become narrow and cannot: which nodes these are, and why. There heads go whole.

import type { Label } from './labels.ts';
import type { NodeProto } from './onnx_pb.ts';
import { isLayer } from './operators/features.ts';
import { called, type Propagation } from './propagation.ts';
import type { Structure } from './structure.ts';

/** Of com.microsoft and of the standard: queries, keys and values go in, what is mixed comes out. */
const FUSED: ReadonlySet<string> = new Set(['Attention', 'MultiHeadAttention', 'GroupQueryAttention']);

/** Of products that are like those of queries and keys. */
const UNSEEN = 'no values are seen to be weighed by its scores';

/** The nodes of attentions of which no features can go, with the reason. @param structures  what was found where all were to lose some */
export function wholeAttentions(
  state: Propagation,
  structures: ReadonlyMap<Label, Structure>,
): ReadonlyMap<NodeProto, string> {
  const whole = new Map<NodeProto, string>();
  const narrow = new Set<NodeProto>();
  for (const node of state.narrowed) whole.set(node, UNSEEN);
  for (const { mix, heads } of state.attentions) {
    const own = typeof heads === 'string' ? undefined : structures.get(heads.label.root());
    const reason = own ? own.reason : String(heads);
    for (const node of nodesOf(state, mix)) {
      if (reason === undefined) narrow.add(node);
      else whole.set(node, reason);
    }
  }
  // queries and keys that stay belong to values of which some go
  for (const node of narrow) whole.delete(node);
  return whole;
}

/** The nodes between the layers that make queries, keys and values and the product that mixes these. */
function nodesOf(state: Propagation, mix: NodeProto): ReadonlySet<NodeProto> {
  const found = new Set([mix]); // grows
  for (const node of found) {
    if (node.opType === 'Shape') continue;
    for (const value of node.input) {
      const producer = state.model.producer(value);
      state.patience.spend();
      if (producer && !isLayer(state, producer)) found.add(producer);
    }
  }
  return found;
}

/** Why heads go whole of which features were to go. @param whole  the nodes of attentions of which none can */
export function reasonForWhole(
  { model }: Propagation,
  whole: ReadonlyMap<NodeProto, string>,
  { kind, features, values }: Structure,
): string | undefined {
  if (kind !== 'head' || features) return undefined;
  const nodes = values.flatMap(({ value }) => model.producer(value) ?? []);
  const fused = nodes.find(({ opType }) => FUSED.has(opType));
  return fused ? `${called(fused)} is one node` : nodes.map((node) => whole.get(node)).find(Boolean);
}
