// Positions of an axis that need not be one behind the other.

/** So many from `offset` on, or `places`, of which the first is `offset`. */
export interface Range {
  readonly offset: number;
  readonly extent: number;
  readonly places?: readonly number[];
}

export function placesOf({ offset, extent, places }: Range): readonly number[] {
  return places ?? Array.from({ length: extent }, (_, i) => offset + i);
}

/** Those of some of so many equal groups. */
export function ofGroups(places: readonly number[], list: readonly number[], groups: number): number[] {
  const width = places.length / groups;
  return list.flatMap((group) => places.slice(group * width, (group + 1) * width));
}

/** A range with other places. */
export function narrowed<T extends Range>(range: T, places: readonly number[]): T {
  const [offset = range.offset] = places;
  const { places: _, ...rest } = range;
  const isRun = places.every((place, i) => place === offset + i);
  return { ...rest, offset, extent: places.length, ...(!isRun && { places }) } as T;
}

export function shifted<T extends Range>(range: T, by: number): T {
  const { offset, places } = range;
  return { ...range, offset: offset + by, ...(places && { places: places.map((place) => place + by) }) };
}

/** The permutation that undoes one. */
export function inverse(order: readonly number[]): number[] {
  const back = new Array<number>(order.length);
  for (const [at, place] of order.entries()) back[place] = at;
  return back;
}

/** Where each of some different places is among them in ascending order. */
export function ranks(places: readonly number[]): number[] {
  const at = new Map([...places].sort((a, b) => a - b).map((place, i) => [place, i]));
  return places.map((place) => at.get(place)!);
}
