// The layers whose weights can be re-solved: linear maps with constant weights.

import { isFloat } from './dtype.ts';
import type { Graph, Use } from './graph.ts';
import { attributeFloat, attributeInt, isStandard, transposeOrder } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import type { ConvGeometry, Layer } from './operators/operator.ts';
import { elements, groupBy, sum, type Tensor } from './tensor.ts';

/** Concrete dims of every value in a run on some batch. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/** A layer whose output channels are channels of the structure. */
export interface LinearRef {
  node: string;
  /** Its operator, in lower case. */
  kind: string;
  weight: string;
  bias?: string;
  output: string;
}

/**
 * Y = X·W + b. Rows of X are samples (and positions); W is p × m, its rows in (channel, kz, ky, kx) order, the kernel of a transposed
 * convolution turned by 180°. `output` is the
 * value that holds Y, behind the Add where a MatMul has its bias there.
 */
export interface LinearMap extends LinearRef {
  /** Of layers side by side in one node, as the groups of a convolution: which of them, with its part of the channels. */
  part?: { readonly index: number; readonly count: number };
  /** Of patches, of rows with a bias of its own, of rows without. */
  kind: 'conv' | 'gemm' | 'matmul';
  /** Value that the rows of X are taken from. */
  input: string;
  /** Node that adds the bias of a MatMul. */
  biasNode?: string;
  /** Consecutive rows of W per channel: kernel size, times the features per channel where a flatten made them. */
  groupSize: number;
  p: number;
  m: number;
  /** Rows of X per sample, so that a sample costs rows·p·m multiply-adds. */
  rows: number;
  conv?: ConvGeometry;
  /** Y is no value of the graph: `output` is what the node makes of it, and the layer can be fitted to itself only. */
  isInner?: boolean;
  /** Of the weights by which a recurrent node reads what it gave a step before, input 2; `input` is all that it gives. */
  isRecurrent?: boolean;
  /** Where Y goes straight into an Add of equal shapes: sum = Y + shortcut. */
  residual?: { sum: string; shortcut: string; node: string };
  /** Nodes behind this one with the same weights: one layer, that is fitted to the rows of all. `rows` counts them. */
  others?: readonly LinearMap[];
}

/** What scales channels one by one: y = γx + β, for whatever is made of the input. */
export interface Gain {
  /** The node that reads γ. */
  node: string;
  /** Value that holds y. */
  output: string;
  /** What nodes behind it give by the same γ and β. */
  others?: readonly string[];
  /** Of `output`: the channels. */
  axis: number;
  /** γ, one row for each channel, less the centre where there is one. */
  weight: string;
  centre?: number;
  /** β, by channel. */
  bias?: string;
}

/** A layer at each node that it is, in topological order. */
export function usesOf(map: LinearMap): LinearMap[] {
  return [map, ...(map.others ?? [])];
}

/** Layers, each once, of maps of single nodes in topological order. */
export function sharing(model: Graph, maps: readonly LinearMap[]): LinearMap[] {
  const groups = groupBy(maps, (map) => sharedKey(model, map));
  return Array.from(groups.values(), ([first, ...others]) =>
    others.length > 0 ? { ...first, rows: sum([first, ...others].map(({ rows }) => rows)), others } : first,
  );
}

/** The same for nodes that are one layer: with the same weights and bias, read in the same way. */
export function sharedKey(model: Graph, map: LinearMap): string {
  const { weight, bias, kind, conv, part, isInner, isRecurrent } = map;
  if (isInner || isRecurrent) return layerKey(map);
  const node = model.node(map.node)!;
  const layer = model.operator(node)!.layer!;
  const factors = layer.factors && [
    attributeFloat(node, layer.factors.weight, 1),
    attributeFloat(node, layer.factors.bias, 1),
  ];
  const { opType, domain } = node;
  return JSON.stringify([weight, bias, opType, domain, layer.outputAxis(node), kind, conv, part, factors]);
}

/** One for each layer, where nodes are several. */
export function layerKey({ node, part }: Pick<LinearMap, 'node' | 'part'>): string {
  return part ? `${node} ${part.index}` : node;
}

/** Every depthwise convolution with constant weights, in topological order: as a linear map it is too poor to be re-solved. */
export function depthwise(model: Graph): Gain[] {
  const gains = model.nodes.flatMap((node) => {
    const [, weight, bias] = node.input;
    const { dims = [], type } = model.tensors.get(weight) ?? {};
    const channels = node.opType === 'Conv' && isStandard(node) ? attributeInt(node, 'group', 1) : 1;
    const isDepthwise = channels > 1 && dims[0] === channels && type && isFloat(type);
    if (!isDepthwise || (bias && !model.tensors.has(bias))) return [];
    return { node: node.name, output: node.output[0], axis: 1, weight, bias: bias || undefined };
  });
  const shared = groupBy(gains, ({ weight, bias }) => JSON.stringify([weight, bias]));
  return Array.from(shared.values(), ([first, ...more]) =>
    more.length > 0 ? { ...first, others: more.map(({ output }) => output) } : first,
  );
}

/**
 * Every linear map with constant weights, in topological order: Conv, Gemm, MatMul, … Of a convolution in groups each
 * group, if it has several channels. Nodes with the same weights are one.
 */
export function linearMaps(model: Graph, shapes: Shapes): LinearMap[] {
  const maps = model.nodes.flatMap((node) => {
    const count = model.operator(node)?.layer?.parts?.(node) ?? 1;
    if (count === 1) return linearMap(model, node, shapes) ?? [];
    const whole = mapOf(model, node, shapes);
    if (!whole || whole.p === whole.groupSize || whole.m % count > 0) return [];
    return Array.from({ length: count }, (_, index) => ({
      ...whole,
      m: whole.m / count,
      part: { index, count },
    }));
  });
  return sharing(model, maps);
}

/**
 * The linear map that a node is; undefined if it is none, several, or none that can be re-solved.
 * @param sample  shapes of a run of a sample as large as those to come, where the others are of another run
 */
export function linearMap(
  model: Graph,
  node: NodeProto,
  shapes: Shapes,
  sample = shapes,
): LinearMap | undefined {
  const count = model.operator(node)?.layer?.parts?.(node) ?? 1;
  return count === 1 ? mapOf(model, node, shapes, sample) : undefined;
}

/** With the rows of one part and the columns of all. */
function mapOf(model: Graph, node: NodeProto, shapes: Shapes, sample = shapes): LinearMap | undefined {
  const layer = model.operator(node)?.layer;
  const weight = model.tensors.get(node.input[1]);
  const input = shapes.get(node.input[0]);
  const output = shapes.get(node.output[0]);
  if (!layer || !weight || !isFloat(weight.type) || !input || !output || elements(weight.dims) === 0)
    return undefined;
  const dims = { input, output, weight: weightDims(layer, weight) };
  const bias = node.input[layer.bias ?? -1];
  if (!layer.isLinear?.(node, dims) || (bias && !model.tensors.has(bias))) return undefined;
  const conv = layer.patches?.(node, dims);
  const outputAxis = layer.outputAxis(node);
  const groupSize = elements(dims.weight.slice(2));
  const map: LinearMap = {
    node: node.name,
    kind: conv ? 'conv' : layer.bias === undefined ? 'matmul' : 'gemm',
    input: node.input[0],
    output: node.output[0],
    weight: weight.name,
    groupSize,
    p: dims.weight[1 - outputAxis] * groupSize,
    m: dims.weight[outputAxis],
    rows: rowsOf(model, sample, node, conv !== undefined),
  };
  if (conv) map.conv = conv;
  if (bias) map.bias = bias;
  if (layer.isInner) return { ...map, isInner: true };
  if (layer.bias === undefined) addBias(model, map);
  addShortcut(model, map, shapes);
  return map;
}

/** Dims of the weights: (m, p, …) or (p, m, …). */
export function weightDims({ isStacked }: Layer, { dims }: Tensor): readonly number[] {
  return isStacked ? [dims[0] * dims[1], ...dims.slice(2)] : dims;
}

// Exporters may merge the batch with positions, (b, t, p) to (b·t, p), and networks with the frames of a video.
function rowsOf(model: Graph, sample: Shapes, { input, output }: NodeProto, isConv: boolean): number {
  const batch = sample.get(model.inputs[0]?.name)?.[0] || 1;
  const dims = isConv ? sample.get(output[0])!.toSpliced(1, 1) : sample.get(input[0])!.slice(0, -1);
  return Math.ceil(elements(dims) / batch);
}

// A MatMul has no bias of its own; what adds one is the only reader of its output.
function addBias(model: Graph, map: LinearMap): void {
  const use = onlyUse(model, map.output);
  if (use?.node.opType !== 'Add' || !isStandard(use.node)) return;
  const { node, index } = use;
  const bias = model.tensors.get(node.input[1 - index]);
  if (!bias || !isFloat(bias.type) || elements(bias.dims) !== map.m || bias.dims.at(-1) !== map.m) return;
  map.bias = bias.name;
  map.biasNode = node.name;
  map.output = node.output[0];
}

function addShortcut(model: Graph, map: LinearMap, shapes: Shapes): void {
  let value = map.output;
  let use = onlyUse(model, value);
  while (use && isStandard(use.node) && handsOn(use, map, shapes)) {
    value = use.node.output[0];
    use = onlyUse(model, value);
  }
  if (!use || use.index > 1) return;
  const sum = model.operator(use.node)?.sum?.(use.node);
  const other = use.node.input[1 - use.index];
  const isAlike = shapes.has(value) && String(shapes.get(other)) === String(shapes.get(value));
  if (sum && isAlike && !model.tensors.has(other))
    map.residual = { sum, shortcut: other, node: use.node.name };
}

/** Where a value is read, if that is the only place; for its extents it may be elsewhere. */
function onlyUse(model: Graph, value: string): Use | undefined {
  const uses = model.uses(value).filter(({ node }) => node.opType !== 'Shape');
  return uses.length === 1 && uses[0].index >= 0 && !model.isOutput(value) ? uses[0] : undefined;
}

/** Gives what it reads, of each sample in the same order and row by row. */
function handsOn({ node, index }: Use, { kind, m }: LinearMap, shapes: Shapes): boolean {
  const { opType, output } = node;
  if (opType === 'Reshape' || opType === 'Transpose') {
    const isInOrder = opType === 'Reshape' ? index === 0 : movesSamples(node, shapes);
    return isInOrder && kind !== 'conv' && shapes.get(output[0])?.at(-1) === m;
  }
  return opType === 'Identity' || (opType === 'Dropout' && index === 0);
}

/** Whether the axes of more than one position stay in their order: in a run of one sample, that of samples is none of these. */
function movesSamples(node: NodeProto, shapes: Shapes): boolean {
  const dims = shapes.get(node.input[0]);
  if (!dims) return false;
  const moved = transposeOrder(node, dims.length).filter((axis) => dims[axis] !== 1);
  return moved.every((axis, i) => i === 0 || axis > moved[i - 1]);
}
