// The gated delta rule (arXiv 2412.06464), which stands in the place of attention in most blocks of Qwen3-Next and Qwen3.5. Each head keeps a matrix S from keys to
// values. A token lets it fade, S ← e^g·S, moves what it has for the token's key towards the token's value, S ← S + βk(v − Sᵀk)ᵀ, and gives Sᵀq. Of the state space of
// Mamba 2 (arXiv 2405.21060), as Granite 4 has it, a token puts kvᵀ there, whatever there is.
//
// Token by token these would be many small products one after the other, so chunks of tokens pass at once: what tokens of a chunk put into S depends on what those before
// them have put there, (I + A)·U = β·(V − e^G·K·S), where A, below its diagonal, has what keys have in common, and G sums g from the beginning of the chunk. The inverse of
// I + A is independent of S: of all chunks side by side it is made from that of blocks of 1, 2, 4, … tokens on its diagonal, each from those before by two products.

import { GraphBuilder } from '../../graph/index.ts';
import { type Heads, KEPT, widthsOfDelta } from './facts.ts';
import { type Context, causalConv, END, linear, norm, scaled, slice } from './layers.ts';
import type { DeltaLabel, DeltaRule, Label } from './types.ts';
import type { WeightGraph } from './weights.ts';

/** Tokens of a chunk, at most, and of half of the blocks of which its inverse is made. */
const CHUNK = 64;
const HALVES = [1, 2, 4, 8, 16, 32];
/** Added to the squares of queries and keys, which are made of length 1. */
const EPSILON = 1e-6;
/** Nothing is left of e to this, and adding it to a sum of g makes no infinity. */
const NEVER = -1e30;

/** What comes of the tokens so far, [batch, tokens, hidden]. */
export function deltaRule(
  g: WeightGraph,
  parts: DeltaRule,
  x: string,
  hidden: number,
  sizes: Heads,
  context: Context,
): string {
  const { activation, out, order, space } = parts;
  const { heads: valueHeads, kvHeads: keyHeads } = sizes;
  const { keyDim, valueDim } = parts.sizes;
  const widths = widthsOfDelta(sizes, parts);
  const taken = scaled(g, x, space?.factors?.takes);
  const mapped = (label: DeltaLabel) => {
    const tensor = parts.tensors.find((it) => it.includes(label))!;
    const fused = { widths: tensor.map((it) => widths[it]), kvHeads: keyHeads };
    const made = linear(g, parts.map(label), taken, hidden, widths[label], fused);
    return scaled(g, made, space?.factors?.maps[label]);
  };
  const shown = (value: string) => context.shown?.(value) ?? value;
  const together = () => {
    const joined = shown(g.node('Concat', order.map(mapped), { axis: -1 }));
    const given = activation(g, causalConv(g, parts, joined, featuresOfConv(sizes, parts), context));
    // Biases are of padding, too.
    const convolved = parts.bias ? shown(given) : given;
    const all = g.integers(order.map((label) => widths[label]));
    return g.split('Split', [convolved, all], { axis: -1 }, 3);
  };
  const { convs, kernel } = parts;
  const apart = (label: Label) => {
    const own = { conv: convs![label], kernel };
    return activation(g, causalConv(g, own, shown(mapped(label)), widths[label], context, KEPT[label]));
  };
  const made = convs ? order.map(apart) : together();
  const [q, k, v] = (['q', 'k', 'v'] as const).map((label) => made[order.indexOf(label)]);
  const heads = (value: string, features: number) =>
    g.node('Reshape', [value, g.integers([0, 0, -1, features])]); // [batch, tokens, heads, features]
  const first = (value: string) => g.node('Transpose', [value], { perm: [0, 2, 1, 3] });
  const unit = (value: string) => {
    const squares = g.node('ReduceSum', [g.node('Mul', [value, value]), g.integers([-1])], { keepdims: 1 });
    return g.node('Div', [value, g.node('Sqrt', [g.node('Add', [squares, g.scalar(EPSILON)])])]);
  };
  const spread = (value: string) => {
    const own = heads(value, keyDim);
    const each = space ? own : unit(own);
    if (keyHeads === valueHeads) return first(each);
    const repeats = g.integers([1, 1, 1, valueHeads / keyHeads, 1]);
    const all = g.node('Expand', [g.node('Unsqueeze', [each, g.integers([3])]), repeats]);
    return first(heads(all, keyDim));
  };
  const numbers = (tensor: string) => g.weight(g.prefix + tensor, [valueHeads]);
  const decay = mapped('a');
  const open = g.node('Softplus', [g.node('Add', [decay, numbers(parts.shift)])]);
  const soft = space?.limits ? g.node('Clip', [open, ...space.limits.map((it) => g.scalar(it))]) : open;
  // Of constants alone, what comes of them would be cut where heads go, and not the tensor.
  const logs = g.node('Add', [g.node('Mul', [decay, g.scalar(0)]), numbers(parts.decay)]);
  const fading = g.node('Neg', [g.node('Mul', [soft, g.node('Exp', [logs])])]);
  const values = heads(v, valueDim);
  const mixed = overChunks(
    g,
    {
      queries: space ? spread(q) : g.node('Mul', [spread(q), g.scalar(keyDim ** -0.5)]),
      keys: spread(k),
      values: first(space ? g.node('Mul', [values, heads(soft, 1)]) : values),
      shares: space ? undefined : first(heads(scaled(g, g.node('Sigmoid', [mapped('b')]), parts.most), 1)),
      fading: first(heads(fading, 1)),
    },
    x,
    parts.sizes,
    context,
  );
  const flat = (value: string) => g.node('Reshape', [value, g.integers([0, 0, -1])]);
  const ended = (value: string) => linear(g, out, value, widths.v, hidden);
  if (space) {
    const skip = { made: { shape: [valueHeads], of: (data: Float32Array) => data } };
    const past = g.node('Mul', [values, g.weight(g.prefix + space.skip, [valueHeads, 1], skip)]);
    const all = flat(g.node('Add', [first(mixed), past]));
    const gate = activation(g, mapped('z'));
    const open = (value: string) => g.node('Mul', [value, gate]);
    const normed = (value: string) => normOfSpace(g, parts, value, sizes);
    const given = space.normsFirst ? open(normed(all)) : normed(open(all));
    return scaled(g, ended(given), space.factors?.gives);
  }
  const normal = norm(g, parts.norm!, first(mixed), valueDim);
  const gate = activation(g, heads(mapped('z'), valueDim));
  return ended(flat(g.node('Mul', [normal, gate])));
}

/** Of all heads, or of those that share a key; where there is none, what comes in. */
function normOfSpace(g: WeightGraph, parts: DeltaRule, x: string, sizes: Heads): string {
  const { norm: own, space } = parts;
  const width = widthsOfDelta(sizes, parts).v;
  if (!own || !space?.normsByGroup || sizes.kvHeads === 1) return own ? norm(g, own, x, width) : x;
  const each = width / sizes.kvHeads;
  const groups = g.node('Reshape', [x, g.integers([0, 0, -1, each])]);
  const normal = norm(g, { ...own, affine: false }, groups, each);
  const weight = g.weight(`${g.prefix}${own.name}.weight`, [width]);
  return g.node('Mul', [g.node('Reshape', [normal, g.integers([0, 0, -1])]), weight]);
}

/** Features of queries, keys and values together. */
export function featuresOfConv(sizes: Heads, parts: DeltaRule): number {
  const { q, k, v } = widthsOfDelta(sizes, parts);
  return q + k + v;
}

/** Each [batch, heads, tokens, features]; of shares and fading a single one. */
type Given = Readonly<Record<'queries' | 'keys' | 'values' | 'fading', string>> & {
  /** Absent where nothing is taken back. */
  readonly shares?: string;
};

/** What tokens of a chunk have before S is known: [batch, heads, chunks, …]. */
type Chunks = Readonly<Record<'own' | 'asking' | 'seen' | 'putting' | 'left', string>> & {
  readonly known?: string;
};

/** [batch, heads, tokens, features of values]. @param x  what has the tokens on its axis 1 */
function overChunks(
  g: WeightGraph,
  given: Given,
  x: string,
  { keyDim, valueDim }: DeltaRule['sizes'],
  context: Context,
): string {
  const { length } = context;
  const sizes = length === undefined ? openSizes(g, x) : fixedSizes(g, length);
  const { cut } = sizes;
  const chunks = prepared(
    g,
    {
      queries: cut(given.queries, keyDim),
      keys: cut(given.keys, keyDim),
      values: cut(given.values, valueDim),
      shares: given.shares && cut(given.shares, 1),
      fading: cut(given.fading, 1),
    },
    sizes.places,
  );
  const start = context.recall?.();
  const { all, end } =
    sizes.count === undefined
      ? scanned(g, chunks, start ?? emptied(g, chunks, [keyDim, valueDim]))
      : unrolled(g, chunks, sizes.count, start);
  context.keep?.(end);
  return sizes.joined(g.node('Reshape', [all, g.integers([0, 0, -1, valueDim])]));
}

/** How tokens become chunks of one size, behind the last of them as many that do nothing as are missing. */
interface Sizes {
  /** Of chunks, where it is known. */
  readonly count?: number;
  /** [batch, heads, tokens, features] to [batch, heads, chunks, tokens of a chunk, features]. */
  readonly cut: (value: string, features: number) => string;
  /** The places of tokens in a chunk, int64. */
  readonly places: string;
  /** Without the tokens that are none. */
  readonly joined: (value: string) => string;
}

function fixedSizes(g: WeightGraph, length: number): Sizes {
  const count = Math.ceil(length / CHUNK);
  const size = Math.ceil(length / count);
  const more = count * size - length;
  const padded = (value: string) =>
    more === 0 ? value : g.node('Pad', [value, g.integers([0, 0, 0, 0, 0, 0, more, 0])]);
  return {
    count,
    cut: (value, features) => g.node('Reshape', [padded(value), g.integers([0, 0, count, size, features])]),
    places: g.node('Range', [g.integers(0), g.integers(size), g.integers(1)]),
    joined: (value) => (more === 0 ? value : slice(g, value, 0, length, { axis: 2 })),
  };
}

function openSizes(g: WeightGraph, x: string): Sizes {
  const length = g.node('Shape', [x], { start: 1, end: 2 });
  const parts = (of: string, each: string) =>
    g.node('Div', [g.node('Add', [of, g.node('Sub', [each, g.integers([1])])]), each]);
  const count = parts(length, g.integers([CHUNK]));
  const size = parts(length, count);
  const more = g.node('Sub', [g.node('Mul', [count, size]), length]);
  const joined = (...list: string[]) => g.node('Concat', list, { axis: 0 });
  const pads = joined(g.integers([0, 0, 0, 0, 0, 0]), more, g.integers([0]));
  return {
    cut: (value, features) => {
      const shape = joined(g.integers([0, 0, -1]), size, g.integers([features]));
      return g.node('Reshape', [g.node('Pad', [value, pads]), shape]);
    },
    places: g.node('Range', [g.integers(0), g.node('Squeeze', [size]), g.integers(1)]),
    joined: (value) => g.node('Slice', [value, g.integers([0]), length, g.integers([2])]),
  };
}

/** For every two tokens of a chunk, [tokens, tokens]: what depends on their places alone. */
function apart(g: WeightGraph, places: string) {
  const rows = g.node('Unsqueeze', [places, g.integers([1])]);
  const float = (value: string) => g.node('Cast', [value], { to: 1 });
  return {
    /** 0 where the second one is no later. */
    before: () => g.node('Where', [g.node('LessOrEqual', [places, rows]), g.scalar(0), g.scalar(NEVER)]),
    /** 1 where they are the same. */
    own: () => float(g.node('Equal', [places, rows])),
    /** Of blocks on the diagonal: 1 where one token is in the second half, and the other in the first half of the same. */
    joins: () => {
      const halves = g.integerTable('halves of blocks', () => HALVES, [HALVES.length, 1, 1]);
      const [below, left] = [rows, places].map((at) => g.node('Div', [at, halves]));
      const isSecond = g.node('Equal', [g.node('Mod', [below, g.integers(2)]), g.integers(1)]);
      const isBeside = g.node('Equal', [left, g.node('Sub', [below, g.integers(1)])]);
      return g.split('Split', [float(g.node('And', [isSecond, isBeside]))], { axis: 0 }, HALVES.length);
    },
  };
}

function prepared(g: WeightGraph, { queries, keys, values, shares, fading }: Given, places: string): Chunks {
  const transposed = (value: string) => g.node('Transpose', [value], { perm: [0, 1, 2, 4, 3] });
  const product = (a: string, b: string) => g.node('MatMul', [a, b]);
  const times = (a: string, b: string) => g.node('Mul', [a, b]);
  const faded = g.node('CumSum', [fading, g.integers(3)]);
  const pairs = apart(g, places);
  const between = g.node('Sub', [faded, transposed(faded)]);
  const decays = g.node('Exp', [g.node('Add', [between, pairs.before()])]);
  const turned = transposed(keys);
  const sinceStart = g.node('Exp', [faded]);
  const last = slice(g, faded, -1, END, { axis: 3 });
  const untilEnd = g.node('Exp', [g.node('Sub', [last, faded])]);
  const corrected = (shares: string) => {
    const shared = times(keys, shares);
    const common = times(product(shared, turned), decays);
    const [first, ...others] = pairs.joins();
    let inverse = g.node('Sub', [pairs.own(), times(common, first)]);
    for (const join of others) {
      const below = product(product(inverse, times(common, join)), inverse);
      inverse = g.node('Sub', [inverse, below]);
    }
    return {
      own: product(inverse, times(values, shares)),
      known: product(inverse, times(shared, sinceStart)),
    };
  };
  return {
    ...(shares === undefined ? { own: values } : corrected(shares)),
    asking: times(queries, sinceStart),
    seen: times(product(queries, turned), decays),
    putting: transposed(times(keys, untilEnd)),
    left: g.node('Exp', [last]),
  };
}

/** What a chunk gives, and S behind it. @param before  absent where it is 0 */
function step(
  g: GraphBuilder,
  chunk: Chunks,
  before: string | undefined,
  name: (part: string) => string | undefined,
) {
  const node = (part: string, op: string, ...inputs: string[]) => g.node(op, inputs, {}, name(part));
  const { own, known, asking, seen, putting, left } = chunk;
  const had = known === undefined || before === undefined ? undefined : node('had', 'MatMul', known, before);
  const put = had === undefined ? own : node('put', 'Sub', own, had);
  const inside = node('inside', 'MatMul', seen, put);
  const added = node('added', 'MatMul', putting, put);
  if (before === undefined) return { given: inside, after: added };
  return {
    given: node('given', 'Add', node('kept', 'MatMul', asking, before), inside),
    after: node('after', 'Add', node('faded', 'Mul', before, left), added),
  };
}

/** One chunk after the other, as so many nodes. */
function unrolled(g: WeightGraph, chunks: Chunks, count: number, start: string | undefined) {
  const names = Object.keys(chunks) as (keyof Chunks)[];
  const each = names.map((name) => g.split('Split', [chunks[name]!], { axis: 2 }, count));
  let state = start;
  const all: string[] = [];
  for (let at = 0; at < count; at++) {
    const chunk = Object.fromEntries(
      names.map((name, of) => [name, g.node('Squeeze', [each[of][at], g.integers([2])])]),
    );
    const { given, after } = step(g, chunk as Chunks, state, () => undefined);
    all.push(g.node('Unsqueeze', [given, g.integers([2])]));
    state = after;
  }
  return { all: all.length === 1 ? all[0] : g.node('Concat', all, { axis: 2 }), end: state! };
}

/** The same of any number of chunks. */
function scanned(g: WeightGraph, chunks: Chunks, start: string) {
  const body = new GraphBuilder();
  const called = (part: string) => `${part} of a chunk`; // no name of the graph around it
  const names = Object.keys(chunks) as (keyof Chunks)[];
  const before = body.input(called('before'), 'float32');
  const chunk = Object.fromEntries(names.map((name) => [name, body.input(called(name), 'float32')]));
  const { given, after } = step(body, chunk as Chunks, before, called);
  for (const value of [after, given]) body.output(value, value, 'float32');
  const attributes = {
    body: { graph: body.graph('chunk') },
    num_scan_inputs: names.length,
    scan_input_axes: names.map(() => 2),
    scan_output_axes: [2],
  };
  const [end, all] = g.split('Scan', [start, ...names.map((name) => chunks[name]!)], attributes, 2);
  return { all, end };
}

/** S of nothing: [batch, heads, …]. */
function emptied(g: WeightGraph, { own }: Chunks, dims: readonly number[]): string {
  const shape = g.node('Concat', [g.node('Shape', [own], { start: 0, end: 2 }), g.integers(dims)], {
    axis: 0,
  });
  return g.node('ConstantOfShape', [shape]);
}
