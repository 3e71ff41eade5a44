// A described model: graphs for its parts, and the way back to a checkpoint and its config.

import { InputError, UnsupportedModelError } from '../../errors.ts';
import { expectObject, isObject } from '../../expect.ts';
import type { Gain, Model, ModelOutline } from '../../graph/index.ts';
import { nearest } from '../../options.ts';
import { expectFloats } from '../tensor.ts';
import {
  ALL_TOKENS,
  BESIDE,
  canGo,
  expertName,
  featuresOf,
  HALVES,
  type Half,
  type HeadKind,
  type Heads,
  hasHalf,
  headsIn,
  isDelta,
  isEmpty,
  isEncoder,
  isGone,
  isNarrow,
  nameOf,
  sizesOf,
  tokensOfWave,
  widthsOfDelta,
} from './facts.ts';
import {
  blockGraph,
  embeddingGraph,
  embeddingMacs,
  FEATURES,
  forImages,
  headGraph,
  isRead,
  outputIn,
  readsFirst,
  STATES,
  wholeGraph,
  widthOf,
} from './graphs.ts';
import type * as Kinds from './kinds.ts';
import { isMixture, shareOf } from './layers.ts';
import { areSame, fieldsWith, stemOf } from './shorter.ts';
import type {
  AttentionSizes,
  BlockSizes,
  CheckpointTensor,
  Config,
  DeltaRule,
  Description,
  HeadSizes,
  Mlp,
  ModelPart,
  Readout,
  States,
  TensorNames,
  TensorSource,
} from './types.ts';
import { samplesOfWave } from './waves.ts';
import {
  checkpointTensors,
  checkTensor,
  type Parameter,
  shapeOf,
  tensorsIn,
  WeightGraph,
} from './weights.ts';

/** The content of an osscar.json: the sizes of every block, where config.json cannot say them. */
export interface SizesRecord {
  readonly blocks?: readonly BlockSizes[];
  /** Those of the decoder behind an encoder. */
  readonly decoder?: { readonly blocks: readonly BlockSizes[] };
}

/** What a pruned folder's config.json and osscar.json must say. */
export interface PrunedConfig {
  readonly config: Config;
  /** Absent where config.json says it all. */
  readonly record?: SizesRecord;
  /** Who can read the result, for the user. */
  readonly statement: string;
  /** The blocks that it has, where some are gone and the others are numbered anew. */
  readonly left?: readonly number[];
}

/** A tensor that a model uses. */
export interface UsedTensor {
  /** In the checkpoint's layout. */
  readonly shape: readonly number[];
  /** Absent outside of blocks. */
  readonly block?: number;
  /** Tokens that pass it, of all: fewer than 1 of experts, and more where they pass it several times. */
  readonly share: number;
  /** Whether it is there for certain sizes alone: it holds those of several experts, or is of one head. */
  readonly isSized: boolean;
}

/** An MLP of a block. */
export interface BlockMlp {
  /** In reports: `mlp`, or `experts.3`. */
  readonly name: string;
  /** The layer that reads its neurons, as the checkpoint calls it, without the prefix. */
  readonly layer: string;
  readonly neurons: number;
  /** The field of config.json that says these, or one of so many parts of them, for all that have it; absent where none does. */
  readonly field?: string;
  readonly times: number;
  /** Tokens that pass it, of all. */
  readonly share: number;
}

/** Of sizes in osscar.json. */
const OURS = 'only osscar and the ONNX file can use them, not stock transformers.';
/** What transformers calls models whose last map is none to the vocabulary. */
const OTHER_SCORES = /For((Sequence|Token)Classification|QuestionAnswering)$/;

/** Multiply-adds of maps, for one token. */
function macsOf(maps: Readout['maps'], width: number): number {
  return maps.reduce((sum, { columns }, i) => sum + columns * (maps[i - 1]?.columns ?? width), 0);
}

/** A language model or an encoder as graphs: the embedding, one graph per block, the head, or all in one. */
export class LanguageModel {
  /** `model_type` of config.json. */
  readonly architecture: string;
  /** Number of blocks. */
  readonly blocks: number;
  /** Features of the residual stream. */
  readonly hidden: number;
  /** 0 where it takes images, spectrograms or waveforms. */
  readonly vocabulary: number;
  /** Of images and spectrograms: tokens of each; of waveforms those of ten seconds. */
  readonly maxPositions: number;
  readonly headDim: number;
  /** Of queries and keys, where these are others than of values. */
  readonly keyDim?: number;
  /** Whether every token sees every other; the output is class scores or features then, not scores of the vocabulary. */
  readonly isEncoder: boolean;
  /** Of a decoder behind an encoder: what it reads of that, and by which name. */
  readonly states?: States & { readonly name: string };
  /** Whether it has a decoder behind it. */
  readonly hasDecoder: boolean;
  /** The field of config.json that says neurons of the encoder and of the decoder behind it, where it is one. */
  readonly saysOfBoth?: string;
  /** Side of its images, where it takes those of other sizes too. */
  readonly image?: number;
  /** What transformers.js does with it, where its ONNX file is not for that. */
  readonly transformersJs?: string;
  /** Whether it is an encoder whose scores are made of the first token alone. */
  readonly readsFirst: boolean;
  /** Whether labels can be held against its output: it is no encoder that gives features. */
  readonly givesScores: boolean;
  /** What its ONNX file is called where other parts of the model have others. */
  readonly onnxName: string;
  readonly #config: Config;
  readonly #description: Description;
  readonly #record: SizesRecord;
  readonly #describe: (config: Config) => Description;

  /**
   * @param sizes  of every block
   * @param record  what an osscar.json says
   * @param describe  says what another config.json of the kind describes
   */
  constructor(
    config: Config,
    description: Description,
    readonly sizes: readonly BlockSizes[],
    record: SizesRecord,
    describe: (config: Config) => Description,
  ) {
    this.architecture = description.modelType;
    this.blocks = description.blocks;
    this.hidden = description.hidden;
    this.vocabulary = description.vocabulary;
    this.maxPositions = description.maxPositions;
    this.headDim = description.headDim;
    this.keyDim = description.keyDim;
    this.isEncoder = isEncoder(description.head);
    this.states = description.states && { ...description.states, name: STATES };
    this.hasDecoder = description.decoder !== undefined;
    const { embedding, fields } = description;
    if (fields.areOfBoth) this.saysOfBoth = fields.ffn;
    if ('patches' in embedding && embedding.follows) this.image = embedding.image;
    this.transformersJs = description.transformersJs;
    // Rotations are of all tokens, and so is what a block gets when it is passed again.
    const { attention, times } = description.block(this.blocks - 1);
    this.readsFirst = readsFirst(description.head) && !attention.rope && times === undefined;
    this.givesScores =
      !isEncoder(description.head) || (isRead(description.head) && description.head.embeds === undefined);
    const usual = this.states ? 'decoder_model_merged' : this.hasDecoder ? 'encoder_model' : 'model';
    this.onnxName = description.onnxName ?? usual;
    this.#config = config;
    this.#description = description;
    this.#record = record;
    this.#describe = describe;
  }

  /**
   * Compares config.json, and osscar.json where it is there, with the tensors.
   *
   * @throws {InputError} naming the tensor, the shape expected and the one found
   * @throws {UnsupportedModelError} naming a tensor that holds no floating-point numbers, or a language model without its last map or with another one
   */
  check(source: TensorNames): void {
    const { head, ignored } = this.#description;
    const scores = isEncoder(head) ? undefined : outputIn(this.#graph(source).prefix, head);
    const name = nameOf(this.#config);
    // With tied weights there would be scores that nobody has trained.
    if (!isEncoder(head) && OTHER_SCORES.test(name))
      throw new UnsupportedModelError(
        `config.json: "${name}" gives other scores than those of the vocabulary; of ${this.architecture} models with these are supported (…ForCausalLM)`,
      );
    if (scores !== undefined && name.endsWith('Model') && !source.tensors.has(`${scores}.weight`))
      throw new UnsupportedModelError(
        `config.json: "${name}" gives features, and there is no "${scores}.weight"; of ${this.architecture} models with scores are supported (…ForCausalLM)`,
      );
    const { prefix, parameters } = this.#whole(source);
    const called = (tensor: string) =>
      `${source.tensors.get(tensor)?.file ?? 'checkpoint'}: tensor "${tensor}"`;
    const isInBlock = (tensor: string) => tensor.startsWith(`${prefix}${stemOf(this.#description)}`);
    const expected = tensorsIn(parameters);
    for (const parameter of expected) {
      const isSized = recordedIn(this.#record, this.#description) && isInBlock(parameter.tensor);
      checkTensor(source, parameter, isSized ? 'osscar.json and config.json do' : 'config.json does');
      const { tensor } = parameter;
      const { dtype } = source.tensors.get(tensor) ?? {};
      if (dtype !== undefined) expectFloats(called(tensor), dtype);
    }
    // Weights that the description knows nothing of would be dropped without a word.
    const known = new Set(expected.map(({ tensor }) => tensor));
    for (const name of source.tensors.keys()) {
      if (!isInBlock(name) || known.has(name) || ignored?.test(name)) continue;
      throw new InputError(
        `${called(name)} has no place in the model that config.json describes ` +
          `(${this.architecture}, ${this.blocks} blocks)`,
      );
    }
  }

  /** Every tensor that the model uses. @param sizes  of all blocks, in the place of its own */
  tensors(source: TensorNames, sizes = this.sizes): ReadonlyMap<string, UsedTensor> {
    const inBlocks = sizes.map((size, i) => this.blockTensors(source, i, size));
    const whole = wholeGraph(this.#graph(source), this.#description, sizes, false);
    return new Map([...usedIn(whole), ...inBlocks.flatMap((tensors) => [...tensors])]);
  }

  /** How often tokens pass block i. */
  timesOf(i: number): number {
    return this.#description.block(i).times ?? 1;
  }

  /** Those of block i. @param sizes  of the block, in the place of its own */
  blockTensors(source: TensorNames, i: number, sizes = this.sizes[i]): ReadonlyMap<string, UsedTensor> {
    return usedIn(blockGraph(this.#graph(source), this.#description, i, sizes, 1), i);
  }

  /** What block i has between attention and its end: one MLP, or experts and perhaps one that all tokens pass. */
  mlps(i: number): BlockMlp[] {
    return mlpsOf(this.#description, i, this.sizes[i]);
  }

  /** Whether a half of block i can go whole. */
  canGo(i: number, half: Half): boolean {
    return canGo(this.#description, i, half) && hasHalf(this.#description, i, half, this.sizes[i]);
  }

  /** Whether queries and keys of block i can have fewer features. */
  keysCanNarrow(i: number): boolean {
    return heldFeatures(this.#description, i).keyDim === undefined;
  }

  /** Whether its values can. */
  valuesCanNarrow(i: number): boolean {
    return heldFeatures(this.#description, i).valueDim === undefined;
  }

  /** Tokens that a sample of these dims has. */
  tokensOf([length]: readonly number[]): number {
    const { embedding } = this.#description;
    if ('waves' in embedding) return tokensOfWave(embedding, length);
    return this.vocabulary === 0 ? this.maxPositions : length;
  }

  /** What there is of a text or a waveform with so many tokens. */
  lengthOf(tokens: number): number {
    const { embedding } = this.#description;
    return 'waves' in embedding ? samplesOfWave(embedding, tokens) : tokens;
  }

  /** Values of the output for a sample of so many tokens. */
  outputsOf(tokens: number): number {
    const { head, hidden, vocabulary } = this.#description;
    if (!isEncoder(head)) return tokens * vocabulary;
    if (!isRead(head)) return tokens * widthOf(head.each, hidden);
    return widthOf(head.readouts[0].maps, hidden);
  }

  /** Multiply-adds before and behind the blocks, for a sample of so many tokens. */
  macsAround(tokens: number): number {
    const { head, hidden, vocabulary } = this.#description;
    if (!isEncoder(head)) return tokens * vocabulary * hidden;
    let macs = embeddingMacs(this.#description, tokens) + tokens * macsOf(head.each ?? [], hidden);
    const { heads, ffn } = this.#description.sizes;
    for (const { of = [[0]], pool, maps } of head.readouts) {
      // Its query and output are of one token, as its MLP is.
      const wide = heads * this.headDim;
      if (pool) macs += 2 * hidden * (wide * (tokens + 1) + ffn) + 2 * wide * tokens;
      macs += macsOf(maps, of.length * hidden);
    }
    return macs;
  }

  /**
   * `input_ids` [batch, length] (int64), or an encoder's inputs but for the mask → `hidden` [batch, tokens, hidden]. An
   * encoder's parts are for any length.
   */
  async embedding(source: TensorSource, { length }: { length: number }): Promise<Model> {
    this.#checkLength(length);
    const graph = embeddingGraph(this.#graph(source), this.#description, length);
    return graph.load(source, `${this.architecture} embedding`);
  }

  /**
   * `hidden` → `hidden_out`, both [batch, length, hidden], for windows that start at position 0.
   *
   * @param isFirst  whether `hidden_out` has the first token alone
   */
  async block(
    source: TensorSource,
    i: number,
    { length, isFirst }: { length: number; isFirst?: boolean },
  ): Promise<Model> {
    this.#checkIndex(i);
    this.#checkLength(length);
    return this.#block(source, i, length, isFirst).load(source, `${this.architecture} block ${i}`);
  }

  /** `hidden` [batch, sequence, hidden] → `logits` [batch, sequence, vocabulary], or an encoder's output. */
  async head(source: TensorSource): Promise<Model> {
    return headGraph(this.#graph(source), this.#description).load(source, `${this.architecture} head`);
  }

  /** The norm in the head, where it scales features; the head's graph has its tensors as the checkpoint. */
  headGain(source: TensorNames): Gain | undefined {
    const { head } = this.#description;
    const { norm } = head;
    if (!norm?.affine) return undefined;
    const node = this.#graph(source).prefix + norm.name;
    const bias = norm.kind === 'layer' && !norm.withoutBias ? `${node}.bias` : undefined;
    const isLast = isEncoder(head) && !isRead(head) && !head.each;
    const { centre } = norm;
    return { node, output: isLast ? FEATURES : node, axis: -1, weight: `${node}.weight`, centre, bias };
  }

  /**
   * The whole model: `input_ids` [batch_size, sequence_length] → `logits`. With `past` also `attention_mask`
   * [batch_size, total_sequence_length], `position_ids` [batch_size, sequence_length] and, per block i,
   * `past_key_values.i.key` and `.value` [batch_size, kvHeads, past_sequence_length, features of a head] (0 tokens are
   * none) → `present.i.key`, `.value`, as optimum exports decoders. Behind an encoder these are `encoder_hidden_states`, where there may be padding
   * `encoder_attention_mask`, and `past_key_values.i.decoder.key`, `.value` and `past_key_values.i.encoder.key`, `.value`. All weights are in memory. Encoders have the inputs
   * `pixel_values`, `input_features`, or `input_ids`, `attention_mask` and where there are several types `token_type_ids` (all
   * [batch, sequence]), and the output `logits` [batch, classes] or `last_hidden_state`.
   */
  async whole(source: TensorSource, { past = false } = {}): Promise<Model> {
    return this.#whole(source, past).load(source, this.architecture);
  }

  /** As `whole`, with the weights read one tensor at a time, for `streamModel` to write. */
  outline(source: TensorSource, { past = false } = {}): ModelOutline {
    return this.#whole(source, past).outline(source, this.architecture);
  }

  /**
   * The weights of a block's graph, pruned or not, as the checkpoint stores them.
   *
   * @param sizes  that the graph has, where it is pruned
   * @throws {InputError} if a weight is missing or is not of these sizes
   */
  tensorsOf(i: number, block: Model, sizes = this.sizes[i]): CheckpointTensor[] {
    this.#checkIndex(i);
    checkSizes(sizes, this.#description, i, `${block.name}: block ${i}`);
    const g = this.#graph(block, moduleIn(this.#description, i, sizes));
    const { parameters } = blockGraph(g, this.#description, i, sizes, 1);
    return checkpointTensors(block, parameters);
  }

  /** What the config.json (and osscar.json) of a pruned model say. @throws {InputError} on impossible sizes */
  configOf(sizes: readonly BlockSizes[]): PrunedConfig {
    const { fields, headDim, modelType, blocks, sizes: dense } = this.#description;
    if (sizes.length !== blocks) {
      throw new InputError(`${modelType}: sizes of ${blocks} blocks expected, got ${sizes.length}`);
    }
    for (const [i, size] of sizes.entries()) checkSizes(size, this.#description, i, `block ${i}`);
    const left = [...sizes.keys()].filter((i) => !isEmpty(this.#description, i, sizes[i]));
    const shorter = this.withBlocks(left);
    if (shorter) {
      const own = shorter.configOf(left.map((i) => sizes[i]));
      return {
        ...own,
        left,
        statement: `${own.statement} Blocks ${left.join(', ')} are left, numbered anew.`,
      };
    }
    const neurons = new Map<string, number>();
    const differing = new Set<string>();
    let saysNeurons = true;
    const all = sizes.flatMap((size, i) => mlpsOf(this.#description, i, size).map((mlp) => ({ ...mlp, i })));
    for (const { field, neurons: given, times, i } of all) {
      const count = given / times;
      if (field === undefined) saysNeurons &&= count === sizesOf(this.#description, i).ffn;
      else {
        if (count !== (neurons.get(field) ?? count)) differing.add(field);
        neurons.set(field, count);
      }
    }
    const reasons: string[] = [];
    const said = new Map<string, number>();
    for (const [field, count] of neurons) {
      const value = fields.ffnOf ? fields.ffnOf(count) : Number.isInteger(count) ? count : undefined;
      if (value !== undefined) said.set(field, value);
      else reasons.push(`no ${field} is of ${count} neurons`);
    }
    for (const field of differing)
      reasons.push(`${field === fields.experts ? 'experts' : 'blocks'} differ in ${field}`);
    const same = fields.areOfBoth ? neurons.get(fields.ffn!) : undefined;
    if (same !== undefined && this.#otherSizes().some(({ ffn }) => ffn !== same))
      reasons.push(`${fields.ffn} is of the ${this.states ? 'encoder' : 'decoder'} too, which has others`);
    if (!saysNeurons) reasons.push('it has no field for the neurons of an MLP');
    if (sizes.some((size, i) => HALVES.some((half) => isGone(this.#description, i, half, size))))
      reasons.push('blocks differ in what they have');
    const areNarrow = this.areNarrow(sizes);
    if (areNarrow) reasons.push(`it has no field for heads of fewer than ${headDim} features`);
    const heads = this.blocksByHeads().map(({ kind, blocks }) => this.#headsSaid(kind, blocks, sizes));
    // Of narrow ones it says none.
    const unsaid = heads.flatMap(({ reason, isFieldMissing }) =>
      reason && !(isFieldMissing && areNarrow) ? [reason] : [],
    );
    reasons.push(...new Set(unsaid));
    if (reasons.length > 0) {
      return {
        config: this.#config,
        record: this.#recordWith(
          sizes.map(({ heads, kvHeads, ffn, experts, keyDim, valueDim, space, cross }) => {
            return { heads, kvHeads, ffn, experts, keyDim, valueDim, space, cross };
          }),
        ),
        statement:
          `The config.json of ${modelType} cannot express these sizes (${reasons.join('; ')}): they are in ` +
          `osscar.json, and ${OURS}`,
      };
    }
    const fewer: Config = Object.assign({}, ...heads.map((it) => it.said ?? {}));
    const attending = fewer[fields.heads?.heads ?? ''] ?? dense.heads;
    const record = this.#recordWith(undefined, same);
    const [part, other] = this.states ? ['decoder', 'encoder'] : ['encoder', 'decoder'];
    return {
      config: this.#withFields({
        ...Object.fromEntries(said),
        ...fields.beside?.(neurons.get(fields.ffn!)!),
        ...fewer,
      }),
      record,
      statement: record
        ? `config.json says the sizes of the ${part}; those of the ${other} are in osscar.json, and ${OURS}`
        : `config.json says the sizes; ${this.#readers(Number(attending))}`,
    };
  }

  /** A decoder, where its encoder has become smaller. @param encoder  sizes of its blocks */
  behind(encoder: readonly BlockSizes[]): LanguageModel {
    const record = { ...this.#record, blocks: encoder };
    return new LanguageModel(this.#config, this.#description, this.sizes, record, this.#describe);
  }

  /** Sizes of the other part's blocks, all of them where osscar.json says some; otherwise one of those as config.json has them. */
  #otherSizes(): readonly BlockSizes[] {
    const { blocks, decoder } = this.#record;
    return (this.states ? blocks : decoder?.blocks) ?? [this.#description.sizes];
  }

  /**
   * What an osscar.json says of these blocks, beside what it says of the other part; nothing where there is none of either.
   *
   * @param neurons  that config.json says of both
   */
  #recordWith(blocks?: readonly BlockSizes[], neurons?: number): SizesRecord | undefined {
    const isSaid = neurons !== undefined && this.#otherSizes().every((it) => this.#areUsual(it, neurons));
    const { decoder, ...encoder } = isSaid ? {} : this.#record;
    const own = blocks && { blocks };
    const both = this.states ? { ...encoder, decoder: own } : { ...own, decoder };
    const said = Object.entries(both).filter(([, it]) => it !== undefined);
    return said.length > 0 ? Object.fromEntries(said) : undefined;
  }

  /** Whether a block of the other part has what config.json says, and so many neurons. */
  #areUsual({ ffn, cross, ...own }: BlockSizes, neurons: number): boolean {
    const { sizes } = this.#description;
    const areAll = (it?: AttentionSizes) =>
      !it || (it.heads === sizes.heads && !isNarrow({ ...sizes, ...it }, sizes, this.#description));
    return ffn === neurons && areAll(own) && areAll(cross);
  }

  /** The dense model with fewer blocks, where config.json can say that. @param left  their numbers, ascending */
  withBlocks(left: readonly number[]): LanguageModel | undefined {
    const dense = this.#description;
    if (left.length === dense.blocks) return undefined;
    const { section } = dense.fields;
    const fields = fieldsWith(dense, section?.content ?? this.#config, left);
    if (!fields) return undefined;
    const config = this.#withFields(fields);
    try {
      const shorter = this.#describe(config);
      if (shorter.blocks !== left.length || !areSame(dense, left, shorter)) return undefined;
      const sizes = left.map((_, j) => sizesOf(shorter, j));
      return new LanguageModel(config, shorter, sizes, this.#recordWith() ?? {}, this.#describe);
    } catch (error) {
      if (error instanceof InputError || error instanceof UnsupportedModelError) return undefined;
      throw error;
    }
  }

  /** What a tensor is called where only some blocks are left; undefined where it goes with the others. */
  nameWith(left: readonly number[], name: string, source: TensorNames): string | undefined {
    const start = this.#graph(source).prefix + stemOf(this.#description);
    const [, number, rest] = (name.startsWith(start) && /^(\d+)(\..*)$/.exec(name.slice(start.length))) || [];
    if (number === undefined) return name;
    const place = left.indexOf(Number(number));
    return place < 0 ? undefined : `${start}${place}${rest}`;
  }

  /** What says the heads of blocks whose heads have the same fields, where they are fewer, or why nothing does. */
  #headsSaid(
    kind: HeadKind,
    alike: readonly number[],
    sizes: readonly BlockSizes[],
  ): { readonly said?: Config; readonly reason?: string; readonly isFieldMissing?: boolean } {
    const { headDim, fields } = this.#description;
    const own = (i: number) => headsIn(sizes[i], kind);
    const [first, ...others] = alike.flatMap((i) => own(i) ?? []);
    if (!first) return {};
    const isSame = (a: Heads, b: Heads) => a.heads === b.heads && a.kvHeads === b.kvHeads;
    if (alike.every((i) => isSame(own(i) ?? first, headsIn(sizesOf(this.#description, i), kind)!))) return {};
    if (!others.every((size) => isSame(size, first))) return { reason: 'blocks differ in their heads' };
    const names = this.#headFields(kind, alike[0]);
    if (!names)
      return { reason: `it has no field for heads of ${headDim} features each`, isFieldMissing: true };
    const beside = this.#besideHeads(kind, alike[0], first.heads);
    if (!beside) return { reason: `no other field goes with ${first.heads} for ${names.heads}` };
    const dims = names === fields.heads ? fields.heads.headDim : undefined;
    return {
      said: {
        ...{ [names.heads]: first.heads, [names.kvHeads]: first.kvHeads },
        ...(dims !== undefined && { [dims]: headDim }),
        ...beside,
      },
    };
  }

  /** Which transformers reads a config.json that says so many heads. */
  #readers(heads: number): string {
    const { hidden, modelType, since } = this.#description;
    if (since === undefined)
      return 'transformers reads the folder with the code that this model came with, its .py files, which are not copied.';
    return this.#isRefused(heads)
      ? `transformers ${since} and later 4.x read them, while 5 refuses a ${modelType} whose ` +
          `hidden_size (${hidden}) is not a multiple of num_attention_heads (${heads}).`
      : `stock transformers (${since} or later) reads the folder.`;
  }

  /** Whether it can say so many neurons of an MLP, where it has a field for their number. */
  saysNeurons(neurons: number): boolean {
    const { ffnOf } = this.#description.fields;
    return ffnOf === undefined || ffnOf(neurons) !== undefined;
  }

  /** Whether config.json can say so many heads of the same size for block i and all alike, and transformers reads it. */
  saysHeads(i: number, heads: number, kind: HeadKind = 'heads'): boolean {
    if (heads === headsIn(sizesOf(this.#description, i), kind)?.heads) return true;
    const fields = this.#headFields(kind, i);
    if (this.#areOfDelta(kind, i))
      return fields !== undefined && this.#besideHeads(kind, i, heads) !== undefined;
    return fields !== undefined && !this.#isRefused(heads);
  }

  /** Blocks with heads, together those whose config.json says them by the same fields. */
  blocksByHeads(): { readonly kind: HeadKind; readonly blocks: readonly number[] }[] {
    const all = (kind: HeadKind) => [...this.sizes.keys()].filter((i) => headsIn(this.sizes[i], kind));
    const own = all('heads');
    return [
      { kind: 'heads' as const, blocks: own.filter((i) => !this.#isDelta(i)) },
      { kind: 'heads' as const, blocks: own.filter((i) => this.#isDelta(i)) },
      ...BESIDE.map((kind) => ({ kind, blocks: all(kind) })),
    ].filter(({ blocks }) => blocks.length > 0);
  }

  #isDelta(i: number): boolean {
    return isDelta(this.#description.block(i).instead);
  }

  #areOfDelta(kind: HeadKind, i: number): boolean {
    return kind === 'space' || (kind === 'heads' && this.#isDelta(i));
  }

  /** Fields that say no heads and go with so many; undefined where none do. */
  #besideHeads(kind: HeadKind, i: number, heads: number): Config | undefined {
    const { deltaHeads } = this.#description.fields;
    return this.#areOfDelta(kind, i) && deltaHeads?.beside ? deltaHeads.beside(heads) : {};
  }

  #headFields(kind: HeadKind, i: number) {
    const { heads, deltaHeads } = this.#description.fields;
    if (kind === 'cross') return undefined;
    return this.#areOfDelta(kind, i) ? deltaHeads : heads;
  }

  /** The layer that reads the heads of such a kind, beside those of attention, as the checkpoint calls it, without the prefix. */
  layerBeside(i: number, kind: (typeof BESIDE)[number]): string | undefined {
    const { beside, cross } = this.#description.block(i);
    return kind === 'space' ? beside?.out.name : cross?.attention.out.name;
  }

  /** Whether there are heads of fewer features than config.json says. @param sizes  of all blocks */
  areNarrow(sizes: readonly BlockSizes[]): boolean {
    return sizes.some((size, i) => isNarrow(size, sizesOf(this.#description, i), this.#description));
  }

  /** Features that the maps of block i before attention give, or those before what stands in its place. */
  mapsBefore(i: number): number[] {
    const { instead, attention } = this.#description.block(i);
    const sizes = this.sizes[i];
    if (isDelta(instead)) return mapsOfDelta(sizes, instead);
    if (instead) return [3 * this.hidden];
    if (sizes.heads === 0) return [];
    const { heads, kvHeads } = sizes;
    const { keyDim, valueDim } = featuresOf(sizes, this);
    const gate = attention.gate ? [heads * valueDim] : [];
    return [heads * keyDim, kvHeads * keyDim, kvHeads * valueDim, ...gate];
  }

  /** The same of a state space beside attention. */
  mapsBeforeSpace(i: number): number[] {
    const { beside } = this.#description.block(i);
    return beside ? mapsOfDelta(this.sizes[i].space!, beside) : [];
  }

  /** The same of attention to what an encoder gives: before queries, and before keys and values. */
  mapsBeforeCross(i: number): { readonly asking: number[]; readonly seen: number[] } | undefined {
    const { cross } = this.sizes[i];
    if (!cross) return undefined;
    const { heads, kvHeads } = cross;
    const { keyDim, valueDim } = featuresOf(cross, this);
    return { asking: [heads * keyDim], seen: [kvHeads * keyDim, kvHeads * valueDim] };
  }

  /** What an encoder gives for a sample of so many tokens: as many, where nothing else is known. */
  statesOf(length: number): number {
    return this.states?.tokens ?? length;
  }

  /** Multiply-adds of what heads do with tokens, so many, behind these maps. @param sizes  of block i */
  macsOfHeads(i: number, sizes: BlockSizes, length: number): number {
    const { keyDim, valueDim } = featuresOf(sizes, this);
    // What a head has for a key, what it puts there, and what it gives.
    const ofDelta = (own: Pick<HeadSizes, 'keyDim' | 'valueDim'>) => 3 * own.keyDim * own.valueDim;
    const each = this.#isDelta(i) ? ofDelta({ keyDim, valueDim }) : length * (keyDim + valueDim);
    const beside = sizes.space ? sizes.space.heads * ofDelta(sizes.space) : 0;
    return this.timesOf(i) * length * (sizes.heads * each + beside) + this.#macsOfCross(sizes, length);
  }

  /** Of attention to what an encoder gives; and what its tokens are more than those of a sample pass the maps of keys and values. */
  #macsOfCross({ cross }: BlockSizes, length: number): number {
    if (!cross || !this.states) return 0;
    const tokens = this.statesOf(length);
    const { heads, kvHeads } = cross;
    const { keyDim, valueDim } = featuresOf(cross, this);
    const maps = this.states.width * kvHeads * (keyDim + valueDim);
    return (tokens - length) * maps + length * tokens * heads * (keyDim + valueDim);
  }

  /** config.json with other fields, where it has those that say sizes. */
  #withFields(values: Config): Config {
    const { section } = this.#description.fields;
    if (!section) return { ...this.#config, ...values };
    const { name, content, former } = section;
    const kept = Object.entries(this.#config).filter(([key]) => key !== former);
    return { ...Object.fromEntries(kept), [name]: { ...content, ...values } };
  }

  /** Whether transformers 5 refuses so many heads. */
  #isRefused(heads: number): boolean {
    const { fields, hidden } = this.#description;
    return fields.heads?.mustDivide === true && hidden % heads !== 0;
  }

  /** An empty graph with the module's prefix; where it is absent the first, so that messages name the usual. */
  #graph({ tensors }: { tensors: ReadonlyMap<string, unknown> }, module?: string): WeightGraph {
    const { prefixes, embedding } = this.#description;
    const known = module ?? firstModule(embedding);
    const prefix = prefixes.find((it) => tensors.has(`${it}${known}.weight`));
    return new WeightGraph(prefix ?? prefixes[0]);
  }

  #block(source: TensorNames, i: number, length: number, isFirst?: boolean): WeightGraph {
    return blockGraph(this.#graph(source), this.#description, i, this.sizes[i], length, isFirst);
  }

  #whole(source: TensorNames, past = false): WeightGraph {
    return wholeGraph(this.#graph(source), this.#description, this.sizes, past);
  }

  #checkIndex(i: number): void {
    if (Number.isInteger(i) && i >= 0 && i < this.blocks) return;
    throw new InputError(`${this.architecture}: block ${i} expected below ${this.blocks}`);
  }

  #checkLength(length: number): void {
    const { embedding } = this.#description;
    const limit = 'positions' in embedding && embedding.positions ? this.maxPositions : 2 ** 24;
    if (!Number.isInteger(length) || length < 1 || length > limit) {
      throw new InputError(`${this.architecture}: windows of 1 to ${limit} tokens expected, got ${length}`);
    }
  }
}

const MOST_BLOCKS = 1000; // the deepest models have about a hundred, and a graph of so many takes two seconds

/** As `describe` does, where the kinds are there. */
export function modelOf(
  known: typeof Kinds,
  config: Config,
  record?: SizesRecord,
  image?: number,
  source?: TensorNames,
  part?: ModelPart,
): LanguageModel {
  expectObject('describe', 'config', config);
  const describe = (of: Config) => {
    const dense = known.descriptionIn(of, nearest, source?.tensors.keys(), part);
    return image === undefined ? dense : forImages(dense, image);
  };
  const description = describe(config);
  const { blocks } = description;
  if (blocks > MOST_BLOCKS)
    throw new InputError(`config.json: at most ${MOST_BLOCKS} blocks expected, got ${blocks}`);
  for (let i = 0; i < blocks; i++) description.block(i); // reads what it says of this one
  checkSizes(sizesOf(description, 0), description, 0, 'config.json');
  // It may say the sizes of the other part alone.
  const [own, other] = description.states ? ['decoder', 'blocks'] : ['blocks', 'decoder'];
  const isSilent = record === undefined || (!(own in record) && other in record);
  const whole = () => Array.from({ length: blocks }, (_, i) => sizesOf(description, i));
  const sizes = isSilent ? whole() : recordedIn(record, description);
  if (!Array.isArray(sizes) || sizes.length !== blocks) {
    throw new InputError(`osscar.json: "blocks" expected the sizes of ${blocks} blocks`);
  }
  for (const [i, size] of sizes.entries()) checkSizes(size ?? {}, description, i, `osscar.json: block ${i}`);
  return new LanguageModel(config, description, sizes, record ?? {}, describe);
}

/** What an osscar.json says of the blocks that are described. */
function recordedIn({ blocks, decoder }: SizesRecord, { states }: Description): SizesRecord['blocks'] {
  return states ? decoder?.blocks : blocks;
}

/** A module of a block with these sizes, where it has some. */
function moduleIn(description: Description, i: number, sizes: BlockSizes): string | undefined {
  const { instead, attention, mlp, attentionNorm } = description.block(i);
  if (hasHalf(description, i, 'attention', sizes)) return (instead ?? attention).out.name;
  if (hasHalf(description, i, 'mlp', sizes)) return isMixture(mlp) ? mlp.router.name : mlp.down.name;
  return attentionNorm?.name;
}

/** Features that the maps of a delta rule give. */
function mapsOfDelta(sizes: Heads, rule: DeltaRule): number[] {
  const widths = widthsOfDelta(sizes, rule);
  return rule.tensors.flat().map((label) => widths[label]);
}

function firstModule(embedding: Description['embedding']): string {
  if ('tokens' in embedding) return embedding.tokens;
  if ('patches' in embedding) return embedding.patches;
  return 'frames' in embedding ? embedding.frames[0] : embedding.waves[0].name;
}

const HELD = 'heads have a state';
type Held = { readonly [of in 'keyDim' | 'valueDim']?: string };

/** Why heads of block i have all of their features, where they must: what is behind the map that makes these is not the same for others. */
function heldFeatures({ block }: Description, i: number): Held {
  const { times, attention, instead } = block(i);
  if (instead) return { keyDim: HELD, valueDim: HELD };
  const { rope, qNorm, kNorm, clip, ways, sinks, gate, stretch } = attention;
  const shared = times !== undefined && 'several layers have its weights';
  const whole = shared || (sinks !== undefined && 'what is seen shares with nothing') || undefined;
  const keys = clip === undefined ? whole : 'there are bounds of what heads read';
  const valueDim = gate ? 'there are gates of what heads give' : keys;
  const products = ways ? 'there are scores of distances' : keys;
  const far = stretch ? 'there are factors of far tokens' : products;
  const keyDim = rope ? 'positions are rotary' : (qNorm ?? kNorm) ? 'queries and keys have norms' : far;
  return { keyDim, valueDim };
}

function usedIn({ parameters }: WeightGraph, block?: number): Map<string, UsedTensor> {
  const used = (parameter: Parameter) => {
    const { share, stack, row } = parameter;
    return { shape: shapeOf(parameter), block, share, isSized: (stack ?? row) !== undefined };
  };
  const isOutside = block === undefined;
  const kept = tensorsIn(parameters).filter(({ otherwise, from }) => !otherwise && (isOutside || !from));
  return new Map(kept.map((parameter) => [parameter.tensor, used(parameter)]));
}

function mlpsOf(description: Description, i: number, sizes: BlockSizes): BlockMlp[] {
  const { block, fields } = description;
  const { ffn, experts = [] } = sizes;
  const { mlp } = block(i);
  if (!hasHalf(description, i, 'mlp', sizes)) return [];
  const ofAll = ({ down }: Mlp, field?: string, times = 1): BlockMlp => {
    return { name: ALL_TOKENS, layer: down.name, neurons: ffn, field, times, share: 1 };
  };
  if (!isMixture(mlp)) return [ofAll(mlp, fields.ffn)];
  const share = shareOf(mlp, experts);
  const own = experts.map((neurons, e): BlockMlp => {
    const layer = mlp.expert(e).down.name;
    return { name: expertName(e), layer, neurons, field: fields.experts!, times: 1, share };
  });
  return mlp.shared ? [ofAll(mlp.shared.mlp, fields.shared!, fields.sharedTimes), ...own] : own;
}

/** What a block has instead where it has none. */
const NONE = {
  heads: 'there is no attention',
  kvHeads: 'there is no attention',
  ffn: 'there is no MLP that all tokens pass',
} as const;

const NONE_BESIDE = {
  space: 'there is no state space beside attention',
  cross: 'there is no attention to what an encoder gives',
} as const;

/** @throws {InputError} unless block i can have these sizes */
function checkSizes(sizes: BlockSizes, description: Description, i: number, where: string): void {
  const expected = sizesOf(description, i);
  // Pruning only takes away.
  const check = (key: string, size: unknown, most: number) => {
    if (Number.isInteger(size) && Number(size) >= 1 && Number(size) <= most) return;
    const wanted = Number(size) > most ? `at most ${most}, as in config.json` : 'a positive integer';
    throw new InputError(`${where}: "${key}" expected ${wanted}, got ${JSON.stringify(size) ?? 'none'}`);
  };
  const [hasNoHeads, hasNoMlp] = HALVES.map((half) => isGone(description, i, half, sizes));
  for (const [key, why] of Object.entries(NONE) as [keyof typeof NONE, string][]) {
    if (key === 'ffn' ? hasNoMlp : hasNoHeads && sizes.kvHeads === 0) continue;
    if (expected[key] > 0) check(key, sizes[key], expected[key]);
    else if (sizes[key] !== 0)
      throw new InputError(`${where}: "${key}" expected 0, as ${why}, got ${sizes[key]}`);
  }
  const [given, count] = [sizes.experts ?? [], expected.experts?.length ?? 0];
  if (!Array.isArray(given) || given.length !== count)
    throw new InputError(`${where}: "experts" expected the neurons of ${count} experts`);
  for (const [e, neurons] of given.entries()) check(`experts[${e}]`, neurons, expected.experts![e]);
  const checkFeatures = (own: BlockSizes | AttentionSizes, whole: AttentionSizes, of: string, held: Held) => {
    const features = featuresOf(whole, description);
    for (const key of ['keyDim', 'valueDim'] as const) {
      const size = own[key];
      const all = features[key];
      if (size === undefined || size === all) continue;
      check(of + key, size, all);
      if (held[key])
        throw new InputError(`${where}: "${of}${key}" expected ${all}, as ${held[key]}, got ${size}`);
    }
  };
  checkFeatures(sizes, expected, '', heldFeatures(description, i));
  for (const kind of BESIDE) {
    const whole = expected[kind];
    if (!whole && sizes[kind] === undefined) continue;
    if (!whole) throw new InputError(`${where}: "${kind}" expected none, as ${NONE_BESIDE[kind]}`);
    const own = isObject(sizes[kind]) ? sizes[kind] : undefined;
    for (const key of ['heads', 'kvHeads'] as const) check(`${kind}.${key}`, own?.[key], whole[key]);
    checkFeatures(own!, whole, `${kind}.`, kind === 'space' ? { keyDim: HELD, valueDim: HELD } : {});
  }
  for (const kind of ['heads', ...BESIDE] as const) {
    const whole = headsIn(expected, kind);
    const own = headsIn(sizes, kind);
    if (whole && own) checkShared(own, whole, where);
  }
}

/** @param whole  those that there were */
function checkShared({ heads, kvHeads }: Heads, whole: Heads, where: string): void {
  // Heads that share keys and values go together, unless all do.
  const isWhole = kvHeads === 1 || heads / kvHeads === whole.heads / whole.kvHeads;
  if (heads % kvHeads !== 0 || !isWhole)
    throw new InputError(`${where}: ${heads} heads cannot share ${kvHeads} key-value heads`);
}
