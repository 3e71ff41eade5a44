// Rotary positions: the frequencies of RoPE and its scaling variants, as Hugging Face defines them
// (modeling_rope_utils). Feature pair i of position p is turned by p · frequency i.

import { isObject } from '../../expect.ts';
import { flag, numbers, positive, section, unsupported } from './config.ts';
import { once } from './facts.ts';
import type { Config, Rope } from './types.ts';

interface Given {
  readonly parameters: Config;
  readonly theta: number;
  readonly dims: number;
  readonly maxPositions: number;
}

/** What differs from the unscaled; `scale` gives the frequency of pair i, `long` that in texts of more than `positions` tokens. */
type Scaling = (given: Given) => Partial<Pick<Rope, 'factor' | 'dynamic'>> & {
  readonly scale?: Scale;
  readonly long?: { readonly scale: Scale; readonly positions: number };
};

type Scale = (frequency: number, i: number) => number;

const SCALINGS: ReadonlyMap<unknown, Scaling> = new Map<unknown, Scaling>([
  ['default', () => ({})],
  ['linear', linear],
  ['dynamic', dynamic],
  ['llama3', llama3],
  ['yarn', yarn],
  ['longrope', longrope],
  ['su', longrope],
]);

export interface RopeOptions {
  readonly modelType: string;
  readonly headDim: number;
  readonly maxPositions: number;
  /** Field of the base, and what it is where there is none. */
  readonly theta: string;
  readonly base?: number;
  /** Part of the features that is turned, or their number. */
  readonly portion?: number;
  readonly dims?: number;
  readonly pairsNeighbours?: boolean;
  /** Of `layer_types`, where `rope_parameters` may have settings for each of them. */
  readonly layerType?: string;
}

/** `rope_parameters` (transformers 5), or `rope_scaling` (before), beside which the base is. */
export function ropeSettings(config: Config): Config {
  return { ...section(config, 'rope_scaling'), ...section(config, 'rope_parameters') };
}

export function ropeOf(config: Config, options: RopeOptions): Rope {
  const { modelType, headDim, maxPositions, layerType, pairsNeighbours } = options;
  const all = ropeSettings(config);
  const own = layerType === undefined ? undefined : all[layerType];
  const parameters: Config = {
    original_max_position_embeddings: config.original_max_position_embeddings, // where Phi-3 has it
    ...(isObject(own) ? own : all),
  };
  const nested = Object.keys(parameters).find((key) => isObject(parameters[key]));
  if (nested !== undefined)
    throw unsupported(modelType, `rope settings for layers of type ${JSON.stringify(nested)}`);
  const type = parameters.rope_type ?? parameters.type ?? 'default';
  const scaling = SCALINGS.get(type);
  if (!scaling) {
    const known = [...SCALINGS.keys()].join(', ');
    throw unsupported(modelType, `rope_type ${JSON.stringify(type)} is not supported (${known} are)`);
  }
  const theta = positive(parameters, 'rope_theta', positive(config, options.theta, options.base ?? 10_000));
  const portion = positive(parameters, 'partial_rotary_factor', options.portion ?? 1);
  const dims = options.dims ?? Math.floor(headDim * portion);
  if (dims % 2 !== 0 || dims === 0 || dims > headDim) {
    throw unsupported(modelType, `rotary positions over ${dims} of ${headDim} features of a head`);
  }
  const { scale, long, ...scaled } = scaling({ parameters, theta, dims, maxPositions });
  const frequenciesBy = (scale: Scale = (frequency) => frequency) =>
    once(() => Float32Array.from({ length: dims / 2 }, (_, i) => theta ** ((-2 * i) / dims)).map(scale));
  return {
    dims,
    pairsNeighbours,
    frequencies: frequenciesBy(scale),
    factor: 1,
    ...scaled,
    long: long && { ...long, frequencies: frequenciesBy(long.scale) },
  };
}

/** The other way round. */
export function turnedBack({ frequencies, long, ...rope }: Rope): Rope {
  const negated = (of: Rope['frequencies']) => once(() => of().map((frequency) => -frequency));
  return {
    ...rope,
    frequencies: negated(frequencies),
    long: long && { ...long, frequencies: negated(long.frequencies) },
  };
}

/** Of models that turn all features of a head. @throws {UnsupportedModelError} where config.json wants a part of them */
export function wholeRopeOf(config: Config, options: RopeOptions): Rope {
  const rope = ropeOf(config, options);
  const { modelType, headDim } = options;
  if (rope.dims === headDim) return rope;
  throw unsupported(modelType, `partial_rotary_factor: ${rope.dims} of ${headDim} features are rotary`);
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

export function yarnMagnitude(factor: number, scale: number): number {
  return factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1;
}

function yarnFactor(parameters: Config, factor: number): number {
  if (parameters.attention_factor != null) return positive(parameters, 'attention_factor');
  const magnitude = (scale: number) => yarnMagnitude(factor, scale);
  if (!parameters.mscale || !parameters.mscale_all_dim) return magnitude(1);
  return magnitude(positive(parameters, 'mscale')) / magnitude(positive(parameters, 'mscale_all_dim'));
}

// arXiv 2402.13753: searched factors for each pair, of texts within the original context and beyond it.
function longrope({ parameters, dims, maxPositions }: Given) {
  const positions = positive(parameters, 'original_max_position_embeddings', maxPositions);
  const extended = maxPositions / positions;
  const factor = extended > 1 ? extended : positive(parameters, 'factor', 1);
  const guessed = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(positions));
  const by = (key: string) => {
    const factors = numbers(parameters, key, dims / 2);
    return (frequency: number, i: number) => frequency / factors[i];
  };
  return {
    scale: by('short_factor'),
    long: { scale: by('long_factor'), positions },
    factor: positive(parameters, 'attention_factor', guessed),
  };
}
