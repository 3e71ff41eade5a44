// Where tokens are: fixed windows that start at position 0, with everything constant, or texts of any length whose
// masks and rotations the graph computes.

import { checkValues } from '../../limits.ts';
import { dynamicExponent, frequenciesAt, once } from './facts.ts';
import { type Context, HIDDEN } from './layers.ts';
import type { Rope, Stretch } from './types.ts';
import type { WeightGraph } from './weights.ts';

/**
 * Every token sees every other, or those in a window on both sides of it, or of these the ones before it.
 *
 * @param x  [batch, tokens, features]
 * @param attentionMask  [batch, tokens], 0 where a token is padding
 */
export function encoderContext(g: WeightGraph, x: string, attentionMask?: string): Context {
  const masks = new Map<string, string | undefined>();
  const turns = new Map<Rope, { cos: string; sin: string }>();
  const tokens = once(() => g.node('Shape', [x], { start: 1, end: 2 }));
  const places = once(() => range(g, g.integers(0), g.node('Squeeze', [tokens()])));
  const near = (window: number) => {
    const rows = g.node('Unsqueeze', [places(), g.integers([1])]);
    const apart = g.node('Abs', [g.node('Sub', [rows, places()])]);
    return g.node('Less', [apart, g.integers(window)]); // [tokens, tokens]
  };
  const before = () => g.node('LessOrEqual', [places(), g.node('Unsqueeze', [places(), g.integers([1])])]);
  const within = (chunk: number) => {
    const piece = g.node('Div', [places(), g.integers(chunk)]);
    return g.node('Equal', [g.node('Unsqueeze', [piece, g.integers([1])]), piece]); // [tokens, tokens]
  };
  const apart = new Map<string, string>();
  const padding = once(() =>
    g.node('Cast', [g.node('Unsqueeze', [attentionMask!, g.integers([2])])], { to: 1 }),
  );
  return {
    shown: (value) => (attentionMask === undefined ? value : g.node('Mul', [value, padding()])),
    apart: (buckets, most, isOneSided) =>
      remembered(apart, `${buckets} ${most}`, () =>
        bucketsOf(g, { asking: places(), seen: places() }, { buckets, most, isOneSided }),
      ),
    shared: (name, make) => remembered(apart, name, make),
    away: (rows, most) => remembered(apart, `away ${rows} ${most}`, () => rowsAway(g, places(), rows, most)),
    mask: (window, isCausal, chunk) =>
      remembered(masks, `${window} ${isCausal} ${chunk}`, () => {
        const seen = [
          ...(attentionMask === undefined ? [] : [seenTokens(g, attentionMask)]),
          ...(window === undefined ? [] : [near(window)]),
          ...(isCausal ? [before()] : []),
          ...(chunk === undefined ? [] : [within(chunk)]),
        ];
        if (seen.length === 0) return undefined;
        const all = seen.reduce((both, each) => g.node('And', [both, each]));
        return g.node('Where', [all, g.scalar(0), g.scalar(HIDDEN)]);
      }),
    turns: (rope) =>
      remembered(turns, rope, () =>
        rope.squares
          ? turnsOfSquares(g, rope, rope.squares)
          : openTurns(g, row(g, places()), rope, markOf(turns)),
      ),
    stretched: (stretch) =>
      remembered(apart, `stretched ${Object.values(stretch)}`, () =>
        openStretch(g, row(g, places()), stretch),
      ),
    // What each query sees is further by as much where padding comes before it, and its shares the same.
    places: once(() => g.node('Cast', [places()], { to: 1 })), // float32
    distances: once(() => {
      const apart = g.node('Abs', [
        g.node('Sub', [g.node('Unsqueeze', [places(), g.integers([0, 2])]), places()]),
      ]);
      return g.node('Cast', [g.node('Neg', [apart])], { to: 1 }); // float32
    }),
    merged: (features) => mergedShape(g, tokens(), features),
  };
}

/** [tokens, dims], of an image of one size: constants. */
function turnsOfSquares(g: WeightGraph, rope: Rope, { side, before }: NonNullable<Rope['squares']>) {
  const { dims, frequencies } = rope;
  const tokens = before + side ** 2;
  const table = (name: string, f: (angle: number) => number) => {
    const values = () => {
      const own = frequencies();
      return Float32Array.from({ length: tokens * dims }, (_, at) => {
        const [square, pair] = [Math.floor(at / dims) - before, at % (dims / 2)];
        if (square < 0) return f(0);
        const place = pair < own.length ? Math.floor(square / side) : square % side;
        return f((2 * ((place + 0.5) / side) - 1) * own[pair % own.length]);
      });
    };
    return g.floats(`${name} of squares`, values, [tokens, dims]);
  };
  return { cos: table('cos', Math.cos), sin: table('sin', Math.sin) };
}

/** As `Relative` has them. */
interface Buckets {
  readonly buckets: number;
  readonly most: number;
  readonly isOneSided?: boolean;
}

/** [1, those that ask, tokens]: by how far the key is before or behind the query, in float32 as torch has it. */
function bucketsOf(g: WeightGraph, { asking, seen }: Axes, { buckets, most, isOneSided }: Buckets): string {
  const half = isOneSided ? buckets : Math.floor(buckets / 2);
  const exact = Math.floor(half / 2);
  const rows = g.node('Unsqueeze', [asking, g.integers([0, 2])]);
  const before = g.node('Sub', [rows, seen]);
  // What is behind a query is hidden from it, whatever its row.
  const distance = isOneSided ? g.node('Max', [before, g.integers(0)]) : g.node('Abs', [before]);
  const far = g.node('Max', [g.node('Cast', [distance], { to: 1 }), g.scalar(exact)]); // float32
  const waves = g.node('Div', [
    g.node('Log', [g.node('Div', [far, g.scalar(exact)])]),
    g.scalar(Math.log(most / exact)),
  ]);
  const wide = g.node('Cast', [g.node('Mul', [waves, g.scalar(half - exact)])], { to: 7 });
  const bounded = g.node('Min', [g.node('Add', [wide, g.integers(exact)]), g.integers(half - 1)]);
  const near = g.node('Where', [g.node('Less', [distance, g.integers(exact)]), distance, bounded]);
  if (isOneSided) return near;
  const isBehind = g.node('Cast', [g.node('Less', [before, g.integers(0)])], { to: 7 }); // int64
  return g.node('Add', [g.node('Mul', [isBehind, g.integers(half)]), near]);
}

/** [1, tokens, tokens]: by how far the key is before the query, or behind it. @param most  where far ones share rows, in float32 as torch has it */
function rowsAway(g: WeightGraph, places: string, rows: number, most?: number): string {
  const half = rows / 2;
  const before = g.node('Sub', [g.node('Unsqueeze', [places, g.integers([0, 2])]), places]);
  let row = before;
  if (most !== undefined) {
    const exact = Math.floor(half / 2);
    const distance = g.node('Abs', [before]);
    const far = g.node('Max', [g.node('Cast', [distance], { to: 1 }), g.scalar(exact)]); // float32
    const widest = g.node('Log', [g.scalar((most - 1) / exact)]);
    const waves = g.node('Div', [g.node('Log', [g.node('Div', [far, g.scalar(exact)])]), widest]);
    const steps = g.node('Ceil', [g.node('Mul', [waves, g.scalar(exact - 1)])]);
    const wide = g.node('Add', [g.node('Cast', [steps], { to: 7 }), g.integers(exact)]); // int64
    const signed = g.node('Mul', [wide, g.node('Sign', [before])]);
    row = g.node('Where', [g.node('LessOrEqual', [distance, g.integers(exact)]), before, signed]);
  }
  const shifted = g.node('Max', [g.node('Add', [row, g.integers(half)]), g.integers(0)]);
  return g.node('Min', [shifted, g.integers(rows - 1)]);
}

const range = (g: WeightGraph, from: string, to: string) => g.node('Range', [from, to, g.integers(1)]);

/** [1, tokens] */
const row = (g: WeightGraph, places: string) => g.node('Unsqueeze', [places, g.integers([0])]);

const mergedShape = (g: WeightGraph, tokens: string, features: number) =>
  g.node('Concat', [g.integers([0]), g.integers([-1]), tokens, g.integers([features])], { axis: 0 });

/** Behind the names of constants: what tells them from those of other rotary settings. */
const markOf = (turns: ReadonlyMap<Rope, unknown>) => (turns.size ? ` ${turns.size}` : '');

/** Every token sees all that an encoder gives, but for its padding. @param x  [batch, its tokens, features] */
export function crossContext(
  g: WeightGraph,
  states: NonNullable<Context['states']>,
  attentionMask?: string,
): Context {
  const mask = once(
    () => attentionMask && g.node('Where', [seenTokens(g, attentionMask), g.scalar(0), g.scalar(HIDDEN)]),
  );
  return { states, mask };
}

/** [batch, 1, 1, tokens] */
function seenTokens(g: WeightGraph, attentionMask: string): string {
  return g.node('Greater', [g.node('Unsqueeze', [attentionMask, g.integers([1, 2])]), g.integers(0)]);
}

/** Windows of `length` tokens from position 0 on. */
export function fixedContext(g: WeightGraph, length: number): Context {
  return {
    length,
    mask: (window, _, chunk) => {
      return g.floats('mask', () => maskOf(length, window, chunk), [1, 1, length, length]);
    },
    turns: (rope) => {
      const { dims, factor } = rope;
      const table = (name: string, f: (angle: number) => number) => {
        const values = () => anglesOf(rope, length).map((angle) => f(angle) * factor);
        return g.floats(name, values, [length, dims]);
      };
      return { cos: table('cos', Math.cos), sin: table('sin', Math.sin) };
    },
    stretched: ({ beta, positions, offset = 0 }) => {
      if (length + offset <= positions) return undefined;
      const factor = (i: number) => 1 + beta * Math.log1p(Math.floor((i + offset) / positions));
      return g.floats('stretches', () => Float32Array.from({ length }, (_, i) => factor(i)), [length, 1]);
    },
    places: () => g.floats('places', () => Float32Array.from({ length }, (_, i) => i), [length]),
    merged: (features) => g.integers([0, -1, length, features]),
  };
}

function maskOf(length: number, window = length, chunk = length): Float32Array {
  checkValues([length, length], 'the mask of tokens');
  const values = new Float32Array(length * length);
  for (let i = 0; i < length; i++) {
    for (let j = 0; j < length; j++) {
      const isOther = Math.floor(i / chunk) !== Math.floor(j / chunk);
      if (j > i || j <= i - window || isOther) values[i * length + j] = HIDDEN;
    }
  }
  return values;
}

/** length × dims, rounded to float32, as torch does. */
function anglesOf(rope: Rope, length: number): Float32Array {
  const { dims } = rope;
  const frequencies = frequenciesAt(rope, length);
  return Float32Array.from(
    { length: length * dims },
    (_, at) => Math.floor(at / dims) * frequencies[at % (dims / 2)],
  );
}

/** Values that an open context is made of, all int64. */
interface OpenInputs {
  /** [batch, tokens] or [1, tokens] */
  readonly positions: string;
  /** Number of tokens given and of all they may see, each of one element. */
  readonly tokens: string;
  readonly total: string;
  /** [batch, total], 0 where a token is padding. */
  readonly attentionMask?: string;
}

/** Texts of any length, after any number of earlier tokens. */
export function openContext(g: WeightGraph, inputs: OpenInputs): Context {
  const masks = new Map<string, string>();
  const turns = new Map<Rope, { cos: string; sin: string }>();
  const stretches = new Map<string, string>();
  const apart = new Map<string, string>();
  const places = once(() => {
    const { attentionMask, total } = inputs;
    const all =
      attentionMask === undefined
        ? range(g, g.integers(0), g.node('Squeeze', [total]))
        : g.node('Unsqueeze', [g.node('CumSum', [attentionMask, g.integers(1)]), g.integers([1, 2])]);
    const counted = g.node('Cast', [all], { to: 1 }); // float32
    return attentionMask === undefined ? counted : g.node('Sub', [counted, g.scalar(1)]);
  });
  const shown = once(() => {
    const start = g.node('Sub', [inputs.total, inputs.tokens]);
    const own = g.node('Slice', [inputs.attentionMask!, start, inputs.total, g.integers([1])]);
    return g.node('Cast', [g.node('Unsqueeze', [own, g.integers([2])])], { to: 1 }); // float32
  });
  return {
    shown: (value) => (inputs.attentionMask === undefined ? value : g.node('Mul', [value, shown()])),
    mask: (window, _, chunk) =>
      remembered(masks, `${window} ${chunk}`, () => {
        const own = chunk === undefined ? undefined : samePiece(g, inputs.positions, places(), chunk);
        return openMask(g, inputs, window, own);
      }),
    turns: (rope) => remembered(turns, rope, () => openTurns(g, inputs.positions, rope, markOf(turns))),
    apart: (buckets, most, isOneSided) =>
      remembered(apart, `${buckets} ${most}`, () =>
        bucketsOf(g, axesOf(g, inputs.tokens, inputs.total), { buckets, most, isOneSided }),
      ),
    stretched: (stretch) =>
      remembered(stretches, `${Object.values(stretch)}`, () => openStretch(g, inputs.positions, stretch)),
    places,
    merged: (features) => mergedShape(g, inputs.total, features),
  };
}

/** [batch, 1, tokens, 1] */
function openStretch(g: WeightGraph, places: string, { beta, positions, offset }: Stretch): string {
  const at = g.node('Cast', [g.node('Unsqueeze', [places, g.integers([1, 3])])], { to: 1 }); // float32
  const from = offset ? g.node('Add', [at, g.scalar(offset)]) : at;
  const rounds = g.node('Floor', [g.node('Div', [from, g.scalar(positions)])]);
  const waves = g.node('Log', [g.node('Add', [rounds, g.scalar(1)])]);
  return g.node('Add', [g.node('Mul', [waves, g.scalar(beta)]), g.scalar(1)]);
}

/** Whether both are in the same piece of so many tokens: [batch, 1, tokens, total]. @param places  of those that may be seen, float32 */
function samePiece(g: WeightGraph, positions: string, places: string, chunk: number): string {
  const pieceOf = (at: string) => g.node('Floor', [g.node('Div', [at, g.scalar(chunk)])]);
  const asking = g.node('Cast', [g.node('Unsqueeze', [positions, g.integers([1, 3])])], { to: 1 });
  return g.node('Equal', [pieceOf(asking), pieceOf(places)]);
}

/** Numbers of tokens, int64. */
interface Axes {
  /** Of those that ask. */
  readonly asking: string;
  readonly seen: string;
}

/** The last of all. @param tokens  their number, as `total` a list of one */
function axesOf(g: WeightGraph, tokens: string, total: string): Axes {
  const scalar = (value: string) => g.node('Squeeze', [value]);
  const seen = range(g, g.integers(0), scalar(total));
  const start = scalar(g.node('Sub', [total, tokens]));
  return { asking: range(g, start, scalar(total)), seen };
}

/** @param own  what is seen beside that, if not all */
function openMask(
  g: WeightGraph,
  { tokens, total, attentionMask }: OpenInputs,
  window?: number,
  own?: string,
): string {
  const { asking, seen: columns } = axesOf(g, tokens, total);
  const rows = g.node('Unsqueeze', [asking, g.integers([1])]);
  let seen = g.node('LessOrEqual', [columns, rows]); // [tokens, total]
  if (window !== undefined) {
    const first = g.node('Sub', [rows, g.integers(window)]);
    seen = g.node('And', [seen, g.node('Greater', [columns, first])]);
  }
  if (own !== undefined) seen = g.node('And', [seen, own]);
  if (attentionMask !== undefined) seen = g.node('And', [seen, seenTokens(g, attentionMask)]);
  return g.node('Where', [seen, g.scalar(0), g.scalar(HIDDEN)]);
}

function openTurns(
  g: WeightGraph,
  positions: string,
  rope: Rope,
  mark: string,
): { cos: string; sin: string } {
  const places = g.node('Cast', [g.node('Unsqueeze', [positions, g.integers([1, 3])])], { to: 1 }); // float32
  const half = g.node('Mul', [places, frequencies(g, places, rope, mark)]); // [batch, 1, tokens, dims / 2]
  const angles = g.node('Concat', [half, half], { axis: -1 });
  const scaled = (op: string) =>
    rope.factor === 1 ? g.node(op, [angles]) : g.node('Mul', [g.node(op, [angles]), g.scalar(rope.factor)]);
  return { cos: scaled('Cos'), sin: scaled('Sin') };
}

// As frequenciesAt, where the length is that of the longest text so far.
function frequencies(g: WeightGraph, places: string, rope: Rope, mark: string): string {
  const { dims, dynamic, long } = rope;
  const table = (name: string, values: () => Float32Array) => g.floats(name + mark, values, [dims / 2]);
  const base = table('frequencies', rope.frequencies);
  const length = () => g.node('Add', [g.node('ReduceMax', [places], { keepdims: 0 }), g.scalar(1)]);
  if (long) {
    const isLong = g.node('Greater', [length(), g.scalar(long.positions)]);
    return g.node('Where', [isLong, table('long frequencies', long.frequencies), base]);
  }
  if (!dynamic) return base;
  const grown = g.node('Mul', [length(), g.scalar(dynamic.factor / dynamic.positions)]);
  const stretch = g.node('Max', [g.node('Sub', [grown, g.scalar(dynamic.factor - 1)]), g.scalar(1)]);
  const exponents = () => Float32Array.from({ length: dims / 2 }, (_, i) => dynamicExponent(dims, i));
  return g.node('Mul', [base, g.node('Pow', [stretch, table('exponents', exponents)])]);
}

function remembered<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const value = map.get(key) ?? make();
  map.set(key, value);
  return value;
}
