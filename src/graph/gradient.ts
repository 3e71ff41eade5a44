// A part of a model that gives, beside what its layers compute, the gradients of a loss by weights before them: nodes of ONNX,
// so that whatever runs models runs this too.

import { create } from '@bufbuild/protobuf';
import { InputError } from '../errors.ts';
import { type BuildDims, valueInfo } from './build.ts';
import { type DataType, typeCode } from './dtype.ts';
import { type LinearMap, usesOf } from './linear.ts';
import type { Model } from './model.ts';
import { attributeOf, type BuildAttribute, copyMessage, reads } from './node.ts';
import { type NodeProto, NodeProtoSchema, ValueInfoProtoSchema } from './onnx_pb.ts';
import type { Backward, ConvGeometry } from './operators/operator.ts';
import { surrounded } from './operators/spatial-gradients.ts';
import { hasSamples, madeOf, part, sampleAxis, sampledValues, type ValueInfo } from './subgraph.ts';
import { fromFloat32, fromIntegers, type Tensor } from './tensor.ts';
import { weightTensors } from './weights.ts';

/** The names of what a layer has in a gradient model. */
interface GradientValues {
  /** Input: what the layer should give; output: ‖y − t‖², of each place on the first axis. */
  readonly target: string;
  readonly squares: string;
}

/** The gradients of E = ½Σ‖y − t‖² by the weights of a layer, all of them outputs. */
interface WeightGradients {
  /** p × m as W, row-major; of a convolution channels × (taps·m), which is the same. */
  readonly weight: string;
  /** Absent where the layer has no bias. */
  readonly bias?: string;
  /** Of each output of the layer, the squares of the gradients by it, summed. */
  readonly power: string;
}

/** A model to be run with weights as inputs, under the names that they have as constants. */
export interface GradientModel {
  readonly backward: Model;
  /** The same without gradients: onnxruntime runs all of a model, whatever is asked for. */
  readonly forward: Model;
  readonly layers: readonly GradientValues[];
  readonly gradients: readonly WeightGradients[];
  /** What else it is to be given: the values that the layers `by` read, and those that are not made of theirs. */
  readonly inputs: readonly string[];
}

/**
 * @param by  layers whose weights are inputs, as are the values that they read
 * @param to  layers behind them, whose outputs have targets
 * @param cut  values that have fewer channels than `info` says: what is made of them is not given
 * @returns undefined where a derivative on the way is not known, one of `by` reads what another has made, or `to` needs something
 *   that cannot be given by sample
 */
export function gradientModel(
  model: Model,
  by: readonly LinearMap[],
  to: readonly LinearMap[],
  info: ValueInfo,
  cut: Iterable<string> = [],
): GradientModel | undefined {
  const made = madeOf(model.nodes, outputsOf(by));
  if (by.some(({ input }) => made.has(input))) return undefined;
  return derived(
    model,
    by,
    to.map(({ output }) => output),
    info,
    { cut },
  )?.gradient;
}

/** By layers that may read what others of them have made, and how far an output is from its target. */
interface LossGradient {
  readonly gradient: GradientModel;
  /** Those of the layers behind which all derivatives are known. */
  readonly by: readonly LinearMap[];
}

/**
 * The same of an output that has a target.
 *
 * @param loss  `divergence`: the target are scores over the last axis, and what is minimised is KL(softmax t ‖ softmax y), its double being
 *   what `squares` gives
 * @returns undefined where no derivative is known
 */
export function lossGradient(
  model: Model,
  by: readonly LinearMap[],
  output: string,
  info: ValueInfo,
  loss: Loss,
): LossGradient | undefined {
  if (by.length === 0) return undefined;
  const found = derived(model, by, [output], info, { loss });
  if (!found) return undefined;
  const { gradient, known } = found;
  return gradient ? { gradient, by } : lossGradient(model, known, output, info, loss);
}

/** What outputs are held against their targets by. */
type Loss = 'squares' | 'divergence';

const outputsOf = (maps: readonly LinearMap[]) => maps.flatMap(usesOf).map(({ output }) => output);

/** @returns the gradient where it is known by all of the layers, and by which it is; undefined where not even the outputs can be had */
function derived(
  model: Model,
  by: readonly LinearMap[],
  outputs: readonly string[],
  info: ValueInfo,
  { cut = [], loss = 'squares' }: { readonly cut?: Iterable<string>; readonly loss?: Loss },
): { readonly gradient?: GradientModel; readonly known: readonly LinearMap[] } | undefined {
  // Opset 11 is the first that compares floats; where extents differ between samples, it has to be known which.
  if (model.opset < 11 || (info.varies && !info.smallest)) return undefined;
  const weights = by.flatMap((map) => Object.values(weightTensors(model, map)));
  const sources = new Set(outputsOf(by));
  const made = madeOf(model.nodes, sources);
  const first = by.flatMap(usesOf).filter(({ input }) => !made.has(input));
  const own = [...new Set(first.map(({ input }) => input))];
  const changed = madeOf(model.nodes, cut);
  const known = new Map([...info.shapes].filter(([value]) => own.includes(value) || !changed.has(value)));
  for (const { name, dims } of weights) known.set(name, dims);
  const partFrom = (inputs: readonly string[]) =>
    partOf(model, [...inputs, ...weights.map(({ name }) => name)], outputs, { ...info, shapes: known });
  let inputs = own;
  let forward = partFrom(inputs);
  if (!forward) {
    const ends = new Set(first.map(({ output }) => output));
    inputs = [...new Set([...own, ...besides(model, made, ends, outputs, { ...info, shapes: known })])];
    forward = partFrom(inputs);
  }
  if (!forward) return undefined;
  const graph = new BackwardGraph(forward, new Map(weights.map((tensor) => [tensor.name, tensor])), info);
  const layers = outputs.map((output) => graph.residualOf(output, loss));
  const before = graph.built();
  const found = graph.backwards(new Map(outputs.map((output, i) => [output, layers[i].residual])), sources);
  const reached = by.filter((map) => {
    const own = usesOf(map).map(({ output }) => found.get(output));
    return !own.includes(undefined) && own.some((it) => it !== UNREACHED);
  });
  if (reached.length < by.length) return { known: reached };
  const gradients = by.map((map) => graph.weightGradients(map, weightTensors(model, map), found));
  return { gradient: { backward: graph.built(), forward: before, layers, gradients, inputs }, known: by };
}

/** Nothing is computed of a value that the outputs are made of. */
const UNREACHED = '';

/** What is given as numbers without loss, whatever it is. Integers are where they are inputs: there they came as numbers too. */
const GIVEN_TYPES = new Set(['float32', 'bool']);

/**
 * Values of known shapes that the outputs are made of beside what layers have made, and that samples reach; in the place of one that
 * cannot be given, those that it is made of.
 *
 * @param made  by the layers
 * @param ends  of these what is made of values that are given
 */
function besides(
  model: Model,
  made: ReadonlySet<string>,
  ends: ReadonlySet<string>,
  outputs: readonly string[],
  info: ValueInfo,
): string[] {
  const sampled = sampledValues(model, info, info.varies);
  const isGiven = (value: string) =>
    !made.has(value) &&
    info.shapes.has(value) &&
    hasSamples(info, value) &&
    (GIVEN_TYPES.has(info.types.get(value) ?? 'float32') || !model.producer(value));
  const found = new Set<string>();
  const seen = new Set<string>();
  const pending = [...outputs];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (seen.has(value) || ends.has(value) || !sampled.has(value)) continue;
    seen.add(value);
    const node = model.producer(value);
    if (isGiven(value)) found.add(value);
    else if (node) pending.push(...reads(node));
  }
  return [...found];
}

/** Undefined where the outputs need more than what is given. */
function partOf(...args: Parameters<typeof part>): Model | undefined {
  try {
    return part(...args);
  } catch (error) {
    if (error instanceof InputError) return undefined;
    throw error;
  }
}

class BackwardGraph implements Backward {
  readonly #model: Model;
  readonly #weights: ReadonlyMap<string, Tensor>;
  readonly #info: ValueInfo;
  readonly #forward: readonly NodeProto[];
  readonly #added: string[] = [];

  /** @param model  gets the nodes that are added */
  constructor(model: Model, weights: ReadonlyMap<string, Tensor>, info: ValueInfo) {
    this.#model = model;
    this.#weights = weights;
    this.#info = info;
    this.#forward = [...model.nodes];
    model.graph.output = [];
  }

  node(
    opType: string,
    input: readonly string[],
    attributes: Readonly<Record<string, BuildAttribute>> = {},
  ): string {
    const attribute = Object.entries(attributes).map(([key, value]) => attributeOf(key, value));
    return this.again(create(NodeProtoSchema, { opType, attribute }), input);
  }

  again(node: NodeProto, input: readonly string[]): string {
    const name = this.#fresh(node.opType);
    this.#model.nodes.push(Object.assign(copyMessage(node), { name, input: [...input], output: [name] }));
    return name;
  }

  scalar(value: number): string {
    return this.floats(Float32Array.of(value), []);
  }

  floats(values: Float32Array, dims: readonly number[]): string {
    const name = this.#fresh('constant');
    this.#model.tensors.set(name, fromFloat32(values, dims, { name, type: 'float32' }));
    return name;
  }

  get opset(): number {
    return this.#model.opset;
  }

  constant(value: string): Tensor | undefined {
    return this.#weights.get(value) ?? this.#model.tensors.get(value);
  }

  dims(value: string): readonly number[] | undefined {
    const { shapes, smallest } = this.#info;
    const dims = shapes.get(value) ?? this.constant(value)?.dims;
    const others = smallest?.get(value);
    return others ? dims?.map((extent, axis) => (extent === others[axis] ? extent : Number.NaN)) : dims;
  }

  samples(value: string): number {
    return sampleAxis(this.#info, value);
  }

  residualOf(output: string, loss: Loss): GradientValues & { readonly residual: string } {
    const target = this.#fresh('target');
    const dims: BuildDims | undefined = this.#info.shapes
      .get(output)
      ?.map((_, axis) => `axis ${axis} of ${target}`);
    this.#model.graph.input.push(valueInfo(target, 'float32' as DataType, dims));
    const [residual, each] =
      loss === 'squares' ? this.#squares(output, target) : this.#divergence(output, target);
    const axes = dims?.map((_, axis) => axis).slice(1) ?? [];
    return { target, residual, squares: this.#output(this.sum(each, axes)) };
  }

  /** y − t, and its squares. */
  #squares(y: string, t: string): [residual: string, each: string] {
    const residual = this.node('Sub', [y, t]);
    return [residual, this.node('Mul', [residual, residual])];
  }

  /** softmax y − softmax t, the derivative of KL(softmax t ‖ softmax y), and what that is the half sum of. */
  #divergence(y: string, t: string): [residual: string, each: string] {
    const [own, wanted] = [y, t].map((scores) => this.node('LogSoftmax', [scores], { axis: -1 }));
    const [q, p] = [own, wanted].map((logs) => this.node('Exp', [logs]));
    const each = this.node('Mul', [p, this.node('Sub', [wanted, own])]);
    return [this.node('Sub', [q, p]), this.node('Mul', [each, this.scalar(2)])];
  }

  /** The gradients by those of `sources` where they are known, from those by what is computed of them; or that nothing is. */
  backwards(given: ReadonlyMap<string, string>, sources: ReadonlySet<string>): ReadonlyMap<string, string> {
    const depends = madeOf(this.#forward, sources);
    const gradients = new Map(given);
    const unknown = new Set<string>();
    for (const node of this.#forward.toReversed()) {
      const rule = this.#model.operator(node)?.gradient;
      for (const [place, output] of node.output.entries()) {
        const gradient = gradients.get(output);
        const isUnknown = unknown.has(output);
        if ((gradient === undefined && !isUnknown) || !depends.has(output)) continue;
        for (const [index, value] of node.input.entries()) {
          if (!depends.has(value)) continue;
          const own = isUnknown ? undefined : rule?.(this, node, index, gradient!, place);
          if (own === undefined) unknown.add(value);
          if (own === undefined || own === null) continue;
          const other = gradients.get(value);
          gradients.set(value, other === undefined ? own : this.node('Add', [other, own]));
        }
      }
    }
    const known = [...sources].filter((value) => !unknown.has(value));
    return new Map(known.map((value) => [value, gradients.get(value) ?? UNREACHED]));
  }

  /** By XᵀΔ, with Δ the gradients by the layer's outputs, wherever it is. */
  weightGradients(
    map: LinearMap,
    { bias }: { readonly bias?: Tensor },
    found: ReadonlyMap<string, string>,
  ): WeightGradients {
    const reached = usesOf(map).filter(({ output }) => found.get(output) !== UNREACHED);
    const each = reached.map((use) => this.#gradientsOf(use, found.get(use.output)!, bias !== undefined));
    const total = (of: keyof WeightGradients) =>
      this.#output(each.map((it) => it[of]!).reduce((a, b) => this.node('Add', [a, b])));
    return { weight: total('weight'), bias: bias && total('bias'), power: total('power') };
  }

  #gradientsOf(map: LinearMap, gradient: string, hasBias: boolean): WeightGradients {
    const { conv, input, m } = map;
    const perm = [0, 2, 3, 1].filter((axis) => axis < this.dims(input)!.length); // channels last
    const deltas = this.#rows(conv ? this.node('Transpose', [gradient], { perm }) : gradient, m);
    const taps = conv ? this.#taps(map, conv) : [this.#turnedRows(input)];
    const products = taps.map((X) => this.node('MatMul', [X, deltas]));
    return {
      weight: products.length > 1 ? this.node('Concat', products, { axis: 1 }) : products[0],
      bias: hasBias ? this.sum(deltas, [0]) : undefined,
      power: this.sum(this.node('Mul', [deltas, deltas]), [0]),
    };
  }

  #rows(value: string, columns: number): string {
    return this.node('Reshape', [value, this.integers([-1, columns])]);
  }

  #turnedRows(value: string): string {
    return this.node('Transpose', [this.#rows(value, this.dims(value)!.at(-1)!)], { perm: [1, 0] });
  }

  /** What each tap of a convolution's kernel reads, channels × positions of all images. */
  #taps({ node, input, output }: LinearMap, { kernel, strides, dilations }: ConvGeometry): string[] {
    const [, channels, ...extents] = this.dims(input)!;
    const axes = extents.length; // a 1-D convolution has the last of two
    const inner = (pair: readonly number[]) => pair.slice(2 - axes);
    const perm = [1, 0, 2, 3].slice(0, 2 + axes);
    const turned = this.node('Transpose', [input], { perm });
    const padded = surrounded(this, this.#model.node(node)!, turned, inner(kernel));
    const steps = inner(strides);
    const [on, by, one] = [perm.slice(2), steps, steps.map(() => 1)].map((values) => this.integers(values));
    const sizes = steps.map((_, axis) => this.size(output, axis + 2));
    const less = this.node('Sub', [this.node('Concat', sizes, { axis: 0 }), one]);
    const reach = this.node('Add', [this.node('Mul', [less, by]), one]);
    return Array.from({ length: kernel[0] * kernel[1] }, (_, tap) => {
      const place = [Math.floor(tap / kernel[1]) * dilations[0], (tap % kernel[1]) * dilations[1]];
      const first = this.integers(inner(place));
      const read = this.node('Slice', [padded, first, this.node('Add', [first, reach]), on, by]);
      return this.node('Reshape', [read, this.integers([channels, -1])]);
    });
  }

  unsqueeze(value: string, axes: readonly number[]): string {
    return this.#overAxes('Unsqueeze', value, axes, {});
  }

  size(value: string, axis: number): string {
    const [start, end] = [axis, axis + 1].map((at) => this.integers([at]));
    return this.node('Slice', [this.node('Shape', [value]), start, end]);
  }

  extent(value: string, axes: readonly number[]): string {
    const product = axes
      .map((axis) => this.size(value, axis))
      .reduce((total, size) => this.node('Mul', [total, size]));
    return this.node('Cast', [product], { to: typeCode('float32') });
  }

  /** As it is by now. */
  built(): Model {
    this.#model.edited();
    return this.#model.clone();
  }

  sum(value: string, axes: readonly number[], isKept = false): string {
    return this.#overAxes('ReduceSum', value, axes, { keepdims: Number(isKept) });
  }

  /** Axes are an input since opset 13. */
  #overAxes(
    opType: string,
    value: string,
    axes: readonly number[],
    attributes: Readonly<Record<string, BuildAttribute>>,
  ): string {
    return this.#model.opset < 13
      ? this.node(opType, [value], { ...attributes, axes: [...axes] })
      : this.node(opType, [value, this.integers(axes)], attributes);
  }

  integers(values: readonly number[]): string {
    const name = this.#fresh('integers');
    this.#model.tensors.set(name, fromIntegers(name, values, [values.length]));
    return name;
  }

  #output(value: string): string {
    this.#model.graph.output.push(create(ValueInfoProtoSchema, { name: value })); // onnxruntime infers the type
    return value;
  }

  #fresh(base: string): string {
    const name = `${base} ${this.#added.length} of the gradient`;
    this.#added.push(name);
    return name;
  }
}
