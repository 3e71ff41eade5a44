// https://onnx.ai/onnx/operators/onnx__Gemm.html

import { attributeInt } from '../node.ts';
import type { Operator } from '../propagation.ts';
import { linear } from './layer.ts';
import { matrixProduct } from './macs.ts';

export const gemm: Operator = {
  name: 'Gemm',
  kind: 'source',
  rule: linear,
  layer: {
    axis: 1,
    outputAxis: (node) => (attributeInt(node, 'transB', 0) !== 0 ? 0 : 1),
    bias: 2,
    factors: { weight: 'alpha', bias: 'beta' },
    isLinear: (node) => attributeInt(node, 'transA', 0) === 0,
  },
  macs: matrixProduct,
};
