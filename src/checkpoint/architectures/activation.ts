// Activation functions by the names that config.json uses.

import type { GraphBuilder } from '../../graph/index.ts';

/** Adds the nodes of a function of one value. */
export type Activation = (g: GraphBuilder, x: string) => string;

export const relu: Activation = (g, x) => g.node('Relu', [x]);

/** relu(x)² */
const reluSquared: Activation = (g, x) => {
  const y = relu(g, x);
  return g.node('Mul', [y, y]);
};

export const tanh: Activation = (g, x) => g.node('Tanh', [x]);

const silu: Activation = (g, x) => g.node('Mul', [x, g.node('Sigmoid', [x])]);

/** x·σ(1.702x) */
const quickGelu: Activation = (g, x) =>
  g.node('Mul', [x, g.node('Sigmoid', [g.node('Mul', [x, g.scalar(1.702)])])]);

/** x·Φ(x) */
const gelu: Activation = (g, x) => {
  const erf = g.node('Erf', [g.node('Mul', [x, g.scalar(Math.SQRT1_2)])]);
  return half(g, x, erf);
};

/** ½x(1 + tanh(√(2/π)·(x + 0.044715x³))) */
const geluTanh: Activation = (g, x) => {
  const square = g.node('Mul', [x, x]);
  const inner = g.node('Add', [g.node('Mul', [square, g.scalar(0.044715)]), g.scalar(1)]);
  const scaled = g.node('Mul', [g.node('Mul', [x, inner]), g.scalar(Math.sqrt(2 / Math.PI))]);
  return half(g, x, g.node('Tanh', [scaled]));
};

// ½x(1 + y)
function half(g: GraphBuilder, x: string, y: string): string {
  return g.node('Mul', [g.node('Mul', [x, g.scalar(0.5)]), g.node('Add', [y, g.scalar(1)])]);
}

/** β of xIELU (arXiv 2411.13010). */
const SLOPE = 0.5;

/** αₚ·max(x, 0)² + αₙ·(exp(min(x, 0)) − 1 − min(x, 0)) + βx. @param above, below  αₚ and αₙ, before they are made positive */
export function xielu(g: GraphBuilder, x: string, above: string, below: string): string {
  const [positive, negative] = [g.node('Max', [x, g.scalar(0)]), g.node('Min', [x, g.scalar(0)])];
  const square = g.node('Mul', [g.node('Mul', [positive, positive]), g.node('Softplus', [above])]);
  const curve = g.node('Sub', [g.node('Sub', [g.node('Exp', [negative]), g.scalar(1)]), negative]);
  const factor = g.node('Add', [g.node('Softplus', [below]), g.scalar(SLOPE)]);
  const bent = g.node('Add', [square, g.node('Mul', [curve, factor])]);
  return g.node('Add', [bent, g.node('Mul', [x, g.scalar(SLOPE)])]);
}

export const ACTIVATIONS: ReadonlyMap<string, Activation> = new Map([
  ['relu', relu],
  ['relu2', reluSquared],
  ['tanh', tanh],
  ['silu', silu],
  ['swish', silu],
  ['gelu', gelu],
  ['gelu_new', geluTanh],
  ['gelu_fast', geluTanh],
  ['gelu_pytorch_tanh', geluTanh],
  ['quick_gelu', quickGelu],
]);
