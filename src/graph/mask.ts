// Removing channels without changing a shape: what a shrunk model must agree with.

import { bitsOf } from './dtype.ts';
import type { Model } from './model.ts';
import { attributeInt } from './node.ts';
import { ownTensor } from './own.ts';
import { checkKept, others, positions } from './shrink.ts';
import type { Slice, Structure } from './structure.ts';
import { elements, type Tensor } from './tensor.ts';

/**
 * A copy of the model in which the consumers' weights of the removed channels are zero.
 *
 * @param kept  channels that stay, ascending, at least one
 */
export function mask(model: Model, structure: Structure, kept: readonly number[]): Model {
  checkKept(structure, kept);
  const copy = model.clone();
  const removed = others(structure.groups, kept);
  for (const consumer of structure.consumers) {
    const node = copy.node(consumer.node)!;
    const rows = consumer.kind === 'conv' || attributeInt(node, 'transB', 0) !== 0 ? 1 : 0;
    const isRows = ({ node, input, axis }: Slice) => node === consumer.node && input === 1 && axis === rows;
    const tensor = ownTensor(copy, node, 1);
    copy.tensors.set(
      tensor.name,
      zeroed(tensor, rows, positions(removed, structure.slices.find(isRows)!.block)),
    );
  }
  return copy;
}

// All bits zero is 0 in every floating-point type.
function zeroed(tensor: Tensor, axis: number, places: readonly number[]): Tensor {
  const bytes = Uint8Array.from(tensor.bytes);
  const row = elements(tensor.dims.slice(axis + 1)) * (bitsOf(tensor.type) / 8);
  const outer = elements(tensor.dims.slice(0, axis));
  for (let o = 0; o < outer; o++) {
    for (const place of places) {
      const start = (o * tensor.dims[axis] + place) * row;
      bytes.fill(0, start, start + row);
    }
  }
  return { ...tensor, bytes };
}
