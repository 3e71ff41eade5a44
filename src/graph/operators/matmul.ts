// https://onnx.ai/onnx/operators/onnx__MatMul.html

import { isFloat } from '../dtype.ts';
import type { NodeProto } from '../onnx_pb.ts';
import type { Operator } from '../propagation.ts';
import { isQuantized } from '../quantized.ts';
import { linear, opaque } from './layer.ts';
import { matrixProduct } from './macs.ts';
import type { LayerDims } from './operator.ts';
import { product } from './product.ts';

export const matmul: Operator = {
  name: 'MatMul',
  kind: 'source',
  layer: { axis: -1, outputAxis: () => 1, isLinear },
  macs: matrixProduct,
  rule(state, node) {
    const weight = state.constant(node, 1);
    if (weight ? !isFloat(weight.type) : isQuantized(state.model, node)) return opaque(state, node);
    const [input, output] = [state.dims(node.input[0]), state.dims(node.output[0])];
    const isLayer = weight && input && output && isLinear(node, { input, output, weight: weight.dims });
    (isLayer ? linear : product)(state, node);
  },
};

function isLinear(_: NodeProto, { input, weight }: LayerDims): boolean {
  return weight.length === 2 && input.length > 1;
}
