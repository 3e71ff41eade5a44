// Heads of attention that lose features, and none of them goes.
//
// Scores are products of queries and keys, and what is mixed goes to one layer: within a head, a rotation of the features of queries is undone
// by that of keys, and one of values by the layer behind. So each head's features can be turned until those that matter least come last,
// for scores as for what the layer gives, and these are what is cut. docs/solver.md has the formulas.

import {
  type LinearMap,
  type MadeFeatures,
  type Model,
  readWeights,
  type Structure,
  sum,
  writeWeights,
} from '../../graph/index.ts';
import type { OpenedModel } from '../open/open.ts';
import { eigen } from './eigen.ts';
import { type FeatureMaps, featureValues, type HeadFeatures } from './features.ts';
import type { Frontier, Values } from './frontier.ts';
import { writeLayers } from './solve.ts';
import { picked, placeIn } from './statistics.ts';

/** A layer's weights, as `readWeights` gives them. */
export interface Weights {
  readonly W: Float64Array;
  readonly bias?: Float64Array;
}

/** Σx and Σxxᵀ of each head's features, over so many rows. */
interface HeadMoments {
  rows: number;
  /** Rows that went by, those among them that are not looked at. */
  passed: number;
  /** heads × features */
  readonly sums: Float64Array;
  /** heads × features × features */
  readonly squares: Float64Array;
}

/** Rows for each feature, of which no more are needed. */
const ENOUGH_ROWS = 1024;

interface Watched extends HeadFeatures {
  /** Features of a head. */
  readonly n: number;
  /** One of so many rows is looked at. */
  readonly step: number;
  readonly moments: HeadMoments;
}

/** Sums over the features of queries, keys and of what was mixed, whichever there are. */
export class FeatureMoments {
  readonly #opened: OpenedModel;
  readonly #of: readonly Watched[];

  /**
   * @param structures  all of one attention
   * @param samples  of the pass
   */
  constructor(opened: OpenedModel, structures: readonly Structure[], samples: number) {
    this.#opened = opened;
    this.#of = structures.flatMap((structure) => {
      const { groups: n, consumers } = structure;
      const step = Math.max(1, Math.floor((samples * consumers[0].rows) / (ENOUGH_ROWS * n)));
      return featureValues(opened, structure).map(({ value, heads }) => {
        const [sums, squares] = [n, n ** 2].map((size) => new Float64Array(heads.length * size));
        return { value, heads, n, step, moments: { rows: 0, passed: 0, sums, squares } };
      });
    });
  }

  /** Of all samples behind a frontier. */
  async addAll(frontier: Frontier): Promise<void> {
    const names = this.#of.map(({ value }) => value);
    for await (const values of frontier.run([], names)) this.#add(values);
  }

  #add({ pruned, batch, count }: Values): void {
    const samples = Array.from({ length: count }, (_, i) => i);
    for (const own of this.#of) {
      const { value } = own;
      const place = placeIn(this.#opened, value, pruned[value], batch);
      const { data, dims } = picked(pruned[value], samples, batch, place);
      this.#addRows(own, data, dims.at(-1)!);
    }
  }

  #addRows({ moments: into, heads, n, step }: Watched, data: Float32Array, width: number): void {
    const { sums, squares } = into;
    const skipped = (step - (into.passed % step)) % step;
    into.passed += data.length / width;
    for (let row = skipped * width; row < data.length; row += step * width) {
      for (const [head, offset] of heads.entries()) {
        const from = row + offset;
        for (let i = 0; i < n; i++) {
          const x = data[from + i];
          const at = (head * n + i) * n;
          sums[head * n + i] += x;
          for (let j = 0; j <= i; j++) squares[at + j] += x * data[from + j];
        }
      }
      into.rows++;
    }
  }

  /** What was summed so far. */
  read(): HeadMoments[] {
    return this.#of.map(({ moments }) => moments);
  }

  /** Adds what was summed over other samples. */
  merge(more: readonly HeadMoments[]): void {
    for (const [i, { rows, sums, squares }] of more.entries()) {
      const own = this.#of[i].moments;
      own.rows += rows;
      for (let at = 0; at < sums.length; at++) own.sums[at] += sums[at];
      for (let at = 0; at < squares.length; at++) own.squares[at] += squares[at];
    }
  }
}

/** New weights around an attention, of which every head has its first features alone, and what that leaves out. */
interface Narrowed {
  /** Of the makers, in their order; columns of features that go are zero. */
  readonly makers: readonly Weights[];
  /** Of the layer that reads what was mixed, where values lose features. */
  readonly reader?: Float64Array;
  /** Relative squared error of what that layer gives, by features of values kept; where these stay, of the scores. */
  readonly curve: Float64Array;
}

/** How the features of a head are turned, and what each of them holds then. */
type Turn = ReturnType<typeof turnBoth>;

/**
 * @param model  has the layers' weights
 * @param moments  of what `featureValues` names
 * @param keep  features that stay
 */
export function narrow(
  model: Model,
  structure: Structure,
  maps: FeatureMaps,
  moments: readonly HeadMoments[],
  keep: number,
): Narrowed {
  const n = structure.groups;
  const { scores, mixture } = structure.features!;
  const made = new Map(maps.makers.map((map) => [map.node, { map, ...copied(readWeights(model, map)) }]));
  const turn = ({ node, heads }: MadeFeatures, turns: readonly Float64Array[]) =>
    turnFeatures(made.get(node)!, heads, turns, n, keep);
  let turns: readonly Turn[] = [];
  if (scores) {
    const { queries, keys } = scores;
    const [q, k] = moments;
    const [asking, asked] = [queries.heads.length, keys.heads.length];
    turns = keys.heads.map((_, head) => {
      const own = groupOf(head, asked, asking);
      return turnBoth(summed(own.map((it) => second(q, it, n))), covariance(k, head, n), n);
    });
    turn(
      queries,
      queries.heads.map((_, head) => turns[sharedBy(head, asked, asking)].left),
    );
    turn(
      keys,
      turns.map(({ right }) => right),
    );
  }
  let read: Float64Array | undefined;
  if (mixture) {
    const { values, read: rows } = mixture;
    const { m } = maps.reader;
    const { W } = readWeights(model, maps.reader);
    const count = values.heads.length;
    turns = values.heads.map((_, head) => {
      const own = groupOf(head, count, rows.length);
      const seen = summed(own.map((it) => covariance(moments.at(-1)!, it, n)));
      return turnBoth(seen, summed(own.map((it) => gramOfRows(W, m, rows[it], n))), n);
    });
    turn(
      values,
      turns.map(({ left }) => left),
    );
    read = Float64Array.from(W);
    for (const [head, offset] of rows.entries()) {
      const { right } = turns[sharedBy(head, count, rows.length)];
      const own = product(transposed(right, n), W.subarray(offset * m, (offset + n) * m), n, n, m);
      own.fill(0, keep * m);
      read.set(own, offset * m);
    }
  }
  const makers = Array.from(made.values(), ({ W, bias }) => ({ W, bias }));
  const curve = Float64Array.from({ length: n + 1 }, (_, k) =>
    sum(turns.map(({ importance }) => sum([...importance.subarray(k)]))),
  );
  return { makers, reader: read, curve: curve.map((error) => (curve[0] > 0 ? error / curve[0] : 0)) };
}

/** Puts them in place of the layers' own. */
export function writeNarrowed(model: Model, maps: FeatureMaps, { makers, reader }: Narrowed): void {
  writeLayers(model, maps.makers, makers);
  if (reader) writeWeights(model, maps.reader, reader);
}

/** The heads that share one of fewer others. */
function groupOf(head: number, of: number, among: number): number[] {
  const size = among / of;
  return Array.from({ length: size }, (_, i) => head * size + i);
}

/** Of fewer others the one that a head shares. */
const sharedBy = (head: number, of: number, among: number) => Math.floor((head * of) / among);

const summed = (matrices: readonly Float64Array[]) =>
  matrices.reduce((sum, matrix) => sum.map((value, at) => value + matrix[at]));

/** E xxᵀ of a head. */
function second({ squares, rows }: HeadMoments, head: number, n: number): Float64Array {
  const own = squares.subarray(head * n * n, (head + 1) * n * n);
  return Float64Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return own[Math.max(i, j) * n + Math.min(i, j)] / rows;
  });
}

/** The same about the mean: all scores of a token may grow by one number, and a layer has a bias. */
function covariance(moments: HeadMoments, head: number, n: number): Float64Array {
  const mean = moments.sums.subarray(head * n, (head + 1) * n).map((sum) => sum / moments.rows);
  return second(moments, head, n).map((value, at) => value - mean[Math.floor(at / n)] * mean[at % n]);
}

/** WWᵀ of the rows that belong to a head. */
function gramOfRows(W: Float32Array, m: number, offset: number, n: number): Float64Array {
  const gram = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let dot = 0;
      for (let c = 0; c < m; c++) dot += W[(offset + i) * m + c] * W[(offset + j) * m + c];
      gram[i * n + j] = dot;
      gram[j * n + i] = dot;
    }
  return gram;
}

/** Of the largest: what is smaller is rounding of f32. */
const NOTHING = 2 ** -40;

/** Roots of eigenvalues, 0 for those that are nothing. */
const rootsOf = (values: Float64Array, root: (value: number) => number) =>
  values.map((value) => (value > NOTHING * values[0] ? root(value) : 0));

/** Columns times factors, and over those that are not 0. */
const times = (A: Float64Array, factors: Float64Array) =>
  A.map((value, at) => value * factors[at % factors.length]);
const over = (A: Float64Array, factors: Float64Array) =>
  A.map((value, at) => (factors[at % factors.length] > 0 ? value / factors[at % factors.length] : 0));

/**
 * Of the mean square of what two sides give together, where features of the one have C = E xxᵀ = LLᵀ and those of the other G (of queries
 * and keys E kkᵀ, of values and what reads them WWᵀ), and LᵀGL = US²Uᵀ: the one times `left` = L⁻ᵀUS^½, the other times
 * `right` = LUS^-½ give the same, the i-th of them s_i², and nothing of one is in another.
 */
function turnBoth(C: Float64Array, G: Float64Array, n: number) {
  const seen = eigen(C, n);
  const lengths = rootsOf(seen.values, Math.sqrt);
  const L = times(seen.vectors, lengths);
  const { values, vectors } = eigen(product(transposed(L, n), product(G, L, n, n, n), n, n, n), n);
  const roots = rootsOf(values, (value) => Math.sqrt(Math.sqrt(value)));
  return {
    left: times(product(over(seen.vectors, lengths), vectors, n, n, n), roots),
    right: over(product(L, vectors, n, n, n), roots),
    importance: values.map((value) => Math.max(0, value)),
  };
}

function copied({ W, bias }: ReturnType<typeof readWeights>): Weights {
  return { W: Float64Array.from(W), bias: bias && Float64Array.from(bias) };
}

/** Turns the features of each head in place; those behind the first `keep` are zero. */
function turnFeatures(
  { map: { m }, W, bias }: Weights & { readonly map: LinearMap },
  heads: readonly number[],
  turns: readonly Float64Array[],
  n: number,
  keep: number,
): void {
  const own = new Float64Array(n);
  for (const values of bias ? [W, bias] : [W])
    for (let row = 0; row < values.length; row += m)
      for (const [head, offset] of heads.entries()) {
        const from = row + offset;
        own.fill(0);
        for (let i = 0; i < n; i++)
          for (let j = 0; j < keep; j++) own[j] += values[from + i] * turns[head][i * n + j];
        values.set(own, from);
      }
}

/** a × b times b × c. */
function product(
  A: Float64Array | Float32Array,
  B: Float64Array | Float32Array,
  a: number,
  b: number,
  c: number,
): Float64Array {
  const result = new Float64Array(a * c);
  for (let i = 0; i < a; i++)
    for (let k = 0; k < b; k++) {
      const factor = A[i * b + k];
      for (let j = 0; j < c; j++) result[i * c + j] += factor * B[k * c + j];
    }
  return result;
}

function transposed(A: Float64Array, n: number): Float64Array {
  return A.map((_, at) => A[(at % n) * n + Math.floor(at / n)]);
}
