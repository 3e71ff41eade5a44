// https://onnx.ai/onnx/operators/onnx__Gemm.html

import { attributeInt } from '../node.ts';
import { elements } from '../tensor.ts';
import { linear } from './layer.ts';
import type { Operator } from './operator.ts';

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
  macs(node, dims) {
    const inner = dims(node.input[0])[attributeInt(node, 'transA', 0) ? 0 : 1];
    return elements(dims(node.output[0])) * inner;
  },
};
