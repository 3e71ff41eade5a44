// Sets of tied channels while they are found: a union-find over labels.
//
// A label may become coarser while the graph is walked: where a reshape splits the d channels of a projection
// into h heads, its groups are heads from then on. What hangs on a label therefore knows the extent of the axis
// it cuts, and not how many positions a channel owns.

import { UnsupportedModelError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { LinearMap, LinearRef } from './linear.ts';
import type { NodeProto } from './onnx_pb.ts';
import { inverse, narrowed, ofGroups, placesOf, type Range, ranks } from './places.ts';
import type { Edit, Norm, Slice } from './structure.ts';
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

/** Rows of a layer's weights that belong to a label, in its order. `extent` counts rows, not channels. */
export interface OpenReader extends Range {
  readonly map: LinearMap;
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

/** A label within another one, and where it lies on an axis. */
export interface Piece extends Range {
  readonly label: Label;
  /** The axis is too short to tell its channels, which are shuffled, from each other. */
  readonly isTorn?: boolean;
}

/** Counts the labels that an analysis goes through: twenty that are each the one before beside itself make a million. */
export class Patience {
  #left = limits.channelPieces;
  /** Whether any label is shuffled: positions are looked at one by one from then on. */
  areShuffled = false;

  /** @throws {UnsupportedModelError} once there were more than `limits.channelPieces` */
  spend(labels = 1): void {
    this.#left -= labels;
    if (this.#left >= 0) return;
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
  /** Where it is not its parts side by side: of so many equal pieces, the i-th is the `#order[i]`-th of these. */
  #order?: readonly number[];

  readonly #patience: Patience;

  constructor(groups: number, patience: Patience) {
    this.groups = groups;
    this.#patience = patience;
  }

  /** Labels side by side, at least one of them, as one; with equal pieces of it in an order, if one is given. */
  static of(parts: readonly Part[], order: readonly number[] = []): Label {
    const [{ label: first }] = parts;
    const isInOrder = order.every((place, at) => place === at);
    if (parts.length === 1 && isInOrder) return first;
    const label = new Label(0, first.#patience);
    label.#setParts(parts, order);
    return label;
  }

  #setParts(parts: readonly Part[], order: readonly number[]): void {
    this.#parts = parts;
    if (order.every((place, at) => place === at)) return;
    this.#order = order;
    this.#patience.areShuffled = true;
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
      const { places, isTorn } = label.#turned(piece);
      let at = 0;
      for (const part of parts) {
        const extent = (piece.extent * part.share) / whole;
        const own = places?.slice(at, at + extent);
        const offset = own?.[0] ?? piece.offset + at;
        inner.push({ label: part.label, offset, extent, ...(own && { places: own }), isTorn });
        at += extent;
      }
      for (const it of inner.reverse()) open.push(it);
    }
  }

  /** Where a piece that it is has its parts. */
  #turned(piece: Piece): Pick<Piece, 'places' | 'isTorn'> {
    const order = this.#order;
    if (!order || piece.isTorn) return piece;
    const width = piece.extent / order.length;
    if (!Number.isInteger(width)) return { isTorn: true };
    const own = placesOf(piece);
    this.#patience.spend(own.length);
    return { places: ofGroups(own, inverse(order), order.length) };
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

  /** Makes groups of neighbouring channels, so that their number divides `count`; gives their number, 1 where they are shuffled. */
  coarsen(count: number): number {
    let groups = 0;
    if (this.isTorn(count)) return 1;
    for (const { label, extent } of this.pieces(count)) {
      label.groups = gcd(label.groups, extent);
      groups += label.groups;
    }
    return groups;
  }

  /** Whether an axis of this extent is too short to tell shuffled channels from each other. */
  isTorn(extent: number): boolean {
    if (!this.#patience.areShuffled) return false;
    for (const { isTorn } of this.pieces(extent)) if (isTorn) return true;
    return false;
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
    if (parts && a.#patience.areShuffled) {
      const matched = matches(a, b);
      if (!matched) return false;
      b.#parent = a;
      append(pairs, matched);
      return true;
    }
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
    if (this.#patience.areShuffled) return this.#sorted(shares);
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

  /** As `split`, position by position: shares count them. */
  #sorted(shares: readonly number[]): readonly Part[] | undefined {
    this.#patience.spend(sum(shares));
    const owners = shares.flatMap((share, of) => new Array<number>(share).fill(of));
    const owned = shares.map((): Located[] => []);
    for (const piece of located(this, owners.length)) {
      const parts = piece?.label.distribute(piece.places, owners);
      if (!parts) return undefined;
      for (const part of parts) owned[part.owner].push(part);
    }
    return owned.map((list, of) => {
      if (list.length === 0) return { label: new Label(0, this.#patience), share: 0 };
      const parts = list.map(({ label, places }) => ({ label, share: places.length }));
      const order = inverse(ranks(list.flatMap(({ places }) => places)));
      return { label: Label.of(parts, order), share: shares[of] };
    });
  }

  /**
   * Splits a label that is whole by who owns the places where it lies.
   *
   * @param by  for each place, what groups are put in order by; left out: theirs
   * @returns undefined if that would split a group
   */
  distribute(
    places: readonly number[],
    owners: readonly number[],
    by?: readonly number[],
  ): (Located & { owner: number })[] | undefined {
    this.#patience.spend();
    const root = this.root();
    const owner = owners[places[0]];
    const isSorted = !by || places.every((place, i) => i === 0 || by[places[i - 1]] < by[place]);
    if (isSorted && places.every((place) => owners[place] === owner)) return [{ label: root, places, owner }];
    const width = places.length / root.groups;
    const items: Range[] = [root.consumers, root.slices, root.norms].flat();
    const isEven = [places.length, ...items.map(({ extent }) => extent)].every(
      (it) => it % root.groups === 0,
    );
    if (root.#parts || !isEven) return undefined;
    const groups = new Map<number, number[]>();
    for (let group = 0; group < root.groups; group++) {
      const own = places.slice(group * width, (group + 1) * width).map((place) => owners[place]);
      if (own.some((it) => it !== own[0])) return undefined;
      const list = groups.get(own[0]);
      if (list) list.push(group);
      else groups.set(own[0], [group]);
    }
    if (by)
      for (const list of groups.values()) list.sort((a, b) => by[places[a * width]] - by[places[b * width]]);
    const found = [...groups].map(([owner, list]) => {
      const own = <T extends Range>(item: T) => narrowed(item, ofGroups(placesOf(item), list, root.groups));
      const label = root.#own(list.length, own);
      return { owner, label, share: list.length, places: ofGroups(places, list, root.groups) };
    });
    root.#setParts(found, inverse([...groups.values()].flat()));
    return found;
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
      const start = from;
      from += share;
      const shifted = <T extends Range>(item: T): T => {
        const offset = item.offset + (item.extent * start) / whole;
        return { ...item, offset, extent: (item.extent * share) / whole };
      };
      return { label: this.#own(counts[i], shifted), share };
    });
  }

  /** A label of some of its groups. @param own  what these have of a range */
  #own(groups: number, own: <T extends Range>(item: T) => T): Label {
    const label = new Label(groups, this.#patience);
    append(label.producers, this.producers);
    append(label.pins, this.pins);
    append(label.sums, this.sums);
    append(label.consumers, this.consumers.map(own));
    append(label.slices, this.slices.map(own));
    append(label.norms, this.norms.map(own));
    for (const edit of this.edits) {
      label.edits.push({ ...edit, extent: (edit.extent * groups) / this.groups });
    }
    return label;
  }
}

/** A label that is whole, and where each of its positions is. */
interface Located {
  readonly label: Label;
  readonly places: readonly number[];
}

/** What a label consists of; undefined for what cannot be told apart. */
function* located(label: Label, extent: number): Generator<Located | undefined> {
  for (const piece of label.pieces(extent)) {
    const isWhole = !piece.isTorn && Number.isInteger(piece.extent) && Number.isInteger(piece.offset);
    yield isWhole ? { label: piece.label, places: placesOf(piece) } : undefined;
  }
}

/** Labels in the same places and the same order, into which two are split; undefined where they cannot be. */
function matches(a: Label, b: Label): [Label, Label][] | undefined {
  const extent = Math.max(
    ...[a, b].flatMap((it) => [it.parts ?? [], it.leaves()].map((list) => sum(list.map(sizeOf)))),
  );
  const [left, right] = [a, b].map((it) => [...located(it, extent)]);
  if (![...left, ...right].every((piece) => piece !== undefined)) return undefined;
  const all = [left, right] as Located[][];
  const owners = all.map((list) => {
    const owner: number[] = [];
    for (const [of, { places }] of list.entries()) for (const place of places) owner[place] = of;
    return owner;
  });
  const by: number[] = [];
  for (const { places } of all[0]) for (const [at, place] of places.entries()) by[place] = at;
  const fixed = new Set(all[0].map(({ label }) => label)); // the order of what is tied to itself cannot change
  const ours = all[0].map(({ label, places }) => label.distribute(places, owners[1]));
  const theirs = all[1].map(({ label, places }) =>
    label.distribute(places, owners[0], fixed.has(label) ? undefined : by),
  );
  if (ours.includes(undefined) || theirs.includes(undefined)) return undefined;
  const found = new Map<string, Located>();
  for (const [of, parts] of theirs.entries()) {
    for (const part of parts!) found.set(`${part.owner} ${of}`, part);
  }
  const pairs: [Label, Label][] = [];
  for (const [of, parts] of ours.entries()) {
    for (const { owner, label, places } of parts!) {
      const other = found.get(`${of} ${owner}`);
      if (!other || String(other.places) !== String(places)) return undefined;
      pairs.push([label, other.label]);
    }
  }
  return pairs;
}

const sizeOf = (it: Part | Label) => (it instanceof Label ? it.groups : it.share);

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
