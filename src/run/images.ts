// Images and audio for a model, out of folders of them, and the labels that their folders or a .csv file give them.

import { InputError } from '../errors.ts';
import { samplesHint } from '../formats.ts';
import {
  audioDataset,
  audioExtents,
  byPath,
  type Dataset,
  type DatasetOptions,
  decodeNpy,
  drawEvenly,
  extremesOf,
  IMAGE_FORMATS,
  type ImageEntry,
  type ImageExtents,
  imageDataset,
  imageSize,
  isWaveform,
  type LabeledFile,
  npyDataset,
  ownSize,
  type Preprocessing,
  sampleEvenly,
} from '../pipeline/index.ts';
import { unloaded } from '../unloaded.ts';
import { AUDIO, CLASS, IMAGE, ONLY_TWO, parseLabels } from './labels.ts';
import type { Listed, Medium } from './listing.ts';
import type { Drawn } from './options.ts';
import { filesOf, isPairs, readPairs } from './pairs.ts';
import { baseName, isFolder, isVisible, type Place } from './place.ts';

/** Which samples are drawn, and what their labels are. */
export interface ImageOptions extends Pick<Drawn, 'labels' | 'samples' | 'seed' | 'augment'> {
  labelOffset?: number;
  preprocessing: Preprocessing;
  /** Options that say something of images or of audio alone. */
  given?: readonly string[];
  /** The model's, without the batch; dimensions that it leaves open are ≤ 0. */
  inputShape: readonly number[];
  /** Told what the user should know and need not mend. */
  onNote?(text: string): void;
  /** Between which all images are, where each keeps its own size. */
  extents?: ImageExtents;
}

const IMAGES: Medium = { name: IMAGE, formats: IMAGE_FORMATS, one: 'image' };
const WAVEFORMS: Medium = { name: AUDIO, formats: 'WAV', one: 'audio file' };

/** What a model's input takes. */
const mediumOf = (inputShape: readonly number[]) => (isWaveform(inputShape) ? WAVEFORMS : IMAGES);

/** Paths relative to the folder, with `/`. Sub-folders that hold samples make all sub-folders classes. */
async function listFiles(folder: Place, { name: ending }: Medium): Promise<Listed> {
  const isSample = (name: string) => isVisible(name) && ending.test(name);
  const top = await folder.list();
  const classes = top.folders.filter(isVisible);
  const direct: LabeledFile[] = top.files.filter(isSample).map((path) => ({ path }));
  const nested: LabeledFile[] = [];
  const others = top.files.filter((file) => isVisible(file) && !isSample(file));
  let dangling = (top.dangling ?? []).filter(isVisible).length;
  const deeper: string[] = [];
  for (const [label, name] of classes.entries()) {
    const { files, folders, dangling: links = [] } = await folder.at(name).list();
    // One by one: a folder has more files than a call has arguments.
    for (const file of files.filter(isVisible)) {
      if (isSample(file)) nested.push({ path: `${name}/${file}`, label });
      else others.push(file);
    }
    for (const below of folders.filter(isVisible)) deeper.push(`${name}/${below}`);
    dangling += links.filter(isVisible).length;
  }
  const files = [...direct, ...nested].sort(byPath);
  return {
    files,
    direct: direct.length,
    classes: nested.length > 0 ? classes : undefined,
    others,
    deeper,
    dangling,
  };
}

/** @throws {InputError} where a folder has none */
async function someIn(folder: Place, medium: Medium): Promise<Listed> {
  const listed = await listFiles(folder, medium);
  const { files, others, deeper } = listed;
  if (files.length > 0) return listed;
  const { path } = folder;
  const below = folder.at((deeper[0] ?? '').split('/')[0]).path;
  throw (await listing()).noSamples({ path, below }, medium, listed, samplesHint(others[0] ?? ''));
}

/** Samples of a folder, or those that pairs name beside them, of which the second may be a class. @returns nothing where a file is something else */
async function listedIn(
  place: Place,
  medium: Medium,
): Promise<{ folder: Place; listed: Listed } | undefined> {
  // What is missing says so when it is listed.
  if ((await place.kind()) !== 'file') return { folder: place, listed: await someIn(place, medium) };
  const pairs = isPairs(place) ? await readPairs(place) : [];
  if (pairs.length === 0) return undefined;
  await filesOf(pairs, place);
  const areClasses = pairs.every(({ target }) => CLASS.test(target));
  const files = pairs.map(({ source, target }) => ({
    path: source,
    ...(areClasses && { label: Number(target) }),
  }));
  return {
    folder: place.parent(),
    listed: { files, direct: files.length, others: [], deeper: [], dangling: 0 },
  };
}

/** Height and width that no image has less or more of, each in the multiples that it will have; nothing, where a file holds none. */
export async function extentsOfImages(
  place: Place,
  preprocessing: Preprocessing,
): Promise<ImageExtents | undefined> {
  const found = await listedIn(place, IMAGES);
  if (!found) return undefined;
  const sizes: [number, number][] = [];
  for (const { path } of found.listed.files) {
    const image = found.folder.at(path);
    sizes.push(ownSize(imageSize(await image.read(), image.path), preprocessing));
  }
  const each = (extreme: (one: number, other: number) => number) =>
    extremesOf(sizes, extreme) as [number, number];
  return { smallest: each(Math.min), largest: each(Math.max) };
}

/** The shapes of the shortest and the longest waveform of audio files; nothing, where a file is of another kind. */
export async function extentsOfAudio(
  place: Place,
  preprocessing: Preprocessing,
  inputShape: readonly number[],
): Promise<{ smallest?: number[]; size: number[] } | undefined> {
  const found = await listedIn(place, WAVEFORMS);
  const files = found
    ? found.listed.files.map(({ path }) => found.folder.at(path))
    : [place].filter(({ path }) => AUDIO.test(path));
  if (files.length === 0) return undefined;
  const entries = files.map((file) => ({ name: file.path, read: () => file.read() }));
  return audioExtents(entries, preprocessing, inputShape);
}

/** Gives every file the label of its row. */
async function labelFiles(folder: Place, { one }: Medium, files: readonly LabeledFile[], csv: Place) {
  const { path } = csv;
  if (await isFolder(csv))
    throw new InputError(`"${path}": is a folder; \`labels\` are a .csv file of lines file,label`);
  const rows = parseLabels(await csv.read(), path);
  return (await listing()).labeledBy(rows, files, { path, folder: folder.path, one, more: ONLY_TWO });
}

/** What is told of options that change nothing in such data. */
function tellIdle(path: string, are: string, given: readonly string[], { onNote }: ImageOptions): void {
  if (given.length > 0)
    onNote?.(`warning: "${path}" ${are}; ${given.map((it) => `\`${it}\``).join(', ')} changed nothing in it`);
}

/** Options that say how audio becomes a waveform; all others of those that are given are of images. */
const OF_AUDIO = ['samplingRate', 'normalize'];

async function openArray(place: Place, options: ImageOptions): Promise<Dataset> {
  const { inputShape, given = [], labels, samples, seed = 0 } = options;
  const { path } = place;
  tellIdle(path, 'holds inputs as they are', given, options);
  if (labels !== undefined)
    throw new InputError(`"${path}": labels go with a folder of images or audio, not with a .npy file`);
  const array = decodeNpy(await place.read(), path);
  const [n = 0, ...dims] = array.shape;
  // Of nothing there can be any number of rows.
  const isEmpty = array.data.length === 0;
  if (samples === undefined || samples >= n || isEmpty) return npyDataset(array, inputShape, path);
  const length = array.data.length / n;
  const data = new Float32Array(samples * length);
  drawEvenly(new Array(n).fill(0), samples, seed).forEach((row, i) => {
    data.set(array.data.subarray(row * length, (row + 1) * length), i * length);
  });
  return npyDataset({ shape: [samples, ...dims], data }, inputShape, path);
}

/** Samples of each image: many more than say anything new of it. */
const MOST_VIEWS = 1000;

/**
 * A folder of images or audio, whichever the model takes, or a .npy file of model inputs.
 *
 * Sub-folders, in sorted order, are the classes 0, 1, 2…, as torchvision's `ImageFolder`; files directly in the
 * folder have no labels. A `labels` file overrides both. Drawn samples are even over the labels.
 *
 * @throws {InputError} of one line that names the file
 */
export async function openDataset(place: Place, options: ImageOptions): Promise<Dataset> {
  const { preprocessing, inputShape, given = [], samples, augment } = options;
  const { path } = place;
  if (augment !== undefined && !(Number.isInteger(augment) && augment > 0 && augment <= MOST_VIEWS))
    throw new InputError(`\`augment\`: expected a whole number from 1 to ${MOST_VIEWS}, got ${augment}`);
  const medium = mediumOf(inputShape);
  if ((await place.kind()) === 'file' && /\.npy$/i.test(path)) return openArray(place, options);
  const { entries, classes } = await openFiles(place, medium, options);
  const idle = given.filter((it) => OF_AUDIO.includes(it) === (medium === IMAGES));
  tellIdle(path, `holds ${medium.one}s`, idle, options);
  const { extents, onNote } = options;
  const described = { name: path, classes, ...(medium === IMAGES && { extents, views: augment }) };
  return filesDataset(entries, preprocessing, inputShape, described, samples, onNote);
}

/** Files as samples of an input, of images or of audio, whichever it takes. */
export async function filesDataset(
  entries: readonly ImageEntry[],
  preprocessing: Preprocessing,
  inputShape: readonly number[],
  described: DatasetOptions,
  windows?: number,
  onNote?: (text: string) => void,
): Promise<Dataset> {
  if (mediumOf(inputShape) === IMAGES) return imageDataset(entries, preprocessing, inputShape, described);
  return audioDataset(entries, preprocessing, inputShape, described, windows, onNote);
}

const listing = () => import('./listing.ts').catch(unloaded('what tells files apart'));

/** The files that are samples, as many as are drawn. */
async function openFiles(place: Place, medium: Medium, options: ImageOptions) {
  const { labels, labelOffset = 0, samples, seed = 0 } = options;
  const { path } = place;
  const { one } = medium;
  const found = await listedIn(place, medium);
  if (!found) {
    if (medium === WAVEFORMS && AUDIO.test(path) && labels === undefined)
      return { entries: [{ name: path, read: () => place.read() }] };
    throw new InputError(
      `"${path}": expected a folder of ${one}s or a .npy file, or arrays by the names of the inputs (.npz, .jsonl)${samplesHint(path)}`,
    );
  }
  const { folder, listed } = found;
  const { files, direct, classes, others, deeper, dangling } = listed;
  const ignored = others.filter(
    (file) => labels === undefined || baseName({ path: file }) !== baseName(labels),
  );
  if (ignored.length + deeper.length + dangling > 0)
    options.onNote?.((await listing()).ignoredText(path, medium, listed, ignored));
  if (labels === undefined && classes && direct > 0) {
    throw new InputError(
      `"${path}": ${one}s both in the folder and in sub-folders; expected one of the two, or labels`,
    );
  }
  const labeled = labels === undefined ? files : await labelFiles(folder, medium, files, labels);
  const drawn = samples === undefined ? labeled : sampleEvenly(labeled, samples, seed);
  const entries = drawn.map(({ path: file, label }) => ({
    name: folder.at(file).path,
    ...(label !== undefined && { label: label + labelOffset }),
    read: () => folder.at(file).read(),
  }));
  // With an offset or a labels file the labels no longer number the sub-folders.
  const numbered = labels === undefined && labelOffset === 0;
  return { entries, classes: numbered ? classes : undefined };
}
