// The pieces of a block as nodes: linear maps, norms, the MLP, self-attention. q, k and v are maps of their own even
// where the checkpoint has them fused, and no shape names the number of heads, so that heads can be cut out of the
// graph without touching it otherwise.

import { featuresOf, type HeadDims } from './facts.ts';
import type {
  Around,
  AttentionSizes,
  Block,
  BlockSizes,
  Description,
  Gate,
  Label,
  Latent,
  Linear,
  Mixture,
  Mlp,
  Norm,
  Relative,
  Rope,
  Routing,
  ShortConv,
  Slopes,
  Stretch,
  Ways,
} from './types.ts';
import { type Fused, partName, type WeightGraph } from './weights.ts';

/**
 * x·W + b; the nodes are called as the module.
 *
 * @param fused  where the tensor holds several maps
 * @param mark  behind the names of nodes, where the map is there already
 */
export function linear(
  g: WeightGraph,
  map: Linear,
  x: string,
  rows: number,
  columns: number,
  fused?: Fused,
  mark = '',
): string {
  const node = partName(moduleOf(g, map), map) + mark;
  const product = g.node('MatMul', [x, stored(g, map, 'weight', [rows, columns], fused)], {}, node);
  if (!map.bias) return product;
  return g.node('Add', [product, stored(g, map, 'bias', [columns], fused)], {}, `${node}/bias`);
}

/** Its weights or biases. */
function stored(
  g: WeightGraph,
  map: Linear,
  kind: 'weight' | 'bias',
  dims: readonly number[],
  fused?: Fused,
): string {
  if (kind === 'bias' && map.biasName !== undefined) return g.weight(g.prefix + map.biasName, dims);
  const { index = 0, count = 0, [kind]: tensor } = map.stack ?? {};
  const stack = tensor === undefined ? undefined : { tensor: g.prefix + tensor, index, count };
  const factors = map.factors && g.prefix + map.factors;
  const name = `${moduleOf(g, map)}${map.isJoined ? '_' : '.'}${kind}`;
  return g.weight(name, dims, { ...map, factors, ...(map.part && fused), stack });
}

const moduleOf = (g: WeightGraph, { name, isFullName }: Pick<Linear, 'name' | 'isFullName'>) =>
  isFullName ? name : g.prefix + name;

/** Over the last axis, which has `width` features. @param heads  on the axis before it, where weights are theirs */
export function norm(g: WeightGraph, parts: Norm, x: string, width: number, heads = 1): string {
  const { kind, epsilon, affine, centre, withoutBias, isByHead, modules, isShared } = parts;
  const module = moduleOf(g, parts);
  if (isByHead) {
    const normal = norm(g, { ...parts, affine: false, isByHead: false }, x, width);
    const rows =
      modules === undefined
        ? undefined
        : Array.from({ length: heads }, (_, head) => `${module}.${modules}.${head}.weight`);
    return g.node('Mul', [normal, g.weight(`${module}.weight`, [heads, width], { rows })]);
  }
  const vector = (field: string) => {
    const tensor = `${module}.${field}`;
    return g.weight(tensor, [width], { from: isShared ? tensor : undefined });
  };
  const weight = () => (centre ? g.node('Add', [vector('weight'), g.scalar(centre)]) : vector('weight'));
  if (kind === 'rms') {
    const mean = g.node('ReduceMean', [g.node('Mul', [x, x])], { axes: [-1], keepdims: 1 });
    const root = g.node('Sqrt', [g.node('Add', [mean, g.scalar(epsilon)])]);
    const normal = [x, root];
    if (!affine) return g.node('Div', normal, {}, module);
    return g.node('Mul', [g.node('Div', normal), weight()], {}, module);
  }
  const parameters = affine
    ? [weight(), ...(withoutBias ? [] : [vector('bias')])]
    : [g.floats(`${module}/ones`, () => new Float32Array(width).fill(1), [width])];
  const attributes = { axis: -1, epsilon: { float: epsilon } };
  return g.node('LayerNormalization', [x, ...parameters], attributes, module);
}

/** As torch masks; minus infinity would make rows of padding NaN. */
export const HIDDEN = -3.4028234663852886e38;

/** Behind all tokens, or all features. */
export const END = 2 ** 31 - 1;

/** Whether it is a mixture of experts. */
export function isMixture(mlp: Block['mlp']): mlp is Mixture {
  return 'router' in mlp;
}

/** Tokens that pass each of the experts, of all. */
export function shareOf({ chosen }: Mixture, experts: readonly number[]): number {
  return chosen / experts.length;
}

/** What an MLP gives, as terms of a sum: one, or those of a mixture of experts. Each is built when it is asked for. */
export function* mlpTerms(
  g: WeightGraph,
  parts: Block['mlp'],
  x: string,
  hidden: number,
  { ffn, experts = [] }: BlockSizes,
): Generator<string> {
  if (!isMixture(parts)) return yield mlp(g, parts, x, hidden, ffn);
  const { shared, expert, areSharesRead } = parts;
  if (shared) {
    const share = shared.gate && g.node('Sigmoid', [linear(g, shared.gate, x, hidden, 1)]);
    yield mlp(g, shared.mlp, x, hidden, ffn, share);
  }
  const shares = sharesOf(g, parts, x, hidden, experts.length);
  const areAlike = experts.every((neurons) => neurons === experts[0]);
  for (const [e, neurons] of experts.entries()) {
    const own = areAlike ? expert(e) : unstacked(expert(e));
    const whole = { ...own, down: { ...own.down, bias: false } };
    const built = () => [
      areSharesRead
        ? mlp(g, whole, g.node('Mul', [x, shares[e]]), hidden, neurons)
        : mlp(g, whole, x, hidden, neurons, shares[e]),
      ...(own.down.bias ? [g.node('Mul', [shares[e], stored(g, own.down, 'bias', [hidden])])] : []),
    ];
    yield* g.sharing(shareOf(parts, experts), built);
  }
}

/** With tensors of its own. */
function unstacked({ up, gate, down, ...others }: Mlp): Mlp {
  const apart = (map: Linear) => ({ ...map, stack: undefined });
  return { ...others, up: apart(up), gate: gate && apart(gate), down: apart(down) };
}

/**
 * down(activation(up(x))), or with a gate down(activation(gate(x)) · up(x)).
 *
 * @param share  of each token, [batch, tokens, 1]: what comes of it, times this. It is behind the neurons, so that `down` is fitted by as much
 *   of a token as it gives.
 */
function mlp(g: WeightGraph, parts: Mlp, x: string, hidden: number, ffn: number, share?: string): string {
  const { up, gate, down, factor, activation, raised = (_, y) => y } = parts;
  const wide = (map: Linear) => linear(g, map, x, hidden, ffn, { widths: [ffn, ffn], kvHeads: ffn });
  const inner = gate
    ? g.node('Mul', [activation(g, wide(gate)), raised(g, wide(up))])
    : activation(g, wide(up));
  const shared = share === undefined ? inner : g.node('Mul', [inner, share]);
  return scaled(g, linear(g, down, shared, ffn, hidden), factor);
}

/** Of each expert the share of every token, [batch, tokens, 1]: 0 of those that do not pass it. */
function sharesOf(g: WeightGraph, routing: Routing, x: string, hidden: number, experts: number): string[] {
  const given = linear(g, routing.router, x, hidden, experts);
  const { inTurn } = routing;
  const [places, shares] = inTurn === undefined ? atOnce(g, routing, given) : oneByOne(g, inTurn, given);
  const none = g.node('Mul', [given, g.scalar(0)]);
  const placed = g.node('ScatterElements', [none, places, shares], { axis: -1 });
  return experts === 1 ? [placed] : g.split('Split', [placed], { axis: -1 }, experts);
}

/** The experts that a token passes, and their shares: [batch, tokens, chosen] both. */
function atOnce(
  g: WeightGraph,
  { chosen, areSigmoids, correction, groups, isNormalised, addedToSum, scale }: Routing,
  given: string,
): [places: string, shares: string] {
  const all = areSigmoids ? g.node('Sigmoid', [given]) : g.node('Softmax', [given], { axis: -1 });
  const corrected = correction
    ? g.node('Add', [all, g.weight(g.prefix + correction.name, correction.dims)])
    : all;
  const open = groups ? inGroups(g, corrected, groups) : corrected;
  const [largest, places] = g.split('TopK', [open, g.integers([chosen])], { axis: -1 }, 2);
  const own = correction ? g.node('GatherElements', [all, places], { axis: -1 }) : largest;
  const total = () => {
    const sum = g.node('ReduceSum', [own, g.integers([-1])], { keepdims: 1 });
    return addedToSum === undefined ? sum : g.node('Add', [sum, g.scalar(addedToSum)]);
  };
  return [places, scaled(g, isNormalised ? g.node('Div', [own, total()]) : own, scale)];
}

/** The same of those that are chosen in turn. @param bound  as `inTurn` of {@link Routing} */
function oneByOne(g: WeightGraph, bound: number, given: string): [places: string, shares: string] {
  const [largest, places] = g.split('TopK', [given, g.integers([2])], { axis: -1 }, 2);
  const halves = (of: string) => g.split('Split', [of], { axis: -1 }, 2);
  const [bests, at] = [halves(largest), halves(places)];
  const share = (turn: number, open: string) => {
    const scale = g.node('Max', [g.node('Abs', [given]), bests[turn]]);
    const behind = g.node('Div', [g.node('Sub', [bests[turn], given]), scale]);
    const near = g.node('Where', [g.node('Greater', [behind, g.scalar(bound)]), g.scalar(HIDDEN), open]);
    return g.node('GatherElements', [g.node('Softmax', [near], { axis: -1 }), at[turn]], { axis: -1 });
  };
  const taken = g.node('Add', [g.node('Mul', [bests[0], g.scalar(0)]), g.scalar(HIDDEN)]);
  const others = g.node('ScatterElements', [given, at[0], taken], { axis: -1 });
  return [places, g.node('Concat', [share(0, given), share(1, others)], { axis: -1 })];
}

/** Shares of the experts of the best groups, and 0 of others. */
function inGroups(
  g: WeightGraph,
  shares: string,
  { count, chosen, best }: NonNullable<Routing['groups']>,
): string {
  const grouped = g.node('Reshape', [shares, g.integers([0, 0, count, -1])]);
  const [largest] = g.split('TopK', [grouped, g.integers([best])], { axis: -1 }, 2);
  const sums = g.node('ReduceSum', [largest, g.integers([-1])], { keepdims: 0 });
  const [some, places] = g.split('TopK', [sums, g.integers([chosen])], { axis: -1 }, 2);
  const none = g.node('Mul', [sums, g.scalar(0)]);
  const ones = g.node('Add', [g.node('Mul', [some, g.scalar(0)]), g.scalar(1)]);
  const open = g.node('ScatterElements', [none, places, ones], { axis: -1 });
  const left = g.node('Mul', [grouped, g.node('Unsqueeze', [open, g.integers([3])])]);
  return g.node('Reshape', [left, g.integers([0, 0, -1])]);
}

/** x times a factor, if there is one. */
export function scaled(g: WeightGraph, x: string, factor = 1): string {
  return factor === 1 ? x : g.node('Mul', [x, g.scalar(factor)]);
}

/** cap·tanh(x / cap), if there is a cap. */
export function capped(g: WeightGraph, x: string, cap?: number): string {
  if (cap === undefined) return x;
  return g.node('Mul', [g.node('Tanh', [g.node('Div', [x, g.scalar(cap)])]), g.scalar(cap)]);
}

/** What attention must know about where the tokens are. */
export interface Context {
  /** Value to add to the scores: 0 where a token (second-last axis) sees another (last axis). Absent: all see all. */
  mask?(window?: number, isCausal?: boolean, chunk?: number): string | undefined;
  /** What keys and values are made of, where that is not what queries are: tokens, and their features. */
  readonly states?: { readonly x: string; readonly width: number };
  /** The same for attention to what an encoder gives. */
  readonly cross?: Context;
  /** Features of tokens, zeros where these are padding. */
  shown?(x: string): string;
  /** Cosine and sine that broadcast to [batch, heads, tokens, rope.dims]. */
  turns?(rope: Rope): { cos: string; sin: string };
  /** Factors of scores that broadcast to [batch, heads, tokens, features], where these are not all 1. */
  stretched?(stretch: Stretch): string | undefined;
  /** Where the tokens are that may be seen, [total] or [batch, 1, 1, total], as float32. */
  places?(): string;
  /** How far tokens are from each other, below 0, [1, tokens, tokens], as float32. */
  distances?(): string;
  /** Numbers of the distances between tokens, [1, tokens, tokens], as `Relative` has them. */
  apart?(buckets: number, most: number, isOneSided?: boolean): string;
  /** What is the same in all blocks, made once. */
  shared?(name: string, make: () => string): string;
  /** Rows of a table for the distances between tokens, [1, tokens, tokens], as `Ways` has them. */
  away?(rows: number, most?: number): string;
  /** A shape that makes [batch, kvHeads, repeats, tokens, features] into [batch, heads, tokens, features]. */
  merged?(features: number): string;
  /** The tokens that ask, where these are not all. */
  asking?(x: string): string;
  /** Puts what is kept of earlier tokens before keys or values [batch, kvHeads, tokens, features]. */
  extend?(kind: 'key' | 'value', value: string): string;
  /** [batch, features, tokens] behind the `kernel` − 1 tokens before these. Absent where there are none before. @param of  which one it is, where there are several */
  follow?(value: string, kernel: number, of?: string): string;
  /** What a recurrence has of earlier tokens. Absent where there are none before. */
  recall?(): string;
  /** Is told what it has behind these. */
  keep?(state: string): void;
  /** Tokens, where their number is known. */
  readonly length?: number;
}

export function attention(
  g: WeightGraph,
  parts: Block['attention'],
  x: string,
  { hidden, headDim, keyDim: denseKeyDim, sizes: dense }: Pick<Description, 'hidden' | 'sizes'> & HeadDims,
  sizes: AttentionSizes,
  context: Context,
): string {
  const { heads, kvHeads } = sizes;
  const { keyDim, valueDim } = featuresOf(sizes, { headDim, keyDim: denseKeyDim });
  const { qkv, out, qNorm, kNorm, normsTogether, clip, rope, latent, scale, cap } = parts;
  const { slopes, relative, ways, window, isCausal, chunk, areNormsBehind, stretch, sinks, gate } = parts;
  const isWhole = heads === dense.heads;
  const seen = context.states ?? { x, width: hidden };
  const given = latent
    ? compressed(g, latent, { x, asking: context.asking?.(x) ?? x, hidden, shared: rope!.dims })
    : { q: { x: context.asking?.(x) ?? x, width: hidden }, k: seen, v: seen };
  const ownKeys = latent ? keyDim - rope!.dims : keyDim;
  const fused = {
    // Queries may be made by a map of their own.
    widths: [qkv('q').part ? heads * keyDim : 0, kvHeads * ownKeys, kvHeads * valueDim],
    kvHeads,
  };
  const gated = { widths: [heads * keyDim, heads * valueDim], kvHeads: heads };
  const split = (label: Label, count: number, features: number, headNorm?: Norm) => {
    const { x: tokens, width } = given[label];
    const mapped = linear(g, qkv(label), tokens, width, count * features, gate ? gated : fused);
    const flat = headNorm && normsTogether ? norm(g, headNorm, mapped, count * features) : mapped;
    const bounded = clip === undefined ? flat : g.node('Clip', [flat, g.scalar(-clip), g.scalar(clip)]);
    const value = g.node('Reshape', [bounded, g.integers([0, 0, -1, features])]);
    const normed = headNorm && !normsTogether ? norm(g, headNorm, value, features, count) : value;
    return g.node('Transpose', [normed], { perm: [0, 2, 1, 3] }); // [batch, heads, tokens, features]
  };
  const turned = (label: 'q' | 'k', count: number, headNorm?: Norm) => {
    const features = label === 'q' ? keyDim : ownKeys;
    const value = split(label, count, features, areNormsBehind ? undefined : headNorm);
    if ('shared' in given) {
      const end = (of: string) => turn(g, of, rope!, rope!.dims, context);
      const own = label === 'q' ? slice(g, value, 0, ownKeys) : value;
      // Of keys all heads have the same.
      const none = () => g.node('Mul', [slice(g, value, 0, 1), g.scalar(0)]);
      const last =
        label === 'q'
          ? end(slice(g, value, ownKeys, END))
          : g.node('Add', [none(), end(g.node('Unsqueeze', [given.shared, g.integers([1])]))]);
      return g.node('Concat', [own, last], { axis: -1 });
    }
    const placed = rope ? turn(g, value, rope, keyDim, context) : value;
    return headNorm && areNormsBehind ? norm(g, headNorm, placed, keyDim) : placed;
  };
  const kept = (kind: 'key' | 'value', value: string) => context.extend?.(kind, value) ?? value;
  const repeated = (value: string, features: number) => {
    if (heads === kvHeads) return value;
    const merged = context.merged!(features); // each key-value head serves several query heads
    const apart = g.node('Unsqueeze', [value, g.integers([2])]);
    return g.node('Reshape', [g.node('Expand', [apart, g.integers([1, 1, heads / kvHeads, 1, 1])]), merged]);
  };

  const scaled = g.node('Mul', [turned('q', heads, qNorm), g.scalar(scale)]);
  const factors = stretch && context.stretched?.(stretch);
  const queries = factors === undefined ? scaled : g.node('Mul', [scaled, factors]);
  const keys = repeated(kept('key', turned('k', kvHeads, kNorm)), keyDim);
  const values = repeated(kept('value', split('v', kvHeads, valueDim)), valueDim);
  const turnedKeys = g.node('Transpose', [keys], { perm: [0, 1, 3, 2] });
  const products = capped(g, g.node('MatMul', [queries, turnedKeys]), cap);
  const scores = [
    slopes && sloped(g, slopes, heads, isWhole, context),
    relative && related(g, relative, { x, heads, all: dense.heads, headDim }, context),
    ways && away(g, ways, { queries, keys: turnedKeys, products, scale, hidden, heads, keyDim }, context),
    context.mask?.(window, isCausal, chunk),
  ].reduce<string>((sum, added) => (added === undefined ? sum : g.node('Add', [sum, added])), products);
  const weights =
    sinks === undefined ? g.node('Softmax', [scores], { axis: -1 }) : sunk(g, sinks, scores, heads);
  const mixed = g.node('Transpose', [g.node('MatMul', [weights, values])], { perm: [0, 2, 1, 3] });
  const flat = g.node('Reshape', [mixed, g.integers([0, 0, -1])]);
  const open = gate && g.node('Sigmoid', [linear(g, gate, given.q.x, hidden, heads * valueDim, gated)]);
  const shown = open === undefined ? flat : g.node('Mul', [flat, open]);
  return linear(g, out, shown, heads * valueDim, hidden);
}

/** Places `from` to before `to` of an axis: features, where none is named. */
export function slice(
  g: WeightGraph,
  x: string,
  from: number,
  to: number,
  { axis = -1, step = 1 }: { readonly axis?: number; readonly step?: number } = {},
): string {
  const bounds = [from, to, axis, ...(step === 1 ? [] : [step])];
  return g.node('Slice', [x, ...bounds.map((number) => g.integers([number]))]);
}

/** What queries, keys and values are made of, and the features, so many, that all keys share. */
function compressed(
  g: WeightGraph,
  { query, keys }: Latent,
  of: { readonly x: string; readonly asking: string; readonly hidden: number; readonly shared: number },
) {
  const { x, asking, hidden, shared } = of;
  const asked = query && norm(g, query.norm, linear(g, query.map, asking, hidden, query.width), query.width);
  const both = linear(g, keys.map, x, hidden, keys.width + shared);
  const own = { x: norm(g, keys.norm, slice(g, both, 0, keys.width), keys.width), width: keys.width };
  return {
    q: { x: asked ?? asking, width: query?.width ?? hidden },
    k: own,
    v: own,
    shared: slice(g, both, keys.width, END),
  };
}

/** Shares of what is seen, beside that of nothing. */
function sunk(g: WeightGraph, sinks: string, scores: string, heads: number): string {
  const own = g.weight(g.prefix + sinks, [heads, 1, 1], { made: { shape: [heads], of: (data) => data } });
  const nothing = g.node('Add', [g.node('Mul', [slice(g, scores, 0, 1), g.scalar(0)]), own]);
  const all = g.node('Softmax', [g.node('Concat', [nothing, scores], { axis: -1 })], { axis: -1 });
  return slice(g, all, 1, END);
}

/** What comes of each token and the few before it. */
export function shortConv(
  g: WeightGraph,
  { wide, conv, bias, kernel, out }: ShortConv,
  x: string,
  hidden: number,
  context: Context,
): string {
  const all = linear(g, wide, x, hidden, 3 * hidden);
  const [before, behind, own] = g.split('Split', [all], { axis: -1 }, 3);
  const features = g.node('Mul', [before, own]);
  const rows = causalConv(g, { conv, bias, kernel }, context.shown?.(features) ?? features, hidden, context);
  return linear(g, out, g.node('Mul', [behind, rows]), hidden, hidden);
}

/** Of each token and those before it, feature by feature: [batch, tokens, features]. */
export function causalConv(
  g: WeightGraph,
  { conv, bias, kernel }: Pick<ShortConv, 'conv' | 'kernel'> & { readonly bias?: boolean },
  x: string,
  features: number,
  context: Context,
  of?: string,
): string {
  const given = g.node('Transpose', [x], { perm: [0, 2, 1] });
  const follows = context.follow?.(given, kernel, of);
  const name = g.prefix + conv;
  const weights = [
    g.weight(`${name}.weight`, [features, 1, kernel]),
    ...(bias ? [g.weight(`${name}.bias`, [features])] : []),
  ];
  const attributes = {
    kernel_shape: [kernel],
    pads: [follows === undefined ? kernel - 1 : 0, 0],
    group: features,
  };
  const y = g.node('Conv', [follows ?? given, ...weights], attributes, name);
  return g.node('Transpose', [y], { perm: [0, 2, 1] });
}

/** What comes of the tokens around each one, of those that ask. */
export function around(
  g: WeightGraph,
  { conv, kernel, groups, activation }: Around,
  x: string,
  hidden: number,
  context: Context,
): string {
  const name = g.prefix + conv;
  const turned = g.node('Transpose', [context.shown?.(x) ?? x], { perm: [0, 2, 1] });
  const weights = [
    g.weight(`${name}.weight`, [hidden, hidden / groups, kernel]),
    g.weight(`${name}.bias`, [hidden]),
  ];
  const side = (kernel - 1) / 2;
  const attributes = { kernel_shape: [kernel], pads: [side, side], group: groups };
  const y = activation(g, g.node('Conv', [turned, ...weights], attributes, name));
  const rows = g.node('Transpose', [y], { perm: [0, 2, 1] });
  return context.asking?.(rows) ?? rows;
}

/** y + down(activation(up(norm(y)))). Nothing here is a layer to be fitted or cut: other adapters may take its place. */
export function adapted(
  g: WeightGraph,
  { norm: normal, mlp: { up, down, activation }, neurons }: NonNullable<Block['adapter']>,
  y: string,
  hidden: number,
): string {
  const map = ({ name }: Linear, x: string, rows: number, columns: number) => {
    const module = g.prefix + name;
    // Computed, weights make no layer; turned as they are, they would be others under another name.
    const same = g.node('Mul', [g.weight(`${module}.weight`, [columns, rows]), g.scalar(1)]);
    const weight = g.node('Transpose', [same], { perm: [1, 0] });
    return g.node('Add', [g.node('MatMul', [x, weight]), g.weight(`${module}.bias`, [columns])]);
  };
  const inner = activation(g, map(up, norm(g, normal, y, hidden), hidden, neurons));
  return g.node('Add', [y, map(down, inner, neurons, hidden)]);
}

/** [heads, 1, total], or of each text. @param isWhole  whether these are all heads: those of a pruned block have their factors in the checkpoint */
function sloped(
  g: WeightGraph,
  { name, values, rounded, areOfDistances }: Slopes,
  heads: number,
  isWhole: boolean,
  context: Context,
): string {
  const otherwise = isWhole ? values : undefined;
  const factors = g.weight(g.prefix + name, [heads, 1, 1], { otherwise });
  if (areOfDistances) {
    const apart = context.distances!();
    return g.node('Mul', [factors, context.asking?.(apart) ?? apart]);
  }
  if (!rounded) return g.node('Mul', [factors, context.places!()]);
  const places = bfloat16(g, context.places!());
  const added = bfloat16(g, g.node('Mul', [bfloat16(g, factors), places]));
  return scaled(g, added, rounded.factor);
}

/** The nearest number of eight significant bits (Dekker's splitting): few engines have values of this type. It is the one that torch rounds to, for each float32. */
function bfloat16(g: WeightGraph, x: string): string {
  const wide = g.node('Mul', [x, g.scalar(2 ** 16 + 1)]);
  return g.node('Sub', [wide, g.node('Sub', [wide, x])]);
}

/** What relative positions are of: features, heads, and all heads that there were. */
interface Related {
  readonly x: string;
  readonly heads: number;
  readonly all: number;
  readonly headDim: number;
}

/** [1, heads, tokens that ask, tokens], or of each sample where there is a gate. */
function related(
  g: WeightGraph,
  { shared, name, buckets, apart: how, gate }: Relative,
  of: Related,
  context: Context,
): string {
  const { heads, all } = of;
  const from = heads === all && shared !== undefined ? g.prefix + shared : undefined;
  const table = g.weight(g.prefix + name, [buckets, heads], { from });
  const apart = 'side' in how ? squaresApart(g, how.side) : context.apart!(buckets, how.most, how.isOneSided);
  const numbers = g.node('Gather', [table, context.asking?.(apart) ?? apart]);
  const scores = g.node('Transpose', [numbers], { perm: [0, 3, 1, 2] });
  return gate ? g.node('Mul', [scores, gated(g, gate, of, context)]) : scores;
}

/** [batch, heads, tokens that ask, 1]. Nothing here is a layer to be fitted: the map is one for all heads. */
function gated(g: WeightGraph, gate: Gate, { x, heads, all, headDim }: Related, context: Context): string {
  const asking = context.asking?.(x) ?? x;
  const byHead = g.node('Reshape', [asking, g.integers([0, 0, all, headDim])]);
  const half = (tensor: string, rows: number[], stored = {}) => {
    const parts = g.node('Reshape', [
      g.weight(g.prefix + tensor, [...rows, 8], stored),
      g.integers([...rows, 2, 4]),
    ]);
    return g.node('ReduceSum', [parts, g.integers([-1])], { keepdims: 0 });
  };
  const mapped = g.node('MatMul', [byHead, half(`${gate.map}.weight`, [headDim], { transposed: true })]);
  const logits = g.node('Add', [mapped, half(`${gate.map}.bias`, [])]);
  const open = g.node('Transpose', [g.node('Sigmoid', [logits])], { perm: [3, 0, 1, 2] }); // [2, batch, tokens, all heads]
  const otherwise = () => Float32Array.from({ length: all * all }, (_, at) => Number(at % (all + 1) === 0));
  const places = g.weight(g.prefix + gate.places, [heads, all], {
    otherwise: heads === all ? otherwise : undefined,
  });
  const picked = g.node('Mul', [g.node('Unsqueeze', [open, g.integers([3])]), places]);
  const own = g.node('ReduceSum', [picked, g.integers([-1])], { keepdims: 0 }); // [2, batch, tokens, heads]
  const turned = g.node('Transpose', [own], { perm: [0, 1, 3, 2] });
  const [a, b] = g
    .split('Split', [turned], { axis: 0 }, 2)
    .map((part) => g.node('Unsqueeze', [g.node('Squeeze', [part, g.integers([0])]), g.integers([3])]));
  const inner = g.node('Sub', [
    g.node('Mul', [b, g.weight(g.prefix + gate.constants, [1, heads, 1, 1])]),
    g.scalar(1),
  ]);
  return g.node('Add', [g.node('Mul', [a, inner]), g.scalar(2)]);
}

interface Products {
  /** [batch, heads, tokens that ask, features], times `scale`. */
  readonly queries: string;
  /** [batch, heads, features, tokens] */
  readonly keys: string;
  /** Of both. */
  readonly products: string;
  readonly scale: number;
  readonly hidden: number;
  readonly heads: number;
  readonly keyDim: number;
}

/** [batch, heads, tokens that ask, tokens] */
function away(
  g: WeightGraph,
  { table, norm: normal, rows, most, key, query }: Ways,
  { queries, keys, products, scale, hidden, heads, keyDim }: Products,
  context: Context,
): string {
  const tensor = g.prefix + table;
  const plain = g.weight(tensor, [rows, hidden], { from: tensor });
  const all = context.shared!(table, () =>
    g.node('Unsqueeze', [normal ? norm(g, normal, plain, hidden) : plain, g.integers([0])]),
  );
  const apart = context.away!(rows, most);
  const asked = g.node('Unsqueeze', [context.asking?.(apart) ?? apart, g.integers([0])]);
  const places = g.node('Expand', [asked, g.node('Shape', [products])]);
  const made = (map: Linear, perm: number[]) => {
    const mapped = linear(g, map, all, hidden, heads * keyDim, undefined, ' of distances');
    return g.node('Transpose', [g.node('Reshape', [mapped, g.integers([0, 0, -1, keyDim])])], { perm });
  };
  const picked = (of: string, axis: number) => g.node('GatherElements', [of, places], { axis });
  const terms = [
    ...(key ? [picked(g.node('MatMul', [queries, made(key, [0, 2, 3, 1])]), 3)] : []),
    ...(query
      ? [picked(g.node('MatMul', [g.node('Mul', [made(query, [0, 2, 1, 3]), g.scalar(scale)]), keys]), 2)]
      : []),
  ];
  return terms.reduce((sum, term) => g.node('Add', [sum, term]));
}

/** [1, tokens, tokens]: rows of a table for a token and the squares of an image behind it, as `Apart` has them. */
function squaresApart(g: WeightGraph, side: number): string {
  const tokens = side ** 2 + 1;
  const [across, ways] = [2 * side - 1, (2 * side - 1) ** 2];
  const row = (query: number, key: number) => {
    if (query === 0) return key === 0 ? ways + 2 : ways;
    if (key === 0) return ways + 1;
    const [from, to] = [query, key].map((token) => [Math.floor((token - 1) / side), (token - 1) % side]);
    return (from[0] - to[0] + side - 1) * across + (from[1] - to[1] + side - 1);
  };
  const rows = () =>
    Array.from({ length: tokens ** 2 }, (_, at) => row(Math.floor(at / tokens), at % tokens));
  return g.integerTable(`squares apart ${side}`, rows, [1, tokens, tokens]);
}

// Features i and i + dims/2 are a pair: (x, y) → (x·cos − y·sin, y·cos + x·sin). Where neighbours are one they are moved there and stay
// there, those of queries as those of keys: their products are the same.
function turn(g: WeightGraph, value: string, rope: Rope, headDim: number, context: Context): string {
  const { dims, pairsNeighbours } = rope;
  const { cos, sin } = context.turns!(rope);
  const joined = (...pieces: string[]) => g.node('Concat', pieces, { axis: -1 });
  const given = dims < headDim ? slice(g, value, 0, dims) : value;
  const part = pairsNeighbours
    ? joined(slice(g, given, 0, dims, { step: 2 }), slice(g, given, 1, dims, { step: 2 }))
    : given;
  const negated = g.node('Neg', [slice(g, part, dims / 2, dims)]);
  const swapped = joined(negated, slice(g, part, 0, dims / 2));
  const result = g.node('Add', [g.node('Mul', [part, cos]), g.node('Mul', [swapped, sin])]);
  return dims < headDim ? joined(result, slice(g, value, dims, headDim)) : result;
}
