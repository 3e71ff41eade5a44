// Every size of a model against the least loss that it can have, where losses of structures add up: dynamic programming
// over structures, exact where no limit below is met.
//
// A size is a sum of terms, each a product of what some structures keep. A term is known when the last of its structures
// is decided, so what must be told apart on the way are only the sizes of structures that stand in unfinished terms: in a
// network without branches the one before. For each of those states a front is kept, of cost and loss.

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
/** Combinations of sizes that are told apart. */
const STATES = 2 ** 10;

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
  structures.forEach(({ groups, choices }, at) => {
    const finished = known.filter(({ of }) => of.length > 0 && Math.max(...of) === at);
    const staying = [...open, at].filter((it) =>
      known.some(({ of }) => of.includes(it) && Math.max(...of) > at),
    );
    const next = new Map<string, Node[]>();
    // Fewer choices where sizes of several structures must be told apart.
    const most = Math.max(2, Math.floor(STATES ** (1 / (open.length + 1))));
    const tried = evenly([...choices], most);
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
  });
  return best([...fronts.values()].flat(), POINTS).map((node) => pointOf(node, structures));
}

/** Those that no other beats, and of these at most `limit`, at even distances of cost. */
function best(nodes: Node[], limit: number): Node[] {
  nodes.sort((a, b) => a.cost - b.cost || a.loss - b.loss);
  const front: Node[] = [];
  for (const node of nodes)
    if (front.length === 0 || node.loss < front[front.length - 1].loss) front.push(node);
  if (front.length <= limit) return front;
  const [first, last] = [front[0].cost, front[front.length - 1].cost];
  const chosen = new Map<number, Node>();
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
