// Weights of a linear map as the p × m matrix that the solver works on, and back.

import { ShapeError, UnsupportedModelError } from '../errors.ts';
import type { LinearMap } from './linear.ts';
import type { Model } from './model.ts';
import { attributeFloat, removeAttribute } from './node.ts';
import { ownTensor } from './own.ts';
import { elements, fromFloat32, toFloat32 } from './tensor.ts';

/**
 * W (p × m, row-major, rows in (channel, ky, kx) order) and b of a layer, with Gemm's alpha and beta applied.
 *
 * @throws {UnsupportedModelError} if the model has no such node
 */
export function readWeights(model: Model, map: LinearMap): { W: Float32Array; bias?: Float32Array } {
  const { node, factors, weight, place, rows, columns, isTransposed } = layerOf(model, map);
  const W = isTransposed ? transpose(toFloat32(weight), columns, rows) : Float32Array.from(toFloat32(weight));
  if (factors) scale(W, attributeFloat(node, factors.weight, 1));
  const found = place && model.tensors.get(place.node.input[place.index]);
  if (!found) return { W };
  const values = toFloat32(found);
  const bias = values.length === 1 ? new Float32Array(columns).fill(values[0]) : Float32Array.from(values);
  if (factors) scale(bias, attributeFloat(node, factors.bias, 1));
  return { W, bias };
}

/**
 * Puts W and b in place of a layer's weights, rounded to their type. A layer that could have a bias and has none
 * gets one; a MatMul without one leaves `bias` out.
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
  const { node, factors, place, rows, columns, isTransposed } = layerOf(model, map);
  if (W.length !== rows * columns) {
    throw new ShapeError(
      `writeWeights: "W" of "${map.node}" expected ${rows}x${columns}, got ${W.length} values`,
    );
  }
  if (bias && bias.length !== columns) {
    throw new ShapeError(`writeWeights: "bias" of "${map.node}" expected ${columns}, got ${bias.length}`);
  }
  const weight = ownTensor(model, node, 1);
  const values = isTransposed ? transpose(W, rows, columns) : W;
  model.tensors.set(weight.name, fromFloat32(values, weight.dims, weight));
  if (factors) removeAttribute(node, factors.weight);
  if (!bias) return;
  if (place && model.tensors.has(place.node.input[place.index])) {
    const old = ownTensor(model, place.node, place.index);
    const dims = elements(old.dims) === bias.length ? old.dims : [bias.length]; // one value for all: now each its own
    model.tensors.set(old.name, fromFloat32(bias, dims, old));
  } else if (place) {
    const name = model.fresh(`${node.name}.bias`);
    model.tensors.set(name, fromFloat32(bias, [bias.length], { name, type: weight.type }));
    model.setInput(node, place.index, name);
  }
  if (factors) removeAttribute(node, factors.bias);
}

/**
 * The node with its weights, m × p if they are transposed (Conv, Gemm with transB), and where its bias is read or could
 * be: nowhere for a MatMul that has none.
 */
function layerOf(model: Model, map: LinearMap) {
  const node = model.node(map.node);
  const layer = node && model.operator(node)?.layer;
  const weight = node && model.tensors.get(node.input[1]);
  if (!layer || !weight) {
    throw new UnsupportedModelError(`${model.name}: no layer "${map.node}" with constant weights`, {
      node: map.node,
    });
  }
  const isTransposed = layer.outputAxis(node) === 0;
  const [first, rest] = [weight.dims[0], elements(weight.dims.slice(1))];
  const [rows, columns] = isTransposed ? [rest, first] : [first, rest];
  const add = map.biasNode === undefined ? undefined : model.node(map.biasNode);
  const behind = add && { node: add, index: model.tensors.has(add.input[0]) ? 0 : 1 };
  const place = layer.bias === undefined ? behind : { node, index: layer.bias };
  return { node, factors: layer.factors, weight, place, rows, columns, isTransposed };
}

function transpose<T extends Float32Array | Float64Array>(A: T, rows: number, columns: number): T {
  const out = (A instanceof Float64Array ? new Float64Array(A.length) : new Float32Array(A.length)) as T;
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = A[i * columns + j];
  return out;
}

function scale(values: Float32Array, factor: number): void {
  if (factor !== 1) for (let i = 0; i < values.length; i++) values[i] *= factor;
}
