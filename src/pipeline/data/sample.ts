// Which files to calibrate with: a seeded draw, even over the classes.

import { InputError } from '../../errors.ts';
import { expectObjects, said } from '../../expect.ts';

/** A file and the index of its class. */
export interface LabeledFile {
  path: string;
  label?: number;
}

/** mulberry32 (Tommy Ettinger, public domain): 32 bits of state, uniform in [0, 1). */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Fisher–Yates, in place. */
export function shuffle<T>(items: T[], random: () => number): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [items[i], items[j]] = [items[j], items[i]];
  }
  return items;
}

/**
 * Indices of n of the items, ascending, the same for the same seed. Round by round one item of every class is
 * drawn, classes in random order, until n are together: counts differ by at most one, save where a class runs out.
 *
 * Items without a label are one class of their own.
 *
 * @throws {InputError} where n is no number of items
 *
 * @example
 * const chosen = drawEvenly([0, 0, 0, 1], 2, 42); // one of each label
 */
export function drawEvenly(labels: readonly (number | undefined)[], n: number, seed: number): number[] {
  const isCount = Number.isInteger(n) || n === Number.POSITIVE_INFINITY;
  if (!(isCount && n >= 0))
    throw new InputError(`drawEvenly: "n" expected a whole number from 0 on, got ${said(n)}`);
  if (n >= labels.length) return labels.map((_, i) => i);
  const random = mulberry32(seed);
  const classes = new Map<number | undefined, number[]>();
  labels.forEach((label, i) => {
    const members = classes.get(label);
    if (members) members.push(i);
    else classes.set(label, [i]);
  });
  let open = [...classes.values()];
  for (const members of open) shuffle(members, random);
  const drawn: number[] = [];
  while (drawn.length < n) {
    for (const members of shuffle(open, random).slice(0, n - drawn.length)) drawn.push(members.pop()!);
    open = open.filter((members) => members.length > 0);
  }
  return drawn.sort((a, b) => a - b);
}

/**
 * The largest or smallest extent of each axis, of sizes of one rank. Two at a time: there are more samples than a call has arguments.
 *
 * @example
 * const largest = extremesOf([[3, 5], [4, 2]], Math.max); // [4, 5]
 */
export function extremesOf(
  sizes: readonly (readonly number[])[],
  extreme: (one: number, other: number) => number,
): number[] {
  const [first] = sizes;
  return sizes.reduce<number[]>(
    (found, size) => found.map((it, axis) => extreme(it, size[axis])),
    [...first],
  );
}

/** By UTF-16 code units, as JavaScript's and Python's plain sort: the same on every machine. */
export const byPath = (a: { path: string }, b: { path: string }) =>
  a.path < b.path ? -1 : a.path > b.path ? 1 : 0;

/**
 * n of the files, even over the labels, in path order, whatever the order they come in; all if n ≥ their number.
 *
 * @example
 * const files = sampleEvenly([{ path: 'a.png', label: 0 }, { path: 'b.png', label: 1 }], 512, 0);
 */
export function sampleEvenly<T extends LabeledFile>(files: readonly T[], n: number, seed: number): T[] {
  expectObjects('sampleEvenly', 'files', files);
  const sorted = [...files].sort(byPath);
  const labels = sorted.map((file) => file.label);
  return drawEvenly(labels, n, seed).map((i) => sorted[i]);
}
