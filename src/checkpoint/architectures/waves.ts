// Waveforms as tokens: convolutions without padding, one after the other, and what stands between them and the blocks.

import { linear, norm } from './layers.ts';
import type { Wave, WaveEmbedding } from './types.ts';
import type { WeightGraph } from './weights.ts';

/** Of the norms behind convolutions, for which config.json has no field. */
const EPSILON = 1e-5;

/** What the convolutions have before each of them for so many tokens behind the last, and those. */
function lengthsOf({ waves }: WaveEmbedding, tokens: number): number[] {
  const lengths = [tokens];
  for (const { kernel, stride } of [...waves].reverse())
    lengths.push((lengths.at(-1)! - 1) * stride + kernel);
  return lengths.reverse();
}

/** The fewest samples that have so many tokens. */
export const samplesOfWave = (embedding: WaveEmbedding, tokens: number) => lengthsOf(embedding, tokens)[0];

/** Multiply-adds for so many tokens. */
export function macsOfWave(embedding: WaveEmbedding, hidden: number, tokens: number): number {
  const { waves, project, around } = embedding;
  const lengths = lengthsOf(embedding, tokens);
  const before = (i: number) => (i === 0 ? 1 : waves[i - 1].channels);
  const convolutions = waves.reduce(
    (sum, { channels, kernel }, i) => sum + lengths[i + 1] * channels * before(i) * kernel,
    0,
  );
  const mapped = project ? waves.at(-1)!.channels : 0;
  const near = around ? (hidden / around.groups) * around.kernel : 0;
  return convolutions + tokens * hidden * (mapped + near);
}

/** [batch, tokens, hidden] */
export function embedWaves(g: WeightGraph, hidden: number, embedding: WaveEmbedding): string {
  const { waves, norm: first, project, around, last } = embedding;
  const samples = g.input('input_values', 'float32', ['batch', 'samples']);
  let x = g.node('Unsqueeze', [samples, g.integers([1])]);
  let width = 1;
  for (const wave of waves) {
    x = wave.activation(g, convolved(g, wave, x, width));
    width = wave.channels;
    if (wave.all !== undefined) x = overAll(g, wave.all, x, width);
  }
  const swap = (value: string) => swapped(g, value);
  let tokens = swap(x);
  if (first) tokens = norm(g, first, tokens, width);
  if (project) tokens = linear(g, project, tokens, width, hidden);
  if (around) {
    const near = around.activation(g, neighbours(g, around, swap(tokens), hidden));
    tokens = g.node('Add', [tokens, swap(near)]);
  }
  return last ? norm(g, last, tokens, hidden) : tokens;
}

/** [batch, channels, length] */
function convolved(
  g: WeightGraph,
  { name, channels, kernel, stride, bias, norm: normal }: Wave,
  x: string,
  width: number,
): string {
  const module = g.prefix + name;
  const weights = [
    g.weight(`${module}.weight`, [channels, width, kernel]),
    ...(bias ? [g.weight(`${module}.bias`, [channels])] : []),
  ];
  const y = g.node('Conv', [x, ...weights], { kernel_shape: [kernel], strides: [stride] }, module);
  if (!normal) return y;
  const layer = g.prefix + normal.name;
  if (normal.of === 'channel') {
    const vectors = ['weight', 'bias'].map((kind) => g.weight(`${layer}.${kind}`, [channels]));
    return overTime(g, y, vectors, layer);
  }
  const own = { kind: 'layer', name: normal.name, epsilon: EPSILON, affine: true } as const;
  return swapped(g, norm(g, own, swapped(g, y), channels));
}

/** Each channel, with a factor and a shift for each. */
const overTime = (g: WeightGraph, x: string, vectors: readonly string[], name?: string) =>
  g.node('InstanceNormalization', [x, ...vectors], { epsilon: { float: EPSILON } }, name);

/** All channels as if they were one, with a factor and a shift for each. */
function overAll(g: WeightGraph, name: string, x: string, channels: number): string {
  const layer = g.prefix + name;
  const one = g.node('Reshape', [x, g.integers([0, 1, -1])]);
  const [factor, shift] = [1, 0].map((value) =>
    g.floats(`${layer}/${value}`, () => Float32Array.of(value), [1]),
  );
  const normal = g.node('Reshape', [overTime(g, one, [factor, shift], layer), g.node('Shape', [x])]);
  const [weight, bias] = ['weight', 'bias'].map((kind) =>
    g.node('Unsqueeze', [g.weight(`${layer}.${kind}`, [channels]), g.integers([1])]),
  );
  return g.node('Add', [g.node('Mul', [normal, weight]), bias]);
}

/** Features behind places, and back. */
const swapped = (g: WeightGraph, value: string) => g.node('Transpose', [value], { perm: [0, 2, 1] });

/** What the tokens around each of them give it, by weights whose directions and lengths are tensors of their own. */
function neighbours(
  g: WeightGraph,
  { name, kernel, groups }: NonNullable<WaveEmbedding['around']>,
  x: string,
  hidden: number,
): string {
  const module = g.prefix + name;
  const direction = g.weight(`${module}.weight_v`, [hidden, hidden / groups, kernel]);
  const length = g.weight(`${module}.weight_g`, [1, 1, kernel]);
  const norms = g.node('ReduceL2', [direction], { axes: [0, 1], keepdims: 1 });
  const weight = g.node('Mul', [direction, g.node('Div', [length, norms])]);
  // Of an even number of places one more is before a token than behind it.
  const before = Math.floor(kernel / 2);
  const attributes = { kernel_shape: [kernel], pads: [before, kernel - 1 - before], group: groups };
  return g.node('Conv', [x, weight, g.weight(`${module}.bias`, [hidden])], attributes, module);
}
