// Shapes that exporters and optimisers compute once for several Reshapes are computed for each of them: one names channels that go where
// another one names others.

import type { Model } from './model.ts';
import { copyMessage, isStandard } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { SHAPED } from './sizes.ts';

/** What computes a shape from the extents of values has no more nodes, and none of these more inputs. */
const FAR = 16;

/**
 * A copy of the model in which of some nodes each gives its numbers to one shape.
 *
 * @param shared  their names, as `Analysis.shared` has them
 */
export function separateShapes(model: Model, shared: readonly string[]): Model {
  const copy = model.clone();
  const [from, taken] = [new Set(shared), new Set<string>()];
  copy.graph.node = copy.nodes.flatMap((reader) => {
    const input = (isStandard(reader) && SHAPED.get(reader.opType)) || 0;
    const nodes = input > 0 ? leadingFrom(copy, from, reader.input[input] ?? '') : [];
    const own = nodes.flatMap(({ name }) => (from.has(name) ? [name] : []));
    if (own.some((name) => taken.has(name))) return [...copied(copy, nodes, reader, input), reader];
    for (const name of own) taken.add(name);
    return [reader];
  });
  copy.edited();
  return copy;
}

/** The nodes on the ways from some nodes to a shape, in their order; none where these are too long. */
function leadingFrom(model: Model, from: ReadonlySet<string>, shape: string): NodeProto[] {
  const behind = new Set<NodeProto>();
  const open = [shape]; // grows
  for (const value of open) {
    const node = model.producer(value);
    if (!node || behind.has(node) || node.opType === 'Shape') continue;
    if (behind.size === FAR || node.input.length > FAR) return [];
    behind.add(node);
    open.push(...node.input);
  }
  const found = new Set<string>();
  const inOrder = [...behind].sort((a, b) => model.position(a) - model.position(b));
  return inOrder.filter((node) => {
    const leads = from.has(node.name) || node.input.some((value) => found.has(value));
    if (leads) for (const value of node.output) found.add(value);
    return leads;
  });
}

/** Copies of nodes by names of their own, the last of which make the shape that a node reads from then on. */
function copied(model: Model, nodes: readonly NodeProto[], reader: NodeProto, input: number): NodeProto[] {
  const names = new Map<string, string>();
  const nameOf = (value: string) => names.get(value) ?? value;
  const copies = nodes.map((node, i) => {
    const copy = copyMessage(node);
    const own = (value: string) => model.fresh(`${reader.name}.shape${i}.${value}`);
    copy.name = own(node.name);
    copy.input = node.input.map(nameOf);
    for (const value of node.output) if (value !== '') names.set(value, own(value));
    copy.output = node.output.map(nameOf);
    copy.attribute = [...node.attribute];
    return copy;
  });
  reader.input[input] = nameOf(reader.input[input]);
  return copies;
}
