// Nodes that onnxruntime's optimiser has made of several, and products that Einsum writes as one, taken apart again: layers are fitted to what they give before an
// activation, and what is written runs elsewhere too. Engines fuse it again when they load it.
// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

import { create } from '@bufbuild/protobuf';
import { isFloat } from './dtype.ts';
import type { Model } from './model.ts';
import {
  attribute,
  attributeFloat,
  attributeInt,
  attributeOf,
  attributeString,
  copyMessage,
  isStandard,
  MICROSOFT,
} from './node.ts';
import { type NodeProto, NodeProtoSchema } from './onnx_pb.ts';
import { termsOf } from './operators/product.ts';
import { elements, fromFloat32, fromIntegers, permute, toFloat64 } from './tensor.ts';

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
  plain.graph.node = plain.nodes.flatMap((node) => {
    if (node.opType === 'Einsum' && isStandard(node)) return written(plain, node, weights);
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

/** The axes of an ellipsis. */
const REST = '_';

/**
 * X·W that an Einsum is, by the letters of its axes: of X, `summed` go and `rows` stay, and those `added` are W's. Undefined where it is
 * none, or cannot be written as one.
 */
function termsOfProduct(model: Model, node: NodeProto) {
  const { operands: [left, right] = [], result } = termsOf(node, REST) ?? {};
  const place = node.input.findIndex((name) => model.tensors.has(name));
  const tensor = model.tensors.get(node.input[place] ?? '');
  if (!tensor || !isFloat(tensor.type) || node.input.length !== 2 || !left || !right || !result)
    return undefined;
  const [x, W] = place === 0 ? [right, left] : [left, right];
  const summed = [...x].filter((letter) => !result.includes(letter));
  const rows = [...x].filter((letter) => result.includes(letter));
  const added = [...W].filter((letter) => !x.includes(letter));
  // No axis of W is one of a batch, none of either is summed over alone, and W is no table that is read otherwise too.
  const isProduct =
    summed.length > 0 &&
    rows.length > 0 &&
    [...summed, ...added].sort().join('') === [...W].sort().join('') &&
    [...rows, ...added].sort().join('') === [...result].sort().join('') &&
    model.uses(tensor.name).every((use) => use.node.opType === 'Einsum');
  if (!isProduct || W.length !== tensor.dims.length) return undefined;
  // How many axes an ellipsis stands for is not known: they stay where they are.
  const isInPlace = x.endsWith(summed.join('')) && result.endsWith(added.join('')) && !W.includes(REST);
  const isOne = summed.length === 1 && added.length === 1;
  if (rows.includes(REST) && !(isInPlace && isOne)) return undefined;
  return { tensor, place, x, W, result, summed, rows, added };
}

/**
 * X·W of an Einsum as a MatMul: axes of X that are summed over become one behind the others, and those that W adds come behind them.
 *
 * @param weights  as of `product`
 */
function written(model: Model, node: NodeProto, weights: Map<string, string>): NodeProto[] {
  const terms = termsOfProduct(model, node);
  if (!terms) return [node];
  const { tensor, place, x, W, result, summed, rows, added } = terms;
  const order = [...summed, ...added].map((letter) => W.indexOf(letter));
  const dims = order.map((axis) => tensor.dims[axis]);
  const [p, m] = [dims.slice(0, summed.length), dims.slice(summed.length)].map(elements);
  const key = JSON.stringify([tensor.name, order, p]);
  const weight = weights.get(key) ?? model.fresh(`${tensor.name}.plain`);
  weights.set(key, weight);
  model.tensors.set(weight, { ...permute(tensor, order), name: weight, dims: [p, m] });

  const steps: NodeProto[] = [];
  let [value] = node.input.filter((_, input) => input !== place);
  const step = (opType: string, more: readonly string[], attribute: NodeProto['attribute'] = []) => {
    const name = opType === 'MatMul' ? node.name : model.fresh(`${node.name}.${opType}${steps.length}`);
    const output = model.fresh(`${name}.output`);
    steps.push(
      create(NodeProtoSchema, { name, opType, input: [value, ...more], output: [output], attribute }),
    );
    value = output;
  };
  const turn = (from: readonly string[], to: readonly string[]) => {
    if (from.join('') !== to.join(''))
      step(
        'Transpose',
        [],
        [
          attributeOf(
            'perm',
            to.map((letter) => from.indexOf(letter)),
          ),
        ],
      );
  };
  const reshape = (last: readonly number[]) => {
    const shape = [...rows.map(() => 0), ...last];
    const name = model.fresh(`${node.name}.shape`);
    model.tensors.set(name, fromIntegers(name, shape, [shape.length]));
    step('Reshape', [name]);
  };
  turn([...x], [...rows, ...summed]);
  if (summed.length > 1) reshape([p]);
  step('MatMul', [weight]);
  if (added.length !== 1) reshape(dims.slice(summed.length));
  turn([...rows, ...added], [...result]);
  steps[steps.length - 1].output = [...node.output];
  return steps;
}
