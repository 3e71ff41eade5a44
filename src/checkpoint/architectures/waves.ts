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
  const { waves, around } = embedding;
  const lengths = lengthsOf(embedding, tokens);
  const before = (i: number) => (i === 0 ? 1 : waves[i - 1].channels);
  const convolutions = waves.reduce(
    (sum, { channels, kernel }, i) => sum + lengths[i + 1] * channels * before(i) * kernel,
    0,
  );
  return convolutions + tokens * hidden * (waves.at(-1)!.channels + (hidden / around.groups) * around.kernel);
}

/** [batch, tokens, hidden] */
export function embedWaves(g: WeightGraph, hidden: number, embedding: WaveEmbedding): string {
  const { waves, activation, norm: first, project, around, last } = embedding;
  const samples = g.input('input_values', 'float32', ['batch', 'samples']);
  let x = g.node('Unsqueeze', [samples, g.integers([1])]);
  let width = 1;
  for (const wave of waves) {
    x = activation(g, convolved(g, wave, x, width));
    width = wave.channels;
  }
  const swap = (value: string) => swapped(g, value);
  const rows = first ? norm(g, first, swap(x), width) : swap(x);
  const tokens = linear(g, project, rows, width, hidden);
  const near = activation(g, neighbours(g, around, swap(tokens), hidden));
  const placed = g.node('Add', [tokens, swap(near)]);
  return last ? norm(g, last, placed, hidden) : placed;
}

/** [batch, channels, length] */
function convolved(
  g: WeightGraph,
  { name, channels, kernel, stride, bias, norm: normal }: Wave,
  x: string,
  width: number,
): string {
  const module = `${g.prefix}${name}.conv`;
  const weights = [
    g.weight(`${module}.weight`, [channels, width, kernel]),
    ...(bias ? [g.weight(`${module}.bias`, [channels])] : []),
  ];
  const y = g.node('Conv', [x, ...weights], { kernel_shape: [kernel], strides: [stride] }, module);
  if (normal === undefined) return y;
  const layer = `${name}.layer_norm`;
  if (normal === 'channel') {
    const vectors = ['weight', 'bias'].map((kind) => g.weight(`${g.prefix}${layer}.${kind}`, [channels]));
    return g.node(
      'InstanceNormalization',
      [y, ...vectors],
      { epsilon: { float: EPSILON } },
      g.prefix + layer,
    );
  }
  const own = { kind: 'layer', name: layer, epsilon: EPSILON, affine: true } as const;
  return swapped(g, norm(g, own, swapped(g, y), channels));
}

/** Features behind places, and back. */
const swapped = (g: WeightGraph, value: string) => g.node('Transpose', [value], { perm: [0, 2, 1] });

/** What the tokens around each of them give it, by weights whose directions and lengths are tensors of their own. */
function neighbours(
  g: WeightGraph,
  { name, kernel, groups }: WaveEmbedding['around'],
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
