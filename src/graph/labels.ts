// Sets of tied channels while they are found: a union-find over labels.
//
// A label may become coarser while the graph is walked: where a reshape splits the d channels of a projection
// into h heads, its groups are heads from then on. What hangs on a label therefore knows the extent of the axis
// it cuts, and not how many positions a channel owns.

import type { LinearMap } from './linear.ts';
import type { Edit, LinearRef, Slice } from './structure.ts';
import { sum } from './tensor.ts';

/**
 * A label on one axis of a value. The axis is `outer` runs of extent / outer positions; in each, group c owns
 * extent / (outer · groups) consecutive positions. Only reshapes that merge a batch into an axis make more than one run.
 */
export interface Axis {
  label: Label;
  extent: number;
  outer: number;
}

/** A slice whose block follows from the extent that the label has on the axis. */
type OpenSlice = Omit<Slice, 'block'> & { extent: number };

type WithoutUnit<T> = T extends unknown ? Omit<T, 'unit'> : never;
export type EditPlace = WithoutUnit<Edit>;

/** An edit whose unit follows from the extent. The node `reader` needs it. */
export interface OpenEdit {
  place: EditPlace;
  extent: number;
  reader: string;
}

export interface Part {
  label: Label;
  share: number;
}

export class Label {
  /** Number of groups; only that of the root counts. */
  groups: number;
  readonly producers: LinearRef[] = [];
  readonly consumers: LinearMap[] = [];
  readonly slices: OpenSlice[] = [];
  readonly edits: OpenEdit[] = [];
  /** Reasons why the channels must stay. */
  readonly pins: string[] = [];
  /** Additions that tied different producers, as `Add "name"`. */
  readonly shortcuts: string[] = [];
  isHead = false;
  #parent?: Label;
  #parts?: readonly Part[];

  constructor(groups: number) {
    this.groups = groups;
  }

  root(): Label {
    let root: Label = this;
    while (root.#parent) root = root.#parent;
    if (this.#parent && this.#parent !== root) this.#parent = root; // path compression
    return root;
  }

  /** Where it was split, its parts in order; undefined where it is whole. */
  get parts(): readonly Part[] | undefined {
    return this.root().#parts;
  }

  /** The roots of all that it consists of. */
  leaves(): Label[] {
    return this.parts?.flatMap(({ label }) => label.leaves()) ?? [this.root()];
  }

  pin(reason: string): void {
    for (const leaf of this.leaves()) leaf.pins.push(reason);
  }

  /** Attention runs on each group apart. */
  markHeads(): void {
    for (const leaf of this.leaves()) leaf.isHead = true;
  }

  /** Makes groups of neighbouring channels, so that their number divides `count`; gives their number. */
  coarsen(count: number): number {
    const root = this.root();
    root.groups = gcd(root.groups, count);
    return root.groups;
  }

  /** Ties two labels, group by group in order; false if their parts are not the same. */
  union(other: Label): boolean {
    const [a, b] = [this.root(), other.root()];
    if (a === b) return true;
    const parts = a.#parts ?? b.#parts;
    if (parts) {
      const shares = parts.map(({ share }) => share);
      const [left, right] = [a.split(shares), b.split(shares)];
      if (!left || !right) return false;
      const tied = left.map(({ label }, i) => label.union(right[i].label)); // all of them, whatever fails
      b.#parent = a;
      return tied.every(Boolean);
    }
    // The shorter lists move, so that a long residual stream is not copied at every block.
    const [into, from] = a.slices.length < b.slices.length ? [b, a] : [a, b];
    from.#parent = into;
    into.groups = gcd(into.groups, from.groups);
    into.isHead ||= from.isHead;
    for (const list of ['producers', 'consumers', 'slices', 'edits', 'pins', 'shortcuts'] as const) {
      for (const item of from[list].splice(0)) (into[list] as unknown[]).push(item);
    }
    return true;
  }

  /**
   * Splits a label into labels of their own, side by side and in proportion to `shares`.
   *
   * @returns undefined if that would split a group, or if it is split elsewhere already
   */
  split(shares: readonly number[]): readonly Part[] | undefined {
    const root = this.root();
    const whole = sum(shares);
    const old = root.#parts;
    if (old) {
      const before = sum(old.map(({ share }) => share));
      const same =
        old.length === shares.length && old.every((p, i) => p.share * whole === shares[i] * before);
      return same ? old : undefined;
    }
    const counts = shares.map((share) => (root.groups * share) / whole);
    if (!counts.every((count) => Number.isInteger(count) && count > 0)) return undefined;
    let from = 0;
    root.#parts = shares.map((share, i) => {
      const label = new Label(counts[i]);
      label.producers.push(...root.producers);
      for (const { node } of root.consumers) label.pins.push(`"${node}" reads it before it is split`);
      label.pins.push(...root.pins);
      label.shortcuts.push(...root.shortcuts);
      const scaled = (extent: number) => (extent * share) / whole;
      for (const slice of root.slices) {
        const offset = slice.offset + (slice.extent * from) / whole;
        label.slices.push({ ...slice, offset, extent: scaled(slice.extent) });
      }
      for (const edit of root.edits) label.edits.push({ ...edit, extent: scaled(edit.extent) });
      from += share;
      return { label, share };
    });
    return root.#parts;
  }
}

/** Splits an axis into axes side by side; undefined where it has several runs or its label cannot be split so. */
export function splitAxis({ label, outer }: Axis, shares: readonly number[]): Axis[] | undefined {
  const parts = outer === 1 ? label.split(shares) : undefined;
  return parts?.map((part, i) => ({ label: part.label, extent: shares[i], outer: 1 }));
}

/** Greatest common divisor of integers; 1 where one is none. */
export function gcd(a: number, b: number): number {
  if (!Number.isInteger(a) || !Number.isInteger(b)) return 1;
  return b === 0 ? Math.abs(a) : gcd(b, a % b);
}
