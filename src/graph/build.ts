// Builds a model in memory, node by node, for those who write graphs instead of reading them.

import { create } from '@bufbuild/protobuf';
import { describeValue } from './describe.ts';
import { type DataType, typeCode } from './dtype.ts';
import { checkGraph, Model } from './model.ts';
import { attributeOf, type BuildAttribute } from './node.ts';
import {
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './onnx_pb.ts';
import { fromFloat32, fromIntegers, type Tensor } from './tensor.ts';

const OPSET = 17; // the first with LayerNormalization
const IR_VERSION = 8n; // the one that came with it

/** Extents; a name where it is open. */
export type BuildDims = readonly (number | string)[];

export class GraphBuilder {
  readonly #nodes: NodeProto[] = [];
  readonly #inputs: ValueInfoProto[] = [];
  readonly #outputs: ValueInfoProto[] = [];
  /** Those whose values are many are made when the model is. */
  readonly #tensors = new Map<string, Tensor | (() => Tensor)>();
  readonly #names = new Set<string>();

  /** Without dims its shape is left open. */
  input(name: string, type: DataType, dims?: BuildDims): string {
    this.#inputs.push(valueInfo(name, type, dims));
    this.#names.add(name);
    return name;
  }

  /** Makes a value that a node has computed an output, and renames it. Without dims its shape is left open. */
  output(value: string, name: string, type: DataType, dims?: BuildDims): void {
    const renamed = (given: string) => (given === value ? name : given);
    for (const node of this.#nodes) {
      node.input = node.input.map(renamed);
      node.output = node.output.map(renamed);
    }
    this.#outputs.push(valueInfo(name, type, dims));
  }

  /** A constant. Its name counts as taken from then on. */
  tensor(tensor: Tensor): string {
    this.#tensors.set(tensor.name, tensor);
    this.#names.add(tensor.name);
    return tensor.name;
  }

  /** A float32 constant. Values that are made by a function are made only where the model is built. */
  floats(name: string, values: Float32Array | (() => Float32Array), dims: readonly number[]): string {
    const tensorOf = (data: Float32Array) => fromFloat32(data, dims, { name, type: 'float32' });
    this.#tensors.set(name, typeof values === 'function' ? () => tensorOf(values()) : tensorOf(values));
    this.#names.add(name);
    return name;
  }

  /** A float32 constant without axes; asked for twice, it is made once. */
  scalar(value: number): string {
    const name = `float ${value}`;
    return this.#tensors.has(name) ? name : this.floats(name, Float32Array.of(value), []);
  }

  /** An int64 constant, a list or without axes; asked for twice, it is made once. */
  integers(values: number | readonly number[]): string {
    const name = `int64 ${JSON.stringify(values)}`;
    if (this.#tensors.has(name)) return name;
    const list = typeof values === 'number' ? [values] : values;
    return this.tensor(fromIntegers(name, list, typeof values === 'number' ? [] : [list.length]));
  }

  /** The same with more axes, called by name. */
  integerTable(name: string, values: () => readonly number[], dims: readonly number[]): string {
    return this.#tensors.has(name) ? name : this.tensor(fromIntegers(name, values(), dims));
  }

  /** A node of one output, which bears its name; returns that. Without a name it gets one from its operator. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, BuildAttribute>> = {},
    name = this.#fresh(opType),
  ): string {
    const attribute = Object.entries(attributes).map(([key, value]) => attributeOf(key, value));
    this.add(create(NodeProtoSchema, { name, opType, input: [...inputs], output: [name], attribute }));
    return name;
  }

  /** A node of several outputs; returns their names. */
  split(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, BuildAttribute>>,
    outputs: number,
  ): string[] {
    const name = this.#fresh(opType);
    const attribute = Object.entries(attributes).map(([key, value]) => attributeOf(key, value));
    const output = Array.from({ length: outputs }, (_, i) => `${name}:${i}`);
    this.add(create(NodeProtoSchema, { name, opType, input: [...inputs], output, attribute }));
    return output;
  }

  /** A node as it is. */
  add(node: NodeProto): void {
    for (const value of node.output) this.#names.add(value);
    this.#nodes.push(node);
  }

  /** @throws {FormatError} where the nodes do not make a graph, e.g. one reads a constant that was never given */
  build(name: string): Model {
    const proto = create(ModelProtoSchema, {
      irVersion: IR_VERSION,
      producerName: 'osscar-wasm',
      opsetImport: [{ domain: '', version: BigInt(OPSET) }],
      graph: this.graph(name),
    });
    const tensors = Array.from(
      this.#tensors,
      ([name, it]) => [name, typeof it === 'function' ? it() : it] as const,
    );
    const model = new Model(name, proto, new Map(tensors));
    checkGraph(model);
    return model;
  }

  /** Its nodes as the body of another graph's node; constants are of that graph. */
  graph(name: string): GraphProto {
    return create(GraphProtoSchema, { name, node: this.#nodes, input: this.#inputs, output: this.#outputs });
  }

  #fresh(base: string): string {
    for (let i = this.#nodes.length; ; i++) {
      const name = `${base}_${i}`;
      if (!this.#names.has(name)) return name;
    }
  }
}

/** The description of a graph input or output. Without dims its shape is left open. */
export function valueInfo(name: string, type: DataType, dims?: BuildDims): ValueInfoProto {
  const dim = dims?.map((size) => ({
    value:
      typeof size === 'string'
        ? { case: 'dimParam' as const, value: size }
        : { case: 'dimValue' as const, value: BigInt(size) },
  }));
  const value = { case: 'tensorType' as const, value: { elemType: typeCode(type), shape: dim && { dim } } };
  return create(ValueInfoProtoSchema, { name, type: { value } });
}

/** An input or output as it is declared, with another type or other dims; those that are open stay so. */
export function redeclared(
  value: ValueInfoProto,
  change: (as: { readonly type: DataType; readonly dims: BuildDims }) => { type: DataType; dims: BuildDims },
): ValueInfoProto {
  const { name, type, dims } = describeValue(value);
  const open = dims.map((dim) => (dim === -1 ? '' : dim));
  const changed = change({ type: type as DataType, dims: open });
  return valueInfo(name, changed.type, changed.dims);
}
