// Sets of tied channels while they are found: a union-find over labels.
//
// A label may become coarser while the graph is walked: where a reshape splits the d channels of a projection
// into h heads, its groups are heads from then on. What hangs on a label therefore knows the extent of the axis
// it cuts, and not how many positions a channel owns.

import { UnsupportedModelError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { LinearMap } from './linear.ts';
import type { Edit, LinearRef, Norm, Slice } from './structure.ts';
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

/** Rows of a layer's weights that belong to a label. The first is `offset`; `extent` counts rows, not channels. */
export interface OpenReader {
  readonly map: LinearMap;
  readonly offset: number;
  readonly extent: number;
}

/** A slice whose block follows from the extent that the label has on the axis. */
type OpenSlice = Omit<Slice, 'block'> & { extent: number };

/** A norm whose block follows from the extent. */
type OpenNorm = Omit<Norm, 'block'> & { extent: number };

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

/** A label within another one, and where: `extent` positions of an axis, from `offset` on. */
export interface Piece {
  readonly label: Label;
  readonly offset: number;
  readonly extent: number;
}

/** Counts the labels that an analysis goes through: twenty that are each the one before beside itself make a million. */
export class Patience {
  #left = limits.channelPieces;

  /** @throws {UnsupportedModelError} once there were more than `limits.channelPieces` */
  spend(): void {
    if (--this.#left >= 0) return;
    throw new UnsupportedModelError(
      `channels are put together and taken apart more than ${limits.channelPieces} times (limits.channelPieces)`,
    );
  }
}

/** What moves to the other label when two become one. */
const LISTS = ['producers', 'consumers', 'slices', 'edits', 'norms', 'pins', 'shortcuts'] as const;

export class Label {
  /** Number of groups; only that of the root counts. */
  groups: number;
  readonly producers: LinearRef[] = [];
  readonly consumers: OpenReader[] = [];
  readonly slices: OpenSlice[] = [];
  readonly edits: OpenEdit[] = [];
  readonly norms: OpenNorm[] = [];
  /** Reasons why the channels must stay. */
  readonly pins: string[] = [];
  /** Additions that tied different producers, as `Add "name"`. */
  readonly shortcuts: string[] = [];
  isHead = false;
  #parent?: Label;
  #parts?: readonly Part[];

  readonly #patience: Patience;

  constructor(groups: number, patience: Patience) {
    this.groups = groups;
    this.#patience = patience;
  }

  /** Labels side by side, at least one of them, as one. */
  static of(parts: readonly Part[]): Label {
    const [{ label: first }] = parts;
    if (parts.length === 1) return first;
    const label = new Label(0, first.#patience);
    label.#parts = parts;
    return label;
  }

  root(): Label {
    let root: Label = this;
    while (root.#parent) root = root.#parent;
    if (this.#parent && this.#parent !== root) this.#parent = root; // path compression
    return root;
  }

  /** What it consists of, in order, where it was split or put together; undefined where it is whole. */
  get parts(): readonly Part[] | undefined {
    return this.root().#parts;
  }

  /** It and all that it consists of, in order, on an axis of this extent. Files nest them deeper than a stack goes. */
  *#within(extent: number): Generator<Piece & { isWhole: boolean }> {
    const open: Piece[] = [{ label: this, offset: 0, extent }];
    for (let piece = open.pop(); piece; piece = open.pop()) {
      this.#patience.spend();
      const label = piece.label.root();
      const parts = label.#parts;
      yield { ...piece, label, isWhole: parts === undefined };
      if (!parts) continue;
      const whole = sum(parts.map(({ share }) => share));
      const inner: Piece[] = [];
      let { offset } = piece;
      for (const part of parts) {
        const own = (piece.extent * part.share) / whole;
        inner.push({ label: part.label, offset, extent: own });
        offset += own;
      }
      for (const it of inner.reverse()) open.push(it);
    }
  }

  /** The roots of all that it consists of, and where they lie on an axis of this extent. */
  *pieces(extent: number): Generator<Piece> {
    if (!this.parts) yield { label: this.root(), offset: 0, extent };
    else for (const piece of this.#within(extent)) if (piece.isWhole) yield piece;
  }

  /** The roots of all that it consists of. */
  leaves(): Label[] {
    return this.parts ? Array.from(this.pieces(1), ({ label }) => label) : [this.root()];
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
    if (root.#parts) {
      const whole = sum(root.#parts.map(({ share }) => share));
      return sum(root.#parts.map(({ label, share }) => label.coarsen((count * share) / whole)));
    }
    root.groups = gcd(root.groups, count);
    return root.groups;
  }

  /** Ties two labels, group by group in order; false if their parts are not the same. */
  union(other: Label): boolean {
    const [a, b] = [this.root(), other.root()];
    if (a === b) return true;
    const parts = a.#parts ?? b.#parts;
    if (parts) {
      if (a.#holds(b) || b.#holds(a)) return false;
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
    for (const list of LISTS) {
      append(into[list] as unknown[], from[list].splice(0));
    }
    return true;
  }

  #holds(other: Label): boolean {
    for (const { label } of this.#within(1)) if (label === other) return true;
    return false;
  }

  /**
   * Splits a label into labels of their own, side by side and in proportion to `shares`, 0 for one without channels. Where
   * it is split already, parts are split further or put together.
   *
   * @returns undefined if that would split a group
   */
  split(shares: readonly number[]): readonly Part[] | undefined {
    const root = this.root();
    if (!shares.every((share) => Number.isInteger(share) && share >= 0)) return undefined; // of a malformed file
    const own = shares.filter((share) => share > 0);
    if (own.length > 1) root.#parts ??= root.#divided(own);
    const parts = root.#parts ?? (own.length === 1 ? [{ label: root, share: own[0] }] : undefined);
    if (!parts) return undefined;
    // shares of both in one unit, so that integers stay integers
    const [whole, before] = [sum(shares), sum(parts.map(({ share }) => share))];
    const left = parts.map(({ label, share }) => ({ label, share: share * whole }));
    const result: Part[] = [];
    for (const share of shares) {
      const own: Part[] = [];
      for (let missing = share * before; missing > 0; ) {
        const next = left[0];
        if (next.share > missing) {
          const halves = next.label.split([missing, next.share - missing]);
          if (!halves) return undefined;
          left.splice(
            0,
            1,
            ...halves.map(({ label }, i) => ({ label, share: [missing, next.share - missing][i] })),
          );
        }
        const [piece] = left.splice(0, 1);
        missing -= piece.share;
        own.push(piece);
      }
      const label = own.length > 0 ? Label.of(own) : new Label(0, this.#patience);
      result.push({ label, share });
    }
    return result;
  }

  #divided(shares: readonly number[]): readonly Part[] | undefined {
    const whole = sum(shares);
    const counts = shares.map((share) => (this.groups * share) / whole);
    if (!counts.every(Number.isInteger)) return undefined;
    let from = 0;
    return shares.map((share, i) => {
      const label = new Label(counts[i], this.#patience);
      append(label.producers, this.producers);
      append(label.pins, this.pins);
      append(label.shortcuts, this.shortcuts);
      const scaled = (extent: number) => (extent * share) / whole;
      const shifted = <T extends { offset: number; extent: number }>(item: T): T => {
        const offset = item.offset + (item.extent * from) / whole;
        return { ...item, offset, extent: scaled(item.extent) };
      };
      append(label.consumers, this.consumers.map(shifted));
      append(label.slices, this.slices.map(shifted));
      append(label.norms, this.norms.map(shifted));
      for (const edit of this.edits) label.edits.push({ ...edit, extent: scaled(edit.extent) });
      from += share;
      return { label, share };
    });
  }
}

/** As arguments of `push`, some hundred thousand are too many. */
function append<T>(list: T[], more: readonly T[]): void {
  for (const item of more) list.push(item);
}

/** Splits an axis into axes side by side, some of which may be empty; undefined where it has several runs or its label cannot be split so. */
export function splitAxis({ label, outer }: Axis, shares: readonly number[]): Axis[] | undefined {
  const parts = outer === 1 ? label.split(shares) : undefined;
  return parts?.map((part, i) => ({ label: part.label, extent: shares[i], outer: 1 }));
}

/** Greatest common divisor of integers; 1 where one is none. */
export function gcd(a: number, b: number): number {
  if (!Number.isInteger(a) || !Number.isInteger(b)) return 1;
  return b === 0 ? Math.abs(a) : gcd(b, a % b);
}
