// Every size of a model against the least loss that it can have, where losses of structures add up: dynamic programming
// over structures, exact where no limit below is met.
//
// A size is a sum of terms, each a product of what some structures keep. A term is known when the last of its structures
// is decided, so what must be told apart on the way are only the sizes of structures that stand in unfinished terms: in a
// network without branches the one before. For each of those states a front is kept, of cost and loss. Where many stand in
// unfinished terms (networks that concatenate or shuffle what all layers before have made), few sizes of each can be told apart, or
// none: there a price is put on cost, and sizes are sought that no change of a single structure betters, at one price after the other.

import type { Term } from '../../graph/index.ts';
import { evenly } from '../budget.ts';
import type { Sizes } from '../recipe.ts';

/** What a structure can be cut down to. */
export interface Choices {
  readonly name: string;
  readonly groups: number;
  /** At least one. */
  readonly choices: readonly Choice[];
}

export interface Choice {
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

/** The way to a point, the last decision first. */
interface Node {
  readonly cost: number;
  readonly loss: number;
  readonly kept: number;
  readonly before?: Node;
}

/** All points that no other beats in both, from the smallest model on: the loss falls as the cost grows. */
export function tradeoff(structures: readonly Choices[], terms: readonly Term[]): Point[] {
  const order = new Map(structures.map(({ name }, i) => [name, i]));
  const known = terms.map(({ value, of }) => ({ value, of: of.map((name) => order.get(name)!) }));
  const constant = known.reduce((sum, { value, of }) => sum + (of.length === 0 ? value : 0), 0);
  let fronts = new Map<string, Node[]>([['', [{ cost: constant, loss: 0, kept: 0 }]]]);
  let open: number[] = [];
  /** Sizes of each structure that are told apart. */
  const counts: number[] = [];
  let isCoarse = false;
  for (const [at, { groups, choices }] of structures.entries()) {
    const finished = known.filter(({ of }) => of.length > 0 && Math.max(...of) === at);
    const staying = [...open, at].filter((it) =>
      known.some(({ of }) => of.includes(it) && Math.max(...of) > at),
    );
    const next = new Map<string, Node[]>();
    // Fewer choices where sizes of several structures must be told apart.
    const most = Math.max(2, Math.floor(STATES ** (1 / (open.length + 1))));
    const tried = evenly([...choices], most);
    isCoarse ||= tried.length < Math.min(choices.length, FINE);
    counts.push(tried.length);
    const states = staying.reduce((product, it) => product * counts[it], 1);
    if (states > MOST_STATES) return best(priced(structures, known), POINTS);
    for (const [state, front] of fronts) {
      const kept = state === '' ? [] : state.split(' ').map(Number);
      for (const choice of tried) {
        const fraction = (it: number) =>
          it === at ? choice.kept / groups : kept[open.indexOf(it)] / structures[it].groups;
        const more = finished.reduce(
          (sum, { value, of }) => sum + of.reduce((product, it) => product * fraction(it), value),
          0,
        );
        const key = staying.map((it) => (it === at ? choice.kept : kept[open.indexOf(it)])).join(' ');
        const list = next.get(key) ?? [];
        for (const before of front) {
          list.push({
            cost: before.cost + more,
            loss: before.loss + choice.loss,
            kept: choice.kept,
            before,
          });
        }
        next.set(key, list);
      }
    }
    const limit = Math.max(16, Math.floor(POINTS / next.size));
    fronts = new Map(Array.from(next, ([key, list]) => [key, best(list, limit)]));
    open = staying;
  }
  const points = best([...fronts.values()].flat(), POINTS).map((node) => pointOf(node, structures));
  return isCoarse ? best([...points, ...priced(structures, known)], POINTS) : points;
}

/** A term, of structures by their places. */
interface KnownTerm {
  readonly value: number;
  readonly of: readonly number[];
}

/** Points on the way from the smallest model to the dense one, as cost becomes cheaper. */
function priced(structures: readonly Choices[], terms: readonly KnownTerm[]): Point[] {
  const chosen = structures.map(({ choices }) => choices[0]);
  const termsOf = structures.map((_, at) => terms.filter(({ of }) => of.includes(at)));
  const fraction = (at: number) => chosen[at].kept / structures[at].groups;
  const productOf = ({ value, of }: KnownTerm, but = -1) =>
    of.reduce((product, at) => (at === but ? product : product * fraction(at)), value);
  /** What the powers of a structure's fraction cost. */
  const powersOf = (at: number) => {
    const powers: number[] = [];
    for (const term of termsOf[at]) {
      const power = term.of.filter((it) => it === at).length;
      powers[power] = (powers[power] ?? 0) + productOf(term, at);
    }
    return powers;
  };
  const point = (): Point => ({
    cost: terms.reduce((sum, term) => sum + productOf(term), 0),
    loss: chosen.reduce((sum, { loss }) => sum + loss, 0),
    sizes: new Map(structures.map(({ name }, at) => [name, chosen[at].kept])),
  });
  const points = [point()];
  const whole = terms.reduce((sum, { value }) => sum + value, 0);
  const mean = points[0].loss / whole;
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

function pointOf({ cost, loss, ...last }: Node, structures: readonly Choices[]): Point {
  const sizes: [string, number][] = [];
  let node: Pick<Node, 'kept' | 'before'> | undefined = last;
  for (const { name } of structures.toReversed()) {
    sizes.push([name, node!.kept]);
    node = node!.before;
  }
  return { cost, loss, sizes: new Map(sizes.reverse()) };
}
