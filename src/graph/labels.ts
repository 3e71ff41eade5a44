// Sets of tied channels while they are found: a union-find over labels.

import type { LinearMap } from './linear.ts';
import type { Edit, LinearRef, Slice } from './structure.ts';

/** A label on one axis of a value: channel c owns `block` consecutive positions from c·block. */
export interface Axis {
  label: Label;
  block: number;
}

export class Label {
  readonly groups: number;
  readonly producers: LinearRef[] = [];
  readonly consumers: LinearMap[] = [];
  readonly slices: Slice[] = [];
  readonly edits: Edit[] = [];
  /** Reasons why the channels must stay. */
  readonly pins: string[] = [];
  /** Additions that tied different producers, as `Add "name"`. */
  readonly shortcuts: string[] = [];
  #parent?: Label;

  constructor(groups: number) {
    this.groups = groups;
  }

  root(): Label {
    let root: Label = this;
    while (root.#parent) root = root.#parent;
    if (this.#parent && this.#parent !== root) this.#parent = root; // path compression
    return root;
  }

  /** Ties two labels of equally many groups. */
  union(other: Label): Label {
    const [a, b] = [this.root(), other.root()];
    if (a === b) return a;
    // The shorter lists move, so that a long residual stream is not copied at every block.
    const [into, from] = a.slices.length < b.slices.length ? [b, a] : [a, b];
    from.#parent = into;
    move(from.producers, into.producers);
    move(from.consumers, into.consumers);
    move(from.slices, into.slices);
    move(from.edits, into.edits);
    move(from.pins, into.pins);
    move(from.shortcuts, into.shortcuts);
    return into;
  }
}

function move<T>(from: T[], into: T[]): void {
  for (const item of from) into.push(item);
  from.length = 0;
}
