// The network of floats that a quantised one stands for: weights of floats in the place of whole numbers and their scales, and between
// layers what was made whole numbers and floats again. What that cut off, as activations that were left to it, is cut off still.
// https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html

import { bitsOf, type DataType, isFloat, typeFromCode } from './dtype.ts';
import { floatOperators } from './integers.ts';
import type { Model } from './model.ts';
import { attributeInt, attributeOf, attributeString, isStandard, MICROSOFT } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { along, channelIn } from './steps.ts';
import { elements, fromFloat32, toFloat32, wholeNumbers } from './tensor.ts';

/** Operators that give what their first input has, whole numbers or floats. */
const MOVES =
  /^(Reshape|Transpose|Squeeze|Unsqueeze|Flatten|Slice|Split|Gather|Expand|Tile|Identity|MaxPool|Resize|DepthToSpace|SpaceToDepth)$/;

/** Operators that give nothing below 0, and those that do not where their first input has nothing below. */
const POSITIVE = /^(Relu|Sigmoid|HardSigmoid|Softmax|Abs|Exp)$/;
const KEEPS_SIGN = /^(Dropout|AveragePool|GlobalAveragePool|GlobalMaxPool)$/;

/** The model without what rounds its values and has made whole numbers of its weights, as far as that can be seen through. */
export function withoutRounding(source: Model): Model {
  const plain = floatOperators(source);
  return plain.nodes.some(isDequantize) ? new Unrounding(plain.clone()).done() : plain;
}

const isRounding = (node: NodeProto, opType: string) =>
  node.opType === opType && (isStandard(node) || node.domain === MICROSOFT);
const isDequantize = (node: NodeProto) => isRounding(node, 'DequantizeLinear');

/** Whether a value has to keep its name. */
const isNamed = (model: Model, value: string) =>
  model.isOutput(value) || model.uses(value).some(({ index }) => index < 0);

/** What whole numbers count, with the same text for the same. */
function stepsOf(model: Model, node: NodeProto) {
  const [, ...names] = node.input;
  const [scale, zero] = names.map((name) => model.tensors.get(name));
  if (!scale || !isFloat(scale.type) || (names[1] && !zero)) return undefined;
  const [scales, zeros] = [toFloat32(scale), zero && wholeNumbers(zero)];
  if (zero && !zeros) return undefined;
  const isOne = scales.length === 1;
  const type = zero?.type ?? typeFromCode(attributeInt(node, 'output_dtype', 0)) ?? 'uint8';
  const own = isOne
    ? [scales[0], zeros?.[0] ?? 0]
    : [names, attributeInt(node, 'axis', 1), attributeInt(node, 'block_size', 0)];
  return { scale, scales, zeros, isOne, type, key: JSON.stringify([scale.type, own]) };
}

/** Which of the scales the i-th number has: there is one, one for each place of an axis, or one for each block along it. */
function scaleAt(
  dims: readonly number[],
  scales: readonly number[],
  node: NodeProto,
): ((i: number) => number) | undefined {
  if (elements(scales) === 1) return () => 0;
  const given = attributeInt(node, 'axis', 1);
  const axis = given < 0 ? given + dims.length : given;
  if (!(axis < dims.length)) return undefined;
  if (scales.length === 1) return scales[0] === dims[axis] ? channelIn(dims, along(dims, axis)) : undefined;
  const [extent, blocks] = [dims[axis], scales[axis]];
  const block = attributeInt(node, 'block_size', 0) || Math.ceil(extent / blocks);
  const isFit = scales.length === dims.length && scales.every((it, i) => it === dims[i] || i === axis);
  if (!isFit || Math.ceil(extent / block) !== blocks) return undefined;
  const inner = elements(dims.slice(axis + 1));
  return (i) => {
    const row = Math.floor(i / inner);
    return (Math.floor(row / extent) * blocks + Math.floor((row % extent) / block)) * inner + (i % inner);
  };
}

/** The least and the largest of whole numbers. */
function rangeOf(type: DataType): [least: number, most: number] {
  const bits = bitsOf(type);
  return type.startsWith('u') ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
}

/** What reads whole numbers: those that only move them, and those that make floats of them, all with the same steps. */
interface Readers {
  readonly moves: ReadonlySet<NodeProto>;
  readonly ends: readonly NodeProto[];
}

class Unrounding {
  readonly #model: Model;
  readonly #gone = new Set<NodeProto>();
  /** Constants that were read by what is gone. */
  readonly #unread: string[] = [];
  /** Names of floats, by what they were made of. */
  readonly #weights = new Map<string, string>();
  /** Names of values within bounds, by these. */
  readonly #bounded = new Map<string, string>();

  constructor(model: Model) {
    this.#model = model;
  }

  done(): Model {
    const model = this.#model;
    for (const node of model.nodes) {
      const [value] = node.output;
      if (!isDequantize(node) || isNamed(model, value)) continue;
      const weight = this.#floats(node.input[0], node);
      if (weight === undefined) continue;
      model.redirect(value, weight);
      this.#remove(node);
    }
    for (const name of [...model.tensors.keys()]) {
      const readers = this.#readers(name);
      const weight = readers && this.#floats(name, readers.ends[0]);
      if (weight !== undefined) this.#pass(name, weight, readers!);
    }
    for (const node of model.nodes) if (isRounding(node, 'QuantizeLinear')) this.#unround(node);
    model.remove(this.#gone);
    model.removeUnused(this.#unread);
    return model;
  }

  #remove(node: NodeProto): void {
    this.#gone.add(node);
    this.#unread.push(...node.input);
  }

  /** The name of the floats that a DequantizeLinear would make of a constant; undefined where it is none. */
  #floats(name: string, node: NodeProto): string | undefined {
    const tensor = this.#model.tensors.get(name);
    const numbers = tensor && wholeNumbers(tensor);
    const steps = numbers && stepsOf(this.#model, node);
    if (!steps) return undefined;
    const key = JSON.stringify([name, steps.key]);
    const known = this.#weights.get(key);
    if (known !== undefined) return known;
    const { scale, scales, zeros } = steps;
    const to = typeFromCode(attributeInt(node, 'output_dtype', 0)) ?? scale.type;
    const at = scaleAt(tensor.dims, scale.dims, node);
    if (!at || (zeros && zeros.length !== scales.length) || !isFloat(to)) return undefined;
    const values = new Float32Array(numbers.length);
    for (let i = 0; i < values.length; i++) values[i] = (numbers[i] - (zeros?.[at(i)] ?? 0)) * scales[at(i)];
    const own = this.#model.fresh(`${name}.floats`);
    this.#model.tensors.set(own, fromFloat32(values, tensor.dims, { name: own, type: to }));
    this.#weights.set(key, own);
    return own;
  }

  /** Undefined where whole numbers are read otherwise, or with several steps. @param key  of these, where they are known */
  #readers(value: string, key?: string): Readers | undefined {
    const model = this.#model;
    const moves = new Set<NodeProto>();
    const ends: NodeProto[] = [];
    const values = [value];
    for (const value of values) {
      if (isNamed(model, value)) return undefined;
      for (const { node, index } of model.uses(value)) {
        if (this.#gone.has(node) || (node.opType === 'Shape' && isStandard(node))) continue;
        if (index !== 0) return undefined;
        if (isDequantize(node)) ends.push(node);
        else if (!isMove(node) && !isPad(model, node)) return undefined;
        else if (!moves.has(node)) {
          moves.add(node);
          values.push(...node.output);
        }
      }
    }
    const all = ends.map((node) => stepsOf(model, node));
    const own = key ?? all[0]?.key;
    const isAlike = all.every((it) => it?.key === own && (it?.isOne || moves.size === 0));
    return ends.length > 0 && isAlike ? { moves, ends } : undefined;
  }

  /** Has floats go the way of whole numbers. */
  #pass(value: string, floats: string, { moves, ends }: Readers): void {
    const model = this.#model;
    this.#unread.push(value);
    model.redirect(value, floats);
    for (const node of moves) {
      const fill = node.opType === 'Pad' && node.input[2];
      if (fill) {
        this.#unread.push(fill);
        model.setInput(node, 2, this.#floats(fill, ends[0])!);
      }
      for (const [i, output] of node.output.entries()) {
        const name = model.fresh(`${output}.floats`);
        model.redirect(output, name);
        model.setOutput(node, i, name);
      }
    }
    for (const node of ends) {
      const [[output], [input]] = [node.output, node.input];
      if (isNamed(model, output)) {
        this.#unread.push(...node.input);
        Object.assign(node, { opType: 'Identity', domain: '', input: [input], attribute: [] });
      } else {
        model.redirect(output, input);
        this.#remove(node);
      }
    }
  }

  /** Lets a value be what it was before it was rounded, where it becomes floats again. */
  #unround(node: NodeProto): void {
    const steps = stepsOf(this.#model, node);
    const readers = steps && this.#readers(node.output[0], steps.key);
    if (!readers) return;
    const [source] = node.input;
    const zero = steps.zeros?.[0] ?? 0;
    const [least, most] = rangeOf(steps.type);
    const bound = (most - zero) * steps.scales[0];
    // Quantisers leave out a Relu or a Clip that cuts off what whole numbers have not either. What begins at −∞, as a mask, has no steps.
    const isCut = steps.isOne && zero === least && Number.isFinite(bound) && !isPositive(this.#model, source);
    if (isCut && !this.#model.tensors.has(source)) {
      this.#bound(node, bound, steps.scale.type, readers);
      return;
    }
    this.#pass(node.output[0], source, readers);
    this.#remove(node);
  }

  /** Makes a QuantizeLinear a Clip to numbers from 0 on. */
  #bound(node: NodeProto, most: number, type: DataType, readers: Readers): void {
    const model = this.#model;
    const [source] = node.input;
    const key = JSON.stringify([source, most]);
    const known = this.#bounded.get(key);
    const floats = known ?? model.fresh(`${source}.bounded`);
    this.#pass(node.output[0], floats, readers);
    if (known !== undefined) {
      this.#remove(node);
      return;
    }
    this.#bounded.set(key, floats);
    this.#unread.push(...node.input);
    const asInputs = model.opset >= 11;
    const limits = [0, most].map((limit) => {
      const name = model.fresh(`${floats}.limit`);
      if (asInputs) model.tensors.set(name, fromFloat32(Float32Array.of(limit), [], { name, type }));
      return name;
    });
    const attribute = [attributeOf('min', { float: 0 }), attributeOf('max', { float: most })];
    const own = asInputs ? { input: [source, ...limits], attribute: [] } : { input: [source], attribute };
    Object.assign(node, { opType: 'Clip', domain: '', ...own });
    model.setOutput(node, 0, floats);
  }
}

/** Whether a node gives what its input has, whole numbers or floats. */
function isMove(node: NodeProto): boolean {
  return (
    MOVES.test(node.opType) && isStandard(node) && (node.opType !== 'MaxPool' || node.output.length === 1)
  );
}

/** Whether a node puts more of what its input has behind it, or a constant that stands for a float as they do. */
function isPad(model: Model, node: NodeProto): boolean {
  if (node.opType !== 'Pad' || !isStandard(node)) return false;
  const [, , fill] = node.input;
  // What is given without one is the number 0, which stands for another float.
  if (!fill) return attributeString(node, 'mode', 'constant') !== 'constant';
  const numbers = model.tensors.get(fill);
  return numbers !== undefined && wholeNumbers(numbers) !== undefined;
}

/** Whether nothing of a value is below 0, as far as the operators that make it tell. */
function isPositive(model: Model, value: string): boolean {
  let node = model.producer(value);
  while (node && isStandard(node) && (KEEPS_SIGN.test(node.opType) || MOVES.test(node.opType)))
    node = model.producer(node.input[0]);
  if (!node || !isStandard(node)) return false;
  const least = model.tensors.get(node.input[1] ?? '');
  const isBounded = node.opType === 'Clip' && least && isFloat(least.type) && toFloat32(least)[0] >= 0;
  return isBounded || POSITIVE.test(node.opType);
}
