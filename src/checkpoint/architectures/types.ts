// The words in which architectures are described.

import type { DataType } from '../../graph/dtype.ts';
import type { GraphBuilder } from '../../graph/index.ts';
import type { Activation } from './activation.ts';
import type { Resampling } from './positions.ts';

/** The content of a config.json. */
export type Config = Readonly<Record<string, unknown>>;

/** Where weights come from. `read` gives an array that the caller may keep and change. */
export interface TensorSource {
  readonly tensors: ReadonlyMap<
    string,
    { readonly shape: readonly number[]; readonly dtype?: DataType; readonly file?: string }
  >;
  read(name: string): Promise<Float32Array>;
}

/** What a source says of its tensors. */
export type TensorNames = Pick<TensorSource, 'tensors'>;

/** A tensor in the layout of the checkpoint, row-major. */
export interface CheckpointTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** What pruning changes in a block. */
export interface BlockSizes {
  /** Query heads, or value heads of a delta rule; 0 where there are none. */
  readonly heads: number;
  /** Key-value heads, or key heads of a delta rule; each serves heads / kvHeads of the others, in order. */
  readonly kvHeads: number;
  /** Neurons of the MLP that every token passes; 0 where there are experts alone, or none. */
  readonly ffn: number;
  /** Of a mixture of experts: neurons of each. */
  readonly experts?: readonly number[];
  /** Features of each query and key head, and of each value head; absent where they are as many as the description has (`keyDim`, `headDim`). Always there of a delta rule. */
  readonly keyDim?: number;
  readonly valueDim?: number;
  /** Of a state space beside attention. */
  readonly space?: HeadSizes;
  /** Of attention to what an encoder gives. */
  readonly cross?: AttentionSizes;
}

/** Heads, and features of each where these are not as many as the description has. */
export type AttentionSizes = Pick<BlockSizes, 'heads' | 'kvHeads' | 'keyDim' | 'valueDim'>;

/** Heads of one kind, and their features. */
export type HeadSizes = Required<Pick<BlockSizes, 'heads' | 'kvHeads' | 'keyDim' | 'valueDim'>>;

/** x·W + b. The tensors are `name.weight` and `name.bias`. */
export interface Linear {
  readonly name: string;
  /** They are `name_weight` and `name_bias`, as nn.MultiheadAttention has them. */
  readonly isJoined?: boolean;
  readonly bias: boolean;
  /** The tensor of these, where it has a name of its own. */
  readonly biasName?: string;
  /** The checkpoint has W as out × in: nn.Linear does, GPT-2's Conv1D does not. */
  readonly transposed: boolean;
  /** The name is that of the checkpoint: the prefix of the others is not before it. */
  readonly isFullName?: boolean;
  /** Where the tensor holds several maps side by side along its out axis. */
  readonly part?: Part;
  /** Where a tensor holds this one of several, the same of each expert. Of experts of different sizes each has tensors of its own. */
  readonly stack?: Stack;
  /** A tensor of factors, one for each feature that it gives. A graph's map has them in it, and ones are written in their place. */
  readonly factors?: string;
}

/** Tensors of several maps, one behind the other on their first axis. */
export interface Stack {
  readonly weight: string;
  readonly bias?: string;
  readonly index: number;
  readonly count: number;
}

/** Rotary positions: feature pair i of position p is turned by p · frequency i. */
export interface Rope {
  /** Leading features of each head that are turned, an even number. */
  readonly dims: number;
  /** Features 2i and 2i + 1 are a pair, not i and i + dims / 2. */
  readonly pairsNeighbours?: boolean;
  /** One per pair; computed when they are asked for. */
  readonly frequencies: () => Float32Array;
  /** Factor of cosine and sine (YaRN). */
  readonly factor: number;
  /** Frequencies that fall with the length of the text once it exceeds `positions`. */
  readonly dynamic?: { readonly factor: number; readonly positions: number };
  /** Others for texts of more than `positions` tokens. */
  readonly long?: Pick<Rope, 'frequencies'> & { readonly positions: number };
  /**
   * Tokens are squares of an image, so many at each side, behind others that are not turned. There are frequencies for half of the pairs: these are turned by
   * how far down the square's centre is, from −1 to 1, and the others by how far to the right.
   */
  readonly squares?: { readonly side: number; readonly before: number };
}

/** Factors of all heads. No checkpoint has them as a tensor but that of a pruned model, of the heads that stay. */
export interface Slopes {
  /** Of that tensor: heads × 1 × 1. */
  readonly name: string;
  readonly values: () => Float32Array;
  /** What is added is a product of bfloat16s, times this. */
  readonly rounded?: { readonly factor: number };
  /** They are factors of how far the key is on either side, not of where it is. */
  readonly areOfDistances?: true;
}

/** A table of numbers for distances, buckets × heads. */
export interface Relative {
  /** The tensor that all blocks share, of all heads. Absent where each block has its own. */
  readonly shared?: string;
  /** The block's own, of the heads that stay; where there is a shared one, only a pruned model has it. */
  readonly name: string;
  readonly buckets: number;
  readonly apart: Apart;
  readonly gate?: Gate;
}

/**
 * Factors of such numbers, for each query and head: a(bc − 1) + 2, where c is the head's own, and a and b are made of the features that have the
 * head's place in what attention gets.
 */
export interface Gate {
  /** Features of a head to eight numbers, by fours the logits of a and b. */
  readonly map: string;
  /** Tensor: 1 × heads × 1 × 1. */
  readonly constants: string;
  /** A tensor that only a pruned model has, heads × all heads: 1 where a head that stays is the one of all. */
  readonly places: string;
}

/**
 * Which row of such a table is for which pair of tokens. Half of the rows are for keys behind the query; half of these are for distances one by one, the
 * others for ever wider ones up to `most`. Or tokens are the squares of an image, so many at each side, and one before them: a row for
 * each way from one square to another, row by row, and three for the other token as the query, as the key, and as both.
 */
export type Apart =
  /** `isOneSided`: all rows are for keys before the query, which no other sees. */
  { readonly most: number; readonly isOneSided?: true } | { readonly side: number };

/**
 * Scores of how far a key is before the query, beside those of what both are. Each distance has a row of a table that all blocks share: half of them of keys behind the
 * query. To the score is added the query times a key that is made of the row, and the key times a query that is.
 */
export interface Ways {
  /** Tensor: rows × hidden. */
  readonly table: string;
  /** Of its rows. */
  readonly norm?: Norm;
  readonly rows: number;
  /** Half of the distances have a row of their own, the others share those for ever wider ones up to this. Absent where all have one. */
  readonly most?: number;
  /** What makes keys and queries of a row: maps of their own, or those of tokens. */
  readonly key?: Linear;
  readonly query?: Linear;
}

export type Label = 'q' | 'k' | 'v';

/**
 * One map of a fused tensor of q, k and v, or of gate and up: all columns of the first, then of the next; `byHeads` those that belong to the
 * first key-value head, or neuron, then to the next.
 */
export interface Part {
  readonly label: Label | 'gate' | 'up' | 'open' | DeltaLabel;
  /** Its place among them, where that is not the usual one. */
  readonly place?: number;
  readonly byHeads?: boolean;
  /** Heads are in so many groups, if these divide them: all columns of q, v and k of the first, then of the next. */
  readonly groups?: number;
}

export interface Norm {
  readonly kind: 'layer' | 'rms';
  readonly name: string;
  /** As of a {@link Linear}. */
  readonly isFullName?: boolean;
  readonly epsilon: number;
  /** False where it has no weight and no bias. */
  readonly affine: boolean;
  /** What the weight is the difference from: 1 where features are scaled by 1 + weight. */
  readonly centre?: number;
  /** Of a layer norm that has a weight alone. */
  readonly withoutBias?: boolean;
  /** All blocks share it. */
  readonly isShared?: boolean;
  /** Of one over each head's features: every head has a weight of its own, heads × features in one tensor. */
  readonly isByHead?: boolean;
  /** Each of these is a tensor instead: a module's of this name in it, by its number. */
  readonly modules?: string;
}

export interface Block {
  /** How often tokens pass it, one time after the other. Default: once. */
  readonly times?: number;
  /**
   * "pre": y = x + attention(norm(x)); y + mlp(norm(y)). "post": y = norm(x + attention(x)); norm(y + mlp(y)).
   * "parallel": x + attention(norm(x)) + mlp(norm'(x)).
   */
  readonly order: 'pre' | 'post' | 'parallel';
  /** The half that it has not: what is said of it counts for nothing. */
  readonly lacks?: 'attention' | 'mlp';
  /** Factor of what attention and MLP add. */
  readonly gain?: number;
  /** Absent where attention takes the features as they come in. */
  readonly attentionNorm?: Norm;
  readonly attention: {
    readonly qkv: (label: Label) => Linear;
    readonly out: Linear;
    /** What heads give is times the sigmoid of this map's, feature by feature. Where it is a part of a tensor, this has of each head the query's features, and then these. */
    readonly gate?: Linear;
    /** Over the features of each head, or of all heads together, before the rotation, or of each head behind it. */
    readonly qNorm?: Norm;
    readonly kNorm?: Norm;
    readonly areNormsBehind?: boolean;
    readonly normsTogether?: boolean;
    /** Bounds queries, keys and values on both sides, before the rotation. */
    readonly clip?: number;
    /** Rotary positions of queries and keys. */
    readonly rope?: Rope;
    /** What queries, keys and values are made of instead of the features of a block. */
    readonly latent?: Latent;
    /** Factors of the features that it takes, and of what it gives. */
    readonly takes?: number;
    readonly gives?: number;
    /** Factor of the scores. */
    readonly scale: number;
    /** Factor of those of a token at position p: 1 + beta·log(1 + ⌊(p + offset) / positions⌋). */
    readonly stretch?: Stretch;
    /** Bounds the scores: cap·tanh(score / cap). */
    readonly cap?: number;
    /** A tensor, heads: the score of nothing, which takes its share of what each query sees. */
    readonly sinks?: string;
    /** What is added to the scores: for each head a factor of where the key is (ALiBi). */
    readonly slopes?: Slopes;
    /** What is added to them: for each head a number of a table for how far the key is (relative positions). */
    readonly relative?: Relative;
    /** What is added to them: products with rows of a table. */
    readonly ways?: Ways;
    /** A token sees itself and the `window` − 1 tokens before it; in encoders as many behind it, too. */
    readonly window?: number;
    /** A text is in pieces of so many tokens, and a token sees those of its own. */
    readonly chunk?: number;
    /** Of an encoder, or of a decoder behind one: a token sees itself and those before it alone. */
    readonly isCausal?: boolean;
    /** Of what attention gives, before it is added. */
    readonly after?: Norm;
  };
  /** What stands in the place of attention. */
  readonly instead?: ShortConv | DeltaRule;
  /** What stands beside attention, and reads the same: what both give is added. */
  readonly beside?: DeltaRule;
  /** Behind attention and in the same order: attention to what an encoder gives. */
  readonly cross?: { readonly norm: Norm; readonly attention: Block['attention'] };
  /** Absent where halves in parallel share the norm before attention, or where the MLP takes the features as they are. */
  readonly mlpNorm?: Norm;
  readonly mlp: Mlp | Mixture;
  /** Of what the MLP gives, before it is added. */
  readonly mlpAfter?: Norm;
  /** Of an encoder: behind all that, what the tokens around have come in as is added. */
  readonly around?: Around;
  /** Behind all that: y + mlp(norm(y)), of so few neurons that all stay. */
  readonly adapter?: { readonly norm: Norm; readonly mlp: Mlp; readonly neurons: number };
}

/** out(b · conv(a · c)), where `wide` makes a, b and c side by side: each feature of a token and of the `kernel` − 1 before it. */
export interface ShortConv {
  readonly wide: Linear;
  /** Its module, and whether it has biases. */
  readonly conv: string;
  readonly bias: boolean;
  readonly kernel: number;
  readonly out: Linear;
}

/** Queries and keys, values, gates of what comes of them, and of each head how much a token replaces (b) and fades (a). */
export type DeltaLabel = Label | 'z' | 'b' | 'a';

/** out(norm(delta rule) · activation(z)); queries, keys and values have passed a convolution over a token and the `kernel` − 1 before it, and the activation. */
export interface DeltaRule {
  readonly map: (label: DeltaLabel) => Linear;
  /** The maps of each tensor, in their order. */
  readonly tensors: readonly (readonly DeltaLabel[])[];
  /** The order of queries, keys and values in the convolution, its module, and whether it has biases. */
  readonly order: readonly Label[];
  readonly conv: string;
  /** Each of them has a convolution of its own instead, of these modules. */
  readonly convs?: Readonly<Record<Label, string>>;
  readonly bias?: boolean;
  readonly kernel: number;
  readonly activation: Activation;
  /** Tensors, one number for each value head: logarithms of how fast it fades, and what is added to `a`. */
  readonly decay: string;
  readonly shift: string;
  /** How much a token replaces is a sigmoid, times this. */
  readonly most?: number;
  /** Of each head, or of all of a state space, which may be without. */
  readonly norm?: Norm;
  readonly out: Linear;
  /** A state space (Mamba 2) instead: out(norm(y · activation(z))). */
  readonly space?: StateSpace;
  /** Of a block that is not pruned. */
  readonly sizes: HeadSizes;
}

/**
 * Nothing is taken back of what a head has for a key, keys and queries come as they are, and a token's value is times how much it fades, without
 * the head's own factor.
 */
export interface StateSpace {
  /** Tensor, a factor for each head of the values that come in: this is added to what it gives. */
  readonly skip: string;
  /** Bounds of how much a token fades, without that factor. */
  readonly limits?: readonly [number, number];
  /** The norm is before the gates, norm(y) · activation(z), and of the heads that share a key. */
  readonly normsFirst?: boolean;
  readonly normsByGroup?: boolean;
  /** Factors of the features that it takes, of what its maps give, and of what it gives itself. */
  readonly factors?: {
    readonly takes: number;
    readonly maps: Readonly<Partial<Record<DeltaLabel, number>>>;
    readonly gives: number;
  };
}

/** norm(y + activation(conv(x))), a convolution of odd width over tokens. */
export interface Around {
  readonly conv: string;
  readonly kernel: number;
  readonly groups: number;
  readonly activation: Activation;
  readonly norm: Norm;
}

/**
 * Fewer features (MLA, arXiv 2405.04434). Rotary positions are of the last features of each query head, and of those that all keys have in common
 * behind their own: what is made with `keys`' features, beside them.
 */
export interface Latent {
  /** Absent where queries are made of the features of a block. */
  readonly query?: Compressed;
  readonly keys: Compressed;
}

export interface Compressed {
  readonly map: Linear;
  readonly norm: Norm;
  readonly width: number;
}

export interface Stretch {
  readonly beta: number;
  readonly positions: number;
  /** Default: 0. */
  readonly offset?: number;
}

/** One that may have weights of its own. */
export type OwnActivation = (g: WeightBuilder, x: string) => string;

/** What adds nodes and declares weights. */
export interface WeightBuilder extends GraphBuilder {
  /** Before the names of tensors. */
  readonly prefix: string;
  weight(tensor: string, dims: readonly number[]): string;
}

/** down(activation(up(x))). */
export interface Mlp {
  readonly up: Linear;
  /** activation(gate(x)) · up(x) instead of activation(up(x)). */
  readonly gate?: Linear;
  readonly down: Linear;
  /** Of what it gives. */
  readonly factor?: number;
  readonly activation: OwnActivation;
  /** Where there is a gate: what becomes of up(x) before it. */
  readonly raised?: Activation;
}

/** Experts of which each token passes those with the largest shares. */
export interface Mixture extends Routing {
  readonly expert: (e: number) => Mlp;
  /** Shares are factors of what experts read, not of what they give. */
  readonly areSharesRead?: boolean;
  /** What all tokens pass beside them, times the sigmoid of `gate` where there is one. */
  readonly shared?: { readonly mlp: Mlp; readonly gate?: Linear };
}

export interface Routing {
  readonly router: Linear;
  /** Experts that a token passes. */
  readonly chosen: number;
  /** Shares are sigmoids of what the router gives. Default: a softmax. */
  readonly areSigmoids?: boolean;
  /**
   * Two are chosen one after the other: the best, and the best of the others. Each has its share of a softmax over itself and those behind it that are worse by
   * no more than this part of the larger of both (sparsemixer, arXiv 2409.12136).
   */
  readonly inTurn?: number;
  /** A tensor that is added to shares for choosing alone, and its extents. */
  readonly correction?: { readonly name: string; readonly dims: readonly number[] };
  /** Experts come of those of so many groups, the ones whose best expert, or best two, have the largest shares. */
  readonly groups?: { readonly count: number; readonly chosen: number; readonly best: 1 | 2 };
  /** Whether the shares of these sum to 1, before they are times `scale`. */
  readonly isNormalised: boolean;
  /** What is added to the sum that they are divided by. */
  readonly addedToSum?: number;
  readonly scale?: number;
}

/** What a token begins as: the sum of rows of tables. */
export interface TokenEmbedding {
  readonly tokens: string;
  /** Features of a token before `project`. */
  readonly width: number;
  /** Factor of these features. */
  readonly scale?: number;
  /** Of an encoder: the features of this token are zeros. Those of others are times what it left of a text in training, by what it leaves of this one. */
  readonly masked?: { readonly token: number; readonly share: number };
  /** Positions; p is row p + offset of a table, which is learned, or of these values where checkpoints may lack it. */
  readonly positions?: {
    readonly name: string;
    readonly offset: number;
    readonly values?: (rows: number, width: number) => Float32Array;
  };
  /** Learned types of tokens: which of two texts, mostly. */
  readonly types?: { readonly name: string; readonly count: number };
  /** Such a table of which tokens always get the first row. */
  readonly tasks?: { readonly name: string; readonly count: number };
  readonly norm?: Norm;
  readonly project?: Linear;
  /** Whether positions, types and the norm are of the features before `project`. */
  readonly projectsLast?: boolean;
}

/** Squares of an image as tokens, and some of no square before them. */
export interface PatchEmbedding {
  /** A convolution whose kernel and stride are a square. */
  readonly patches: string;
  readonly channels: number;
  /** Side of a square. */
  readonly size: number;
  /** Side of the image; 0 where it is a spectrogram, frames × bins, with steps from square to square over bins and over frames. */
  readonly image: number;
  readonly spectrum?: {
    readonly frames: number;
    readonly bins: number;
    readonly steps: readonly [number, number];
  };
  readonly withoutBias?: boolean;
  /** Tensors: 1 × 1 × hidden each, and 1 × tokens × hidden. */
  readonly firstTokens: readonly string[];
  readonly positions?: string;
  /** Where positions follow images of other sizes: how. */
  readonly follows?: Pick<Resampling, 'isAntialiased'>;
  /** Side of the images that they were learned on, where that is another. */
  readonly learned?: number;
  /** These have no first axis of 1, nor a token a second one. */
  readonly isFlat?: boolean;
  /** Of all tokens, before the blocks. */
  readonly norm?: Norm;
  /** Tokens without positions behind the first ones: a tensor, 1 × count × hidden. */
  readonly registers?: { readonly name: string; readonly count: number };
}

/** Spectra as tokens, half as many. */
export interface FrameEmbedding {
  /** Two convolutions of width 3 over time, the second one of stride 2, each with the activation behind it. */
  readonly frames: readonly [string, string];
  readonly activation: Activation;
  readonly channels: number;
  /** Tensor: tokens × hidden. */
  readonly positions: string;
}

/** A convolution over a waveform, without padding. */
export interface Wave {
  readonly name: string;
  readonly channels: number;
  readonly kernel: number;
  readonly stride: number;
  readonly bias: boolean;
  /** Behind it: each channel is normalised over time, or each time over the channels. */
  readonly norm?: { readonly name: string; readonly of: 'channel' | 'token' };
  readonly activation: Activation;
  /** Behind that: a norm over all channels and times at once. */
  readonly all?: string;
}

/** A waveform as tokens, of any length. */
export interface WaveEmbedding {
  readonly waves: readonly Wave[];
  /** Before `project`. */
  readonly norm?: Norm;
  /** Makes of channels the features of blocks, where they are not these. */
  readonly project?: Linear;
  /** What is added to tokens in the place of positions: a convolution over those around, by groups of channels, with weights as `weight_v` and `weight_g`. */
  readonly around?: {
    readonly name: string;
    readonly kernel: number;
    readonly groups: number;
    readonly activation: Activation;
  };
  /** Behind that. */
  readonly last?: Norm;
}

/** Features to scores of the vocabulary. */
export interface VocabularyHead {
  readonly norm?: Norm;
  readonly project?: Linear;
  /** What features pass behind the norm, one after the other. */
  readonly maps?: Readout['maps'];
  /** Full name of the output weights; absent where they are the token embeddings. */
  readonly output?: string;
  /** Full name of the output biases, which are there beside tied weights too. */
  readonly bias?: string;
  /** They are a matrix of one row, and zeros where a checkpoint has none. */
  readonly isRow?: true;
  /** Factor of the scores. */
  readonly scale?: number;
  /** Bounds them, as `cap` those of attention. */
  readonly cap?: number;
  /** The output weights of each score are made of length 1. */
  readonly isNormalised?: boolean;
}

/** Of an encoder, in which every token sees every other, or those before it: the features of all tokens, or the mean of what readouts make of some. */
export interface EncoderHead {
  readonly norm?: Norm;
  readonly readouts: readonly Readout[];
  /** Where there are no readouts: maps of every token's features to scores. */
  readonly each?: Readout['maps'];
  /** What readouts give, where it is no scores of classes: the name of the output. */
  readonly embeds?: string;
}

/** Maps, one after the other, of what some tokens are. */
export interface Readout {
  /** Tokens from the first of these to before the second, or all from there, by their mean; −1 is the last token. Of several side by side. Default: the first token. */
  readonly of?: readonly (readonly [from: number, to?: number])[];
  /** What makes one token of all instead. */
  readonly pool?: AttentionPool;
  /** Of that token, before the maps. */
  readonly norm?: Norm;
  readonly maps: readonly {
    readonly map: Linear;
    readonly columns: number;
    readonly activation?: Activation;
    /** Behind that. */
    readonly norm?: Norm;
  }[];
}

/** A learned token asks all others: y = attention(probe, tokens); y + mlp(norm(y)). Its sizes are those of a block that is not pruned. */
export interface AttentionPool extends Pick<Block, 'attention'> {
  /** Tensor: 1 × 1 × hidden. */
  readonly probe: string;
  readonly norm: Norm;
  readonly mlp: Mlp;
}

/** A model as its config.json describes it; names of tensors come without the prefix. */
export interface Description {
  readonly modelType: string;
  readonly hidden: number;
  /** 0: it takes images, spectrograms or waveforms. */
  readonly vocabulary: number;
  readonly maxPositions: number;
  readonly headDim: number;
  /** Of queries and keys, where these are others. */
  readonly keyDim?: number;
  readonly blocks: number;
  /** Every block as config.json has it. */
  readonly sizes: BlockSizes;
  /** Where they differ: block i. */
  readonly sizesOf?: (i: number) => BlockSizes;
  /** What the names of all tensors but the output's start with; the first that fits the checkpoint counts. */
  readonly prefixes: readonly string[];
  readonly embedding: TokenEmbedding | PatchEmbedding | FrameEmbedding | WaveEmbedding;
  block(i: number): Block;
  readonly head: VocabularyHead | EncoderHead;
  /** Of a decoder behind an encoder: what that gives. */
  readonly states?: States;
  /** The decoder behind an encoder. */
  readonly decoder?: () => Description;
  /** The first transformers that reads it. Absent where its own code does. */
  readonly since?: string;
  /** What transformers.js does, where the ONNX file here is not for it. */
  readonly transformersJs?: string;
  /** Its ONNX file has no `position_ids`: transformers.js would give it those of images too, and counts tokens by their mask. */
  readonly countsPositions?: true;
  /** What the ONNX file of this part of a model is called where there are others. Default: `model`. */
  readonly onnxName?: string;
  /** Tensors inside a block that hold no weights: old masks and frequencies. */
  readonly ignored?: RegExp;
  /** Fields of config.json that say a block's sizes. Without `heads` it cannot say fewer heads of the same size. */
  readonly fields: {
    /** Absent where it follows from others. */
    readonly ffn?: string;
    /** Whether `ffn` is of an encoder and of the decoder behind it. */
    readonly areOfBoth?: boolean;
    /** How many blocks there are. */
    readonly blocks?: string;
    /** The object of config.json in which they are, and what counts of it. */
    readonly section?: {
      readonly name: string;
      readonly content: Config;
      /** An object of old files that says the same once more. */
      readonly former?: string;
    };
    /** What `ffn` says of so many neurons, where that is another number; nothing where it can say none. */
    readonly ffnOf?: (neurons: number) => number | undefined;
    /** What else is to be said beside so many. */
    readonly beside?: (neurons: number) => Config;
    /** Of each expert, and of what all tokens pass beside them; of the latter it may say a part, of which there are so many. */
    readonly experts?: string;
    readonly shared?: string;
    readonly sharedTimes?: number;
    readonly heads?: {
      readonly heads: string;
      readonly kvHeads: string;
      /** Absent where others say the features of heads. */
      readonly headDim?: string;
      /** Whether transformers 5 wants their number to divide `hidden`, though nothing depends on it. */
      readonly mustDivide?: boolean;
    };
    /** Of delta rules; and what else is to be said beside so many, nothing where that cannot be. */
    readonly deltaHeads?: {
      readonly heads: string;
      readonly kvHeads: string;
      readonly beside?: (heads: number) => Config | undefined;
    };
  };
}

/** What an encoder gives: tokens of so many features. */
export interface States {
  readonly width: number;
  /** Tokens, where they are always as many. */
  readonly tokens?: number;
  /** Whether some may be padding. */
  readonly areMasked: boolean;
  /** Whether it is read for every token that is written, as nothing of it is in the caches. */
  readonly isReadAgain?: boolean;
}

/** The parts of a model that are pruned one after the other. */
export type ModelPart = 'encoder' | 'decoder';

/** A model type and how to read its config.json. */
export interface Architecture {
  readonly modelTypes: readonly string[];
  /** @param names  of the tensors, where these say what config.json does not: how they are stored */
  describe(config: Config, modelType: string, names?: Iterable<string>): Description;
}
