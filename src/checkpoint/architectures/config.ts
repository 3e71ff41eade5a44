// What a config.json says: fields, checked (null counts as absent, as in Python), and what all models have, under
// whatever name. Also the forms of weights that most models share.

import { InputError, UnsupportedModelError } from '../../errors.ts';
import { isObject } from '../../expect.ts';
import { ACTIVATIONS, type Activation } from './activation.ts';
import { type Heads, nameOf } from './facts.ts';
import type { Block, Config, Description, Linear, Norm, Part, PatchEmbedding, Readout } from './types.ts';

const LARGEST = 2 ** 31 - 1;

function field<T>(
  config: Config,
  key: string,
  otherwise: T | undefined,
  expected: string,
  isExpected: (value: unknown) => boolean,
): T {
  const value = config[key] ?? otherwise;
  if (isExpected(value)) return value as T;
  const given = config[key];
  // 1e400 is read as Infinity, which JSON would write as null.
  const got = typeof given === 'number' ? given : JSON.stringify(given);
  const problem = given == null ? `is missing: expected ${expected}` : `expected ${expected}, got ${got}`;
  throw new InputError(`config.json: ${calledIn(config, key)} ${problem}`);
}

/** Objects within config.json, for messages. */
const sections = new WeakMap<Config, string>();

function calledIn(config: Config, key: string): string {
  const section = sections.get(config);
  return `"${section === undefined ? '' : `${section}.`}${key}"`;
}

/** Such an object, or all of it where it has no name, with what counts where it has no field. */
export function withDefaults(content: Config, defaults: Config, name?: string): Config {
  const given = Object.entries(content).filter(([, value]) => value != null);
  const config = { ...defaults, ...Object.fromEntries(given) };
  if (name !== undefined) sections.set(config, name);
  return config;
}

/** @param least  smallest that makes sense */
export function integer(config: Config, key: string, otherwise?: number, least = 1): number {
  const fits = (value: unknown) =>
    Number.isInteger(value) && Number(value) >= least && Number(value) <= LARGEST;
  const given = config[key];
  const bound = typeof given === 'number' && given > LARGEST ? `at most ${LARGEST}` : `at least ${least}`;
  return field(config, key, otherwise, `an integer of ${bound}`, fits);
}

export function positive(config: Config, key: string, otherwise?: number): number {
  const fits = (value: unknown) => Number.isFinite(value) && Number(value) > 0;
  return field(config, key, otherwise, 'a positive number', fits);
}

export function nonNegative(config: Config, key: string, otherwise?: number): number {
  const fits = (value: unknown) => Number.isFinite(value) && Number(value) >= 0;
  return field(config, key, otherwise, 'a number of at least 0', fits);
}

export function flag(config: Config, key: string, otherwise: boolean): boolean {
  return field(config, key, otherwise, 'true or false', (value) => typeof value === 'boolean');
}

export function text(config: Config, key: string, otherwise?: string): string {
  return field(config, key, otherwise, 'a string', (value) => typeof value === 'string');
}

/** What block i is called in `layer_types`, one of these names; undefined where there is no such list. */
export function layerType(
  config: Config,
  i: number,
  modelType: string,
  known: readonly string[],
): string | undefined {
  const { layer_types: types } = config;
  if (types == null) return undefined;
  if (Array.isArray(types) && known.includes(types[i])) return types[i];
  throw unsupported(modelType, `layer_types other than a list of ${known.join(' and ')}`);
}

/** Fields of the heads of gated delta rules. */
export const DELTA_HEADS = { heads: 'linear_num_value_heads', kvHeads: 'linear_num_key_heads' };

/** Those heads. @param otherwise  where it leaves them out */
export function deltaHeadsIn(config: Config, otherwise: Heads): Heads {
  const [heads, kvHeads] = (['heads', 'kvHeads'] as const).map((key) =>
    integer(config, DELTA_HEADS[key], otherwise[key]),
  );
  if (heads % kvHeads === 0) return { heads, kvHeads };
  throw new InputError(
    `config.json: "${DELTA_HEADS.heads}" expected a multiple of the ${kvHeads} of ${DELTA_HEADS.kvHeads}, got ${heads}`,
  );
}

/** The features of a head, where config.json says them. */
export function givenHeadDim(config: Config): number | undefined {
  return config.head_dim == null ? undefined : integer(config, 'head_dim');
}

/** The one of two names that config.json has; neither: the first. */
export function eitherName(config: Config, name: string, former: string): string {
  return config[name] == null && config[former] != null ? former : name;
}

/** A bound; none where it is null. */
export function capOf(config: Config, name: string, otherwise?: number): number | undefined {
  if (config[name] === null || (config[name] ?? otherwise) === undefined) return undefined;
  return positive(config, name, otherwise);
}

/** A list of so many positive numbers. */
export function numbers(config: Config, key: string, count: number): readonly number[] {
  const isPositive = (value: unknown) => Number.isFinite(value) && Number(value) > 0;
  const fits = (value: unknown) => Array.isArray(value) && value.length === count && value.every(isPositive);
  return field<readonly number[]>(config, key, undefined, `a list of ${count} positive numbers`, fits);
}

/** The same of integers. */
export function integers(
  config: Config,
  key: string,
  count: number,
  otherwise?: readonly number[],
): readonly number[] {
  const isOne = (value: unknown) => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= LARGEST;
  const fits = (value: unknown) => Array.isArray(value) && value.length === count && value.every(isOne);
  return field(config, key, otherwise, `a list of ${count} integers of at least 1`, fits);
}

/** An object in a config; empty where there is none. */
export function section(config: Config, key: string): Config {
  return field(config, key, {}, 'an object', isObject);
}

/** Something that config.json asks for and this library does not have. */
export function unsupported(modelType: string, what: string): UnsupportedModelError {
  return new UnsupportedModelError(`config.json: model_type "${modelType}": ${what}`);
}

/** The usual names. */
const NAMES = {
  hidden: 'hidden_size',
  heads: 'num_attention_heads',
  blocks: 'num_hidden_layers',
  positions: 'max_position_embeddings',
  ffn: 'intermediate_size',
  activation: 'hidden_act',
};

/** What is particular to an architecture; defaults are those of transformers. */
export interface Conventions {
  readonly names?: Partial<typeof NAMES>;
  readonly activation: string;
  /** Neurons per feature, where config.json may leave their number out. */
  readonly widening?: number;
  /** Positions, where it may leave out these. */
  readonly positions?: number;
  /** Where it is not hidden / heads. */
  readonly headDim?: number;
  /** Neurons, where config.json says their number in another way. */
  readonly ffn?: number;
  /** Blocks, where it may leave out these. */
  readonly blocks?: number;
}

/** The part of a description of language models that says sizes; `tied`: the output weights are the token embeddings. */
export function common(
  config: Config,
  modelType: string,
  conventions: Conventions & { readonly tied: boolean },
) {
  return {
    ...commonOfText(config, modelType, conventions),
    tied: flag(config, 'tie_word_embeddings', conventions.tied),
  };
}

/** Of models of token ids. */
export function commonOfText(config: Config, modelType: string, conventions: Conventions) {
  const { base, activation } = commonOfBlocks(config, modelType, conventions);
  const positions = conventions.names?.positions ?? NAMES.positions;
  return {
    base: {
      ...base,
      vocabulary: integer(config, 'vocab_size'),
      maxPositions: integer(config, positions, conventions.positions),
    },
    activation,
  };
}

/** Of models of images, whose squares are tokens. */
export function commonOfImages(
  config: Config,
  modelType: string,
  conventions: Conventions,
  parts: Omit<PatchEmbedding, 'channels' | 'size' | 'image'>,
) {
  const { base, activation } = commonOfBlocks(config, modelType, conventions);
  const [image, size] = [integer(config, 'image_size', 224), integer(config, 'patch_size', 16)];
  if (size > image)
    throw new InputError(
      `config.json: ${calledIn(config, 'patch_size')} expected at most the image_size of ${image}, got ${size}`,
    );
  const embedding = { ...parts, channels: integer(config, 'num_channels', 3), size, image };
  return { base: { ...base, ...ofSquares(embedding, Math.floor(image / size) ** 2) }, activation };
}

/** Of models of spectrograms, whose squares are tokens and may overlap. */
export function commonOfSpectra(
  config: Config,
  modelType: string,
  conventions: Conventions,
  parts: Pick<PatchEmbedding, 'patches' | 'firstTokens' | 'positions'>,
) {
  const { base, activation } = commonOfBlocks(config, modelType, conventions);
  const [bins, frames] = [integer(config, 'num_mel_bins', 128), integer(config, 'max_length', 1024)];
  const size = integer(config, 'patch_size', 16);
  if (size > Math.min(bins, frames))
    throw new InputError(
      `config.json: "patch_size" expected at most the num_mel_bins of ${bins} and the max_length of ${frames}, got ${size}`,
    );
  const steps = [integer(config, 'frequency_stride', 10), integer(config, 'time_stride', 10)] as const;
  const [down, across] = [bins, frames].map((extent, i) => Math.floor((extent - size) / steps[i]) + 1);
  const embedding = { ...parts, channels: 1, size, image: 0, spectrum: { frames, bins, steps } };
  return { base: { ...base, ...ofSquares(embedding, down * across) }, activation };
}

function ofSquares(embedding: PatchEmbedding, squares: number) {
  const { firstTokens, registers } = embedding;
  return {
    vocabulary: 0,
    maxPositions: squares + firstTokens.length + (registers?.count ?? 0),
    embedding,
  } satisfies Partial<Description>;
}

/** Of the encoder, in the config.json of models that have a decoder too. */
export const ENCODER_NAMES = {
  hidden: 'd_model',
  heads: 'encoder_attention_heads',
  blocks: 'encoder_layers',
  ffn: 'encoder_ffn_dim',
  activation: 'activation_function',
};

/** Of the decoder. */
export const DECODER_NAMES = {
  ...ENCODER_NAMES,
  heads: 'decoder_attention_heads',
  blocks: 'decoder_layers',
  ffn: 'decoder_ffn_dim',
};

/** Blocks of a decoder, which has its own heads for what an encoder gives, as many. */
export function withCross<B extends Pick<Description, 'sizes'>>(base: B) {
  const { heads, kvHeads } = base.sizes;
  return { ...base, sizes: { ...base.sizes, cross: { heads, kvHeads } } };
}

/** Of all models. */
export function commonOfBlocks(config: Config, modelType: string, conventions: Conventions) {
  const { headDim, widening, ffn } = conventions;
  const names = { ...NAMES, ...conventions.names };
  const hidden = integer(config, names.hidden);
  const heads = integer(config, names.heads);
  if (headDim === undefined && hidden % heads !== 0) {
    const keys = `${names.hidden} and ${names.heads}`;
    throw new InputError(`config.json: ${keys}: ${hidden} features cannot be shared out to ${heads} heads`);
  }
  const base = {
    modelType,
    hidden,
    headDim: headDim ?? hidden / heads,
    blocks: integer(config, names.blocks, conventions.blocks),
    sizes: {
      heads,
      kvHeads: heads,
      ffn: ffn ?? integer(config, names.ffn, widening && widening * hidden),
    },
    fields: { ffn: names.ffn, blocks: names.blocks },
  } satisfies Partial<Description>;
  return { base, activation: activationOf(config, modelType, names.activation, conventions.activation) };
}

export function activationOf(config: Config, modelType: string, key: string, otherwise: string): Activation {
  const name = text(config, key, otherwise);
  const activation = ACTIVATIONS.get(name);
  if (activation) return activation;
  const known = [...ACTIVATIONS.keys()].join(', ');
  throw unsupported(modelType, `the activation ${JSON.stringify(name)} is not supported (${known} are)`);
}

/** Whether `architectures` names a model that classifies whole texts, images or sounds. Other heads stay as they are. */
export function classifies(config: Config): boolean {
  return /For(Sequence|Image|Audio)Classification$/.test(nameOf(config));
}

/** Whether it names one that classifies the tokens of texts. */
export function classifiesTokens(config: Config): boolean {
  return nameOf(config).endsWith('ForTokenClassification');
}

/** The last map of a classifier: to as many scores as there are labels. */
export function scores(config: Config, name: string, bias = true): Readout['maps'][number] {
  const labels = Object.keys(section(config, 'id2label')).length;
  return {
    map: { ...linear(name, bias), isFullName: true },
    columns: labels || integer(config, 'num_labels', 2),
  };
}

/** A classifier of two maps, the first one as wide as what it reads. */
export function denseAndScores(
  config: Config,
  hidden: number,
  dense: string,
  activation: Activation,
  name: string,
): Readout['maps'] {
  const map = { ...linear(dense, true), isFullName: true };
  return [{ map, columns: hidden, activation }, scores(config, name)];
}

export function linear(name: string, bias: boolean, part?: Part): Linear {
  return { name, bias, transposed: true, part };
}

export function layerNorm(name: string, epsilon: number, affine = true): Norm {
  return { kind: 'layer', name, epsilon, affine };
}

/** A block of BART's kind. */
export function layerOf(
  layer: string,
  {
    order,
    activation,
    headDim,
    epsilon,
    isBiased,
  }: Pick<Block, 'order'> & {
    readonly activation: Activation;
    readonly headDim: number;
    readonly epsilon: number;
    /** Whether keys have biases, as the others have. */
    readonly isBiased?: boolean;
  },
): Block {
  return {
    order,
    attentionNorm: layerNorm(`${layer}.self_attn_layer_norm`, epsilon),
    attention: attentionOf(`${layer}.self_attn`, headDim, isBiased),
    mlpNorm: layerNorm(`${layer}.final_layer_norm`, epsilon),
    mlp: { up: linear(`${layer}.fc1`, true), down: linear(`${layer}.fc2`, true), activation },
  };
}

/** A block that reads what an encoder gives, too. @param isBiased  whether keys have biases, as the others have */
export function crossing(
  block: Block,
  layer: string,
  headDim: number,
  epsilon: number,
  isBiased = true,
): Block {
  return {
    ...block,
    attention: { ...block.attention, isCausal: true },
    cross: {
      norm: layerNorm(`${layer}.encoder_attn_layer_norm`, epsilon),
      attention: attentionOf(`${layer}.encoder_attn`, headDim, isBiased),
    },
  };
}

/** Attention of a module. @param isBiased  whether keys have biases, as the others have */
function attentionOf(module: string, headDim: number, isBiased = true): Block['attention'] {
  return {
    qkv: (label) => linear(`${module}.${label}_proj`, isBiased || label !== 'k'),
    out: linear(`${module}.out_proj`, true),
    scale: headDim ** -0.5,
  };
}

/** @param centre  what its weight is the difference from */
export function rmsNorm(name: string, epsilon: number, centre?: number): Norm {
  return { kind: 'rms', name, epsilon, affine: true, centre };
}
