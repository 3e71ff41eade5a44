// Operators that compute with whole numbers, as a DequantizeLinear of what they read, the operator of floats that they stand for, and a
// QuantizeLinear of what they give. Where what they read is quantised as it comes, it is read as it was.
// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

import { typeCode } from './dtype.ts';
import { removeUnread } from './fold.ts';
import type { Model } from './model.ts';
import { attributeFloat, attributeInt, attributeOf, copyMessage, isStandard, MICROSOFT } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { nodeOf } from './stored.ts';
import { elements, fromFloat32, toFloat64, toIntegers } from './tensor.ts';

/** Places of inputs of an operator of whole numbers. */
interface Form {
  readonly opType: string;
  /** What it computes with: numbers, their scale, and what they are above; left out, these two come behind the numbers. */
  readonly operands: readonly (readonly [numbers: number, scale?: number, zero?: number])[];
  /** Inputs that are read as they are, before these and behind them. */
  readonly before?: readonly number[];
  readonly others?: readonly number[];
  /** A bias of whole numbers, in steps of both scales. */
  readonly steps?: number;
  /** A bias that is added in floats. */
  readonly bias?: number;
  /** The scale of what it gives, which is floats without one. */
  readonly result?: number;
  /** Which axis of a second operand counts outputs. */
  axis?(node: NodeProto): number;
}

const TWO = { operands: [[0], [3]], result: 6 } as const;
const ONE = { operands: [[0]], result: 3 } as const;

const FORMS: Readonly<Record<string, Form>> = {
  QLinearConv: { opType: 'Conv', ...TWO, steps: 8, axis: () => 0 },
  QLinearMatMul: { opType: 'MatMul', ...TWO, axis: () => 1 },
};

const OWN_FORMS: Readonly<Record<string, Form>> = {
  QLinearAdd: { opType: 'Add', ...TWO },
  QLinearMul: { opType: 'Mul', ...TWO },
  QLinearWhere: { opType: 'Where', before: [0], operands: [[1], [4]], result: 7 },
  QLinearSigmoid: { opType: 'Sigmoid', ...ONE },
  QLinearLeakyRelu: { opType: 'LeakyRelu', ...ONE },
  QLinearSoftmax: { opType: 'Softmax', ...ONE },
  QLinearAveragePool: { opType: 'AveragePool', ...ONE },
  QLinearGlobalAveragePool: { opType: 'GlobalAveragePool', ...ONE },
  QGemm: {
    opType: 'Gemm',
    operands: [[0], [3]],
    steps: 6,
    result: 7,
    axis: (node) => (attributeInt(node, 'transB', 0) ? 0 : 1),
  },
  MatMulIntegerToFloat: {
    opType: 'MatMul',
    operands: [
      [0, 2, 4],
      [1, 3, 5],
    ],
    bias: 6,
    axis: () => 1,
  },
  DynamicQuantizeMatMul: {
    opType: 'MatMul',
    operands: [
      [0, -1],
      [1, 2, 3],
    ],
    bias: 4,
    axis: () => 1,
  },
  QAttention: {
    opType: 'Attention',
    operands: [
      [0, 3, 6],
      [1, 4, 7],
    ],
    others: [2, 5, 8],
    axis: () => 1,
  },
};

/** A copy with operators of floats, or the model itself where it has none of others that stand for them. */
export function floatOperators(model: Model): Model {
  const copy = model.clone();
  const unread: string[] = [];
  const nodes = copy.nodes.flatMap((node) => apart(copy, node, unread) ?? [node]);
  const made = integerProducts(copy, unread);
  if (unread.length === 0) return model;
  copy.graph.node = nodes.flatMap((node) => [...(made.get(node) ?? []), node]);
  copy.edited();
  removeUnread(copy, unread);
  copy.removeUnused(unread);
  return copy;
}

function formOf(node: NodeProto): Form | undefined {
  const forms = isStandard(node) ? FORMS : node.domain === MICROSOFT ? OWN_FORMS : {};
  return Object.hasOwn(forms, node.opType) ? forms[node.opType] : undefined;
}

/** @param unread  told of what it read */
function apart(model: Model, node: NodeProto, unread: string[]): NodeProto[] | undefined {
  if (node.opType === 'DynamicQuantizeLSTM' && node.domain === MICROSOFT)
    return recurrent(model, node, unread);
  const form = node.opType === 'QLinearConcat' ? concatOf(node) : formOf(node);
  if (!form || attributeInt(node, 'channels_last', 0) !== 0) return undefined;
  const { opType, before = [], others = [], result = -1, axis } = form;
  const read = (place = -1) => node.input[place] ?? '';
  const made: NodeProto[] = [];
  const operands = form.operands.map(([at, scale = at + 1, zero = at + 2], i) => {
    const numbers = [at, scale, zero].map(read);
    return operand(model, numbers, i === 1 ? axis?.(node) : undefined, `${node.name}.operand${i}`, made);
  });
  if (operands.includes(undefined)) return undefined;
  const steps = read(form.steps) && biasOf(model, node, form);
  if (steps === undefined) return undefined;
  const [output] = node.output;
  const [isRounded, bias] = [read(result) !== '', read(form.bias)];
  const floats = isRounded || bias ? model.fresh(`${node.name}.floats`) : output;
  const plain = copyMessage(node);
  Object.assign(plain, {
    opType,
    domain: opType === 'Attention' ? MICROSOFT : '',
    input: [...before.map(read), ...operands, ...(steps ? [steps] : []), ...others.map(read)],
    output: [floats],
    attribute: node.attribute.filter(({ name }) => !/^(channels_last|opset)$/.test(name)),
  });
  unread.push(...node.input);
  made.push(plain);
  if (bias) made.push(nodeOf(model, 'Add', [floats, bias], output));
  if (isRounded)
    made.push(nodeOf(model, 'QuantizeLinear', [floats, ...node.input.slice(result, result + 2)], output));
  return made;
}

function concatOf({ input }: NodeProto): Form {
  const operands = input.flatMap((_, place) => (place >= 2 && place % 3 === 2 ? [[place] as const] : []));
  return { opType: 'Concat', operands, result: 0 };
}

/** Weights of an LSTM for its inputs and for its units: numbers, their scale, and what they are above. */
const RECURRENT = [
  [1, 8, 9],
  [2, 10, 11],
] as const;
/** Inputs that an LSTM has behind its weights. */
const BEHIND = 8;

/** An LSTM whose weights, directions × inputs × gates, have a scale for each direction or for each of its gates. */
function recurrent(model: Model, node: NodeProto, unread: string[]): NodeProto[] | undefined {
  const plain = copyMessage(node);
  Object.assign(plain, { opType: 'LSTM', domain: '', input: node.input.slice(0, BEHIND) });
  const made: NodeProto[] = [];
  for (const [at, ...steps] of RECURRENT) {
    const base = `${node.name}.weight${at}`;
    const known = steps.map((place) => model.tensors.get(node.input[place] ?? ''));
    if (known.includes(undefined)) return undefined;
    const isPerGate = known[0]!.dims.length > 1;
    // Of all inputs: a block along their axis.
    const [scale, zero] = known.map((tensor, i) => {
      const [directions, gates] = tensor!.dims;
      if (!isPerGate) return tensor!.name;
      const name = model.fresh(`${base}.steps${i}`);
      model.tensors.set(name, { ...tensor!, name, dims: [directions, 1, gates] });
      return name;
    });
    const weight = operand(model, [node.input[at], scale, zero], isPerGate ? 1 : 0, base, made);
    if (!weight) return undefined;
    const turned = nodeOf(model, 'Transpose', [weight], model.fresh(`${base}.turned`));
    turned.attribute.push(attributeOf('perm', [0, 2, 1]));
    made.push(turned);
    plain.input[at] = turned.output[0];
  }
  unread.push(...node.input);
  return [...made, plain];
}

/**
 * What numbers stand for; undefined where their scale is computed, or each output of a computed operand has its own.
 *
 * @param axis  of the outputs that have scales
 * @param name  for what stands there, of no other node
 * @param made  nodes that it takes are put here
 */
function operand(
  model: Model,
  [numbers, scale, zero]: readonly string[],
  axis: number | undefined,
  name: string,
  made: NodeProto[],
): string | undefined {
  if (!scale) return numbers;
  const source = model.producer(numbers);
  if (source?.opType === 'DynamicQuantizeLinear' && source.output[1] === scale) return source.input[0];
  const known = model.tensors.get(scale);
  const isOne = known && elements(known.dims) === 1;
  if (!known || (!isOne && (axis === undefined || !model.tensors.has(numbers)))) return undefined;
  const floats = model.fresh(name);
  const node = nodeOf(model, 'DequantizeLinear', [numbers, scale, ...(zero ? [zero] : [])], floats);
  if (!isOne) node.attribute.push(attributeOf('axis', axis!));
  made.push(node);
  return floats;
}

/** A bias in floats: its steps are as large as a step of both operands. */
function biasOf(model: Model, node: NodeProto, { operands, steps = -1 }: Form): string | undefined {
  const bias = model.tensors.get(node.input[steps]);
  const [x, w] = operands.map(([at]) => model.tensors.get(node.input[at + 1] ?? ''));
  if (bias?.type !== 'int32' || !x || !w || elements(x.dims) !== 1) return undefined;
  const [[own], scales] = [toFloat64(x), toFloat64(w)];
  const factor = own * attributeFloat(node, 'alpha', 1);
  const values = Float64Array.from(toIntegers(bias), (step, i) => step * factor * scales[i % scales.length]);
  const name = model.fresh(`${node.name}.bias`);
  model.tensors.set(name, fromFloat32(values, bias.dims, { name, type: w.type }));
  return name;
}

/** What makes floats of a product of whole numbers: a Cast, and Muls by the scales of both. */
interface Scaled {
  /** The last of the Muls. */
  readonly node: NodeProto;
  /** Of the weights. */
  readonly scale: string;
  /** What it is added beforehand, in floats. */
  readonly bias?: string;
}

/**
 * Makes MatMulInteger and ConvInteger products of floats, in the place of the Mul that makes floats of what they give.
 * @returns what comes before these
 */
function integerProducts(model: Model, unread: string[]): Map<NodeProto, NodeProto[]> {
  const before = new Map<NodeProto, NodeProto[]>();
  for (const node of model.nodes) {
    const isProduct = /^(MatMul|Conv)Integer$/.test(node.opType) && isStandard(node);
    const [numbers, weight, zero = '', weightZero = ''] = node.input;
    const source = model.producer(numbers);
    const dynamic =
      source?.opType === 'DynamicQuantizeLinear' && source.output[2] === zero ? source : undefined;
    const scaled = isProduct && dynamic && scaledBy(model, node, dynamic.output[1]);
    if (!scaled) continue;
    const { scale, bias } = scaled;
    const made: NodeProto[] = [];
    const axis = node.opType === 'ConvInteger' ? 0 : 1;
    const { name } = node;
    const floats = operand(model, [weight, scale, weightZero], axis, `${name}.weight`, made);
    if (!floats) continue;
    unread.push(...node.input, ...scaled.node.input);
    node.name = scaled.node.name;
    Object.assign(scaled.node, {
      opType: node.opType.replace('Integer', ''),
      name,
      input: [dynamic!.input[0], floats, ...(bias ? [bias] : [])],
      attribute: node.attribute,
    });
    before.set(scaled.node, made);
  }
  return before;
}

/** Undefined where anything else is done to a product before it is floats. */
function scaledBy(model: Model, product: NodeProto, own: string): Scaled | undefined {
  const [value] = product.output;
  const first = onlyReader(model, value);
  const added =
    first?.opType === 'Add' && product.opType === 'ConvInteger'
      ? wholeBias(model, first, value, own)
      : undefined;
  let node = added ? onlyReader(model, first!.output[0]) : first;
  if (node?.opType !== 'Cast' || attributeInt(node, 'to', 0) !== typeCode('float32')) return undefined;
  const left = new Set([own]);
  const scales: string[] = [];
  while (left.size > 0 || scales.length === 0) {
    const [value]: string[] = node.output;
    node = onlyReader(model, value);
    if (node?.opType !== 'Mul' || !isStandard(node)) return undefined;
    const other = node.input[node.input[0] === value ? 1 : 0];
    const both = model.producer(other);
    const factors = other !== own && both?.opType === 'Mul' ? both.input : [other];
    for (const factor of factors) {
      if (model.tensors.has(factor)) scales.push(factor);
      else if (!left.delete(factor)) return undefined;
    }
  }
  const [scale, ...more] = scales;
  const isOne = more.length === 0 && (!added || added.scale === scale);
  return isOne ? { node, scale, bias: added?.bias } : undefined;
}

/**
 * A bias of floats that a convolution is added in steps of both scales, as older releases of onnxruntime's dynamic quantisation wrote it:
 * divided by these, rounded down, and brought into shape.
 */
function wholeBias(model: Model, { input }: NodeProto, product: string, own: string) {
  let from = model.producer(input[input[0] === product ? 1 : 0]);
  for (const opType of ['Reshape', 'Cast', 'Floor']) {
    if (from?.opType !== opType) return undefined;
    from = model.producer(from.input[0]);
  }
  const steps = from?.opType === 'Div' ? model.producer(from.input[1]) : undefined;
  const bias = from?.input[0] ?? '';
  if (steps?.opType !== 'Mul' || model.tensors.get(bias)?.dims.length !== 1) return undefined;
  const at = steps.input.indexOf(own);
  return at < 0 ? undefined : { bias, scale: steps.input[1 - at] };
}

function onlyReader(model: Model, value: string): NodeProto | undefined {
  const [use, ...more] = model.uses(value);
  return use && use.index >= 0 && more.length === 0 && !model.isOutput(value) ? use.node : undefined;
}
