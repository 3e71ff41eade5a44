// An Attention of com.microsoft makes queries, keys and values by weights of its own. They are taken out of it: what reads channels and what
// makes heads is a layer like others then.

import { create } from '@bufbuild/protobuf';
import { isFloat } from './dtype.ts';
import type { Shapes } from './linear.ts';
import type { Model } from './model.ts';
import { attributeInt, copyMessage, MICROSOFT } from './node.ts';
import { type NodeProto, NodeProtoSchema } from './onnx_pb.ts';
import { splitEvenly } from './side-by-side.ts';

/** What MultiHeadAttention has too, and means alike. */
const SHARED: ReadonlySet<string> = new Set(['num_heads', 'unidirectional', 'scale', 'mask_filter_value']);

/** The model, or a copy in which such nodes are a product, a Split and a MultiHeadAttention. The products have their names. */
export function separateProjections(model: Model, shapes: Shapes): Model {
  if (!model.nodes.some((node) => widthOf(model, shapes, node) > 0)) return model;
  const copy = model.clone();
  copy.graph.node = copy.nodes.flatMap((node) => {
    const width = widthOf(copy, shapes, node);
    return width > 0 ? separated(copy, node, width) : [node];
  });
  copy.edited();
  return copy;
}

/** The width of queries, keys and values; 0 where there is more to the node than MultiHeadAttention does, as a past. */
function widthOf(model: Model, shapes: Shapes, node: NodeProto): number {
  if (node.opType !== 'Attention' || node.domain !== MICROSOFT) return 0;
  const [x, weight, bias, mask, , scores, ...more] = node.input;
  const W = model.tensors.get(weight);
  const [read, masked, added] = [x, mask, scores].map((value) => shapes.get(value ?? ''));
  const isKnown = node.attribute.every(
    ({ name, ints }) => SHARED.has(name) || (attributeInt(node, name, 0) === 0 && ints.length === 0),
  );
  // lengths, or which positions count
  const isMask = !mask || masked?.join() === read?.slice(0, masked?.length === 1 ? 1 : 2).join();
  const isPlain =
    isKnown &&
    isMask &&
    (!scores || added?.length === 4) &&
    (!bias || model.tensors.has(bias)) &&
    [node.input[4], ...more, ...node.output.slice(1)].every((value) => !value);
  const isProduct = read?.length === 3 && W?.dims.length === 2 && isFloat(W.type) && W.dims[1] % 3 === 0;
  return isPlain && isProduct ? W.dims[1] / 3 : 0;
}

function separated(model: Model, node: NodeProto, width: number): NodeProto[] {
  const [x, weight, bias, mask = '', , scores = ''] = node.input;
  const made = (opType: string, name: string, input: string[]) =>
    create(NodeProtoSchema, { name, opType, input, output: [model.fresh(`${name}.made`)] });
  const layer = [made('MatMul', node.name, [x, weight])];
  if (bias) layer.push(made('Add', model.fresh(`${node.name}.sum`), [layer[0].output[0], bias]));
  const parts = ['query', 'key', 'value'].map((part) => model.fresh(`${node.name}.${part}`));
  const [sum] = layer[layer.length - 1].output;
  const attention = copyMessage(node);
  const input = [...parts, '', mask, scores];
  Object.assign(attention, {
    name: model.fresh(`${node.name}.MultiHeadAttention`),
    opType: 'MultiHeadAttention',
    input: input.slice(0, input.findLastIndex((value) => value !== '') + 1),
    output: node.output.slice(0, 1),
    attribute: node.attribute.filter(({ name }) => SHARED.has(name)),
  });
  return [...layer, splitEvenly(model, sum, parts, { axis: 2, size: width }), attention];
}
