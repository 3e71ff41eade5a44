// Products by constants whose rows are not where those of layers are, W·X and Aᵀ·W, become layers between two Transposes, and those by a
// list of numbers layers of one output: their weights can be solved for then. So do products of activations whose batches onnxruntime has
// turned within FusedMatMul, which rules know as MatMul.

import { create } from '@bufbuild/protobuf';
import { isFloat } from './dtype.ts';
import { removeUnread } from './fold.ts';
import type { Shapes } from './linear.ts';
import type { Model } from './model.ts';
import {
  attributeInt,
  attributeOf,
  copyMessage,
  isStandard,
  MICROSOFT,
  removeAttribute,
  transposeOrder,
} from './node.ts';
import { type NodeProto, NodeProtoSchema } from './onnx_pb.ts';
import { elements, permute, type Tensor } from './tensor.ts';

/**
 * The model, or a copy in which a Gemm or FusedMatMul with `transA`, a MatMul whose left operand is a constant and one whose right operand
 * is a list are layers, under their names. What is added to the rows of W·X is the layer's bias.
 */
export function turnProducts(model: Model, shapes: Shapes): Model {
  const isOurs = (node: NodeProto) =>
    isTurned(model, node, shapes) ||
    isLeft(model, node, shapes) ||
    isList(model, node, shapes) ||
    batchesOf(model, node, shapes).length > 0;
  if (!model.nodes.some(isOurs)) return model;
  const copy = model.clone();
  const turning = new Turning(copy, shapes);
  copy.graph.node = copy.nodes.flatMap((node) => {
    if (turning.moved.has(node)) return [];
    if (isTurned(copy, node, shapes)) return turning.rows(node);
    if (isLeft(copy, node, shapes)) return turning.matmul(node);
    if (isList(copy, node, shapes)) return turning.list(node);
    return turning.batches(node);
  });
  copy.edited();
  cancel(copy);
  copy.removeUnused(model.tensors.keys());
  return copy;
}

const isFused = ({ opType, domain }: NodeProto) => opType === 'FusedMatMul' && domain === MICROSOFT;

/** Whether X is turned before it is multiplied with a constant, and nothing else is done (unfuse.ts). */
function isTurned(model: Model, node: NodeProto, shapes: Shapes): boolean {
  const [x, W] = node.input;
  const isGemm = node.opType === 'Gemm' && isStandard(node);
  const isPlain = isFused(node) && node.attribute.length === 1 && (shapes.get(x)?.length ?? 0) > 1;
  const isTurned = (isGemm || isPlain) && attributeInt(node, 'transA', 0) !== 0;
  return isTurned && !model.tensors.has(x) && isWeight(model, W);
}

/** The operands of which a FusedMatMul puts the first axis behind those of the batch. */
function batchesOf(model: Model, node: NodeProto, shapes: Shapes): { key: string; input: number }[] {
  const operands = ['transBatchA', 'transBatchB'].map((key, input) => ({ key, input }));
  return operands.filter(({ key, input }) => {
    const value = node.input[input] ?? '';
    const isValue = !model.tensors.has(value) && (shapes.get(value)?.length ?? 0) > 2;
    return isFused(node) && isValue && attributeInt(node, key, 0) !== 0;
  });
}

/** Whether a constant that is read in this way only is multiplied with rows of matrices. */
function isLeft(model: Model, node: NodeProto, shapes: Shapes): boolean {
  const isProduct = (node: NodeProto) =>
    node.opType === 'MatMul' && isStandard(node) && (shapes.get(node.input[1])?.length ?? 0) > 1;
  const [W] = node.input;
  return (
    isProduct(node) &&
    isWeight(model, W) &&
    model.uses(W).every(({ node, index }) => index === 0 && isProduct(node))
  );
}

/** Whether rows are multiplied with as many numbers, as those of an attention that pools by a vector. */
function isList(model: Model, node: NodeProto, shapes: Shapes): boolean {
  const [x, W] = node.input;
  const isRows = !model.tensors.has(x) && (shapes.get(x)?.length ?? 0) > 1;
  return node.opType === 'MatMul' && isStandard(node) && isRows && isWeight(model, W, 1);
}

function isWeight(model: Model, name: string, rank = 2): boolean {
  const tensor = model.tensors.get(name);
  return tensor !== undefined && isFloat(tensor.type) && tensor.dims.length === rank;
}

class Turning {
  /** Nodes that have been put elsewhere. */
  readonly moved = new Set<NodeProto>();
  readonly #model: Model;
  readonly #shapes: Shapes;
  /** Names of constants by what they were made of: nodes that share them go on doing so. */
  readonly #constants = new Map<string, string>();

  constructor(model: Model, shapes: Shapes) {
    this.#model = model;
    this.#shapes = shapes;
  }

  /** Xᵀ·W */
  rows(node: NodeProto): NodeProto[] {
    const plain = copyMessage(node);
    removeAttribute(plain, 'transA');
    if (isFused(node)) Object.assign(plain, { opType: 'MatMul', domain: '' });
    const rank = this.#shapes.get(node.input[0])?.length ?? 2;
    const rows = this.#transpose(node.input[0], rank, `${plain.name}.turned`);
    plain.input = [rows.output[0], ...node.input.slice(1)];
    return [rows, plain];
  }

  /** X·w as X·W of one column, which goes again. */
  list(node: NodeProto): NodeProto[] {
    const [x, W] = node.input;
    const column = this.#constant(W, (tensor) => ({ ...tensor, dims: [...tensor.dims, 1] }));
    const product = this.#after('MatMul', node.name, [x, column]);
    const kept = new Array<number>(this.#shapes.get(x)!.length - 1).fill(0);
    const shape = this.#model.integers(`${node.name}.shape`, kept);
    const back = this.#after('Reshape', this.#model.fresh(`${node.name}.back`), [...product.output, shape]);
    return [product, Object.assign(back, { output: node.output })];
  }

  batches(node: NodeProto): NodeProto[] {
    const turned = batchesOf(this.#model, node, this.#shapes);
    if (turned.length === 0) return [node];
    const plain = copyMessage(node);
    const steps = turned.map(({ key, input }) => {
      removeAttribute(plain, key);
      const [first, ...others] = this.#shapes.get(node.input[input])!.keys();
      const perm = [...others.slice(0, -1), first, ...others.slice(-1)];
      const step = this.#permute(node.input[input], perm, `${node.name}.batch${input}`);
      plain.input[input] = step.output[0];
      return step;
    });
    return [...steps, plain];
  }

  /** W·X = (Xᵀ·Wᵀ)ᵀ, and with a bias for each row (Xᵀ·Wᵀ + b)ᵀ. */
  matmul(node: NodeProto): NodeProto[] {
    const [W, x] = node.input;
    const rank = this.#shapes.get(x)!.length;
    const [m] = this.#model.tensors.get(W)!.dims;
    const rows = this.#transpose(x, rank, `${node.name}.turned`);
    const weight = this.#constant(W, (tensor) => permute(tensor, [1, 0]));
    const last = [this.#after('MatMul', node.name, [rows.output[0], weight])];
    let [output] = node.output;
    const bias = this.#biasOf(output, m);
    if (bias) {
      const b = this.#constant(bias.name, (tensor) => ({ ...tensor, dims: [m] }));
      last.push(this.#after('Add', bias.node.name, [last[0].output[0], b]));
      this.moved.add(bias.node);
      [output] = bias.node.output;
    }
    const back = this.#transpose(last[last.length - 1].output[0], rank, `${node.name}.back`);
    back.output = [output];
    return [rows, ...last, back];
  }

  /** The only node that reads a value, where it adds a constant that has one number for each of `m` rows. */
  #biasOf(value: string, m: number): { node: NodeProto; name: string } | undefined {
    const [use, ...others] = this.#model.uses(value);
    if (!use || use.index < 0 || others.length > 0 || this.#model.isOutput(value)) return undefined;
    const { node, index } = use;
    const name = node.input[1 - index];
    const dims = this.#model.tensors.get(name)?.dims ?? [];
    const isBias = elements(dims) === m && dims.at(-2) === m;
    const isLower = dims.length <= (this.#shapes.get(value)?.length ?? 0);
    return node.opType === 'Add' && isStandard(node) && isBias && isLower ? { node, name } : undefined;
  }

  #after(opType: string, name: string, input: string[]): NodeProto {
    return create(NodeProtoSchema, { name, opType, input, output: [this.#model.fresh(`${name}.rows`)] });
  }

  #transpose(value: string, rank: number, base: string): NodeProto {
    return this.#permute(
      value,
      [...Array(rank).keys()].with(rank - 1, rank - 2).with(rank - 2, rank - 1),
      base,
    );
  }

  #permute(value: string, perm: readonly number[], base: string): NodeProto {
    const name = this.#model.fresh(base);
    const attribute = [attributeOf('perm', perm)];
    return create(NodeProtoSchema, { name, opType: 'Transpose', input: [value], output: [name], attribute });
  }

  #constant(of: string, make: (tensor: Tensor) => Tensor): string {
    const { tensors } = this.#model;
    const name = this.#constants.get(of) ?? this.#model.fresh(`${of}.turned`);
    this.#constants.set(of, name);
    if (!tensors.has(name)) tensors.set(name, { ...make(tensors.get(of)!), name });
    return name;
  }
}

/** Removes pairs of Transposes that undo each other. */
function cancel(model: Model): void {
  const gone: string[] = [];
  for (const node of model.nodes) {
    const before = model.producer(node.input[0]);
    if (node.opType !== 'Transpose' || before?.opType !== 'Transpose') continue;
    if (!isStandard(node) || !isStandard(before)) continue;
    const [output] = node.output;
    const isCaptured = model.uses(output).some(({ index }) => index < 0);
    if (isCaptured || !undo(before, node)) continue;
    model.redirect(output, before.input[0]);
    gone.push(output);
  }
  removeUnread(model, gone);
}

/** The rank is told by one of them; two that do not tell it turn all axes round. */
function undo(first: NodeProto, second: NodeProto): boolean {
  const rank = Math.max(...[first, second].map((node) => transposeOrder(node, 0).length));
  const [one, other] = [first, second].map((node) => transposeOrder(node, rank));
  return one.length === other.length && other.every((axis, place) => one[axis] === place);
}
