// Layers whose weights are quantised and cannot be made floats (dequantize.ts): they cannot be solved for. Prune the float model, then quantise that.

import type { Graph } from './graph.ts';
import { isStandard } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';

/** Operators that take quantised weights themselves. */
const QUANTIZED =
  /^(QLinear(Conv|MatMul)|(Conv|MatMul)Integer(ToFloat)?|DynamicQuantize(MatMul|LSTM)|Q(Gemm|Attention)|MatMul(NBits|Bnb4)|GatherBlockQuantized)$/;

/** Nodes that compute with quantised weights, by name. */
export function quantizedLayers(model: Graph): string[] {
  return model.nodes.filter((node) => isQuantized(model, node)).map(({ name }) => name);
}

/** QLinear and its kin, or a layer that reads its weights from a DequantizeLinear of a constant. */
export function isQuantized(model: Graph, node: NodeProto): boolean {
  if (QUANTIZED.test(node.opType)) return true;
  if (!model.operator(node)?.layer) return false;
  let value = node.input[1] ?? '';
  for (let made = model.producer(value); made && isStandard(made); made = model.producer(value)) {
    const constant = model.tensors.has(made.input[0] ?? '');
    if (made.opType === 'DequantizeLinear') return constant;
    if (!/^(Transpose|Cast|Reshape|Identity)$/.test(made.opType)) return false;
    [value] = made.input;
  }
  return false;
}

/** What to do about it, in words; undefined where no layer is quantised. */
export function quantizedText(layers: readonly string[]): string | undefined {
  if (layers.length === 0) return undefined;
  const others = layers.length > 1 ? ` and ${layers.length - 1} more` : '';
  return `quantized weights ("${layers[0]}"${others}): prune the float model, then quantise the result`;
}

/** What is told of a file whose whole numbers are floats where it is pruned. @param stored  what the weights are stored as again */
export function dequantizedText(stored: string | undefined): string {
  const after = stored
    ? `whose weights are stored as ${stored} again (\`weights: 'float32'\` leaves them floats)`
    : "whose weights stay floats: quantise the result, or have them stored so again (`weights: 'int8'`)";
  return `it is quantized, and pruned as the network of floats that it stands for, ${after}`;
}
