// What is asked of sizes and of descriptions by those who describe, by graphs and by callers. It needs none of these: descriptions are loaded with the first
// folder, without graphs.

import type {
  Block,
  BlockSizes,
  Config,
  DeltaLabel,
  DeltaRule,
  Description,
  EncoderHead,
  Rope,
  WaveEmbedding,
} from './types.ts';

/** Features that heads have where none were taken away. */
export type HeadDims = Pick<Description, 'headDim' | 'keyDim'>;

/** Of each query and key head, and of each value head. @param dense  of the description */
export function featuresOf(
  { keyDim, valueDim }: Pick<BlockSizes, 'keyDim' | 'valueDim'>,
  dense: HeadDims,
): { readonly keyDim: number; readonly valueDim: number } {
  return { keyDim: keyDim ?? dense.keyDim ?? dense.headDim, valueDim: valueDim ?? dense.headDim };
}

/** How many there are of one kind. */
export type Heads = Pick<BlockSizes, 'heads' | 'kvHeads'>;

/** What has heads in a block, as structures are called: attention, or what stands in its place, a state space beside it, and attention to what an encoder gives. */
export type HeadKind = 'heads' | (typeof BESIDE)[number];
/** Those that have sizes of their own. */
export const BESIDE = ['space', 'cross'] as const;

/** Those of a kind, where there are some. */
export function headsIn(sizes: BlockSizes, kind: HeadKind): Heads | undefined {
  const own = kind === 'heads' ? sizes : sizes[kind];
  return own && own.heads > 0 ? own : undefined;
}

/** What attention is cut into: key-value heads with their query heads; where all share a single one, query heads. */
export function headGroups({ heads, kvHeads }: Heads): number {
  return kvHeads === 1 ? heads : kvHeads;
}

/** The heads of a block that keeps so many of its groups. */
export function headsOf({ heads, kvHeads }: Heads, groups: number): Heads {
  if (groups === 0) return { heads: 0, kvHeads: 0 };
  if (kvHeads === 1) return { heads: groups, kvHeads };
  return { heads: groups * (heads / kvHeads), kvHeads: groups };
}

/** Whether queries and keys, or values, have fewer features than a head has. @param whole  sizes of the block where nothing was taken away */
export function isNarrow(sizes: BlockSizes, whole: BlockSizes, dense: HeadDims): boolean {
  const pairs = [[sizes, whole], ...(sizes.cross && whole.cross ? [[sizes.cross, whole.cross]] : [])];
  return pairs.some((pair) => {
    const [own, all] = pair.map((it) => featuresOf(it, dense));
    return own.keyDim < all.keyDim || own.valueDim < all.valueDim;
  });
}

/** The MLP that all tokens pass, and expert e, in reports. */
export const ALL_TOKENS = 'mlp';
export const expertName = (e: number) => `experts.${e}`;

/**
 * A block with other numbers of neurons.
 *
 * @param change  gives that of an MLP, by its name in reports: `mlp`, or `experts.3` of the expert 3
 */
export function mapNeurons(
  { ffn, experts, ...heads }: BlockSizes,
  change: (name: string, neurons: number) => number,
): BlockSizes {
  return {
    ...heads,
    ffn: ffn && change(ALL_TOKENS, ffn),
    ...(experts && { experts: experts.map((neurons, e) => change(expertName(e), neurons)) }),
  };
}

/** The first name in `architectures`, which decides on the head. */
export function nameOf({ architectures }: Config): string {
  const [name] = Array.isArray(architectures) ? architectures : [];
  return typeof name === 'string' ? name : '';
}

/** Whether a block has attention: neither something in its place nor nothing. */
export function attends({ instead, lacks }: Block): boolean {
  return instead === undefined && lacks !== 'attention';
}

/** The sizes of block i as config.json has them. */
export function sizesOf({ sizes, sizesOf }: Description, i: number): BlockSizes {
  return sizesOf?.(i) ?? sizes;
}

/** What a block does with its tokens, one after the other. */
export const HALVES = ['attention', 'mlp'] as const;
export type Half = (typeof HALVES)[number];

/** Whether block i has a half with these sizes: one that nothing is left of is gone, with its norms and biases. */
export function hasHalf(description: Description, i: number, half: Half, sizes: BlockSizes): boolean {
  const whole = sizesOf(description, i);
  const isGone =
    half === 'attention' ? whole.heads > 0 && sizes.heads === 0 : whole.ffn > 0 && sizes.ffn === 0;
  return description.block(i).lacks !== half && !isGone;
}

/** Whether block i gives what it gets, with these sizes. */
export function isEmpty(description: Description, i: number, sizes: BlockSizes): boolean {
  const { order, adapter } = description.block(i);
  // Norms behind the halves stay.
  return order !== 'post' && !adapter && !HALVES.some((half) => hasHalf(description, i, half, sizes));
}

/** Whether a half of block i can go whole: what is left is a block of the same kind, and nothing else depends on what goes. */
export function canGo({ block }: Description, i: number, half: Half): boolean {
  const { times, lacks, instead, beside, around, cross, mlp } = block(i);
  if (lacks === half || times !== undefined || around || cross) return false;
  return half === 'attention' ? !instead && !beside : !('router' in mlp);
}

/** Whether it has. */
export function isGone(description: Description, i: number, half: Half, sizes: BlockSizes): boolean {
  return canGo(description, i, half) && !hasHalf(description, i, half, sizes);
}

export function isDelta(instead: Block['instead']): instead is DeltaRule {
  return instead !== undefined && 'decay' in instead;
}

/** What is kept of convolutions of their own, as transformers.js calls it. */
export const KEPT = { q: 'query', k: 'key', v: 'value' } as const;

/** Features that its maps give. */
export function widthsOfDelta(
  { heads, kvHeads }: Heads,
  { sizes: whole }: DeltaRule,
): Record<DeltaLabel, number> {
  const [keys, values] = [kvHeads * whole.keyDim, heads * whole.valueDim];
  return { q: keys, k: keys, v: values, z: values, b: heads, a: heads };
}

/** Whether every token sees every other. */
export function isEncoder(head: Description['head']): head is EncoderHead {
  return 'readouts' in head;
}

/** Samples of ten seconds: with them as many tokens as a window of text has. */
export const USUAL_SAMPLES = 160_000;

/** Tokens of so many samples; 0 where these are fewer than one takes. */
export function tokensOfWave({ waves }: WaveEmbedding, samples: number): number {
  return waves.reduce((n, { kernel, stride }) => Math.max(0, Math.floor((n - kernel) / stride) + 1), samples);
}

/** A value that is made when it is first asked for. */
export function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** The frequencies for a text of `length` tokens. */
export function frequenciesAt({ dims, frequencies, dynamic, long }: Rope, length: number): Float32Array {
  if (long && length > long.positions) return long.frequencies();
  if (!dynamic || length <= dynamic.positions) return frequencies();
  const stretch = (dynamic.factor * length) / dynamic.positions - (dynamic.factor - 1);
  return frequencies().map((frequency, i) => frequency * stretch ** dynamicExponent(dims, i));
}

/** Base · stretch^(dims / (dims − 2)) in place of base, solved for the frequency of pair i. */
export function dynamicExponent(dims: number, i: number): number {
  return i === 0 ? 0 : (-2 * i) / (dims - 2);
}
