// Rotary positions: the frequencies of RoPE and its scaling variants, as Hugging Face defines them
// (modeling_rope_utils). Feature pair i of position p is turned by p · frequency i.

import { flag, positive, section, unsupported } from './config.ts';
import type { Config } from './types.ts';

export interface Rope {
  /** Leading features of each head that are turned, an even number. */
  readonly dims: number;
  /** One per pair; computed when they are asked for. */
  readonly frequencies: Float32Array;
  /** Factor of cosine and sine (YaRN). */
  readonly factor: number;
  /** Frequencies that fall with the length of the text once it exceeds `positions`. */
  readonly dynamic?: { readonly factor: number; readonly positions: number };
}

interface Given {
  readonly parameters: Config;
  readonly theta: number;
  readonly dims: number;
  readonly maxPositions: number;
}

/** What differs from the unscaled; `scale` gives the frequency of pair i. */
type Scaling = (given: Given) => Partial<Pick<Rope, 'factor' | 'dynamic'>> & {
  readonly scale?: (frequency: number, i: number) => number;
};

const SCALINGS: ReadonlyMap<string, Scaling> = new Map<string, Scaling>([
  ['default', () => ({})],
  ['linear', linear],
  ['dynamic', dynamic],
  ['llama3', llama3],
  ['yarn', yarn],
]);

/** Reads `rope_parameters` (transformers 5) or `rope_scaling` and the base beside it (before). */
export function ropeOf(
  config: Config,
  options: { modelType: string; headDim: number; maxPositions: number; theta: string; portion?: number },
): Rope {
  const { modelType, headDim, maxPositions } = options;
  const parameters = { ...section(config, 'rope_scaling'), ...section(config, 'rope_parameters') } as Config;
  const type = parameters.rope_type ?? parameters.type ?? 'default';
  const scaling = SCALINGS.get(String(type));
  if (!scaling) {
    const known = [...SCALINGS.keys()].join(', ');
    throw unsupported(modelType, `rope_type ${JSON.stringify(type)} is not supported (${known} are)`);
  }
  const theta = positive(parameters, 'rope_theta', positive(config, options.theta, 10_000));
  const portion = positive(parameters, 'partial_rotary_factor', options.portion ?? 1);
  const dims = Math.floor(headDim * portion);
  if (dims % 2 !== 0 || dims === 0 || dims > headDim) {
    throw unsupported(modelType, `rotary positions over ${dims} of ${headDim} features of a head`);
  }
  const { scale, ...scaled } = scaling({ parameters, theta, dims, maxPositions });
  let frequencies: Float32Array | undefined;
  return {
    dims,
    get frequencies() {
      const unscaled = () => Float32Array.from({ length: dims / 2 }, (_, i) => theta ** ((-2 * i) / dims));
      frequencies ??= scale ? unscaled().map(scale) : unscaled();
      return frequencies;
    },
    factor: 1,
    ...scaled,
  };
}

/** The frequencies for a text of `length` tokens. */
export function frequenciesAt({ dims, frequencies, dynamic }: Rope, length: number): Float32Array {
  if (!dynamic || length <= dynamic.positions) return frequencies;
  const stretch = (dynamic.factor * length) / dynamic.positions - (dynamic.factor - 1);
  return frequencies.map((frequency, i) => frequency * stretch ** dynamicExponent(dims, i));
}

/** Base · stretch^(dims / (dims − 2)) in place of base, solved for the frequency of pair i. */
export function dynamicExponent(dims: number, i: number): number {
  return i === 0 ? 0 : (-2 * i) / (dims - 2);
}

function linear({ parameters }: Given) {
  const factor = positive(parameters, 'factor');
  return { scale: (frequency: number) => frequency / factor };
}

function dynamic({ parameters, maxPositions }: Given) {
  return { dynamic: { factor: positive(parameters, 'factor'), positions: maxPositions } };
}

// Long waves are slowed down, short ones left alone, those between interpolated.
function llama3({ parameters }: Given) {
  const factor = positive(parameters, 'factor');
  const low = positive(parameters, 'low_freq_factor');
  const high = positive(parameters, 'high_freq_factor');
  const original = positive(parameters, 'original_max_position_embeddings');
  const scale = (frequency: number) => {
    const turns = (original * frequency) / (2 * Math.PI);
    if (turns > high) return frequency;
    if (turns < low) return frequency / factor;
    const smooth = (turns - low) / (high - low);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  };
  return { scale };
}

// arXiv 2309.00071
function yarn({ parameters, theta, dims, maxPositions }: Given) {
  const original = positive(parameters, 'original_max_position_embeddings', maxPositions);
  const factor = positive(parameters, 'factor', maxPositions / original);
  const fast = positive(parameters, 'beta_fast', 32);
  const slow = positive(parameters, 'beta_slow', 1);
  const truncate = flag(parameters, 'truncate', true);
  /** The pair that makes this many turns over the original context. */
  const pair = (turns: number) => (dims * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const low = Math.max(truncate ? Math.floor(pair(fast)) : pair(fast), 0);
  let high = Math.min(truncate ? Math.ceil(pair(slow)) : pair(slow), dims - 1);
  if (low === high) high += 0.001; // as transformers does
  const scale = (frequency: number, i: number) => {
    const interpolated = Math.min(Math.max((i - low) / (high - low), 0), 1);
    return (interpolated * frequency) / factor + (1 - interpolated) * frequency;
  };
  return { scale, factor: yarnFactor(parameters, factor) };
}

function yarnFactor(parameters: Config, factor: number): number {
  if (parameters.attention_factor != null) return positive(parameters, 'attention_factor');
  const magnitude = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  if (!parameters.mscale || !parameters.mscale_all_dim) return magnitude(1);
  return magnitude(positive(parameters, 'mscale')) / magnitude(positive(parameters, 'mscale_all_dim'));
}
