// Images for a model, out of folders of them, and the labels that their folders or a .csv file give them.

import { InputError } from '../errors.ts';
import { samplesHint } from '../formats.ts';
import {
  byPath,
  type Dataset,
  decodeNpy,
  drawEvenly,
  extremesOf,
  IMAGE_FORMATS,
  type ImageExtents,
  imageDataset,
  imageSize,
  type LabeledFile,
  npyDataset,
  ownSize,
  type Preprocessing,
  sampleEvenly,
} from '../pipeline/index.ts';
import { counted } from '../printable.ts';
import { IMAGE, ONLY_TWO, parseLabels } from './labels.ts';
import type { Drawn } from './options.ts';
import { baseName, isFolder, isVisible, type Place } from './place.ts';

/** Which samples are drawn, and what their labels are. */
export interface ImageOptions extends Pick<Drawn, 'labels' | 'samples' | 'seed' | 'augment'> {
  labelOffset?: number;
  preprocessing: Preprocessing;
  /** Options that say something of images alone. */
  given?: readonly string[];
  /** The model's, without the batch; dimensions that it leaves open are ≤ 0. */
  inputShape: readonly number[];
  /** Told what the user should know and need not mend. */
  onNote?(text: string): void;
  /** Between which all images are, where each keeps its own size. */
  extents?: ImageExtents;
}

const isImage = (name: string) => isVisible(name) && IMAGE.test(name);

/** Paths relative to the folder, with `/`. Sub-folders that hold images make all sub-folders classes. */
async function listImages(folder: Place) {
  const top = await folder.list();
  const classes = top.folders.filter(isVisible);
  const direct: LabeledFile[] = top.files.filter(isImage).map((path) => ({ path }));
  const nested: LabeledFile[] = [];
  const others = top.files.filter((file) => isVisible(file) && !isImage(file));
  let dangling = (top.dangling ?? []).filter(isVisible).length;
  const deeper: string[] = [];
  for (const [label, name] of classes.entries()) {
    const { files, folders, dangling: links = [] } = await folder.at(name).list();
    // One by one: a folder has more files than a call has arguments.
    for (const file of files.filter(isVisible)) {
      if (isImage(file)) nested.push({ path: `${name}/${file}`, label });
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

/** How many files of each kind, as `4 .webp, 1 .txt`, the most first. */
function kindsOf(files: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const file of files) {
    const kind = /[^/]\.[^./]+$/.test(file)
      ? file.slice(file.lastIndexOf('.')).toLowerCase()
      : 'without an ending';
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  const rest = sorted.length > MOST_KINDS ? [`${sorted.length - MOST_KINDS} other kinds`] : [];
  return [...sorted.slice(0, MOST_KINDS).map(([kind, n]) => `${n} ${kind}`), ...rest].join(', ');
}
const MOST_KINDS = 4;

/** Height and width that no image of a folder has less or more of, each in the multiples that it will have. */
export async function extentsOfImages(
  folder: Place,
  preprocessing: Preprocessing,
): Promise<ImageExtents | undefined> {
  if (!(await isFolder(folder))) return undefined;
  const { files } = await listImages(folder);
  const sizes: [number, number][] = [];
  for (const { path } of files) {
    const image = folder.at(path);
    sizes.push(ownSize(imageSize(await image.read(), image.path), preprocessing));
  }
  if (sizes.length === 0) return undefined;
  const each = (extreme: (one: number, other: number) => number) =>
    extremesOf(sizes, extreme) as [number, number];
  return { smallest: each(Math.min), largest: each(Math.max) };
}

type Listed = Awaited<ReturnType<typeof listImages>>;

const linksText = (dangling: number) => `${counted(dangling, 'link')} to what is not there`;

/** Of kinds that are not read. */
const PICTURE = /\.(gif|bmp|tiff?|hei[cf]|jp2|jxl|p[bgnp]m|svg|dng|nef|cr2)$/i;

/** What a folder without a single image holds instead. */
function noImages(folder: Place, { others, deeper: [below], dangling }: Listed): InputError {
  const hint =
    below !== undefined
      ? `; its sub-folders hold folders: is "${folder.at(below.split('/')[0]).path}" meant?`
      : others.length > 0
        ? `, but ${kindsOf(others)}${others.some((it) => PICTURE.test(it)) ? ': convert them' : samplesHint(others[0])}`
        : dangling > 0
          ? `, but ${linksText(dangling)}`
          : '';
  return new InputError(`"${folder.path}": no ${IMAGE_FORMATS} images in the folder${hint}`);
}

/** Gives every file the label of its row; rows name a file by its path in the folder or by its base name. */
async function labelFiles(folder: Place, files: readonly LabeledFile[], csv: Place): Promise<LabeledFile[]> {
  const labeled: LabeledFile[] = files.map(({ path }) => ({ path }));
  const byName = new Map<string, LabeledFile[]>();
  for (const file of labeled) {
    const names = new Set([file.path, baseName(file)]);
    for (const name of names) {
      const alike = byName.get(name);
      if (alike) alike.push(file);
      else byName.set(name, [file]);
    }
  }
  if (await isFolder(csv))
    throw new InputError(`"${csv.path}": is a folder; \`labels\` are a .csv file of lines file,label`);
  const rows = parseLabels(await csv.read(), csv.path);
  if (rows.length === 0) throw new InputError(`"${csv.path}": expected lines file,label, and there are none`);
  for (const { file: name, label, at } of rows) {
    const found = byName.get(name) ?? [];
    // A file directly in the folder is meant by its name even if a sub-folder has another of that name.
    const file = found.length > 1 ? found.find(({ path }) => path === name) : found[0];
    if (!file) {
      const reason =
        found.length > 1
          ? `"${name}" is in several folders`
          : `there is no image "${name}" in "${folder.path}"${hintFor(name, byName)}`;
      throw new InputError(`${at}: ${reason}`);
    }
    if (file.label !== undefined && file.label !== label) {
      throw new InputError(`${at}: "${name}" has label ${file.label} already, got ${label}`);
    }
    file.label = label;
  }
  const missing = labeled.find(({ label }) => label === undefined);
  if (missing) throw new InputError(`"${csv.path}": no label for "${missing.path}"`);
  return labeled;
}

/** Of a name with folders before it, without its ending, or with another column beside it. */
function hintFor(name: string, byName: ReadonlyMap<string, unknown>): string {
  const columns = name.split(',');
  if (columns.length > 1 && columns.some((it) => byName.has(it))) return `; ${ONLY_TWO}`;
  const last = baseName({ path: name });
  const meant = [...byName.keys()].find((it) => it === last || it.replace(IMAGE, '') === last);
  return meant === undefined ? '' : `; is "${meant}" meant?`;
}

async function openArray(
  place: Place,
  { inputShape, given = [], labels, samples, seed = 0, onNote }: ImageOptions,
): Promise<Dataset> {
  const { path } = place;
  if (given.length > 0)
    onNote?.(
      `warning: "${path}" holds inputs as they are; ${given.map((it) => `\`${it}\``).join(', ')} changed nothing in it`,
    );
  if (labels !== undefined)
    throw new InputError(`"${path}": labels go with a folder of images, not with a .npy file`);
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
 * A folder of images, or a .npy file of model inputs.
 *
 * Sub-folders, in sorted order, are the classes 0, 1, 2…, as torchvision's `ImageFolder`; files directly in the
 * folder have no labels. A `labels` file overrides both. Drawn samples are even over the labels.
 *
 * @throws {InputError} of one line that names the file
 */
export async function openDataset(place: Place, options: ImageOptions): Promise<Dataset> {
  const { preprocessing, inputShape, labels, labelOffset = 0, samples, seed = 0, augment } = options;
  const { path } = place;
  if (augment !== undefined && !(Number.isInteger(augment) && augment > 0 && augment <= MOST_VIEWS))
    throw new InputError(`\`augment\`: expected a whole number from 1 to ${MOST_VIEWS}, got ${augment}`);
  const kind = await place.kind();
  if (kind === 'file' && /\.npy$/i.test(path)) return openArray(place, options);
  if (kind === 'file')
    throw new InputError(
      `"${path}": expected a folder of images or a .npy file, or arrays by the names of the inputs (.npz, .jsonl)${samplesHint(path)}`,
    );

  const listed = await listImages(place);
  const { files, direct, classes, others, deeper, dangling } = listed;
  if (files.length === 0) throw noImages(place, listed);
  const ignored = others.filter(
    (file) => labels === undefined || baseName({ path: file }) !== baseName(labels),
  );
  const skipped = [
    ...(ignored.length > 0 ? [`${counted(ignored.length, 'file')} (${kindsOf(ignored)})`] : []),
    ...(deeper.length > 0 ? [`${counted(deeper.length, 'folder')} within its sub-folders`] : []),
    ...(dangling > 0 ? [linksText(dangling)] : []),
  ];
  if (skipped.length > 0)
    options.onNote?.(
      `"${path}": ignored ${skipped.join(' and ')}; only ${IMAGE_FORMATS} is read (${counted(files.length, 'image')})`,
    );
  if (labels === undefined && classes && direct > 0) {
    throw new InputError(
      `"${path}": images both in the folder and in sub-folders; expected one of the two, or labels`,
    );
  }
  const labeled = labels === undefined ? files : await labelFiles(place, files, labels);
  const drawn = samples === undefined ? labeled : sampleEvenly(labeled, samples, seed);
  const entries = drawn.map(({ path: file, label }) => ({
    name: place.at(file).path,
    ...(label !== undefined && { label: label + labelOffset }),
    read: () => place.at(file).read(),
  }));
  // With an offset or a labels file the labels no longer number the sub-folders.
  const numbered = labels === undefined && labelOffset === 0;
  const described = { name: path, extents: options.extents, views: augment, ...(numbered && { classes }) };
  return imageDataset(entries, preprocessing, inputShape, described);
}
