// Products of a value and constants that Einsum writes as one, as MatMuls: layers are known by these.

import { create } from '@bufbuild/protobuf';
import { isFloat } from './dtype.ts';
import type { Model } from './model.ts';
import { attributeOf, isStandard } from './node.ts';
import { type NodeProto, NodeProtoSchema } from './onnx_pb.ts';
import { isElementwise } from './operators/elementwise.ts';
import { termsOf } from './operators/product.ts';
import { elements, permute, type Tensor } from './tensor.ts';

/** The axes of an ellipsis. */
const REST = '_';

/** Values between two layers of experts. */
const MOST_BETWEEN = 64;

/** X·W of an Einsum, by the letters of their axes. */
interface Product {
  readonly tensor: Tensor;
  readonly value: string;
  readonly x: string;
  readonly W: string;
  readonly result: string;
  readonly summed: readonly string[];
  /** Those of the result that X alone has, W alone, and both. */
  readonly rows: readonly string[];
  readonly added: readonly string[];
  readonly shared: readonly string[];
}

/** Undefined where axes of one of both are summed over alone, or W is a table that is read otherwise too. */
function productOf(model: Model, node: NodeProto): Product | undefined {
  if (node.opType !== 'Einsum' || !isStandard(node)) return undefined;
  const { operands: [left, right] = [], result } = termsOf(node, REST) ?? {};
  const place = node.input.findIndex((name) => model.tensors.has(name));
  const tensor = model.tensors.get(node.input[place] ?? '');
  if (!tensor || !isFloat(tensor.type) || node.input.length !== 2 || !left || !right || !result)
    return undefined;
  const [x, W] = place === 0 ? [right, left] : [left, right];
  const summed = [...x].filter((letter) => !result.includes(letter));
  const rows = [...x].filter((letter) => result.includes(letter) && !W.includes(letter));
  const added = [...W].filter((letter) => !x.includes(letter));
  const shared = [...x].filter((letter) => result.includes(letter) && W.includes(letter));
  const isAlike = (one: readonly string[], other: string) =>
    [...one].sort().join('') === [...other].sort().join('');
  const isProduct =
    summed.length > 0 &&
    rows.length > 0 &&
    isAlike([...summed, ...added, ...shared], W) &&
    isAlike([...rows, ...added, ...shared], result) &&
    model.uses(tensor.name).every((use) => use.node.opType === 'Einsum');
  if (!isProduct || W.length !== tensor.dims.length) return undefined;
  return { tensor, value: node.input[1 - place], x, W, result, summed, rows, added, shared };
}

const isOne = (...lists: readonly (readonly string[])[]) => lists.every(({ length }) => length === 1);

/**
 * The letters of experts in products: that which X and W share where a product before it has added it, and that which this one adds, as in
 * `btd,edh->bteh` and `bteh,ehd->bted`. Where none has it may be that of heads.
 */
export function expertLetters(model: Model): Map<NodeProto, string> {
  const letters = new Map<NodeProto, string>();
  for (const node of model.nodes) {
    const product = productOf(model, node);
    if (!product || product.rows.includes(REST)) continue;
    const { value, x, summed, added, shared } = product;
    if (!isOne(summed, added, shared)) continue;
    const place = x.indexOf(shared[0]) - x.length;
    const before = [...madeBefore(model, value)].filter((own) => {
      const { summed = [], rows = [], result, added = [], shared = [] } = productOf(model, own) ?? {};
      const letter = result?.at(place) ?? '';
      const adds = added.length === 2 && added.includes(letter) && shared.length === 0 && isOne(summed);
      if (adds && !rows.includes(REST)) letters.set(own, letter);
      return letters.get(own) === letter;
    });
    if (before.length > 0) letters.set(node, shared[0]);
  }
  return letters;
}

/** The nodes that have made what a value is made of one by one. */
function madeBefore(model: Model, value: string): Set<NodeProto> {
  const made = new Set<NodeProto>();
  const values = new Set([value]); // grows
  for (const own of values) {
    const node = model.producer(own);
    if (!node || values.size > MOST_BETWEEN) continue;
    if (isElementwise(model.operator(node)?.rule)) for (const read of node.input) values.add(read);
    else made.add(node);
  }
  return made;
}

/**
 * X·W of an Einsum as a MatMul: axes of X that are summed over become one behind the others, and those that W adds come behind them.
 * With experts it is one of stacked matrices, which are behind all rows but the last.
 *
 * @param weights  names of those that were made, by what they were made of
 * @param expert  the letter of experts, if there are any
 */
export function written(
  model: Model,
  node: NodeProto,
  weights: Map<string, string>,
  expert = '',
): NodeProto[] {
  const product = productOf(model, node);
  if (!product || (product.shared.length > 0 && !expert)) return [node];
  const { tensor, x, W, result, summed, rows } = product;
  const stack = [...expert];
  const added = product.added.filter((letter) => letter !== expert);
  // How many axes an ellipsis stands for is not known: they stay where they are.
  const isInPlace = x.endsWith(summed.join('')) && result.endsWith(added.join('')) && !W.includes(REST);
  if (rows.includes(REST) && !(isInPlace && isOne(summed, added))) return [node];
  const order = [...stack, ...summed, ...added].map((letter) => W.indexOf(letter));
  const dims = order.map((axis) => tensor.dims[axis]);
  const [inner, outer] = [summed, added].map((own) => own.map((letter) => tensor.dims[W.indexOf(letter)]));
  const [p, m] = [inner, outer].map(elements);
  const key = JSON.stringify([tensor.name, order, stack.length, p]);
  const weight = weights.get(key) ?? model.fresh(`${tensor.name}.plain`);
  weights.set(key, weight);
  const matrices = [...dims.slice(0, stack.length), p, m];
  model.tensors.set(weight, { ...permute(tensor, order), name: weight, dims: matrices });

  const steps: NodeProto[] = [];
  let { value } = product;
  const step = (opType: string, more: readonly string[], attribute: NodeProto['attribute'] = []) => {
    const name = opType === 'MatMul' ? node.name : model.fresh(`${node.name}.${opType}${steps.length}`);
    const output = model.fresh(`${name}.output`);
    steps.push(
      create(NodeProtoSchema, { name, opType, input: [value, ...more], output: [output], attribute }),
    );
    value = output;
  };
  const integers = (base: string, values: readonly number[]) =>
    model.integers(`${node.name}.${base}`, values);
  const turn = (from: readonly string[], to: readonly string[]) => {
    const perm = to.map((letter) => from.indexOf(letter));
    if (from.join('') !== to.join('')) step('Transpose', [], [attributeOf('perm', perm)]);
  };
  const reshape = (last: readonly number[]) =>
    step('Reshape', [integers('shape', [...rows.map(() => 0), ...last])]);
  const unsqueeze = (axis: number) => {
    if (model.opset < 13) step('Unsqueeze', [], [attributeOf('axes', [axis])]);
    else step('Unsqueeze', [integers('axes', [axis])]);
  };
  const [front, last] = [rows.slice(0, -1), rows.slice(-1)];
  const isApart = expert !== '' && x.includes(expert);
  turn([...x], [...front, ...(isApart ? stack : []), ...last, ...summed]);
  if (summed.length > 1) reshape([p]);
  if (expert && !isApart) unsqueeze(front.length);
  step('MatMul', [weight]);
  if (added.length !== 1) reshape(outer);
  turn([...front, ...stack, ...last, ...added], [...result]);
  steps[steps.length - 1].output = [...node.output];
  return steps;
}
