// Samples of several inputs: .npz, JSON lines, folders of either.

import { FormatError, InputError } from '../errors.ts';
import { isObject } from '../expect.ts';
import { decodeUtf8, parseJson } from '../json.ts';
import {
  arraySamples,
  decodeNpy,
  decodeNpz,
  drawEvenly,
  extremesOf,
  type FeedSample,
  jsonSample,
  type ModelInput,
  type NpyArray,
} from '../pipeline/index.ts';
import { linesOf } from './lines.ts';
import { isFolder, isVisible, type Place } from './place.ts';

/** Samples by the names of inputs, wherever they come from. */
export interface Feeds {
  /** So many, or all. */
  draw(count: number | undefined, seed: number): Promise<FeedSample[]>;
  /** Those that say how large samples are. */
  known(): Promise<readonly FeedSample[]>;
}

/**
 * The samples of a path, where it holds arrays by the names of a model's inputs: an .npz file; a folder of them; a folder
 * with a .npy file for each input; lines of JSON objects.
 *
 * @returns nothing where it holds something else
 * @throws {InputError} of one line that names the file
 */
export async function readFeeds(place: Place, input: ModelInput): Promise<FeedSample[] | undefined> {
  if (await isFolder(place)) return folderFeeds(place, input);
  if (/\.npz$/i.test(place.path)) return npzFeeds(place, input);
  if (/\.jsonl$/i.test(place.path)) return lineFeeds(place, input);
  return undefined;
}

/** The same, to be drawn from. */
export async function arrayFeeds(place: Place, input: ModelInput): Promise<Feeds | undefined> {
  const all = await readFeeds(place, input);
  return all && feedsOf(all);
}

export const feedsOf = (all: readonly FeedSample[]): Feeds => ({
  draw: async (count, seed) => drawFeeds(all, count, seed),
  known: async () => all,
});

async function npzFeeds(place: Place, input: ModelInput): Promise<FeedSample[]> {
  const { path } = place;
  return [...arraySamples(await decodeNpz(await place.read(), path), input, path)];
}

async function folderFeeds(folder: Place, input: ModelInput): Promise<FeedSample[] | undefined> {
  const files = (await folder.list()).files.filter(isVisible);
  const packed = files.filter((file) => /\.npz$/i.test(file));
  const samples: FeedSample[][] = [];
  for (const file of packed) samples.push(await npzFeeds(folder.at(file), input));
  if (samples.length > 0) return samples.flat();
  const arrays = new Map<string, NpyArray>();
  for (const file of files.filter((it) => /\.npy$/i.test(it))) {
    const array = folder.at(file);
    arrays.set(file.slice(0, -'.npy'.length), decodeNpy(await array.read(), array.path));
  }
  return arrays.size > 0 ? [...arraySamples(arrays, input, folder.path)] : undefined;
}

/** @returns nothing where the first line is a text */
async function lineFeeds(place: Place, input: ModelInput): Promise<FeedSample[] | undefined> {
  const { path } = place;
  const samples: FeedSample[] = [];
  for (const { value, at, name } of jsonLines(decodeUtf8(await place.read(), `"${path}"`), path)) {
    const isText = 'text' in value || isPair(value);
    if (samples.length === 0 && !(input.name in value) && isText) return undefined;
    samples.push({ ...jsonSample(value, input, at), name });
  }
  return samples;
}

/** Whether an object says what an encoder reads, and what is said of it. */
export const isPair = (value: object): value is { source: unknown; target: unknown } =>
  'source' in value && 'target' in value;

/** An object of a file of JSON lines. */
interface JsonLine {
  readonly value: object;
  /** How messages begin that are about it. */
  readonly at: string;
  /** Of a sample. */
  readonly name: string;
}

/** The objects of a file of JSON lines. @throws {FormatError} naming the line that is none */
export function* jsonLines(text: string, path: string): Generator<JsonLine> {
  for (const { line, number } of linesOf(text, path)) {
    if (line.trim() === '') continue;
    const at = `"${path}" line ${number}`;
    const value = parseJson(line, at);
    if (!isObject(value)) throw new FormatError(`${at}: expected an object`);
    yield { value, at, name: `${path} line ${number}` };
  }
}

/** The largest or smallest extents of an input in the samples; nothing, where it is not there or of several ranks, which the data set will say. */
export function extremeDims(
  samples: readonly FeedSample[],
  name: string,
  extreme: (one: number, other: number) => number,
): number[] | undefined {
  const all = samples.flatMap(({ inputs }) => (inputs[name] ? [inputs[name].dims] : []));
  if (all.length === 0 || all.some(({ length }) => length !== all[0].length)) return undefined;
  return extremesOf(all, extreme);
}

/** Some of the samples, even over their labels. */
export function drawFeeds<T extends Pick<FeedSample, 'label'>>(
  all: readonly T[],
  count: number | undefined,
  seed: number,
): T[] {
  if (count === undefined) return [...all];
  return drawEvenly(
    all.map(({ label }) => label),
    count,
    seed,
  ).map((i) => all[i]);
}

/** @throws {InputError} where labels of a file are asked for, which such data carry themselves */
export function refuseLabels({ path }: Place, labels: Place | undefined): void {
  if (labels !== undefined)
    throw new InputError(
      `"${path}": labels go with a folder of images; put them beside the inputs as "labels"`,
    );
}
