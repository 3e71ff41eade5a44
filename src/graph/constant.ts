// Weights that nodes compute from constants alone: standardised or normalised ones, biases put together of several. As constants
// they can be solved for; an engine computes them.

import { type DataType, isFloat } from './dtype.ts';
import { removeUnread } from './fold.ts';
import type { Model } from './model.ts';
import { captured, isRandom, isStandard } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { elements, groupBy, type Tensor } from './tensor.ts';

/** Values that other nodes read, and all the weights that they are computed from. */
interface ComputedWeights {
  readonly values: readonly string[];
  readonly sources: readonly Tensor[];
}

/**
 * What is computed from weights alone, or expanded from a number, in groups that have none in common. Groups with a matrix that is
 * read otherwise too, as a tied embedding is, are left out; biases may be there twice.
 */
export function computedWeights(model: Model): ComputedWeights[] {
  const parents = new Map<string, string>(); // of all that constants lead to, and of the weights among these
  const root = (name: string): string => {
    let top = name;
    for (let next = parents.get(top); next !== undefined && next !== top; next = parents.get(top)) {
      parents.set(top, parents.get(next) ?? next);
      top = next;
    }
    return top;
  };
  const made = new Set<NodeProto>();
  for (const node of model.nodes) {
    const inputs = node.input.filter((value) => value !== '');
    const isConstant = inputs.every((value) => model.tensors.has(value) || parents.has(value));
    const isPlain = isStandard(node) && !isRandom(node) && captured(node).length === 0;
    const isQuantized = node.opType === 'DequantizeLinear'; // and stays so
    if (!isConstant || !isPlain || isQuantized || inputs.length === 0) continue;
    made.add(node);
    const [first, ...more] = [
      ...node.output.filter((value) => value !== ''),
      ...inputs.filter(isJoined(model)),
    ];
    for (const name of [first, ...more]) if (!parents.has(name)) parents.set(name, name);
    for (const name of more) parents.set(root(name), root(first));
  }
  const isRead = (name: string) =>
    model.isOutput(name) || model.uses(name).some(({ node }) => !made.has(node));
  const isNamed = (name: string) => model.uses(name).some(({ index }) => index < 0); // by a graph inside a node
  return [...groupBy([...parents.keys()], root).values()].flatMap((names) => {
    const sources = names.flatMap((name) => model.tensors.get(name) ?? []);
    const values = names.filter((name) => !model.tensors.has(name) && isRead(name) && !isNamed(name));
    const isShared = sources.some(({ name, dims }) => dims.length > 1 && isRead(name));
    const isWide = sources.length > 0 || values.some((name) => model.producer(name)?.opType === 'Expand');
    return isWide && values.length > 0 && !isShared ? [{ values, sources }] : [];
  });
}

/** Values, and weights of several numbers; one number, as an epsilon, says nothing of what belongs together. */
const isJoined = (model: Model) => (name: string) => {
  const tensor = model.tensors.get(name);
  return !tensor || (isWeights(tensor.type) && elements(tensor.dims) > 1);
};

/** Small whole numbers are weights that were quantised; extents and indices have 32 or 64 bits. */
const isWeights = (type: DataType) => isFloat(type) || /^u?int[248]$/.test(type);

/** A copy of the model that has these constants in the place of what computes them. */
export function withConstants(model: Model, constants: readonly Tensor[]): Model {
  const folded = model.clone();
  for (const tensor of constants) {
    const name = folded.fresh(`${tensor.name}.constant`);
    folded.tensors.set(name, { ...tensor, name });
    folded.redirect(tensor.name, name);
  }
  removeUnread(
    folded,
    constants.map(({ name }) => name),
  );
  return folded;
}
