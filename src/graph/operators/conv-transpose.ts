// https://onnx.ai/onnx/operators/onnx__ConvTranspose.html

import { attributeInt } from '../node.ts';
import { called } from '../propagation.ts';
import { elements } from '../tensor.ts';
import { opaque, produce, weightOf } from './layer.ts';
import type { Operator } from './operator.ts';

export const convTranspose: Operator = {
  name: 'ConvTranspose',
  kind: 'source',
  layer: { axis: 1, outputAxis: () => 1, bias: 2 }, // W is (c, m / group, kh, kw)
  // each input goes to the outputs of its group and the kernel
  macs: (node, dims) => elements(dims(node.input[0])) * elements(dims(node.input[1]).slice(1)),
  rule(state, node) {
    state.pinAll(node, `${called(node)} is not a linear map that can be re-solved`);
    if (weightOf(state, node) && attributeInt(node, 'group', 1) === 1) produce(state, node);
    else opaque(state, node);
  },
};
