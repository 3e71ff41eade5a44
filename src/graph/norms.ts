// What normalisations of channels that are pruned scale these by.

import type { Gain, Shapes } from './linear.ts';
import type { Model } from './model.ts';
import type { NodeProto } from './onnx_pb.ts';
import type { Slice, Structure } from './structure.ts';
import { elements } from './tensor.ts';

/**
 * γ and β of the norms over a structure's channels: of a node that is one, or of a Mul, and an Add behind it, where several nodes are.
 * Constants with a number for each channel.
 */
export function normGains(model: Model, { norms, slices }: Structure, shapes: Shapes): Gain[] {
  const within = new Set(norms.map(({ node }) => node));
  const whole = new Set(norms.filter(({ outputs }) => outputs.length > 0).map(({ node }) => node));
  const isLayer = (node: NodeProto) => model.operator(node)?.layer !== undefined;
  const isBehind = ({ input }: NodeProto) => model.isMadeBy(input, ({ name }) => within.has(name), isLayer);
  return slices.flatMap((slice): Gain[] => {
    const node = model.node(slice.node)!;
    const isWhole = whole.has(node.name) && slice.input === 1;
    if (!isWhole && !(node.opType === 'Mul' && isBehind(node))) return [];
    const next = model.uses(node.output[0]);
    const add = isWhole || next.length !== 1 ? undefined : next[0].node;
    const shift = slices.find((it) =>
      isWhole ? it.node === node.name && it.input === 2 : add?.opType === 'Add' && it.node === add.name,
    );
    const hasBias = isWhole ? Boolean(node.input[2]) : shift !== undefined;
    const output = (isWhole || !shift ? node : add!).output[0];
    const dims = shapes.get(output) ?? [];
    const constants = [slice, ...(shift ? [shift] : [])];
    const axis = dims.length - (model.tensors.get(slice.tensor)?.dims.length ?? 0) + slice.axis;
    const areOwn = constants.every((it) => isByChannel(model, it, dims[axis]));
    if (!areOwn || (hasBias && !shift)) return [];
    return [{ node: node.name, output, axis, weight: slice.tensor, bias: shift?.tensor }];
  });
}

/** Whether it is a constant that has a number for each of so many channels and nothing else. */
function isByChannel(model: Model, { tensor, axis }: Slice, channels: number): boolean {
  const dims = model.tensors.get(tensor)?.dims;
  return dims !== undefined && dims[axis] === channels && elements(dims) === channels;
}
