// The pieces of a block as nodes: linear maps, norms, the MLP.

import type { Block, Linear, Norm } from './types.ts';
import { partName, type WeightGraph } from './weights.ts';

/** x·W + b; the nodes are called as the module. */
export function linear(g: WeightGraph, map: Linear, x: string, rows: number, columns: number): string {
  const module = g.prefix + map.name;
  const node = partName(module, map);
  const product = g.node('MatMul', [x, g.weight(`${module}.weight`, [rows, columns], map)], {}, node);
  if (!map.bias) return product;
  return g.node('Add', [product, g.weight(`${module}.bias`, [columns], map)], {}, `${node}/bias`);
}

/** Over the last axis, which has `width` features. */
export function norm(
  g: WeightGraph,
  { kind, name, epsilon, affine }: Norm,
  x: string,
  width: number,
): string {
  const module = g.prefix + name;
  const vector = (field: string) => g.weight(`${module}.${field}`, [width]);
  if (kind === 'rms') {
    const mean = g.node('ReduceMean', [g.node('Mul', [x, x])], { axes: [-1], keepdims: 1 });
    const root = g.node('Sqrt', [g.node('Add', [mean, g.scalar(epsilon)])]);
    return g.node('Mul', [g.node('Div', [x, root]), vector('weight')], {}, module);
  }
  const parameters = affine
    ? [vector('weight'), vector('bias')]
    : [g.floats(`${module}/ones`, new Float32Array(width).fill(1), [width])];
  const attributes = { axis: -1, epsilon: { float: epsilon } };
  return g.node('LayerNormalization', [x, ...parameters], attributes, module);
}

/** down(activation(up(x))), or with a gate down(activation(gate(x)) · up(x)). */
export function mlp(g: WeightGraph, parts: Block['mlp'], x: string, hidden: number, ffn: number): string {
  const { up, gate, down, activation } = parts;
  const wide = (map: Linear) => linear(g, map, x, hidden, ffn);
  const inner = gate ? g.node('Mul', [activation(g, wide(gate)), wide(up)]) : activation(g, wide(up));
  return linear(g, down, inner, ffn, hidden);
}
