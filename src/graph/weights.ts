// Weights of a linear map as the p × m matrix that the solver works on, and back.

import { ShapeError, UnsupportedModelError } from '../errors.ts';
import type { Use } from './graph.ts';
import { type LinearMap, usesOf, weightDims } from './linear.ts';
import type { Model } from './model.ts';
import { attributeFloat, removeAttribute } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import type { Layer } from './operators/operator.ts';
import { elements, type Floats, fromFloat32, type Tensor, toFloat32, toFloat64 } from './tensor.ts';

/**
 * W (p × m, row-major, rows in (channel, ky, kx) order) and b of a layer, with Gemm's alpha and beta applied.
 *
 * @throws {UnsupportedModelError} if the model has no such node
 */
export function readWeights(model: Model, map: LinearMap): { W: Float32Array; bias?: Float32Array } {
  const { node, layer, weight, columns, places } = layerOf(model, map);
  const stored = toFloat32(weight);
  const W = new Float32Array(places.length); // `from` takes thirty times as long
  for (let at = 0; at < W.length; at++) W[at] = stored[places[at]];
  if (layer.factors) scale(W, attributeFloat(node, layer.factors.weight, 1));
  const place = biasPlace(model, map, node, layer);
  const found = place && model.tensors.get(place.node.input[place.index]);
  if (!found) return { W };
  const values = toFloat32(found);
  const own = values.subarray(place.from, place.from + columns);
  const bias = values.length === 1 ? new Float32Array(columns).fill(values[0]) : Float32Array.from(own);
  if (layer.factors) scale(bias, attributeFloat(node, layer.factors.bias, 1));
  return { W, bias };
}

/**
 * Puts W and b in place of a layer's weights, rounded to their type, wherever the layer is. One that could have a bias and has
 * none gets one; a MatMul without one leaves `bias` out.
 *
 * @param W  p × m, as `readWeights` gives it
 * @throws {ShapeError} if sizes do not match the node
 */
export function writeWeights(model: Model, map: LinearMap, W: Floats, bias?: Floats): void {
  const { layer, rows, columns, places: positions } = layerOf(model, map);
  if (W.length !== rows * columns) {
    throw new ShapeError(
      `writeWeights: "W" of "${map.node}" expected ${rows}x${columns}, got ${W.length} values`,
    );
  }
  if (bias && bias.length !== columns) {
    throw new ShapeError(`writeWeights: "bias" of "${map.node}" expected ${columns}, got ${bias.length}`);
  }
  const uses = usesOf(map).map((use) => ({ use, node: model.node(use.node)!, index: weightInput(use) }));
  const weight = ownTensor(model, uses);
  // Of other parts of the node they stay.
  const empty = W instanceof Float64Array ? new Float64Array(W.length) : new Float32Array(W.length);
  const values = map.part ? toFloat64(weight) : empty;
  positions.forEach((position, at) => {
    values[position] = W[at];
  });
  model.tensors.set(weight.name, fromFloat32(values, weight.dims, weight));
  const places = uses.flatMap(({ use, node }) => biasPlace(model, use, node, layer) ?? []);
  if (bias && places.length > 0) setBias(model, places, beside(model, map, places[0], bias));
  if (!layer.factors) return;
  for (const { node } of uses) {
    removeAttribute(node, layer.factors.weight);
    if (bias) removeAttribute(node, layer.factors.bias);
  }
}

/** A bias among those of the node's other parts, 0 where they have none yet. */
function beside(model: Model, { part }: LinearMap, { node, index, from }: BiasPlace, own: Floats): Floats {
  if (!part) return own;
  const old = model.tensors.get(node.input[index] ?? '');
  const all = old ? toFloat64(old) : new Float64Array(own.length * part.count);
  all.set(own, from);
  return all;
}

const weightInput = ({ isRecurrent }: LinearMap) => (isRecurrent ? 2 : 1);

/** Where the channels that a layer makes begin, among those of the node. */
const firstColumn = ({ m, part }: LinearMap) => (part?.index ?? 0) * m;

/** The constants that hold a layer's weights. */
export function weightTensors(model: Model, map: LinearMap): { weight: Tensor; bias?: Tensor } {
  const { node, layer, weight } = layerOf(model, map);
  const place = biasPlace(model, map, node, layer);
  const bias = place && model.tensors.get(place.node.input[place.index] ?? '');
  return bias ? { weight, bias } : { weight };
}

/** The constant that is read at these places under a name that nothing else reads. Bytes stay shared until replaced. */
export function ownTensor(model: Model, places: readonly Use[]): Tensor {
  const [{ node, index }] = places;
  const tensor = model.tensors.get(node.input[index])!;
  if (model.uses(tensor.name).length === places.length && !model.isOutput(tensor.name)) return tensor;
  const copy = { ...tensor, name: model.fresh(`${tensor.name}_own`) };
  model.tensors.set(copy.name, copy);
  for (const { node, index } of places) model.setInput(node, index, copy.name);
  return copy;
}

/** Puts one bias at these places; other nodes go on reading the one that is there. */
export function setBias(model: Model, places: readonly Use[], values: Floats): void {
  const [{ node, index }] = places;
  const old = model.tensors.has(node.input[index] ?? '') ? ownTensor(model, places) : undefined;
  const name = old?.name ?? model.fresh(`${node.name}.bias`);
  const isAlike = old && elements(old.dims) === values.length; // not where one value for all becomes one for each
  const dims = isAlike ? old.dims : [values.length];
  const like = old ?? { name, type: model.tensors.get(node.input[1])!.type };
  model.tensors.set(name, fromFloat32(values, dims, like));
  if (!old) for (const { node, index } of places) model.setInput(node, index, name);
}

interface BiasPlace {
  readonly node: NodeProto;
  readonly index: number;
  /** Where the layer's own begins. */
  readonly from: number;
}

/** Where the bias of a layer is read, or could be; undefined where it has none and could not have one. */
function biasPlace(model: Model, map: LinearMap, node: NodeProto, layer: Layer): BiasPlace | undefined {
  const from = firstColumn(map);
  // Of each direction the biases of W and those of R.
  if (map.isRecurrent) return map.bias ? { node, index: 3, from: 2 * from + map.m } : undefined;
  if (layer.bias !== undefined) return { node, index: layer.bias, from };
  const add = map.biasNode === undefined ? undefined : model.node(map.biasNode);
  return add && { node: add, index: model.tensors.has(add.input[0]) ? 0 : 1, from };
}

function layerOf(model: Model, map: LinearMap) {
  const node = model.node(map.node);
  const layer = node && model.operator(node)?.layer;
  const weight = node && model.tensors.get(node.input[weightInput(map)]);
  if (!layer || !weight) {
    throw new UnsupportedModelError(`${model.name}: no layer "${map.node}" with constant weights`, {
      node: map.node,
    });
  }
  const outputAxis = layer.outputAxis(node);
  const dims = weightDims(layer, weight);
  const [columns, inputs] = [dims[outputAxis] / (map.part?.count ?? 1), dims[1 - outputAxis]];
  const kernel = elements(dims.slice(2));
  const places = placesOf({
    inputs,
    columns,
    kernel,
    outputAxis,
    first: firstColumn(map) * inputs * kernel, // parts lie along the outputs, which are the first axis
    isTurned: map.conv?.inputDilations !== undefined,
  });
  return { node, layer, weight, rows: inputs * kernel, columns, places };
}

/** Where the p × m values of W lie in a tensor (m, c, kernel), as of Conv, or (c, m, kernel), as of MatMul. */
function placesOf(shape: {
  inputs: number;
  columns: number;
  kernel: number;
  outputAxis: 0 | 1;
  first: number;
  isTurned: boolean;
}) {
  const { inputs, columns, kernel, outputAxis, first, isTurned } = shape;
  const places = new Uint32Array(inputs * kernel * columns);
  let at = 0;
  for (let c = 0; c < inputs; c++) {
    for (let k = 0; k < kernel; k++) {
      const tap = isTurned ? kernel - 1 - k : k;
      for (let j = 0; j < columns; j++) {
        const channel = outputAxis === 0 ? j * inputs + c : c * columns + j;
        places[at++] = first + channel * kernel + tap;
      }
    }
  }
  return places;
}

function scale(values: Float32Array, factor: number): void {
  if (factor !== 1) for (let i = 0; i < values.length; i++) values[i] *= factor;
}
