// A description as graphs. Building needs no weights: they are declared, and read when the graph is loaded.

import { InputError } from '../../errors.ts';
import { crossContext, encoderContext, fixedContext, openContext } from './context.ts';
import { deltaRule, featuresOfConv } from './delta.ts';
import { attends, featuresOf, HALVES, hasHalf, isDelta, isEncoder, KEPT, widthsOfDelta } from './facts.ts';
import {
  adapted,
  around,
  attention,
  type Context,
  capped,
  END,
  linear,
  mlpTerms,
  norm,
  scaled,
  shortConv,
  slice,
} from './layers.ts';
import { type Resampling, resampled } from './positions.ts';
import type {
  AttentionPool,
  AttentionSizes,
  Block,
  BlockSizes,
  Description,
  EncoderHead,
  FrameEmbedding,
  Norm,
  PatchEmbedding,
  Readout,
  States,
  TokenEmbedding,
  VocabularyHead,
} from './types.ts';
import { embedWaves, macsOfWave } from './waves.ts';
import type { WeightGraph } from './weights.ts';

export function embeddingGraph(g: WeightGraph, description: Description, length: number): WeightGraph {
  const { embedding, hidden } = description;
  if (isOpen(description)) {
    g.output(encoderEmbedding(g, description), 'hidden', 'float32', ['batch', 'sequence', hidden]);
    return g;
  }
  const ids = g.input('input_ids', 'int64', ['batch', length]);
  const tokens = embedding as TokenEmbedding;
  const offset = tokens.positions?.offset ?? 0;
  const positions = g.integers(Array.from({ length }, (_, i) => i + offset));
  const x = embed(g, description, tokens, ids, { positions });
  g.output(x, 'hidden', 'float32', ['batch', length, hidden]);
  return g;
}

/** Whether its parts are for any number of tokens. */
const isOpen = ({ head, states }: Description) => isEncoder(head) || states !== undefined;

/** @param isFirst  whether only the first token of what it gives is computed, where no positions are rotary */
export function blockGraph(
  g: WeightGraph,
  description: Description,
  i: number,
  sizes: BlockSizes,
  length: number,
  isFirst = false,
): WeightGraph {
  const { hidden, states } = description;
  const tokens = isOpen(description) ? 'sequence' : length;
  const x = g.input('hidden', 'float32', ['batch', tokens, hidden]);
  const own = isOpen(description) ? encoderContext(g, x) : fixedContext(g, length);
  const context = states ? { ...own, cross: crossContext(g, encoded(g, states, 'batch')) } : own;
  const asking = isFirst ? (value: string) => tokensOf(g, value, 0, 1) : undefined;
  const passed = block(g, description, i, sizes, x, { ...context, asking });
  const y = passed === x ? g.node('Identity', [x]) : passed;
  g.output(y, 'hidden_out', 'float32', ['batch', isFirst ? 1 : tokens, hidden]);
  return g;
}

/** Tokens `from` to before `to`. */
const tokensOf = (g: WeightGraph, x: string, from: number, to: number) => slice(g, x, from, to, { axis: 1 });

/** Whether all that is read is the first token. */
export function readsFirst(head: Description['head']): boolean {
  return isEncoder(head) && isRead(head) && head.readouts.every(({ of, pool }) => !of && !pool);
}

/** Whether an encoder gives what is made of some tokens, and not the features of all. */
export function isRead({ readouts }: EncoderHead): boolean {
  return readouts.length > 0;
}

export function headGraph(g: WeightGraph, description: Description): WeightGraph {
  const { hidden, vocabulary, head } = description;
  const x = g.input('hidden', 'float32', ['batch', 'sequence', hidden]);
  if (isEncoder(head)) encoderOutput(g, description, head, x);
  else g.output(scoresOf(g, description, head, x), 'logits', 'float32', ['batch', 'sequence', vocabulary]);
  return g;
}

/**
 * The whole encoder, with the inputs that exported ones have: `pixel_values`, `input_features`, `input_values`, or `input_ids`, `attention_mask` and
 * `token_type_ids` → `logits` [batch, classes] or `last_hidden_state`.
 */
function encoderGraph(
  g: WeightGraph,
  description: Description,
  head: EncoderHead,
  sizes: readonly BlockSizes[],
): WeightGraph {
  const hasMask = 'tokens' in description.embedding;
  const mask = hasMask ? g.input('attention_mask', 'int64', TOKENS) : undefined;
  let x = encoderEmbedding(g, description, mask);
  const context = encoderContext(g, x, mask);
  for (const [i, size] of sizes.entries()) x = block(g, description, i, size, x, context);
  encoderOutput(g, description, head, x, mask);
  return g;
}

/**
 * The decoder behind an encoder: `input_ids`, `encoder_hidden_states` and where there may be padding `encoder_attention_mask` → `logits`. With
 * caches those of what the encoder gives are filled by the first run, and given nothing afterwards, as Optimum's merged decoders give nothing then; of some there
 * are none.
 */
function decoderGraph(
  g: WeightGraph,
  description: Description,
  states: States,
  sizes: readonly BlockSizes[],
  past: boolean,
): WeightGraph {
  const dims = [BATCH, 'decoder_sequence_length'];
  const ids = g.input('input_ids', 'int64', dims);
  const mask = states.areMasked ? g.input('encoder_attention_mask', 'int64', [BATCH, ENCODED]) : undefined;
  const given = encoded(g, states);
  const caches = past ? cachesOf(g, description) : undefined;
  const kept = past && !states.isReadAgain ? caches : undefined;
  const own = (i: number) => (states.isReadAgain ? `${i}` : `${i}.decoder`);
  for (const [i, size] of sizes.entries()) {
    caches?.begin(own(i), size, 'past_decoder_sequence_length');
    kept?.begin(`${i}.encoder`, size.cross!, 'past_encoder_sequence_length');
  }
  const tokens = extentOf(g, ids, 1);
  const before = caches ? extentOf(g, pastOf(own(0), 'key'), 2) : g.integers([0]);
  const total = caches ? g.node('Add', [before, tokens]) : tokens;
  const [from, to] = [before, total].map((end) => g.node('Squeeze', [end]));
  const positions = g.node('Unsqueeze', [g.node('Range', [from, to, g.integers(1)]), g.integers([0])]);
  const read = kept && onceRead(g, given, extentOf(g, pastOf('0.encoder', 'key'), 2));
  const context = openContext(g, { positions, tokens, total });
  const cross = crossContext(g, read ?? given, mask);
  const embedding = description.embedding as TokenEmbedding;
  let x = embed(g, description, embedding, ids, { positions: rowsOf(g, embedding, positions) });
  for (const [i, size] of sizes.entries()) {
    const extend = caches?.extending(own(i), size, 'decoder_sequence_length_out');
    const keep = kept?.extending(`${i}.encoder`, size.cross!, 'encoder_sequence_length_out', read?.cut);
    x = block(g, description, i, size, x, { ...context, extend, cross: { ...cross, extend: keep } });
  }
  const logits = scoresOf(g, description, description.head as VocabularyHead, x);
  g.output(logits, LOGITS, 'float32', [...dims, description.vocabulary]);
  caches?.end();
  return g;
}

/** What an encoder gives, as an input. */
function encoded(g: WeightGraph, { width, tokens }: States, batch = BATCH): NonNullable<Context['states']> {
  return { x: g.input(STATES, 'float32', [batch, tokens ?? ENCODED, width]), width };
}

/**
 * The same where nothing of it is in the caches; otherwise one of its tokens, which comes to nothing: no shape may be empty where it is worked out.
 *
 * @param known  tokens that are in the caches
 */
function onceRead(g: WeightGraph, { x, width }: NonNullable<Context['states']>, known: string) {
  const isFirst = g.node('Cast', [g.node('Equal', [known, g.integers([0])])], { to: INT64 });
  const all = g.node('Mul', [isFirst, g.integers([END])]);
  const upTo = (of: string, end: string, axis: number) =>
    g.node('Slice', [of, g.integers([0]), end, g.integers([axis])]);
  return {
    x: upTo(x, g.node('Add', [all, g.integers([1])]), 1),
    width,
    cut: (recent: string) => upTo(recent, all, 2),
  };
}

/** Of one axis, as a list. */
const extentOf = (g: WeightGraph, value: string, axis: number) =>
  g.node('Shape', [value], { start: axis, end: axis + 1 });

const pastOf = (name: string, kind: 'key' | 'value') => `past_key_values.${name}.${kind}`;

/** Keys and values of earlier tokens as inputs, and behind them those of these as outputs, as Optimum exports decoders. */
function cachesOf(g: WeightGraph, description: Description) {
  const kept: Kept[] = [];
  const cached = (size: AttentionSizes, tokens: string, kind: 'key' | 'value') => {
    return [BATCH, size.kvHeads, tokens, featuresOf(size, description)[`${kind}Dim`]];
  };
  return {
    begin(name: string, size: AttentionSizes, tokens: string): void {
      for (const kind of ['key', 'value'] as const)
        g.input(pastOf(name, kind), 'float32', cached(size, tokens, kind));
    },
    /** @param cut  what of these is new, where not all is; it alone is given */
    extending: (name: string, size: AttentionSizes, tokens: string, cut?: (recent: string) => string) => {
      return (kind: 'key' | 'value', recent: string) => {
        const own = cut ? cut(recent) : recent;
        const value = g.node('Concat', [pastOf(name, kind), own], { axis: 2 });
        const dims = cached(size, tokens, kind);
        kept.push({ value: cut ? own : value, name: `present.${name}.${kind}`, dims });
        return value;
      };
    },
    keep(name: string, value: string, dims: readonly number[]): void {
      kept.push({ value, name, dims: [BATCH, ...dims] });
    },
    /** Behind all other outputs. */
    end(): void {
      for (const { value, name, dims } of kept) g.output(value, name, 'float32', dims);
    },
  };
}

interface Kept {
  readonly value: string;
  readonly name: string;
  readonly dims: readonly (string | number)[];
}

/** What decoders call what they read of an encoder. */
export const STATES = 'encoder_hidden_states';
const ENCODED = 'encoder_sequence_length';
/** As those call it that make caches of its extent. */
const BATCH = 'batch_size';
const TOKENS = ['batch', 'sequence'];
const LOGITS = 'logits';
/** What an encoder without scores gives. */
export const FEATURES = 'last_hidden_state';

/** @param mask  0 where a token is padding */
function encoderEmbedding(g: WeightGraph, description: Description, mask?: string): string {
  const { embedding } = description;
  if ('patches' in embedding) return embedPatches(g, description, embedding);
  if ('frames' in embedding) return embedFrames(g, description, embedding);
  if ('waves' in embedding) return embedWaves(g, description.hidden, embedding);
  const ids = g.input('input_ids', 'int64', TOKENS);
  const length = g.node('Squeeze', [g.node('Shape', [ids], { start: 1, end: 2 })]);
  const offset = embedding.positions?.offset ?? 0;
  const end = offset === 0 ? length : g.node('Add', [length, g.integers(offset)]);
  const positions = g.node('Range', [g.integers(offset), end, g.integers(1)]);
  // A single type needs no telling.
  const types =
    (embedding.types?.count ?? 0) > 1 ? g.input('token_type_ids', 'int64', TOKENS) : g.integers([0]);
  const factors = embedding.masked && shown(g, embedding.masked, ids, mask);
  return embed(g, description, embedding, ids, { positions, types, factors });
}

/** [batch, tokens, 1]: 0 for the masked token, and for others more where there are many of it. */
function shown(
  g: WeightGraph,
  { token, share }: NonNullable<TokenEmbedding['masked']>,
  ids: string,
  mask?: string,
): string {
  const isMasked = g.node('Equal', [ids, g.integers(token)]);
  const seen = g.node('Cast', [g.node('Not', [isMasked])], { to: FLOAT });
  const masked = g.node('Sub', [g.scalar(1), seen]);
  // Without padding each of them counts.
  const each = mask ? g.node('Cast', [mask], { to: FLOAT }) : g.node('Add', [seen, masked]);
  const count = (of: string) => g.node('ReduceSum', [of, g.integers([1])], { keepdims: 1 });
  const left = g.node('Sub', [g.scalar(1), g.node('Div', [count(masked), count(each)])]);
  const factor = g.node('Div', [g.scalar(1 - share), left]);
  return g.node('Unsqueeze', [g.node('Mul', [seen, factor]), g.integers([2])]);
}

/** Types of a Cast. */
const FLOAT = 1;
const INT64 = 7;

/** [batch, first tokens + squares, hidden] */
function embedPatches(g: WeightGraph, { hidden, maxPositions }: Description, parts: PatchEmbedding): string {
  const { patches, channels, size, withoutBias, firstTokens, positions, registers } = parts;
  const pixels = pixelsOf(g, parts);
  const name = g.prefix + patches;
  const kernel = g.weight(`${name}.weight`, [hidden, channels, size, size]);
  const bias = withoutBias ? [] : [g.weight(`${name}.bias`, [hidden])];
  const square = { kernel_shape: [size, size], strides: parts.spectrum?.steps ?? [size, size] };
  const squares = g.node('Conv', [pixels, kernel, ...bias], square, name);
  const flat = g.node('Reshape', [squares, g.integers([0, 0, -1])]);
  const rows = g.node('Transpose', [flat], { perm: [0, 2, 1] });
  const batch = g.node('Shape', [pixels], { start: 0, end: 1 });
  const dims = g.node('Concat', [batch, g.integers([1]), g.integers([1])], { axis: 0 });
  const forAll = (name: string, extents: readonly number[]) =>
    g.node('Expand', [g.weight(g.prefix + name, extents), dims]);
  const token = parts.isFlat ? [hidden] : [1, 1, hidden];
  const first = firstTokens.map((name) => forAll(name, token));
  const all = g.node('Concat', [...first, rows], { axis: 1 });
  const shape = (count: number) => [...(parts.isFlat ? [] : [1]), count, hidden];
  const resampling = resamplingOf(parts);
  const made = resampling && {
    shape: shape(firstTokens.length + resampling.from ** 2),
    of: (data: Float32Array) => resampled(data, hidden, resampling),
  };
  const placed = shape(maxPositions - (registers?.count ?? 0));
  const table = positions && g.weight(g.prefix + positions, placed, { made });
  const x = table ? g.node('Add', [all, table]) : all;
  if (parts.norm) return norm(g, parts.norm, x, hidden);
  if (!registers) return x;
  const part = (from: number, to: number) => tokensOf(g, x, from, to);
  const between = firstTokens.length;
  const behind = forAll(registers.name, [1, registers.count, hidden]);
  return g.node('Concat', [part(0, between), behind, part(between, END)], { axis: 1 });
}

/** [batch, channels, height, width] */
function pixelsOf(g: WeightGraph, { channels, image, spectrum }: PatchEmbedding): string {
  if (!spectrum) return g.input('pixel_values', 'float32', ['batch', channels, image, image]);
  const sound = g.input('input_values', 'float32', ['batch', spectrum.frames, spectrum.bins]);
  return g.node('Transpose', [g.node('Unsqueeze', [sound, g.integers([1])])], { perm: [0, 1, 3, 2] });
}

/** Where there are other numbers of squares than positions. */
function resamplingOf({
  learned,
  image,
  size,
  firstTokens,
  follows,
}: PatchEmbedding): Resampling | undefined {
  const [from, to] = [learned ?? image, image].map((side) => Math.floor(side / size));
  return follows && from !== to ? { ...follows, from, to, before: firstTokens.length } : undefined;
}

/** The same for images of another size. @throws {InputError} where positions do not follow these, or there is not one square */
export function forImages(description: Description, side: number): Description {
  const { embedding, maxPositions, modelType } = description;
  const { image, size, follows } = 'patches' in embedding ? embedding : {};
  if (side === image) return description;
  if (!('patches' in embedding) || follows === undefined)
    throw new InputError(
      `config.json: model_type "${modelType}" takes images of ${image ?? 'no'} pixels, got ${side}`,
    );
  if (side < embedding.size)
    throw new InputError(`${modelType}: images of at least ${size} pixels expected, one square, got ${side}`);
  const squares = (of: number) => Math.floor(of / embedding.size) ** 2;
  return {
    ...description,
    maxPositions: maxPositions - squares(embedding.image) + squares(side),
    embedding: { ...embedding, image: side, learned: embedding.image },
  };
}

/** [batch, half of the frames, hidden] */
function embedFrames(g: WeightGraph, { hidden, maxPositions }: Description, parts: FrameEmbedding): string {
  const { frames, channels, positions, activation } = parts;
  let x = g.input('input_features', 'float32', ['batch', channels, 2 * maxPositions]);
  for (const [i, module] of frames.entries()) {
    const name = g.prefix + module;
    const kernel = g.weight(`${name}.weight`, [hidden, i === 0 ? channels : hidden, FRAME_KERNEL]);
    const attributes = { kernel_shape: [FRAME_KERNEL], pads: [1, 1], strides: [i + 1] };
    x = activation(g, g.node('Conv', [x, kernel, g.weight(`${name}.bias`, [hidden])], attributes, name));
  }
  const rows = g.node('Transpose', [x], { perm: [0, 2, 1] });
  return g.node('Add', [rows, g.weight(g.prefix + positions, [maxPositions, hidden])]);
}

const FRAME_KERNEL = 3;

/** Multiply-adds before the blocks, for so many tokens. */
export function embeddingMacs({ embedding, hidden }: Description, tokens: number): number {
  if ('patches' in embedding) {
    const { firstTokens, registers, channels, size } = embedding;
    return (tokens - firstTokens.length - (registers?.count ?? 0)) * hidden * channels * size ** 2;
  }
  if ('frames' in embedding) return tokens * hidden * FRAME_KERNEL * (2 * embedding.channels + hidden);
  if ('waves' in embedding) return macsOfWave(embedding, hidden, tokens);
  return 0;
}

/** @param mask  0 where a token is padding */
function encoderOutput(
  g: WeightGraph,
  description: Description,
  head: EncoderHead,
  x: string,
  mask?: string,
): void {
  const { hidden } = description;
  const { norm: last, readouts } = head;
  const first = (value: string) => g.node('Gather', [value, g.integers(0)], { axis: 1 });
  const isFirst = readsFirst(head);
  const given = isFirst ? first(x) : last ? x : g.node('Identity', [x]);
  const features = last ? norm(g, last, given, hidden) : given;
  if (!isRead(head)) {
    const { each } = head;
    const logits = each && mapped(g, each, features, hidden);
    g.output(logits ?? features, logits ? LOGITS : FEATURES, 'float32', [...TOKENS, widthOf(each, hidden)]);
    return;
  }
  const mean = ([from, to = END]: readonly [number, number?]) => {
    if (mask !== undefined && from < 0) return lastOf(g, features, mask);
    const tokens = tokensOf(g, features, from, to);
    if (mask === undefined) return g.node('ReduceMean', [tokens], { axes: [1], keepdims: 0 });
    const counts = g.node('Cast', [tokensOf(g, mask, from, to)], { to: FLOAT });
    const seen = g.node('Unsqueeze', [counts, g.integers([2])]);
    const sum = (of: string) => g.node('ReduceSum', [of, g.integers([1])], { keepdims: 0 });
    return g.node('Div', [sum(g.node('Mul', [tokens, seen])), sum(seen)]);
  };
  const read = ({ of, pool, norm: own, maps }: Readout) => {
    const one = () => (pool ? pooled(g, description, pool, features) : isFirst ? features : first(features));
    const means = of?.map(mean) ?? [one()];
    let y = means.length > 1 ? g.node('Concat', means, { axis: -1 }) : means[0];
    const width = means.length * hidden;
    if (own) y = norm(g, own, y, width);
    return mapped(g, maps, y, width);
  };
  const total = readouts.map(read).reduce((a, b) => g.node('Add', [a, b]));
  const width = widthOf(readouts[0].maps, hidden);
  g.output(scaled(g, total, 1 / readouts.length), head.embeds ?? LOGITS, 'float32', ['batch', width]);
}

/** Through all of them, one after the other. */
function mapped(g: WeightGraph, maps: Readout['maps'], x: string, width: number): string {
  let y = x;
  let rows = width;
  for (const { map, columns, activation, norm: behind } of maps) {
    const made = linear(g, map, y, rows, columns);
    y = activation ? activation(g, made) : made;
    if (behind) y = norm(g, behind, y, columns);
    rows = columns;
  }
  return y;
}

/** Of what maps give, or of what they would have taken where there are none. */
export function widthOf(maps: Readout['maps'] | undefined, width: number): number {
  return maps?.at(-1)?.columns ?? width;
}

/** [batch, hidden]: of each text the last token that is no padding. */
function lastOf(g: WeightGraph, features: string, mask: string): string {
  const shown = g.node('CumSum', [mask, g.integers(1)]); // the most from that token on
  const last = g.node('ArgMax', [shown], { axis: 1, keepdims: 1 });
  const width = g.node('Shape', [features], { start: 2 });
  const dims = g.node('Concat', [g.integers([1, 1]), width], { axis: 0 });
  const places = g.node('Expand', [g.node('Unsqueeze', [last, g.integers([2])]), dims]);
  const picked = g.node('GatherElements', [features, places], { axis: 1 });
  return g.node('Squeeze', [picked, g.integers([1])]);
}

/** [batch, hidden] */
function pooled(
  g: WeightGraph,
  description: Description,
  { probe, norm: last, mlp, ...parts }: AttentionPool,
  x: string,
): string {
  const { hidden, sizes } = description;
  const asking = g.weight(g.prefix + probe, [1, 1, hidden]);
  const y = attention(g, parts.attention, x, description, sizes, { asking: () => asking });
  const [thought] = mlpTerms(g, mlp, norm(g, last, y, hidden), hidden, sizes);
  return g.node('Squeeze', [g.node('Add', [y, thought]), g.integers([1])]);
}

export function wholeGraph(
  g: WeightGraph,
  description: Description,
  sizes: readonly BlockSizes[],
  past: boolean,
): WeightGraph {
  const { hidden, vocabulary, head, states } = description;
  if (isEncoder(head)) return encoderGraph(g, description, head, sizes);
  if (states) return decoderGraph(g, description, states, sizes, past);
  const embedding = description.embedding as TokenEmbedding;
  const caches = cachesOf(g, description);
  const ids = g.input('input_ids', 'int64', [BATCH, 'sequence_length']);
  const tokens = extentOf(g, ids, 1);
  let total = tokens;
  let attentionMask: string | undefined;
  let positions: string;
  if (past) {
    attentionMask = g.input('attention_mask', 'int64', [BATCH, 'total_sequence_length']);
    positions = description.countsPositions
      ? countedPositions(g, attentionMask, tokens)
      : g.input('position_ids', 'int64', [BATCH, 'sequence_length']);
    for (const [i, size] of sizes.entries()) {
      const own = description.block(i);
      const states = statesOf(own, size, hidden);
      for (const [kind, dims] of Object.entries(states))
        g.input(`past_${placed(kind, i)}`, 'float32', [BATCH, ...dims]);
      if (attends(own) && hasHalf(description, i, 'attention', size))
        caches.begin(`${i}`, size, 'past_sequence_length');
    }
    total = extentOf(g, attentionMask, 1);
  } else {
    const range = g.node('Range', [g.integers(0), g.node('Squeeze', [tokens]), g.integers(1)]);
    positions = g.node('Unsqueeze', [range, g.integers([0])]);
  }
  const context = openContext(g, { positions, tokens, total, attentionMask });
  let x = embed(g, description, embedding, ids, { positions: rowsOf(g, embedding, positions) });
  for (const [i, size] of sizes.entries()) {
    const extend = caches.extending(`${i}`, size, 'total_sequence_length');
    const states = statesOf(description.block(i), size, hidden);
    const keepState = (kind: string, value: string) =>
      caches.keep(`present_${placed(kind, i)}`, value, states[kind]);
    const follow = (recent: string, kernel: number, of?: string) => {
      const kind = of === undefined ? 'conv' : `conv.${of}`;
      const all = g.node('Concat', [`past_${placed(kind, i)}`, recent], { axis: 2 });
      keepState(kind, slice(g, all, -kernel, END));
      return slice(g, all, 1, END);
    };
    const turned = (state: string) => g.node('Transpose', [state], { perm: [0, 1, 3, 2] });
    const recall = () => (states.ssm ? turned(`past_ssm.${i}`) : `past_recurrent.${i}`);
    const keep = (state: string) =>
      states.ssm ? keepState('ssm', turned(state)) : keepState('recurrent', state);
    x = block(g, description, i, size, x, past ? { ...context, extend, follow, recall, keep } : context);
  }
  const logits = scoresOf(g, description, head, x);
  g.output(logits, LOGITS, 'float32', [BATCH, 'sequence_length', vocabulary]);
  caches.end();
  return g;
}

/** With the number of the block behind the first part of its name. */
function placed(kind: string, i: number): string {
  const [first, ...others] = kind.split('.');
  return [first, i, ...others].join('.');
}

/** What is kept of earlier tokens in the place of keys and values, or beside them: extents behind the batch. */
function statesOf(
  { instead, beside }: Block,
  sizes: BlockSizes,
  hidden: number,
): Record<string, readonly number[]> {
  const rule = beside ?? instead;
  if (!rule) return {};
  if (!isDelta(rule)) return { conv: [hidden, rule.kernel] };
  const own = beside ? sizes.space! : sizes;
  const { kernel } = rule;
  const widths = widthsOfDelta(own, rule);
  const convs = rule.convs
    ? Object.fromEntries(rule.order.map((label) => [`conv.${KEPT[label]}`, [widths[label], kernel]]))
    : { conv: [featuresOfConv(own, rule), kernel] };
  const { keyDim, valueDim } = rule.sizes;
  // As transformers.js has them.
  return rule.space
    ? { ...convs, ssm: [own.heads, valueDim, keyDim] }
    : { ...convs, recurrent: [own.heads, keyDim, valueDim] };
}

/** Of the last tokens, so many, by those before that are no padding: [batch, tokens]. */
function countedPositions(g: WeightGraph, attentionMask: string, tokens: string): string {
  const all = g.node('Sub', [g.node('CumSum', [attentionMask, g.integers(1)]), g.integers(1)]);
  const start = g.node('Neg', [tokens]);
  return g.node('Slice', [g.node('Max', [all, g.integers(0)]), start, g.integers([END]), g.integers([1])]);
}

/** Of the table of positions. */
function rowsOf(g: WeightGraph, { positions: table }: TokenEmbedding, positions: string): string {
  const offset = table?.offset ?? 0;
  return offset === 0 ? positions : g.node('Add', [positions, g.integers(offset)]);
}

/** Rows of the tables of positions and types, where there are some, and factors of each token's features. */
interface Placed {
  readonly positions: string;
  readonly types?: string;
  readonly factors?: string;
}

function embed(
  g: WeightGraph,
  { hidden, vocabulary, maxPositions }: Description,
  embedding: TokenEmbedding,
  ids: string,
  { positions, types, factors }: Placed,
): string {
  const {
    width,
    scale,
    positions: placed,
    types: kinds,
    tasks,
    norm: last,
    project,
    projectsLast,
  } = embedding;
  const tokens = g.weight(`${g.prefix}${embedding.tokens}.weight`, [vocabulary, width]);
  const projected = (value: string) => (project ? linear(g, project, value, width, hidden) : value);
  const features = projectsLast ? width : hidden;
  let x = scaled(g, g.node('Gather', [tokens, ids]), scale);
  if (factors) x = g.node('Mul', [x, factors]);
  if (!projectsLast) x = projected(x);
  const add = (name: string, count: number, rows: string, otherwise?: () => Float32Array) => {
    const table = g.weight(`${g.prefix}${name}.weight`, [count, features], { otherwise });
    x = g.node('Add', [x, g.node('Gather', [table, rows])]);
  };
  if (placed) {
    const { name, offset, values } = placed;
    const count = maxPositions + offset;
    add(name, count, positions, values && (() => values(count, features)));
  }
  if (kinds && types !== undefined) add(kinds.name, kinds.count, types);
  if (tasks) add(tasks.name, tasks.count, g.integers([0]));
  if (last) x = norm(g, last, x, features);
  return projectsLast ? projected(x) : x;
}

function block(
  g: WeightGraph,
  description: Description,
  i: number,
  sizes: BlockSizes,
  x: string,
  context: Context,
): string {
  const { times = 1 } = description.block(i);
  const rounds = Array.from({ length: times }, (_, round) => round);
  return g.sharing(times, () =>
    rounds.reduce((y, round) => g.again(round, () => passed(g, description, i, sizes, y, context)), x),
  );
}

function passed(
  g: WeightGraph,
  description: Description,
  i: number,
  sizes: BlockSizes,
  x: string,
  context: Context,
): string {
  const { hidden } = description;
  const { order, gain, attentionNorm, instead, beside, cross, mlpNorm, mlpAfter, ...parts } =
    description.block(i);
  const [mixes, thinks] = HALVES.map((half) => hasHalf(description, i, half, sizes));
  const finished = (y: string, after?: Norm) => scaled(g, after ? norm(g, after, y, hidden) : y, gain);
  const mixed = (y: string) => {
    if (!instead) {
      const { takes, gives } = parts.attention;
      const own = attention(g, parts.attention, scaled(g, y, takes), description, sizes, context);
      return scaled(g, own, gives);
    }
    if (isDelta(instead)) return deltaRule(g, instead, y, hidden, sizes, context);
    return shortConv(g, instead, y, hidden, context);
  };
  const attend = (y: string) => finished(mixed(y), parts.attention.after);
  // Term by term, so that of experts nothing but the sum has to be kept for the next.
  const sum = (terms: Iterable<string>, start?: string) => {
    let total = start;
    for (const term of terms) total = total === undefined ? term : add(total, term);
    return total!;
  };
  const think = (to: string, y: string) => {
    const terms = mlpTerms(g, parts.mlp, y, hidden, sizes);
    return mlpAfter || gain !== undefined ? add(to, finished(sum(terms), mlpAfter)) : sum(terms, to);
  };
  const before = (y: string) => (attentionNorm ? norm(g, attentionNorm, y, hidden) : y);
  const between = (y: string) => (mlpNorm ? norm(g, mlpNorm, y, hidden) : y);
  const add = (a: string, b: string) => g.node('Add', [a, b]);
  const asking = context.asking?.(x) ?? x;
  const look = (y: string) => attention(g, cross!.attention, y, description, sizes.cross!, context.cross!);
  const given = () => {
    switch (order) {
      case 'pre': {
        const mix = () => {
          const read = before(x);
          // One after the other, so that each can make up for what is lost before it.
          const start = beside
            ? add(asking, finished(deltaRule(g, beside, read, hidden, sizes.space!, context)))
            : asking;
          return add(start, attend(read));
        };
        const own = mixes ? mix() : asking;
        const y = cross ? add(own, look(norm(g, cross.norm, own, hidden))) : own;
        return thinks ? think(y, between(y)) : y;
      }
      case 'post': {
        const own = before(mixes ? add(asking, attend(x)) : asking);
        const y = cross ? norm(g, cross.norm, add(own, look(own)), hidden) : own;
        return between(thinks ? think(y, y) : y);
      }
      case 'parallel': {
        if (!mixes && !thinks) return asking;
        const y = mixes || !mlpNorm ? before(x) : asking;
        const start = mixes ? add(asking, attend(y)) : asking;
        return thinks ? think(start, mlpNorm ? between(asking) : y) : start;
      }
    }
  };
  const { around: near, adapter } = parts;
  let y = given();
  if (near) y = norm(g, near.norm, add(y, around(g, near, x, hidden, context)), hidden);
  return adapter ? adapted(g, adapter, y, hidden) : y;
}

/** The full name of the output weights, which lie beside the `model` of a language model that is a module of another. */
export function outputIn(prefix: string, { output }: VocabularyHead): string | undefined {
  return output && prefix.endsWith('.model.') ? prefix.slice(0, -'model.'.length) + output : output;
}

function scoresOf(
  g: WeightGraph,
  { hidden, vocabulary, ...description }: Description,
  { norm: last, project, maps, output, bias, isRow, scale, cap, isNormalised }: VocabularyHead,
  x: string,
): string {
  const embedding = description.embedding as TokenEmbedding;
  let y = last ? norm(g, last, x, hidden) : x;
  if (project) y = linear(g, project, y, hidden, embedding.width);
  if (maps) y = mapped(g, maps, y, hidden);
  const name = outputIn(g.prefix, { output }) ?? g.prefix + embedding.tokens;
  const tensor = `${name}.weight`;
  // Tied, and the embedding is in this graph too: one tensor in the file.
  const isShared = !output && g.parameters.has(tensor);
  const weight = isShared
    ? g.node('Transpose', [tensor], { perm: [1, 0] })
    : g.weight(tensor, [embedding.width, vocabulary], { transposed: true });
  let scores = g.node('MatMul', [y, weight], {}, isShared ? undefined : name);
  if (isNormalised)
    scores = g.node('Div', [scores, g.node('ReduceL2', [weight], { axes: [0], keepdims: 1 })]);
  if (bias) scores = g.node('Add', [scores, biasOf(g, bias, vocabulary, isRow)]);
  return capped(g, scaled(g, scores, scale), cap);
}

/** @param isRow  whether it has a first axis of 1, and checkpoints need not have it */
function biasOf(g: WeightGraph, name: string, vocabulary: number, isRow = false): string {
  if (!isRow) return g.weight(name, [vocabulary]);
  const made = { shape: [1, vocabulary], of: (data: Float32Array) => data };
  return g.weight(name, [vocabulary], { made, otherwise: () => new Float32Array(vocabulary) });
}
