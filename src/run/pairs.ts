// Pairs of what an encoder reads and what is said of it: a sentence and its translation, a recording and its words.

import type { FloatTensor } from '../engine/index.ts';
import { FormatError, InputError } from '../errors.ts';
import { decodeUtf8 } from '../json.ts';
import { decodeNpy, type ModelInput } from '../pipeline/index.ts';
import { named } from '../printable.ts';
import { type Feeds, feedsOf, isPair, jsonLines } from './arrays.ts';
import { CLASS } from './labels.ts';
import { columnsOf } from './lines.ts';
import { isFile, isFolder, isVisible, type Place } from './place.ts';

/** Whether a file of that name may hold pairs. */
export const isPairs = ({ path }: Pick<Place, 'path'>) => /\.(tsv|jsonl)$/i.test(path);

export interface Pair {
  /** A text, or the name of a file beside the pairs. */
  readonly source: string;
  readonly target: string;
  /** For messages. */
  readonly name: string;
}

/** The file of pairs that a path is, or that a folder has beside what they name. */
export async function pairsPlace(place: Place): Promise<Place | undefined> {
  if (!(await isFolder(place))) return isPairs(place) ? place : undefined;
  const found = (await place.list()).files.filter((path) => isVisible(path) && isPairs({ path }));
  return found.length === 1 ? place.at(found[0]) : undefined;
}

/**
 * @param areThey  whether the first object of lines of JSON is to be one
 * @returns none, where it is not
 * @throws {FormatError} naming the line that is no pair
 */
export async function readPairs(place: Place, areThey: (first: object) => boolean = isPair): Promise<Pair[]> {
  const { path } = place;
  const text = decodeUtf8(await place.read(), `"${path}"`);
  const pairs: Pair[] = [];
  if (/\.tsv$/i.test(path)) {
    for (const { columns, name } of columnsOf(text, path))
      pairs.push({ source: columns[0], target: columns[1], name });
    return pairs;
  }
  for (const { value, at, name } of jsonLines(text, path)) {
    if (pairs.length === 0 && !areThey(value)) return pairs;
    const { source, target } = value as { readonly source?: unknown; readonly target?: unknown };
    if (!isText(source) || !isText(target))
      throw new FormatError(
        `${at}: expected what the encoder reads as "source", and what is said of it as "target", got an object with ${named(Object.keys(value)) || 'nothing in it'}`,
      );
    pairs.push({ source, target, name });
  }
  return pairs;
}

const isText = (it: unknown): it is string => typeof it === 'string' && it.trim() !== '';

/** Whether samples are pairs of what an encoder reads and what is said of it, and not of that and its class. */
export async function areOfBoth(place: Place): Promise<boolean> {
  if (!(await isFile(place))) return false;
  const pairs = await readPairs(place);
  return pairs.length > 0 && !pairs.every(({ target }) => CLASS.test(target));
}

/** The files that pairs name, beside them. @throws {InputError} naming the line of one that is not there */
export async function filesOf(pairs: readonly Pair[], place: Place): Promise<Place[]> {
  const folder = place.parent();
  const files = pairs.map(({ source }) => folder.at(source));
  for (const [i, { source, name }] of pairs.entries())
    if (!(await isFile(files[i])))
      throw new InputError(
        `"${name}": there is no file "${source}" beside it, and what the model reads is no text`,
      );
  return files;
}

/** Inputs that files of NumPy hold, where all of them do. */
export async function arraysIn(files: readonly Place[]): Promise<FloatTensor[] | undefined> {
  if (!files.every(({ path }) => /\.npy$/i.test(path))) return undefined;
  const tensors: FloatTensor[] = [];
  for (const file of files) {
    const { shape, data } = decodeNpy(await file.read(), file.path);
    tensors.push({ dims: shape, data });
  }
  return tensors;
}

/** Inputs of an encoder that pairs name as files of NumPy. @returns nothing where a path holds no such pairs */
export async function sourceFeeds(place: Place, { name }: ModelInput): Promise<Feeds | undefined> {
  if (!isPairs(place) || !(await isFile(place))) return undefined;
  const pairs = await readPairs(place);
  if (pairs.length === 0) return undefined;
  const tensors = await arraysIn(await filesOf(pairs, place));
  return (
    tensors && feedsOf(tensors.map((tensor, i) => ({ name: pairs[i].name, inputs: { [name]: tensor } })))
  );
}
