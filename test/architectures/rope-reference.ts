// Rotary positions after transformers' modeling_rope_utils, in its own words: wavelengths, correction ranges.

import type { Config } from '../../src/checkpoint/architectures/index.ts';

interface RopeReference {
  inverse: number[]; // dims / 2
  factor: number;
}

type Parameters = Record<string, number>;

/** @param length  tokens of the text, which dynamic scaling depends on */
export function ropeReference(
  config: Config,
  headDim: number,
  portion: number,
  length: number,
): RopeReference {
  const parameters = {
    ...(config.rope_scaling as object),
    ...(config.rope_parameters as object),
  } as Parameters;
  const scaling = parameters as unknown as { rope_type?: string; type?: string; truncate?: boolean };
  const base = parameters.rope_theta ?? ((config.rope_theta ?? config.rotary_emb_base) as number);
  const dims = Math.floor(headDim * portion);
  const limit = config.max_position_embeddings as number;
  const plain = inverseOf(base, dims);
  switch (scaling.rope_type ?? scaling.type) {
    case 'linear':
      return { inverse: plain.map((f) => f / parameters.factor), factor: 1 };
    case 'dynamic': {
      if (parameters.alpha)
        return { inverse: inverseOf(base * parameters.alpha ** (dims / (dims - 2)), dims), factor: 1 }; // hunyuan_v1_dense
      const s = parameters.factor;
      const longest = Math.max(length, limit);
      const stretched = base * ((s * longest) / limit - (s - 1)) ** (dims / (dims - 2));
      return { inverse: inverseOf(stretched, dims), factor: 1 };
    }
    case 'llama3':
      return { inverse: llama3(plain, parameters), factor: 1 };
    case 'yarn':
      return yarn(base, dims, limit, parameters, scaling.truncate ?? true);
    case 'longrope': {
      const given = config.original_max_position_embeddings as number | undefined;
      const original = given ?? parameters.original_max_position_embeddings ?? limit;
      const factor = limit > original ? limit / original : (parameters.factor ?? 1);
      const lists = parameters as unknown as { short_factor: number[]; long_factor: number[] };
      const factors = length > original ? lists.long_factor : lists.short_factor;
      const attention = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
      return {
        inverse: plain.map((f, i) => f / factors[i]),
        factor: parameters.attention_factor ?? attention,
      };
    }
    default:
      return { inverse: plain, factor: 1 };
  }
}

function inverseOf(base: number, dims: number): number[] {
  return Array.from({ length: dims / 2 }, (_, i) => 1 / base ** ((2 * i) / dims));
}

function llama3(plain: number[], parameters: Parameters): number[] {
  const { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } = parameters;
  const lowWavelength = original_max_position_embeddings / low_freq_factor;
  const highWavelength = original_max_position_embeddings / high_freq_factor;
  return plain.map((f) => {
    const wavelength = (2 * Math.PI) / f;
    if (wavelength > lowWavelength) return f / factor;
    if (wavelength < highWavelength) return f;
    const smooth =
      (original_max_position_embeddings / wavelength - low_freq_factor) /
      (high_freq_factor - low_freq_factor);
    return (1 - smooth) * (f / factor) + smooth * f;
  });
}

function yarn(
  base: number,
  dims: number,
  limit: number,
  parameters: Parameters,
  truncate: boolean,
): RopeReference {
  const original = parameters.original_max_position_embeddings ?? limit;
  const factor = parameters.factor ?? limit / original;
  const correction = (rotations: number) =>
    (dims * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(base));
  let low = correction(parameters.beta_fast ?? 32);
  let high = correction(parameters.beta_slow ?? 1);
  if (truncate) [low, high] = [Math.floor(low), Math.ceil(high)];
  [low, high] = [Math.max(low, 0), Math.min(high, dims - 1)];
  if (low === high) high += 0.001;
  const inverse = inverseOf(base, dims).map((extrapolation, i) => {
    const ramp = Math.max(0, Math.min(1, (i - low) / (high - low)));
    return (extrapolation / factor) * ramp + extrapolation * (1 - ramp);
  });
  const scale = (mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);
  const { mscale, mscale_all_dim } = parameters;
  const guessed = mscale && mscale_all_dim ? scale(mscale) / scale(mscale_all_dim) : scale(1);
  return { inverse, factor: parameters.attention_factor ?? guessed };
}

/** tensor·cos + rotate_every_two(tensor)·sin over the first features of a head, as GPT-J and Cohere have it. */
export function turnNeighboursReference(
  head: number[],
  position: number,
  { inverse, factor }: RopeReference,
): number[] {
  return head.map((value, c) => {
    const pair = Math.floor(c / 2);
    if (pair >= inverse.length) return value;
    const angle = position * inverse[pair];
    const other = c % 2 === 0 ? -head[c + 1] : head[c - 1];
    return value * Math.cos(angle) * factor + other * Math.sin(angle) * factor;
  });
}

/** q·cos + rotate_half(q)·sin over the first dims features of a head. */
export function turnReference(
  head: number[],
  position: number,
  { inverse, factor }: RopeReference,
): number[] {
  const dims = 2 * inverse.length;
  const part = head.slice(0, dims);
  const half = [...part.slice(dims / 2).map((value) => -value), ...part.slice(0, dims / 2)];
  const turned = part.map((value, c) => {
    const angle = position * inverse[c % inverse.length];
    return value * Math.cos(angle) * factor + half[c] * Math.sin(angle) * factor;
  });
  return [...turned, ...head.slice(dims)];
}
