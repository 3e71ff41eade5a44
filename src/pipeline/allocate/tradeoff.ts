// Every size of a model against the least loss that it can have, where losses of structures add up: dynamic programming
// over structures, exact where no limit below is met.
//
// A size is a sum of terms, each a product of what some structures keep. A term is known when the last of its structures
// is decided, so what must be told apart on the way are only the sizes of structures that stand in unfinished terms: in a
// network without branches the one before. For each of those states a front is kept, of cost and loss. Where many stand in
// unfinished terms (networks that concatenate or shuffle what all layers before have made), few sizes of each can be told apart, or
// none: there a price is put on cost, and sizes are sought that no change of a single structure betters, at one price after the other.

import { sum, type Term } from '../../graph/index.ts';
import { evenly } from '../budget.ts';
import type { Sizes } from '../keep.ts';

/** What a structure can be cut down to. */
export interface Choices {
  readonly name: string;
  readonly groups: number;
  /** At least one. */
  readonly choices: readonly Choice[];
}

interface Choice {
  /** Groups. */
  readonly kept: number;
  readonly loss: number;
}

/** A point of the curve. */
export interface Point {
  readonly cost: number;
  readonly loss: number;
  readonly sizes: Sizes;
}

/** Points of all fronts together, after each structure. */
const POINTS = 2 ** 15;
/** Combinations of sizes that are told apart, about; and beyond which none are. */
const STATES = 2 ** 10;
const MOST_STATES = 2 ** 14;
/** Choices of a structure with which fronts are fine enough. */
const FINE = 16;
/** How far prices go to both sides of the mean one, what all loses at its smallest by what all costs, and from one to the next. */
const PRICE_RANGE = 1e5;
const PRICE_STEP = 1.05;
/** Rounds over all structures at a price, at most: a few are made. */
const ROUNDS = 50;

/** All points that no other beats in both, from the smallest model on: the loss falls as the cost grows. */
export function tradeoff(structures: readonly Choices[], terms: readonly Term[]): Point[] {
  const order = new Map(structures.map(({ name }, at) => [name, at]));
  const placed = terms.map(({ value, of }) => ({ value, of: of.map((name) => order.get(name)!) }));
  const { points, isFine } = alongFronts(structures, placed);
  return isFine ? points : best([...points, ...alongPrices(structures, placed)], POINTS);
}

/** A term, of structures by their places. */
interface PlacedTerm {
  readonly value: number;
  readonly of: readonly number[];
}

/** What a term counts where structures keep these fractions of their groups. */
function countOf({ value, of }: PlacedTerm, fractions: readonly number[]): number {
  return of.reduce((product, at) => product * fractions[at], value);
}

/** The way to a point, the last decision first. */
interface Node {
  readonly cost: number;
  readonly loss: number;
  readonly kept: number;
  readonly before?: Node;
}

/** Ways on which what stands in unfinished terms keeps the same. */
interface State {
  /** Of those structures; of others what one of the ways has. */
  readonly fractions: readonly number[];
  readonly front: Node[];
}

/** @returns whether structures had as many choices as they need, too; without points where too much must be told apart */
function alongFronts(
  structures: readonly Choices[],
  terms: readonly PlacedTerm[],
): { points: Point[]; isFine: boolean } {
  const constant = sum(terms.filter(({ of }) => of.length === 0).map(({ value }) => value));
  let states: State[] = [{ fractions: [], front: [{ cost: constant, loss: 0, kept: 0 }] }];
  let open: number[] = [];
  /** Sizes of each structure that are told apart. */
  const counts: number[] = [];
  let isFine = true;
  for (const [at, { groups, choices }] of structures.entries()) {
    // Fewer choices where sizes of several structures must be told apart.
    const most = Math.max(2, Math.floor(STATES ** (1 / (open.length + 1))));
    const tried = evenly([...choices], most);
    isFine &&= tried.length >= Math.min(choices.length, FINE);
    counts.push(tried.length);
    open = [...open, at].filter((it) => terms.some(({ of }) => of.includes(it) && Math.max(...of) > at));
    if (open.reduce((product, it) => product * counts[it], 1) > MOST_STATES)
      return { points: [], isFine: false };
    const finished = terms.filter(({ of }) => of.length > 0 && Math.max(...of) === at);
    const next = new Map<string, State>();
    for (const { fractions: before, front } of states) {
      for (const { kept, loss } of tried) {
        const fractions = [...before, kept / groups];
        const cost = sum(finished.map((term) => countOf(term, fractions)));
        const key = open.map((it) => fractions[it]).join(' ');
        const state = next.get(key) ?? { fractions, front: [] };
        next.set(key, state);
        for (const node of front)
          state.front.push({ cost: node.cost + cost, loss: node.loss + loss, kept, before: node });
      }
    }
    const limit = Math.max(16, Math.floor(POINTS / next.size));
    states = Array.from(next.values(), (state) => ({ ...state, front: best(state.front, limit) }));
  }
  const nodes = best(
    states.flatMap(({ front }) => front),
    POINTS,
  );
  return { points: nodes.map((node) => pointOf(node, structures)), isFine };
}

/** Points on the way from the smallest model to the dense one, as cost becomes cheaper. */
function alongPrices(structures: readonly Choices[], terms: readonly PlacedTerm[]): Point[] {
  const chosen = structures.map(({ choices }) => choices[0]);
  const fractions = structures.map(({ groups }, at) => chosen[at].kept / groups);
  const termsOf = structures.map((_, at) => terms.filter(({ of }) => of.includes(at)));
  /** What the powers of a structure's fraction cost. */
  const powersOf = (at: number) => {
    const others = fractions.with(at, 1);
    const powers: number[] = [];
    for (const term of termsOf[at]) {
      const power = term.of.filter((it) => it === at).length;
      powers[power] = (powers[power] ?? 0) + countOf(term, others);
    }
    return powers;
  };
  const point = (): Point => ({
    cost: sum(terms.map((term) => countOf(term, fractions))),
    loss: sum(chosen.map(({ loss }) => loss)),
    sizes: new Map(structures.map(({ name }, at) => [name, chosen[at].kept])),
  });
  const points = [point()];
  const mean = points[0].loss / sum(terms.map(({ value }) => value));
  for (let price = mean * PRICE_RANGE; price > mean / PRICE_RANGE; price /= PRICE_STEP) {
    let isChanged = true;
    for (let round = 0; isChanged && round < ROUNDS; round++) {
      isChanged = false;
      for (const [at, { choices, groups }] of structures.entries()) {
        const powers = powersOf(at);
        const worth = ({ kept, loss }: Choice) =>
          powers.reduce((sum, value, power) => sum + price * value * (kept / groups) ** power, loss);
        const cheapest = choices.reduce((a, b) => (worth(b) < worth(a) ? b : a), chosen[at]);
        if (cheapest === chosen[at]) continue;
        chosen[at] = cheapest;
        fractions[at] = cheapest.kept / groups;
        isChanged = true;
        points.push(point());
      }
    }
  }
  return points;
}

/** Those that no other beats, and of these at most `limit`, at even distances of cost. */
function best<T extends Pick<Point, 'cost' | 'loss'>>(nodes: T[], limit: number): T[] {
  nodes.sort((a, b) => a.cost - b.cost || a.loss - b.loss);
  const front: T[] = [];
  for (const node of nodes)
    if (front.length === 0 || node.loss < front[front.length - 1].loss) front.push(node);
  if (front.length <= limit) return front;
  const [first, last] = [front[0].cost, front[front.length - 1].cost];
  const chosen = new Map<number, T>();
  // The last of a stretch has the least loss there.
  for (const node of front)
    chosen.set(Math.floor(((node.cost - first) / (last - first)) * (limit - 2)), node);
  return [front[0], ...[...chosen.values()].filter((node) => node !== front[0])];
}

function pointOf(last: Node, structures: readonly Choices[]): Point {
  const sizes: [string, number][] = [];
  let node = last;
  for (const { name } of structures.toReversed()) {
    sizes.push([name, node.kept]);
    node = node.before!;
  }
  return { cost: last.cost, loss: last.loss, sizes: new Map(sizes.reverse()) };
}
