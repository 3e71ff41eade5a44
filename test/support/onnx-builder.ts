// Networks for tests and benches: layers with seeded random weights on the library's own GraphBuilder.
// Every method takes and gives names of values; the builder remembers how many channels a value has.

import { create, fromBinary } from '@bufbuild/protobuf';
import { type BuildDims, GraphBuilder } from '../../src/graph/build.ts';
import type { DataType } from '../../src/graph/dtype.ts';
import { attributeOf, type BuildAttribute } from '../../src/graph/node.ts';
import {
  type AttributeProto,
  AttributeProtoSchema,
  type GraphProto,
  AttributeProto_AttributeType as Kind,
  ModelProtoSchema,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
} from '../../src/graph/onnx_pb.ts';
import { elements, fromFloat32, fromIntegers } from '../../src/graph/tensor.ts';
import { encodeTensor } from '../../src/graph/wire.ts';
import { writeModel } from '../../src/graph/write.ts';
import { random } from './random.ts';

/** Beside what the library itself writes: `{ tensor }` of one int64. */
export type Attribute = BuildAttribute | { tensor: number };

export interface ConvOptions {
  stride?: number;
  /** Default: what keeps the extent at stride 1. */
  pad?: number;
  dilation?: number;
  group?: number;
  bias?: boolean;
  /** Times the He scale. */
  gain?: number;
  autoPad?: string;
}

export interface NodeOptions {
  channels?: number;
  outputs?: number;
  domain?: string;
}

export interface BuilderOptions {
  seed?: number;
  opset?: number;
  /** Type of inputs and weights. */
  type?: 'float32' | 'float16' | 'float64';
}

export class OnnxBuilder {
  readonly #graph = new GraphBuilder();
  readonly #random: () => number;
  readonly #type: 'float32' | 'float16' | 'float64';
  readonly #opset: number;
  readonly #channels = new Map<string, number>();
  #count = 0;

  constructor({ seed = 1, opset = 17, type = 'float32' }: BuilderOptions = {}) {
    this.#random = random(seed);
    this.#type = type;
    this.#opset = opset;
  }

  /** A graph input with a dynamic batch in front: `dims` are the others, channels first. */
  input([channels, ...sides]: readonly [number, ...BuildDims] | readonly number[], name = 'input'): string {
    return this.#set(this.feed(name, ['n', channels, ...sides]), channels);
  }

  /** Rows of `width` features: n × t × width, batch and length dynamic. */
  sequence(width: number, name = 'input'): string {
    return this.#set(this.feed(name, ['n', 't', width]), width);
  }

  /** A graph input of any type and shape; a dim that is a string is dynamic. */
  feed(name: string, dims: BuildDims, type: DataType = this.#type): string {
    return this.#graph.input(name, type, dims);
  }

  /** Declares an output; its shape is left open unless it is given. The value can be given a name of its own. */
  output(value: string, name = value, dims?: BuildDims): this {
    this.#graph.output(value, name, this.#type, dims);
    return this;
  }

  /** What was built, as a graph inside a node: its inputs are values of the graph around it. */
  graph(): GraphProto {
    const { graph } = fromBinary(ModelProtoSchema, this.build());
    graph!.input = [];
    return graph!;
  }

  channels(value: string): number {
    return this.#channels.get(value)!;
  }

  /** Random weights, uniform with this standard deviation around `mean`. */
  weight(dims: readonly number[], deviation: number, mean = 0): string {
    const width = deviation * Math.sqrt(12);
    const values = new Float32Array(elements(dims));
    return this.floats(
      values.map(() => mean + (this.#random() - 0.5) * width),
      dims,
    );
  }

  floats(values: Float32Array | readonly number[], dims: readonly number[] = [values.length]): string {
    const like = { name: this.#name('w'), type: this.#type };
    return this.#graph.tensor(fromFloat32(Float32Array.from(values), dims, like));
  }

  integers(values: readonly number[], type: 'int64' | 'int32' = 'int64'): string {
    return this.#graph.tensor(fromIntegers(this.#name('i'), values, [values.length], type));
  }

  index(value: number): string {
    return this.#graph.tensor(fromIntegers(this.#name('i'), [value], []));
  }

  /** Seeded, in [−127, 127]. */
  int8(dims: readonly number[]): string {
    const values = Int8Array.from({ length: elements(dims) }, () => Math.round(254 * this.#random() - 127));
    const bytes = new Uint8Array(values.buffer);
    return this.#graph.tensor({ name: this.#name('q'), type: 'int8', dims: [...dims], bytes });
  }

  boolean(value: boolean): string {
    const bytes = Uint8Array.of(Number(value));
    return this.#graph.tensor({ name: this.#name('c'), type: 'bool', dims: [], bytes });
  }

  /** Any node; the value takes the channels of the first computed input unless they are given. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
    options: NodeOptions = {},
  ): string {
    return this.nodes(opType, inputs, attributes, options)[0];
  }

  /** As `node`, with all the values that it gives. */
  nodes(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
    options: NodeOptions = {},
  ): string[] {
    const output = Array.from({ length: options.outputs ?? 1 }, () => this.#name(opType.toLowerCase()));
    const attribute = Object.entries(attributes).map(([name, value]) => attributeFor(name, value));
    const [name] = output;
    const { domain } = options;
    this.#graph.add(create(NodeProtoSchema, { name, opType, input: [...inputs], output, domain, attribute }));
    const known = inputs.map((value) => this.channels(value)).find((channels) => channels !== undefined);
    for (const value of output) this.#set(value, options.channels ?? known!);
    return output;
  }

  /** k × k (1-D where the input is: pass `dimensions: 1`). */
  conv(x: string, m: number, k: number, options: ConvOptions & { dimensions?: 1 | 2 } = {}): string {
    const { stride = 1, dilation = 1, group = 1, bias = true, gain = 1, dimensions = 2, autoPad } = options;
    const { pad = (dilation * (k - 1)) / 2 } = options;
    const kernel = new Array(dimensions).fill(k);
    const perGroup = this.channels(x) / group;
    const fanIn = perGroup * k ** dimensions;
    const W = this.weight([m, perGroup, ...kernel], gain * Math.sqrt(2 / fanIn));
    const inputs = bias ? [x, W, this.weight([m], 0.2)] : [x, W];
    const pads: Record<string, Attribute> = autoPad
      ? { auto_pad: autoPad }
      : { pads: new Array(2 * dimensions).fill(pad) };
    const strides = new Array(dimensions).fill(stride);
    const dilations = new Array(dimensions).fill(dilation);
    return this.node(
      'Conv',
      inputs,
      { kernel_shape: kernel, strides, dilations, group, ...pads },
      { channels: m },
    );
  }

  depthwise(x: string, k: number, options: ConvOptions & { multiplier?: number } = {}): string {
    const c = this.channels(x);
    return this.conv(x, c * (options.multiplier ?? 1), k, { ...options, group: c });
  }

  batchNormalization(x: string): string {
    const c = this.channels(x);
    const parameters = [
      this.weight([c], 0.2, 1),
      this.weight([c], 0.2),
      this.weight([c], 0.2),
      this.weight([c], 0.1, 1),
    ];
    return this.node('BatchNormalization', [x, ...parameters], { epsilon: { float: 1e-3 } });
  }

  relu(x: string): string {
    return this.node('Relu', [x]);
  }

  add(a: string, b: string): string {
    return this.node('Add', [a, b]);
  }

  mul(a: string, b: string): string {
    return this.node('Mul', [a, b]);
  }

  maxPool(x: string, k: number, stride = k, pad = 0): string {
    return this.node('MaxPool', [x], {
      kernel_shape: [k, k],
      strides: [stride, stride],
      pads: [pad, pad, pad, pad],
    });
  }

  globalAveragePool(x: string): string {
    return this.node('GlobalAveragePool', [x]);
  }

  /** @param extent  positions per channel that are merged */
  flatten(x: string, extent = 1): string {
    return this.node('Flatten', [x], {}, { channels: this.channels(x) * extent });
  }

  reshape(x: string, shape: readonly number[], channels?: number): string {
    return this.node('Reshape', [x, this.integers(shape)], {}, { channels });
  }

  gemm(
    x: string,
    m: number,
    options: { transB?: number; bias?: boolean; alpha?: number; beta?: number } = {},
  ): string {
    const { transB = 1, bias = true, alpha = 1, beta = 1 } = options;
    const p = this.channels(x);
    const W = this.weight(transB ? [m, p] : [p, m], Math.sqrt(2 / p));
    const inputs = bias ? [x, W, this.weight([m], 0.2)] : [x, W];
    return this.node(
      'Gemm',
      inputs,
      { transB, alpha: { float: alpha }, beta: { float: beta } },
      { channels: m },
    );
  }

  matmul(x: string, m: number): string {
    const p = this.channels(x);
    return this.node('MatMul', [x, this.weight([p, m], Math.sqrt(2 / p))], {}, { channels: m });
  }

  build(): Uint8Array {
    const model = this.#graph.build('test');
    model.proto.opsetImport = [
      create(OperatorSetIdProtoSchema, { domain: '', version: BigInt(this.#opset) }),
      create(OperatorSetIdProtoSchema, { domain: 'com.microsoft', version: 1n }),
    ];
    return writeModel(model).model;
  }

  #name(stem: string): string {
    return `${stem}_${this.#count++}`;
  }

  #set(value: string, channels: number): string {
    this.#channels.set(value, channels);
    return value;
  }
}

/** A ResNet50-shaped network with random He-scaled weights: 25.6 M parameters at 1000 classes. */
export function resnet50(
  seed = 1,
  { input = 224, batchNormalization = false }: { input?: number; batchNormalization?: boolean } = {},
): Uint8Array {
  const b = new OnnxBuilder({ seed });
  const conv = (x: string, m: number, k: number, stride = 1, gain = 1) => {
    const y = b.conv(x, m, k, { stride, pad: (k - 1) / 2, bias: !batchNormalization, gain });
    return batchNormalization ? b.batchNormalization(y) : y;
  };
  let x = b.maxPool(b.relu(conv(b.input([3, input, input]), 64, 7, 2)), 3, 2, 1);
  for (const [stage, blocks] of [3, 4, 6, 3].entries()) {
    const width = 64 * 2 ** stage;
    for (let block = 0; block < blocks; block++) {
      const stride = stage > 0 && block === 0 ? 2 : 1;
      const inner = b.relu(conv(b.relu(conv(x, width, 1)), width, 3, stride));
      // a small gain keeps the variance of the stream from doubling with each block
      const branch = conv(inner, 4 * width, 1, 1, 0.3);
      const shortcut = block === 0 ? conv(x, 4 * width, 1, stride) : x;
      x = b.relu(b.add(branch, shortcut));
    }
  }
  return b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 1000)).build();
}

function attributeFor(name: string, value: Attribute): AttributeProto {
  if (typeof value === 'object' && 'tensor' in value) {
    const t = encodeTensor(fromIntegers('', [value.tensor], [1]));
    return create(AttributeProtoSchema, { name, t, type: Kind.TENSOR });
  }
  return attributeOf(name, value);
}

/** Images times what a convolution makes of the means and maxima of their channels. */
export function overPlaces(b: OnnxBuilder, x: string): string {
  const levels = ['ReduceMean', 'ReduceMax'].map((opType) => b.node(opType, [x], { axes: [1] }));
  const both = b.node('Concat', levels, { axis: 1 }, { channels: 2 });
  return b.mul(x, b.node('Sigmoid', [b.conv(both, 1, 3)]));
}

/** Channels of 8 × 8 images dealt out: the first of each of so many groups, the second of each, … */
export function shuffle(b: OnnxBuilder, x: string, groups: number): string {
  const channels = b.channels(x);
  const apart = b.reshape(x, [0, groups, channels / groups, 8, 8]);
  return b.reshape(b.node('Transpose', [apart], { perm: [0, 2, 1, 3, 4] }), [0, channels, 8, 8], channels);
}
