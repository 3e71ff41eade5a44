// What an operator computes, in one object. Linear maps, weights read and written, BatchNormalization folded, derivatives and
// multiply-adds follow from it; what may be cut, from that and its rule (propagation.ts).

import type { BuildAttribute } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import type { Tensor } from '../tensor.ts';

/** The graph that derivatives are written in. */
export interface Backward {
  readonly opset: number;
  /** Adds a node and gives its value. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, BuildAttribute>>,
  ): string;
  /** Adds a node like another, of other inputs. */
  again(node: NodeProto, inputs: readonly string[]): string;
  /** A float32 constant without axes. */
  scalar(value: number): string;
  floats(values: Float32Array, dims: readonly number[]): string;
  /** An int64 constant of one axis. */
  integers(values: readonly number[]): string;
  /** Over some axes, which stay with an extent of 1 or go. */
  sum(value: string, axes: readonly number[], isKept?: boolean): string;
  /** With further axes of extent 1, at these places of the result. */
  unsqueeze(value: string, axes: readonly number[]): string;
  /** The extent of an axis when it runs, which is another one where channels went: one int64. */
  size(value: string, axis: number): string;
  /** The product of such extents, as a float32. */
  extent(value: string, axes: readonly number[]): string;
  /** Weights of the graph, those that gradients are asked for among them. */
  constant(value: string): Tensor | undefined;
  /** Extents in the sample run, of the uncut model; NaN where they differ between samples. Those of constants as they are. */
  dims(value: string): readonly number[] | undefined;
  /** The axis of a value that counts samples; −1 where none does. */
  samples(value: string): number;
}

/**
 * From the gradient by one of a node's outputs to that by one of its inputs; undefined where it is not known, null where it is 0
 * whatever the values are.
 */
export type GradientRule = (
  graph: Backward,
  node: NodeProto,
  input: number,
  gradient: string,
  output: number,
) => string | null | undefined;

/** An operator of ONNX or of the user's own: all that a graph says of its nodes but how channels go through them. */
export interface Arithmetic {
  /** The `op_type` of its nodes. */
  readonly name: string;
  /** The `domain` of its nodes; left out for operators of the ONNX standard. */
  readonly domain?: string;
  /** Of an operator that adds, so that what it ties may be a residual stream: the output that is input 0 + input 1, if any. */
  sum?(node: NodeProto): string | undefined;
  /** Of an operator with weights. */
  readonly layer?: Layer;
  /** Its derivative. Left out: what leads through it is not refitted. */
  readonly gradient?: GradientRule;
  /** Multiply-adds of a node in a run whose values have these dims. Left out: none that count. */
  macs?(node: NodeProto, dims: (value: string) => readonly number[]): number;
}

/** Dims in the sample run. */
export interface LayerDims {
  readonly input: readonly number[];
  readonly output: readonly number[];
  readonly weight: readonly number[];
}

/** Y = X·W + b, or the like: X is input 0, W the constant at input 1, Y output 0. */
export interface Layer {
  /** The axis of X and of Y that counts channels; −1 is the last. */
  readonly axis: number;
  /** The axis of W that counts the channels of Y; the other of the first two counts those of X. */
  outputAxis(node: NodeProto): 0 | 1;
  /** Whether W is (k, m / k, p), of k layers side by side: Y has the channels of one behind those of the other. */
  readonly isStacked?: boolean;
  /** How many layers side by side a node is, each with rows of X and columns of Y of its own. Left out: one. */
  parts?(node: NodeProto): number;
  /** Whether Y is inside the node and no value of the graph. */
  readonly isInner?: boolean;
  /** The input that b is; without one, a constant that an Add behind the node adds is taken for b. */
  readonly bias?: number;
  /** Float attributes that W and b are multiplied with. */
  readonly factors?: { readonly weight: string; readonly bias: string };
  /** Whether rows of Y are rows of X times W, so that W can be solved for anew. Left out: never. */
  isLinear?(node: NodeProto, dims: LayerDims): boolean;
  /** Where rows of X are patches of images (n, c, h, w) or (n, c, w): which. W is then (m, c, kh, kw) or (m, c, kw), c before m where `outputAxis` is 1. */
  patches?(node: NodeProto, dims: LayerDims): ConvGeometry;
}

/** A convolution's sampling of its input, in two dimensions; 1-D is a height of 1. */
export interface ConvGeometry {
  kernel: [number, number];
  strides: [number, number];
  /** top, left, bottom, right */
  pads: [number, number, number, number];
  /** Images of other extents get other pads: `padsFor` knows them. */
  placed?: 'SAME_UPPER' | 'SAME_LOWER';
  dilations: [number, number];
  /** Of a transposed convolution: its strides, by which the input is taken apart with zeros before it is sampled. */
  inputDilations?: [number, number];
  /** Of a 3-D convolution the axis before height. A channel of `kernel` planes is as many channels of one plane. */
  depth?: DepthGeometry;
}

/** How the planes of an output are made of those of the input. */
export interface DepthGeometry {
  kernel: number;
  stride: number;
  /** front, back */
  pads: [number, number];
  dilation: number;
  inputDilation: number;
}
