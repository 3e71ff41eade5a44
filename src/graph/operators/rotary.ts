// RotaryEmbedding, of com.microsoft or of the standard.

import { attributeInt } from '../node.ts';
import { called } from '../propagation.ts';
import { headPlace } from './attention.ts';
import type { Rule } from './operator.ts';

/** Turns each head by itself. */
export const rotaryEmbedding: Rule = (state, node) => {
  const [input] = node.input;
  const dims = state.dims(input)!;
  const place = headPlace(dims.length);
  const axis = state.axes(input)[place];
  state.pinOthers(input, place, `${called(node)} depends on it`);
  if (!axis) return;
  const named = attributeInt(node, 'num_heads', 0);
  const cosines = node.domain === 'com.microsoft' ? 2 : 1;
  const half = state.dims(node.input[cosines])?.at(-1) ?? 0;
  const heads = dims.length === 4 ? dims[1] : named || dims[2] / (2 * half);
  if (axis.outer > 1 || axis.label.parts || !Number.isInteger(heads) || axis.label.coarsen(heads) < 2) {
    state.pin(axis, `${called(node)} reads heads that are mixed with others`);
    return;
  }
  const count = { kind: 'attribute', node: node.name, name: 'num_heads' } as const;
  if (named) state.edit({ ...axis, extent: named }, count, node.name);
  state.mark(node.output[0], place, axis);
};
