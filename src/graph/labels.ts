// Sets of tied channels while they are found: a union-find over labels.
//
// A label may become coarser while the graph is walked: where a reshape splits the d channels of a projection
// into h heads, its groups are heads from then on. What hangs on a label therefore knows the extent of the axis
// it cuts, and not how many positions a channel owns.

import { UnsupportedModelError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { LinearMap } from './linear.ts';
import type { NodeProto } from './onnx_pb.ts';
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
  /** Whether a Reshape put it behind a slower axis, perhaps the batch: then there may be more runs in other runs of the model. */
  isMerged?: boolean;
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
  readonly label: Label;
  readonly share: number;
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
const LISTS = ['producers', 'consumers', 'slices', 'edits', 'norms', 'pins', 'sums'] as const;

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
  /** Additions that tied channels of different layers. */
  readonly sums: NodeProto[] = [];
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
    let groups = 0;
    for (const { label, extent } of this.pieces(count)) {
      label.groups = gcd(label.groups, extent);
      groups += label.groups;
    }
    return groups;
  }

  /** Ties two labels, group by group in order; false if their parts are not the same. */
  union(other: Label): boolean {
    const pairs: [Label, Label][] = [[this, other]];
    let isTied = true; // all that can be, whatever fails
    for (let pair = pairs.pop(); pair; pair = pairs.pop()) isTied = Label.#tie(...pair, pairs) && isTied;
    return isTied;
  }

  /** @param pairs  takes the parts, where there are any, that are to be tied then */
  static #tie(one: Label, other: Label, pairs: [Label, Label][]): boolean {
    const [a, b] = [one.root(), other.root()];
    if (a === b) return true;
    const parts = a.#parts ?? b.#parts;
    if (parts) {
      if (a.#holds(b) || b.#holds(a)) return false;
      const shares = parts.map(({ share }) => share);
      const [left, right] = [a.split(shares), b.split(shares)];
      if (!left || !right) return false;
      b.#parent = a;
      for (let i = left.length - 1; i >= 0; i--) pairs.push([left[i].label, right[i].label]);
      return true;
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
    const row = new Row(parts, sum(shares));
    const result: Part[] = [];
    for (const share of shares) {
      const own = row.take(share);
      if (!own) return undefined;
      result.push({ label: own.length > 0 ? Label.of(own) : new Label(0, this.#patience), share });
    }
    return result;
  }

  /** Its parts, in two where it is whole so far; undefined if that would split a group. */
  halves(left: number, right: number): readonly Part[] | undefined {
    const root = this.root();
    this.#patience.spend();
    root.#parts ??= root.#divided([left, right]);
    return root.#parts;
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
      append(label.sums, this.sums);
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

/** Labels side by side, taken from the left. Shares are integers of one unit, which becomes finer where need be. */
class Row {
  /** The first is the last. */
  #left: Part[];
  /** Of what `take` is asked for. */
  #unit: number;

  /** @param whole  of what will be taken */
  constructor(parts: readonly Part[], whole: number) {
    const before = sum(parts.map(({ share }) => share));
    const common = gcd(whole, before);
    this.#left = scaled(parts, whole / common).reverse();
    this.#unit = before / common;
  }

  /** @returns undefined if that would split a group */
  take(share: number): Part[] | undefined {
    let own: Part[] = [];
    for (let missing = share * this.#unit; missing > 0; ) {
      const next = this.#left.pop();
      if (!next || !Number.isSafeInteger(missing)) return undefined; // of a malformed file
      if (next.share <= missing) {
        missing -= next.share;
        own.push(next);
        continue;
      }
      const inner = next.label.halves(missing, next.share - missing);
      if (!inner) return undefined;
      // Files nest them deeper than a stack goes: they are taken in its place.
      const whole = sum(inner.map(({ share }) => share));
      const finer = whole / gcd(whole, next.share);
      if (finer > 1) {
        own = scaled(own, finer);
        this.#left = scaled(this.#left, finer);
        this.#unit *= finer;
        missing *= finer;
      }
      for (const part of scaled(inner, (next.share * finer) / whole).reverse()) this.#left.push(part);
    }
    return own;
  }
}

const scaled = (parts: readonly Part[], by: number): Part[] =>
  parts.map(({ label, share }) => ({ label, share: share * by }));

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
