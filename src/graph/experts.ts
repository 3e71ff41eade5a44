// Products of a stack of matrices, as the experts of a mixture have, become products side by side: between two of them each expert has
// neurons of its own, which it loses by itself.

import { create } from '@bufbuild/protobuf';
import { isFloat } from './dtype.ts';
import type { Shapes } from './linear.ts';
import type { Model } from './model.ts';
import { attributeOf, copyMessage, isStandard, reads } from './node.ts';
import { type NodeProto, NodeProtoSchema } from './onnx_pb.ts';
import { broadcast, unary } from './operators/elementwise.ts';
import { splitEvenly } from './side-by-side.ts';
import { gather } from './tensor.ts';

/** Each takes the nodes of all of its layers. */
const MOST_EXPERTS = 64;

/** Nodes that are made of others: what a file has behind few products may be many. */
const MOST_NODES = 2 ** 16;

/** The model, or a copy in which X·W of (e, n, p) or (1, n, p) and constants (e, p, m) are e products, and so is what is made of them one by one. */
export function separateExperts(model: Model, shapes: Shapes): Model {
  if (!model.nodes.some((node) => expertsOf(model, shapes, node) > 0)) return model;
  const copy = model.clone();
  const stacks = new Stacks(copy, shapes);
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
  const [experts, ...matrix] = weight.dims;
  const isStack = matrix.length === 2 && read?.length === 3 && made?.length === 3;
  return isStack && experts > 1 && experts <= MOST_EXPERTS && made[0] === experts ? experts : 0;
}

/** Values whose first axis counts experts, taken apart along it. */
class Stacks {
  readonly #model: Model;
  readonly #shapes: Shapes;
  readonly #parts = new Map<string, string[]>();
  /** Values that are put together again for nodes that read them whole. */
  readonly #whole = new Set<string>();
  #left = MOST_NODES;

  constructor(model: Model, shapes: Shapes) {
    this.#model = model;
    this.#shapes = shapes;
  }

  /** What takes the place of a node. */
  visit(node: NodeProto): NodeProto[] {
    const experts = this.#experts(node);
    if (experts === 0 || experts > this.#left) return [...this.#together(node), node];
    this.#left -= experts;
    const added: NodeProto[] = [];
    const inputs = node.input.map((value) => this.#apart(value, experts, added));
    const [output] = node.output;
    const made = Array.from({ length: experts }, (_, i) => {
      const own = copyMessage(node);
      own.name = this.#model.fresh(`${node.name}.${i}`);
      own.input = inputs.map((parts) => parts[i]);
      own.output = [this.#model.fresh(`${output}.${i}`)];
      return own;
    });
    this.#parts.set(
      output,
      made.map((own) => own.output[0]),
    );
    const isRead = this.#model.isOutput(output);
    return [...added, ...made, ...(isRead ? this.#joined(output) : [])];
  }

  /** Of a product, or of what goes on element by element with what products have made. */
  #experts(node: NodeProto): number {
    const own = expertsOf(this.#model, this.#shapes, node);
    const rule = this.#model.operator(node)?.rule;
    if (own > 0 || node.output.length !== 1 || (rule !== unary && rule !== broadcast)) return own;
    const [first, ...others] = node.input.flatMap((value) => this.#parts.get(value)?.length ?? []);
    const isStack = (value: string) => {
      const dims = this.#model.tensors.get(value)?.dims;
      const isConstant = dims && (dims.length < 3 || (dims.length === 3 && [1, first].includes(dims[0])));
      return this.#parts.has(value) || isConstant;
    };
    const isAlike = first !== undefined && others.every((count) => count === first);
    return isAlike && node.input.every((value) => value === '' || isStack(value)) ? first : 0;
  }

  /** What each expert reads of a value. */
  #apart(value: string, experts: number, added: NodeProto[]): string[] {
    const known = this.#parts.get(value);
    if (known) return known;
    const tensor = this.#model.tensors.get(value);
    const dims = tensor?.dims ?? this.#shapes.get(value) ?? [];
    if (dims.length < 3 || dims[0] !== experts) return new Array<string>(experts).fill(value);
    const places = Array.from({ length: experts }, (_, i) => i);
    const parts = places.map((i) => this.#model.fresh(`${value}.${i}`));
    this.#parts.set(value, parts);
    if (tensor) {
      for (const i of places) {
        const piece = gather(tensor, 0, [i]);
        // A matrix is what layers have.
        const isMatrix = this.#model
          .uses(value)
          .some(({ node, index }) => node.opType === 'MatMul' && index === 1);
        this.#model.tensors.set(parts[i], {
          ...piece,
          name: parts[i],
          dims: isMatrix ? dims.slice(1) : piece.dims,
        });
      }
      return parts;
    }
    added.push(splitEvenly(this.#model, value, parts, { axis: 0, size: 1 }));
    this.#whole.add(value);
    return parts;
  }

  /** What a node reads whole, and graphs inside it. */
  #together(node: NodeProto): NodeProto[] {
    return [...new Set(reads(node))].flatMap((value) => this.#joined(value));
  }

  #joined(value: string): NodeProto[] {
    const parts = this.#parts.get(value);
    if (!parts || this.#whole.has(value) || this.#model.tensors.has(value)) return [];
    this.#whole.add(value);
    const [name, attribute] = [this.#model.fresh(`${value}.Concat`), [attributeOf('axis', 0)]];
    return [create(NodeProtoSchema, { name, opType: 'Concat', input: parts, output: [value], attribute })];
  }
}
