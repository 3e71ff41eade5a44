// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Attention

import { isFloat } from '../dtype.ts';
import { attributeInt, attributeInts, MICROSOFT } from '../node.ts';
import { called, type Operator } from '../propagation.ts';
import { projectedAttention } from './macs.ts';

/** Makes queries, keys and values itself, of one matrix (d, 3·h·dh). */
export const fusedAttention: Operator = {
  name: 'Attention',
  domain: MICROSOFT,
  kind: 'source',
  layer: { axis: 2, outputAxis: () => 1, bias: 2 },
  macs: projectedAttention,
  rule(state, node) {
    state.pinAll(node, `${called(node)} is not a linear map that can be re-solved`);
    const weight = state.constant(node, 1);
    const dims = state.dims(node.output[0]);
    const heads = attributeInt(node, 'num_heads', 1);
    if (!weight || !isFloat(weight.type) || dims?.length !== 3) return;
    const sizes = attributeInts(node, 'qkv_hidden_sizes');
    const widths = sizes ?? [0, 1, 2].map(() => weight.dims[1] / 3);
    const axis = state.produce(node, 2, dims[2]);
    // A bias of the scores may be one per head; a past is one tensor of keys and values
    const isPlain = !node.input[4] && !node.input[5] && !node.output[1];
    if (!isPlain || (node.input[2] && !state.constant(node, 2)) || axis.label.coarsen(heads) < 2) {
      state.pin(axis, `${called(node)} is of a form that cannot be cut`);
      return;
    }
    axis.label.markHeads();
    let offset = 0;
    for (const [index, extent] of widths.entries()) {
      state.slice({ ...axis, extent }, node, 1, 1, offset);
      if (node.input[2]) state.slice({ ...axis, extent }, node, 2, 0, offset);
      const place = { kind: 'attribute', node: node.name, name: 'qkv_hidden_sizes', index } as const;
      if (sizes) state.edit({ ...axis, extent }, place, node.name);
      offset += extent;
    }
    const count = { kind: 'attribute', node: node.name, name: 'num_heads' } as const;
    state.edit({ ...axis, extent: heads }, count, node.name);
  },
};
