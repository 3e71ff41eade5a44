// Nodes that onnxruntime's optimiser has made of several, and products that Einsum writes as one, taken apart again: layers are fitted to what they give before an
// activation, and what is written runs elsewhere too. Engines fuse it again when they load it.
// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

import { create } from '@bufbuild/protobuf';
import { isFloat } from './dtype.ts';
import { expertLetters, written } from './einsum.ts';
import type { Model } from './model.ts';
import {
  attribute,
  attributeFloat,
  attributeInt,
  attributeOf,
  attributeString,
  copyMessage,
  MICROSOFT,
} from './node.ts';
import { type NodeProto, NodeProtoSchema } from './onnx_pb.ts';
import { fromFloat32, permute, toFloat64 } from './tensor.ts';

/** What FusedConv and FusedGemm do to their sum, with the attributes of these operators. */
const ACTIVATIONS: Readonly<Record<string, readonly string[]>> = {
  Relu: [],
  Sigmoid: [],
  Tanh: [],
  Softplus: [],
  Softsign: [],
  LeakyRelu: ['alpha'],
  Elu: ['alpha'],
  ThresholdedRelu: ['alpha'],
  HardSigmoid: ['alpha', 'beta'],
};

/**
 * A copy of the model in which FusedConv, FusedGemm, and a FusedMatMul or Einsum of constant weights are the operators of the standard
 * that they stand for, under their names.
 */
export function unfuse(model: Model): Model {
  const plain = model.clone();
  const weights = new Map<string, string>();
  const letters = expertLetters(plain);
  plain.graph.node = plain.nodes.flatMap((node) => {
    if (node.opType === 'Einsum') return written(plain, node, weights, letters.get(node));
    if (node.domain !== MICROSOFT) return [node];
    if (node.opType === 'FusedConv') return apart(plain, node, 'Conv');
    if (node.opType === 'FusedGemm') return apart(plain, node, 'Gemm');
    return [node.opType === 'FusedMatMul' ? product(plain, node, weights) : node];
  });
  plain.edited();
  plain.removeUnused(
    model.nodes.flatMap(({ opType, input }) => (/^(FusedMatMul|Einsum)$/.test(opType) ? input : [])),
  );
  return plain;
}

/** A layer, the Add of its fourth input, and its activation. */
function apart(model: Model, node: NodeProto, opType: 'Conv' | 'Gemm'): NodeProto[] {
  const activation = attributeString(node, 'activation', '');
  const last = activation === '' ? [] : activationOf(model, node, activation);
  if (!last) return [node];
  const layer = copyMessage(node);
  const [x, W, bias, shortcut] = node.input;
  Object.assign(layer, { opType, domain: '', input: bias ? [x, W, bias] : [x, W] });
  layer.attribute = node.attribute.filter(({ name }) => !name.startsWith('activation'));
  const more = [...(shortcut ? [added(model, node, shortcut)] : []), ...last];
  // The last of them gives what the node gave.
  let [value] = node.output;
  for (const next of more.toReversed()) {
    next.output = [value];
    value = model.fresh(`${next.name}.input`);
    next.input[0] = value;
  }
  layer.output = [value];
  return [layer, ...more];
}

function added(model: Model, { name }: NodeProto, shortcut: string): NodeProto {
  return create(NodeProtoSchema, { name: model.fresh(`${name}.sum`), opType: 'Add', input: ['', shortcut] });
}

/** Undefined where it is not known. A FusedConv has numbers in `activation_params`, a FusedGemm each under its name. */
function activationOf(model: Model, node: NodeProto, opType: string): NodeProto[] | undefined {
  const listed = attribute(node, 'activation_params')?.floats;
  const name = model.fresh(`${node.name}.${opType}`);
  if (opType === 'Clip' && listed?.length === 2 && model.opset >= 11) {
    const type = model.tensors.get(node.input[1])?.type ?? 'float32';
    const bounds = listed.map((bound, i) => {
      const tensor = fromFloat32(Float32Array.of(bound), [], { name: `${name}.${i ? 'max' : 'min'}`, type });
      model.tensors.set(tensor.name, tensor);
      return tensor.name;
    });
    return [create(NodeProtoSchema, { name, opType, input: ['', ...bounds] })];
  }
  const own = Object.hasOwn(ACTIVATIONS, opType) ? ACTIVATIONS[opType] : undefined;
  const given = own?.flatMap((key, i) => {
    const float = listed?.[i] ?? attribute(node, `activation_${key}`)?.f;
    return float === undefined ? [] : [attributeOf(key, { float })];
  });
  return given && [create(NodeProtoSchema, { name, opType, input: [''], attribute: given })];
}

/**
 * α·X·W or α·X·Wᵀ as a MatMul of such weights; where X is turned too, a FusedMatMul that does nothing else is left (turn.ts).
 * @param weights  names of those that were made, by what they were made of
 */
function product(model: Model, node: NodeProto, weights: Map<string, string>): NodeProto {
  const [x, name] = node.input;
  const tensor = model.tensors.get(name);
  const isOther = ['transBatchA', 'transBatchB'].some((key) => attributeInt(node, key, 0) !== 0);
  if (!tensor || !isFloat(tensor.type) || tensor.dims.length !== 2 || isOther) return node;
  const [alpha, isTurned] = [attributeFloat(node, 'alpha', 1), attributeInt(node, 'transB', 0) !== 0];
  const key = JSON.stringify([name, alpha, isTurned]);
  let weight = weights.get(key);
  if (weight === undefined) {
    weight = model.fresh(`${name}.plain`);
    const turned = isTurned ? permute(tensor, [1, 0]) : tensor;
    const scaled = toFloat64(turned).map((value) => alpha * value);
    const like = { name: weight, type: tensor.type };
    model.tensors.set(
      weight,
      alpha === 1 ? { ...turned, name: weight } : fromFloat32(scaled, turned.dims, like),
    );
    weights.set(key, weight);
  }
  const plain = copyMessage(node);
  Object.assign(plain, { input: [x, weight], attribute: [] });
  if (attributeInt(node, 'transA', 0) !== 0) plain.attribute.push(attributeOf('transA', 1));
  else Object.assign(plain, { opType: 'MatMul', domain: '' });
  return plain;
}
