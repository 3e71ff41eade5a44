// The pieces of a block as nodes: linear maps, norms, the MLP.

import type { Block, Linear, Norm, Part } from './types.ts';
import type { WeightGraph } from './weights.ts';

const LABELS: readonly Part['label'][] = ['q', 'k', 'v'];

/** The initialiser of a map's weights. */
export function weightName(prefix: string, { name, part }: Linear): string {
  return `${prefix}${name}.weight${part ? `#${part.label}` : ''}`;
}

/** x·W + b; the nodes are called as the module. `prefix` goes before the names. */
export function linear(
  g: WeightGraph,
  prefix: string,
  { name, bias, stored, part }: Linear,
  x: string,
  sizes: { rows: number; columns: number; headDim?: number },
): string {
  const { rows, columns, headDim } = sizes;
  const module = prefix + name;
  const suffix = part ? `#${part.label}` : '';
  const weight = (field: string, dims: readonly number[]) =>
    g.weight({
      name: `${module}.${field}${suffix}`,
      tensor: `${module}.${field}`,
      dims,
      transposed: stored === 'out-in',
      ...(part && {
        part: { index: LABELS.indexOf(part.label), run: part.order === 'heads' ? headDim! : 'all' },
      }),
    });
  const node = module + suffix;
  const product = g.node('MatMul', [x, weight('weight', [rows, columns])], {}, node);
  return bias ? g.node('Add', [product, weight('bias', [columns])], {}, `${node}/bias`) : product;
}

/** Over the last axis, which has `width` features. */
export function norm(
  g: WeightGraph,
  prefix: string,
  { kind, name, epsilon, affine }: Norm,
  x: string,
  width: number,
): string {
  const module = prefix + name;
  const vector = (field: string) => {
    const tensor = `${module}.${field}`;
    return g.weight({ name: tensor, tensor, dims: [width], transposed: false });
  };
  if (kind === 'layer') {
    const parameters = affine
      ? [vector('weight'), vector('bias')]
      : [g.floats(`${module}/ones`, new Float32Array(width).fill(1), [width])];
    return g.node(
      'LayerNormalization',
      [x, ...parameters],
      { axis: -1, epsilon: { float: epsilon } },
      module,
    );
  }
  const square = g.node('Mul', [x, x]);
  const mean = g.node('ReduceMean', [square], { axes: [-1], keepdims: 1 });
  const root = g.node('Sqrt', [g.node('Add', [mean, g.scalar(epsilon)])]);
  return g.node('Mul', [g.node('Div', [x, root]), vector('weight')], {}, module);
}

/** down(activation(up(x))), or with a gate down(activation(gate(x)) · up(x)). */
export function mlp(
  g: WeightGraph,
  prefix: string,
  { up, gate, down, activation }: Block['mlp'],
  x: string,
  sizes: { hidden: number; ffn: number },
): string {
  const wide = { rows: sizes.hidden, columns: sizes.ffn };
  const inner = gate
    ? g.node('Mul', [activation(g, linear(g, prefix, gate, x, wide)), linear(g, prefix, up, x, wide)])
    : activation(g, linear(g, prefix, up, x, wide));
  return linear(g, prefix, down, inner, { rows: sizes.ffn, columns: sizes.hidden });
}
