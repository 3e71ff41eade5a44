// Products of a stack of matrices, as the experts of a mixture have, become products side by side: between two of them each expert has
// neurons of its own, which it loses by itself.

import { create } from '@bufbuild/protobuf';
import { isFloat } from './dtype.ts';
import type { Shapes } from './linear.ts';
import type { Model } from './model.ts';
import { attributeOf, copyMessage, isStandard, reads, transposeOrder } from './node.ts';
import { type NodeProto, NodeProtoSchema } from './onnx_pb.ts';
import { isElementwise } from './operators/elementwise.ts';
import { splitEvenly } from './side-by-side.ts';
import { elements, gather } from './tensor.ts';

/** Each takes the nodes of all of its layers. */
const MOST_EXPERTS = 64;

/** Nodes that are made of others: what a file has behind few products may be many. */
const MOST_NODES = 2 ** 16;

/** The axis of a product that counts experts, from the end. */
const STACKED = 3;

/**
 * The model, or a copy in which X·W of (…, e, n, p) or (…, 1, n, p) and constants (e, p, m) are e products, and so is what is made of them
 * one by one, wherever the experts are among the axes then.
 */
export function separateExperts(model: Model, shapes: Shapes): Model {
  const leading = leadingTo(model, shapes);
  if (!model.nodes.some((node) => firstOf(model, shapes, node, leading) > 0)) return model;
  const copy = model.clone();
  const stacks = new Stacks(copy, shapes, leading);
  copy.graph.node = copy.nodes.flatMap((node) => stacks.visit(node));
  copy.edited();
  copy.removeUnused(model.tensors.keys());
  return copy;
}

/** How many there are in a product; 0 where it is none of these. */
function expertsOf(model: Model, shapes: Shapes, node: NodeProto): number {
  const weight = model.tensors.get(node.input[1] ?? '');
  const [read, made] = [shapes.get(node.input[0] ?? ''), shapes.get(node.output[0])];
  if (node.opType !== 'MatMul' || !isStandard(node) || !weight || !isFloat(weight.type)) return 0;
  const [experts = 0] = weight.dims.slice(-STACKED);
  const isStack = weight.dims.length >= STACKED && elements(weight.dims.slice(0, -STACKED)) === 1;
  const isOne = made?.length === read?.length && made?.at(-STACKED) === experts;
  return isStack && isOne && experts > 1 && experts <= MOST_EXPERTS ? experts : 0;
}

/**
 * The same of a product of what is not taken apart yet. Behind other axes these may be the heads of an attention: experts all read the
 * same, and what they make goes to further products.
 */
function firstOf(model: Model, shapes: Shapes, node: NodeProto, leading: ReadonlySet<string>): number {
  const [read, made] = [node.input[0], node.output[0]].map((value) => shapes.get(value ?? ''));
  const isFirst = made?.length === STACKED || (read?.at(-STACKED) === 1 && leading.has(node.output[0]));
  return isFirst ? expertsOf(model, shapes, node) : 0;
}

/** Values of which such products are made, perhaps after other things are done to them one by one. */
function leadingTo(model: Model, shapes: Shapes): Set<string> {
  const leading = new Set<string>();
  for (const node of model.nodes.toReversed()) {
    if (expertsOf(model, shapes, node) > 0) leading.add(node.input[0]);
    else if (leading.has(node.output[0]) && (isOneByOne(model, node) || isTranspose(node)))
      for (const value of node.input) leading.add(value);
  }
  return leading;
}

const isTranspose = (node: NodeProto) => node.opType === 'Transpose' && isStandard(node);

function isOneByOne(model: Model, node: NodeProto): boolean {
  return node.output.length === 1 && isElementwise(model.operator(node)?.rule);
}

/** A value taken apart along the axis that counts experts. */
interface Stack {
  readonly parts: readonly string[];
  /** The axis, counted from the end. */
  readonly fromEnd: number;
}

/** What a node does to each part: on which axis they lie in what it reads, and in what it gives. */
interface Apart {
  readonly experts: number;
  readonly read: number;
  readonly made: number;
}

/** Values that are taken apart along the axis that counts experts. */
class Stacks {
  readonly #model: Model;
  readonly #shapes: Shapes;
  readonly #stacks = new Map<string, Stack>();
  /** Values that are put together again for nodes that read them whole. */
  readonly #whole = new Set<string>();
  readonly #constants = new Map<string, Stack>();
  readonly #leading: ReadonlySet<string>;
  #left = MOST_NODES;

  constructor(model: Model, shapes: Shapes, leading: ReadonlySet<string>) {
    this.#model = model;
    this.#shapes = shapes;
    this.#leading = leading;
  }

  /** What takes the place of a node. */
  visit(node: NodeProto): NodeProto[] {
    const apart = this.#apartOf(node);
    if (!apart || apart.experts > this.#left) return [...this.#together(node), node];
    const { experts, read, made: fromEnd } = apart;
    this.#left -= experts;
    const added: NodeProto[] = [];
    const inputs = node.input.map((value) => this.#partsOf(value, experts, read, added));
    const [output] = node.output;
    const made = Array.from({ length: experts }, (_, i) => {
      const own = copyMessage(node);
      own.name = this.#model.fresh(`${node.name}.${i}`);
      own.input = inputs.map((parts) => parts[i]);
      own.output = [this.#model.fresh(`${output}.${i}`)];
      return own;
    });
    this.#stacks.set(output, { parts: made.map((own) => own.output[0]), fromEnd });
    const isRead = this.#model.isOutput(output);
    return [...added, ...made, ...(isRead ? this.#joined(output) : [])];
  }

  /** Of a product, or of what goes on with what products have made. */
  #apartOf(node: NodeProto): Apart | undefined {
    const [value] = node.input;
    const stack = this.#stacks.get(value);
    if (!stack) {
      const experts = firstOf(this.#model, this.#shapes, node, this.#leading);
      return experts > 0 ? { experts, read: STACKED, made: STACKED } : this.#elementwise(node);
    }
    const { parts, fromEnd } = stack;
    const experts = parts.length;
    if (fromEnd === STACKED && expertsOf(this.#model, this.#shapes, node) === experts)
      return { experts, read: STACKED, made: STACKED };
    if (!isTranspose(node) || !this.#leading.has(node.output[0])) return this.#elementwise(node);
    const rank = this.#shapes.get(value)!.length;
    return {
      experts,
      read: fromEnd,
      made: rank - transposeOrder(node, rank).indexOf(rank - fromEnd),
    };
  }

  #elementwise(node: NodeProto): Apart | undefined {
    if (!isOneByOne(this.#model, node)) return undefined;
    const { input } = node;
    const [first, ...others] = input.flatMap((value) => this.#stacks.get(value) ?? []);
    if (!first) return undefined;
    const { parts, fromEnd } = first;
    const isStack = (value: string) => {
      const dims = this.#model.tensors.get(value)?.dims;
      const isConstant = dims && [undefined, 1, parts.length].includes(dims.at(-fromEnd));
      return this.#stacks.has(value) || isConstant;
    };
    const isAlike = others.every((own) => own.parts.length === parts.length && own.fromEnd === fromEnd);
    const isKnown = isAlike && input.every((value) => value === '' || isStack(value));
    return isKnown ? { experts: parts.length, read: fromEnd, made: fromEnd } : undefined;
  }

  /** What each expert reads of a value. */
  #partsOf(value: string, experts: number, fromEnd: number, added: NodeProto[]): readonly string[] {
    const tensor = this.#model.tensors.get(value);
    const [stacks, key] = tensor ? [this.#constants, `${value} ${fromEnd}`] : [this.#stacks, value];
    const known = stacks.get(key);
    if (known) return known.parts;
    const dims = tensor?.dims ?? this.#shapes.get(value) ?? [];
    if (dims.at(-fromEnd) !== experts) return new Array<string>(experts).fill(value);
    const places = Array.from({ length: experts }, (_, i) => i);
    const parts = places.map((i) => this.#model.fresh(`${value}.${i}`));
    stacks.set(key, { parts, fromEnd });
    const axis = dims.length - fromEnd;
    if (tensor) {
      // A matrix is what layers have.
      const isMatrix = this.#model
        .uses(value)
        .some(({ node, index }) => node.opType === 'MatMul' && index === 1);
      for (const i of places) {
        const piece = gather(tensor, axis, [i]);
        this.#model.tensors.set(parts[i], {
          ...piece,
          name: parts[i],
          dims: isMatrix ? dims.slice(-2) : piece.dims,
        });
      }
      return parts;
    }
    added.push(splitEvenly(this.#model, value, parts, { axis, size: 1 }));
    this.#whole.add(value);
    return parts;
  }

  /** What a node reads whole, and graphs inside it. */
  #together(node: NodeProto): NodeProto[] {
    return [...new Set(reads(node))].flatMap((value) => this.#joined(value));
  }

  #joined(value: string): NodeProto[] {
    const stack = this.#stacks.get(value);
    if (!stack || this.#whole.has(value)) return [];
    this.#whole.add(value);
    const axis = this.#shapes.get(value)!.length - stack.fromEnd;
    const [name, attribute] = [this.#model.fresh(`${value}.Concat`), [attributeOf('axis', axis)]];
    return [
      create(NodeProtoSchema, {
        name,
        opType: 'Concat',
        input: [...stack.parts],
        output: [value],
        attribute,
      }),
    ];
  }
}
