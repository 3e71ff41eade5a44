// https://onnx.ai/onnx/operators/onnx__MatMul.html

import { isFloat } from '../dtype.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { elements } from '../tensor.ts';
import { linear, unsolvable } from './layer.ts';
import type { LayerDims, Operator } from './operator.ts';
import { product } from './product.ts';

export const matmul: Operator = {
  name: 'MatMul',
  kind: 'source',
  layer: { axis: -1, outputAxis: () => 1, isLinear },
  macs: (node, dims) => elements(dims(node.output[0])) * (dims(node.input[0]).at(-1) ?? 1),
  rule(state, node) {
    const weight = state.constant(node, 1);
    if (weight && !isFloat(weight.type)) return state.pinAll(node, unsolvable(node));
    const [input, output] = [state.dims(node.input[0]), state.dims(node.output[0])];
    const isLayer = weight && input && output && isLinear(node, { input, output, weight: weight.dims });
    (isLayer ? linear : product)(state, node);
  },
};

function isLinear(_: NodeProto, { input, weight }: LayerDims): boolean {
  return weight.length === 2 && input.length > 1;
}
