// Weights of a few bits in blocks of inputs that share a scale, as MatMulNBits has them: runtimes multiply with them as they are stored.
// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits

import { isFloat } from './dtype.ts';
import type { Graph, Use } from './graph.ts';
import type { Model } from './model.ts';
import { attributeInt, isStandard } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { bitsAt, elements, fromFloat32, type Tensor, toFloat32 } from './tensor.ts';

/** Inputs of a block: as few as are usual, which all runtimes have. */
const BLOCK = 32;

/**
 * How many inputs of a weight in few bits share a scale for each output: those of a block, where MatMuls alone read it, or else all (and in
 * files of before opset 10, whose Slice has no inputs).
 */
export function blockOf(model: Model, { name, dims }: Tensor): number | undefined {
  const uses = model.uses(name);
  const areFactors = uses.length > 0 && uses.every(isFactor);
  return dims.length === 2 && areFactors && model.opset >= 10 ? BLOCK : undefined;
}

/** Whether a MatMul multiplies with what it reads here. */
export function isFactor({ node, index }: Use): boolean {
  return node.opType === 'MatMul' && isStandard(node) && index === 1;
}

/** Of a weight of inputs × outputs, which of the scales, outputs × blocks, the i-th number has. */
export function scaleIn([inputs, outputs]: readonly number[], block: number): (i: number) => number {
  const blocks = Math.ceil(inputs / block);
  return (i) => (i % outputs) * blocks + Math.floor(Math.floor(i / outputs) / block);
}

/** Numbers of four bits or eight, inputs × outputs, as outputs × blocks × bytes; what is over in a last block is 0. */
export function packBlocks(
  steps: Int8Array,
  [inputs, outputs]: readonly number[],
  block: number,
  bits: 4 | 8,
): Uint8Array<ArrayBuffer> {
  const each = 8 / bits;
  const line = (Math.ceil(inputs / block) * block) / each;
  const bytes = new Uint8Array(outputs * line).fill(bits === 4 ? 0x88 : 0x80);
  steps.forEach((step, i) => {
    const input = Math.floor(i / outputs);
    bytes[(i % outputs) * line + Math.floor(input / each)] ^=
      (step & (2 ** bits - 1)) << (bits * (input % each));
  });
  return bytes;
}

/** The weight of a MatMulNBits, inputs × outputs, as floats; undefined where it is not a constant, or in an order of its own. */
export function unpackBlocks(model: Graph, node: NodeProto, name: string): Tensor | undefined {
  const [inputs, outputs, block] = ['K', 'N', 'block_size'].map((key) => attributeInt(node, key, 0));
  const bits = attributeInt(node, 'bits', 4);
  const [numbers, scale, zero] = [1, 2, 3].map((index) => model.tensors.get(node.input[index] ?? ''));
  const isOrdered = Boolean(node.input[4]) || attributeInt(node, 'weight_prepacked', 0) !== 0;
  const isShaped = [2, 4, 8].includes(bits) && inputs > 0 && outputs > 0 && block >= 16;
  if (isOrdered || !isShaped || numbers?.type !== 'uint8' || !scale || !isFloat(scale.type)) return undefined;
  const blocks = Math.ceil(inputs / block);
  const line = (blocks * block * bits) / 8;
  if (numbers.bytes.length !== outputs * line || elements(scale.dims) !== outputs * blocks) return undefined;
  const zeros = zero
    ? zerosOf(zero, outputs, blocks, bits)
    : new Float32Array(outputs * blocks).fill(2 ** (bits - 1));
  if (!zeros || (node.input[3] && !zero)) return undefined;
  const scales = toFloat32(scale);
  const values = new Float32Array(inputs * outputs);
  for (let output = 0; output < outputs; output++) {
    const own = numbers.bytes.subarray(output * line, (output + 1) * line);
    for (let input = 0; input < inputs; input++) {
      const at = output * blocks + Math.floor(input / block);
      values[input * outputs + output] = (bitsAt(own, input, bits) - zeros[at]) * scales[at];
    }
  }
  return fromFloat32(values, [inputs, outputs], { name, type: scale.type });
}

/** What the numbers of bitsandbytes stand for, in parts of the largest of their block: floats of four bits, or quantiles of a normal distribution. */
const FOUR_BIT_FLOATS = [0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4];
const NORMAL_QUANTILES = [
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
  -0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725,
  0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
];

/** The weight of a MatMulBnb4, inputs × outputs, as floats; undefined where it is not a constant, or of another kind. */
export function unpackBnb4(model: Graph, node: NodeProto, name: string): Tensor | undefined {
  const [inputs, outputs, block] = ['K', 'N', 'block_size'].map((key) => attributeInt(node, key, 0));
  const kind = attributeInt(node, 'quant_type', 1);
  const [numbers, largest] = [1, 2].map((index) => model.tensors.get(node.input[index] ?? ''));
  const isShaped = inputs > 0 && outputs > 0 && block > 0 && (kind === 0 || kind === 1);
  if (!isShaped || attributeInt(node, 'transB', 1) !== 1 || numbers?.type !== 'uint8') return undefined;
  if (!largest || !isFloat(largest.type)) return undefined;
  const count = inputs * outputs;
  const isWhole = numbers.bytes.length === Math.ceil(count / 2);
  if (!isWhole || elements(largest.dims) !== Math.ceil(count / block)) return undefined;
  const values = kind === 1 ? NORMAL_QUANTILES : [...FOUR_BIT_FLOATS, ...FOUR_BIT_FLOATS.map((it) => -it)];
  const scales = toFloat32(largest);
  const weights = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    // Output after output, the first of two in the high bits of a byte.
    const number = bitsAt(numbers.bytes, i ^ 1, 4);
    weights[(i % inputs) * outputs + Math.floor(i / inputs)] = values[number] * scales[Math.floor(i / block)];
  }
  return fromFloat32(weights, [inputs, outputs], { name, type: largest.type });
}

/** Outputs × blocks: floats, or numbers of as many bits as the weights, each output in whole bytes. */
function zerosOf(zero: Tensor, outputs: number, blocks: number, bits: number): Float32Array | undefined {
  if (isFloat(zero.type)) return elements(zero.dims) === outputs * blocks ? toFloat32(zero) : undefined;
  const line = Math.ceil((blocks * bits) / 8);
  if (zero.type !== 'uint8' || zero.bytes.length !== outputs * line) return undefined;
  return Float32Array.from({ length: outputs * blocks }, (_, i) =>
    bitsAt(zero.bytes.subarray(Math.floor(i / blocks) * line), i % blocks, bits),
  );
}
