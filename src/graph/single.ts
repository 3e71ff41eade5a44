// Networks of float16 in float32: engines compute them so, and changes of a weight that are too small for float16 add up.

import { redeclared } from './build.ts';
import { describeValue } from './describe.ts';
import { typeCode } from './dtype.ts';
import type { Model } from './model.ts';
import { copyMessage } from './node.ts';
import type { AttributeProto, ValueInfoProto } from './onnx_pb.ts';
import type { ValueInfo } from './subgraph.ts';
import { fromFloat32, type Tensor, toFloat32 } from './tensor.ts';
import { decodeTensor, encodeTensor } from './wire.ts';

const [HALF, SINGLE] = [typeCode('float16'), typeCode('float32')];

/** What names a type: of a Cast, and of nodes that make values of nothing. */
const TYPE_ATTRIBUTES = new Set(['to', 'dtype']);

/** A copy in which all that is float16 is float32: inputs, weights, what its nodes make, and outputs. */
export function inFloat32(model: Model): Model {
  const copy = model.clone();
  for (const tensor of model.tensors.values())
    if (tensor.type === 'float16') copy.tensors.set(tensor.name, single(tensor));
  for (const node of copy.nodes) node.attribute = node.attribute.map((it) => singleAttribute(it, node.name));
  copy.graph.input = copy.graph.input.map(singleValue);
  copy.graph.output = copy.graph.output.map(singleValue);
  return copy;
}

function singleValue(value: ValueInfoProto): ValueInfoProto {
  const isHalf = describeValue(value).type === 'float16';
  return isHalf ? redeclared(value, ({ dims }) => ({ type: 'float32', dims })) : value;
}

function single(tensor: Tensor): Tensor {
  return fromFloat32(toFloat32(tensor), tensor.dims, { name: tensor.name, type: 'float32' });
}

function singleAttribute(given: AttributeProto, node: string): AttributeProto {
  const { name, i, t } = given;
  if (TYPE_ATTRIBUTES.has(name) && Number(i) === HALF)
    return Object.assign(copyMessage(given), { i: BigInt(SINGLE) });
  if (t?.dataType !== HALF) return given;
  return Object.assign(copyMessage(given), { t: encodeTensor(single(decodeTensor(t, node))) });
}

/** What is known of the values of a model, of such a copy. */
export function infoInFloat32(info: ValueInfo): ValueInfo {
  const types = Array.from(
    info.types,
    ([value, type]) => [value, type === 'float16' ? 'float32' : type] as const,
  );
  return { ...info, types: new Map(types) };
}
