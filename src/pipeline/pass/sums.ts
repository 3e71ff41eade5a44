// What layers are solved by, and that of several shards as one.

import type { Layer } from '../../solve/index.ts';
import { isTiled, type TiledLayer } from '../../tiles/layers.ts';

/** Of the samples that are fitted to, and of those that are held out; in tiles of all. */
export type Sums = Pick<Layer | TiledLayer, 'fit' | 'heldOut'>;

/** Σ over samples of several shards, added in the order in which they come. */
export function addSums(total: Sums[] | undefined, more: readonly Sums[]): Sums[] {
  if (!total) return [...more];
  return total.map(({ fit, heldOut }, i) => ({
    fit: added(fit, more[i].fit)!,
    heldOut: added(heldOut, more[i].heldOut),
  }));
}

type Statistics = Sums['fit'];

/** The first, in its arrays. */
function added<S extends Statistics>(a: S | undefined, b: S | undefined): S | undefined {
  if (!a || !b) return a ?? b;
  const [to, values] = [arraysOf(a), arraysOf(b)];
  to.forEach((array, at) => {
    for (let i = 0; i < array.length; i++) array[i] += values[at][i];
  });
  return { ...a, n: a.n + b.n };
}

/** What there is to add up. */
function arraysOf(sums: Statistics): Float64Array[] {
  const { sumX, target } = sums;
  const whole = isTiled(sums) ? sums.tiles : [sums.XtX];
  if (!target) return [...whole, sumX];
  return [...whole, sumX, target.sumY, ...('blocks' in target ? target.blocks : [target.XtY])];
}
