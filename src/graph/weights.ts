// Weights of a linear map as the p × m matrix that the solver works on, and back.

import { ShapeError, UnsupportedModelError } from '../errors.ts';
import type { LinearMap } from './linear.ts';
import type { Model } from './model.ts';
import { attribute, attributeFloat, attributeInt, removeAttribute } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { ownTensor } from './own.ts';
import { elements, fromFloat32, type Tensor, toFloat32 } from './tensor.ts';

/**
 * W (p × m, row-major, rows in (channel, ky, kx) order) and b of a layer, with Gemm's alpha and beta applied.
 *
 * @throws {UnsupportedModelError} if the model has no such node
 */
export function readWeights(model: Model, map: LinearMap): { W: Float32Array; bias?: Float32Array } {
  const node = nodeOf(model, map);
  const tensor = model.tensors.get(node.input[1])!;
  const { rows, columns } = matrix(node, tensor);
  const W = columnsFirst(node)
    ? transpose(toFloat32(tensor), columns, rows)
    : Float32Array.from(toFloat32(tensor));
  if (node.opType === 'Gemm') scale(W, attributeFloat(node, 'alpha', 1));
  const place = biasPlace(model, map, node);
  const found = place && model.tensors.get(place.node.input[place.index]);
  if (!found) return { W };
  const values = toFloat32(found);
  const bias = values.length === 1 ? new Float32Array(columns).fill(values[0]) : Float32Array.from(values);
  if (node.opType === 'Gemm') scale(bias, attributeFloat(node, 'beta', 1));
  return { W, bias };
}

/**
 * Puts W and b in place of a layer's weights, rounded to their type. A Conv or Gemm without a bias gets one;
 * a MatMul without one leaves `bias` out.
 *
 * @param W  p × m, as `readWeights` gives it
 * @throws {ShapeError} if sizes do not match the node
 */
export function writeWeights(
  model: Model,
  map: LinearMap,
  W: Float32Array | Float64Array,
  bias?: Float32Array | Float64Array,
): void {
  const node = nodeOf(model, map);
  const { rows, columns } = matrix(node, model.tensors.get(node.input[1])!);
  if (W.length !== rows * columns) {
    throw new ShapeError(
      `writeWeights: "W" of "${map.node}" expected ${rows}x${columns}, got ${W.length} values`,
    );
  }
  if (bias && bias.length !== columns) {
    throw new ShapeError(`writeWeights: "bias" of "${map.node}" expected ${columns}, got ${bias.length}`);
  }
  const weight = ownTensor(model, node, 1);
  const values = columnsFirst(node) ? transpose(W, rows, columns) : W;
  model.tensors.set(weight.name, fromFloat32(values, weight.dims, weight));
  if (node.opType === 'Gemm' && attribute(node, 'alpha')) removeAttribute(node, 'alpha');
  if (bias) writeBias(model, map, node, bias, weight);
}

function writeBias(
  model: Model,
  map: LinearMap,
  node: NodeProto,
  bias: Float32Array | Float64Array,
  weight: Tensor,
): void {
  const place = biasPlace(model, map, node);
  if (place && model.tensors.has(place.node.input[place.index])) {
    const old = ownTensor(model, place.node, place.index);
    const dims = elements(old.dims) === bias.length ? old.dims : [bias.length]; // one value for all: now each its own
    model.tensors.set(old.name, fromFloat32(bias, dims, old));
  } else if (map.kind !== 'matmul') {
    const name = model.fresh(`${node.name}.bias`);
    model.tensors.set(name, fromFloat32(bias, [bias.length], { name, type: weight.type }));
    model.setInput(node, 2, name);
  }
  if (node.opType === 'Gemm') removeAttribute(node, 'beta');
}

/** Where the bias of a layer is read; undefined for a MatMul that has none. */
function biasPlace(
  model: Model,
  map: LinearMap,
  node: NodeProto,
): { node: NodeProto; index: number } | undefined {
  if (map.kind !== 'matmul') return { node, index: 2 };
  const add = map.biasNode === undefined ? undefined : model.node(map.biasNode);
  if (!add) return undefined;
  return { node: add, index: model.tensors.has(add.input[0]) ? 0 : 1 };
}

function nodeOf(model: Model, map: LinearMap): NodeProto {
  const node = model.node(map.node);
  if (!node || !model.tensors.has(node.input[1])) {
    throw new UnsupportedModelError(`${model.name}: no layer "${map.node}" with constant weights`, {
      node: map.node,
    });
  }
  return node;
}

/** True where the stored matrix is m × p: Conv, and Gemm with transB. */
function columnsFirst(node: NodeProto): boolean {
  return node.opType === 'Conv' || (node.opType === 'Gemm' && attributeInt(node, 'transB', 0) !== 0);
}

function matrix(node: NodeProto, weight: Tensor): { rows: number; columns: number } {
  const first = weight.dims[0];
  const rest = elements(weight.dims.slice(1));
  return columnsFirst(node) ? { rows: rest, columns: first } : { rows: first, columns: rest };
}

function transpose<T extends Float32Array | Float64Array>(A: T, rows: number, columns: number): T {
  const out = (A instanceof Float64Array ? new Float64Array(A.length) : new Float32Array(A.length)) as T;
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = A[i * columns + j];
  return out;
}

function scale(values: Float32Array, factor: number): void {
  if (factor !== 1) for (let i = 0; i < values.length; i++) values[i] *= factor;
}
