// Convolutions in few groups of several channels become one for each group, between a Split and a Concat: each of them loses channels
// of its own, where the groups of one node would all have to keep as many.

import { create } from '@bufbuild/protobuf';
import { isFloat } from './dtype.ts';
import type { Model } from './model.ts';
import { attributeInt, attributeOf, copyMessage, isStandard, removeAttribute } from './node.ts';
import { type NodeProto, NodeProtoSchema } from './onnx_pb.ts';
import { nodeOf } from './stored.ts';
import { gather } from './tensor.ts';

/**
 * Of more groups whole ones go, as of the 32 of a ResNeXt: engines take such a convolution at once, and that many nodes one after the
 * other. ShuffleNet V1 has 8 at most.
 */
const MOST_GROUPS = 8;

/** The model, or a copy in which such convolutions are convolutions side by side. */
export function separateGroups(model: Model): Model {
  if (!model.nodes.some((node) => isInGroups(model, node))) return model;
  const copy = model.clone();
  const parts = new Map<string, string[]>();
  copy.graph.node = copy.nodes.flatMap((node) =>
    isInGroups(copy, node) ? apart(copy, node, parts) : [node],
  );
  copy.edited();
  copy.removeUnused(model.tensors.keys());
  return copy;
}

function isInGroups(model: Model, node: NodeProto): boolean {
  const [weight, bias] = node.input.slice(1).map((value) => model.tensors.get(value));
  const groups = attributeInt(node, 'group', 1);
  return (
    node.opType === 'Conv' &&
    isStandard(node) &&
    groups > 1 &&
    groups <= MOST_GROUPS &&
    weight !== undefined &&
    isFloat(weight.type) &&
    weight.dims[1] > 1 &&
    weight.dims[0] % groups === 0 &&
    (!node.input[2] || bias?.dims[0] === weight.dims[0])
  );
}

/** @param parts  what weights and biases were divided into, by their names: nodes that shared them go on sharing */
function apart(model: Model, node: NodeProto, parts: Map<string, string[]>): NodeProto[] {
  const [x, ...weights] = node.input.filter((value) => value !== '');
  const groups = attributeInt(node, 'group', 1);
  const perGroup = model.tensors.get(weights[0])!.dims[1];
  const named = (what: string) =>
    Array.from({ length: groups }, (_, i) => model.fresh(`${node.name}.${what}${i}`));
  const [read, made] = [named('input'), named('output')];
  const divided = weights.map((name) => {
    const key = `${groups} ${name}`;
    const own = parts.get(key) ?? dividedInto(model, name, groups);
    parts.set(key, own);
    return own;
  });
  const split = splitEvenly(model, x, read, { axis: 1, size: perGroup });
  const layers = read.map((input, i) => {
    const layer = copyMessage(node);
    Object.assign(layer, { name: model.fresh(`${node.name}.${i}`), output: [made[i]] });
    layer.input = [input, ...divided.map((own) => own[i])];
    removeAttribute(layer, 'group');
    return layer;
  });
  return [split, ...layers, nodeOf(model, 'Concat', made, node.output[0], [attributeOf('axis', 1)])];
}

/** A Split of an axis into values of one size. */
export function splitEvenly(
  model: Model,
  value: string,
  parts: string[],
  { axis, size }: { readonly axis: number; readonly size: number },
): NodeProto {
  const sizes = parts.map(() => size);
  const [input, attribute] = [[value], [attributeOf('axis', axis)]];
  if (model.opset < 13) attribute.push(attributeOf('split', sizes));
  else input.push(model.integers(`${value}.sizes`, sizes));
  const name = model.fresh(`${parts[0]}.Split`);
  return create(NodeProtoSchema, { name, opType: 'Split', input, output: parts, attribute });
}

/** So many pieces of the first axis. */
function dividedInto(model: Model, name: string, groups: number): string[] {
  const tensor = model.tensors.get(name)!;
  const size = tensor.dims[0] / groups;
  return Array.from({ length: groups }, (_, i) => {
    const places = Array.from({ length: size }, (_, at) => i * size + at);
    const own = model.fresh(`${name}.${i}`);
    model.tensors.set(own, { ...gather(tensor, 0, places), name: own });
    return own;
  });
}
