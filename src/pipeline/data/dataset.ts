// Calibration and evaluation data as batches of float32 model inputs, several passes over the same samples.
//
// Every source is read once and kept where that fits KEEP_BYTES; images beyond it are decoded anew on every pass.
// No shuffling: the passes of one run must see the samples in one order.

import { pathOfFile } from '../../checkpoint/index.ts';
import type { FloatTensor } from '../../engine/index.ts';
import { InputError } from '../../errors.ts';
import { expectDims, expectMethods, expectObject, expectObjects, hasMethods, said } from '../../expect.ts';
import { nonFiniteAt } from '../../finite.ts';
import { concatenate, elements } from '../../graph/tensor.ts';
import {
  BYTES,
  COUNT,
  expectNoSlip,
  expectOptions,
  type Kind,
  OBJECT,
  type Options,
  TEXT,
} from '../../options.ts';
import { augmented } from './images/augment.ts';
import type { DecodedImage } from './images/frame.ts';
import { decodeImage } from './images/image.ts';
import { imageShape, ownSize, type Preprocessing, preprocess } from './images/preprocessing.ts';
import { expectArray, formatShape, type NpyArray } from './npy.ts';

/** Consecutive samples of one size. */
export interface Batch {
  /** count × dims of a sample, contiguous; the caller's to keep. */
  inputs: Float32Array;
  count: number;
  /** Of one sample, where not all have the shape of the dataset. */
  dims?: readonly number[];
  /** What other inputs of the model are for these samples, one behind the other on their first axis. */
  others?: Readonly<Record<string, FloatTensor>>;
  /** Present where every sample of the dataset has a label. */
  labels?: Int32Array;
  names: string[];
}

/** Model inputs that can be read any number of times, in the same order. */
export interface Dataset {
  /** For messages: where the samples come from. */
  readonly name?: string;
  readonly size: number;
  /** Of one sample, without the batch; where sizes differ, the largest extent of each axis. */
  readonly shape: number[];
  /** Where sizes differ, the smallest extent of each axis. */
  readonly smallest?: readonly number[];
  /** Of other inputs of the model, by their names: the same of what they are for a sample, the largest extent of each axis. */
  readonly beside?: Readonly<Record<string, readonly number[]>>;
  /** Consecutive samples that are of one image, and that no fit may be measured on while it has seen one of them. Default 1. */
  readonly views?: number;
  /** Of samples that are made of token ids: what these are called in `others`. A language model is measured by them. */
  readonly tokens?: string;
  /** What other inputs of the model are for all samples. */
  readonly constants?: Readonly<Record<string, FloatTensor>>;
  /** Names of the labels 0, 1, 2…, where known. */
  readonly classes?: string[];
  /** The samples in order; the last batch may be smaller. Any number of passes. A run that is aborted (`signal`) waits for none that does not come. */
  batches(batchSize: number): AsyncIterable<Batch>;
  /** Samples at some positions alone, where these are at hand without the others. */
  slice?(range: { readonly first: number; readonly end: number }): Dataset;
}

/** An image file, wherever it is. */
export interface ImageEntry {
  name: string;
  label?: number;
  /** The bytes of the file. */
  read(): Promise<Uint8Array>;
}

/** A file that was picked, or opened, has its name and bytes. */
function entryOf(image: ImageEntry | File): ImageEntry {
  if (!(image instanceof File)) return image;
  return { name: pathOfFile(image), read: async () => new Uint8Array(await image.arrayBuffer()) };
}

/** What is known of a data set beside its samples. */
export type Described = Pick<Dataset, 'name' | 'classes' | 'constants' | 'smallest' | 'beside' | 'views'>;

/** A sample as it is loaded: of the dataset's shape, unless it says its own. */
export interface Loaded {
  readonly data: Float32Array;
  readonly dims?: readonly number[];
  readonly others?: Readonly<Record<string, FloatTensor>>;
}

/** Heights and widths of images. */
export interface ImageExtents {
  readonly smallest: [number, number];
  readonly largest: [number, number];
}

/** The same samples, each loaded once where all of them, of this shape, take at most so many bytes. */
export function loadedOnce(
  load: (i: number) => Promise<Loaded>,
  samples: number,
  shape: readonly number[],
  keepBytes = KEEP_BYTES,
): (i: number) => Promise<Loaded> {
  if (4 * elements(shape) * samples > keepBytes) return load;
  const kept: Loaded[] = [];
  return async (i) => {
    kept[i] ??= await load(i);
    return kept[i];
  };
}

/** Of an image data set. */
export interface DatasetOptions extends Omit<Described, 'smallest' | 'beside'> {
  /** Decoded images are kept if all of them take at most this many bytes. */
  keepBytes?: number;
  /** Between which all images are: each then keeps its own size, in multiples of `Preprocessing.multiple`. */
  extents?: ImageExtents;
}

const LIST: Kind = [Array.isArray, 'a list'];
export const DESCRIBED: Options<Described> = {
  name: TEXT,
  classes: LIST,
  constants: OBJECT,
  smallest: LIST,
  beside: OBJECT,
  views: COUNT,
};
const { smallest: _, beside: __, ...DESCRIBED_IMAGES } = DESCRIBED;
const IMAGE_OPTIONS: Options<DatasetOptions> = { ...DESCRIBED_IMAGES, keepBytes: BYTES, extents: OBJECT };

// 1,700 ImageNet inputs or all of CIFAR-10; a browser tab and a small server can spare it.
const KEEP_BYTES = 2 ** 30;

/** What callers may leave out of a sample, and of what they give of several. */
const SAMPLE = ['label'];
const BATCH = ['inputs', 'count', 'dims', 'others', 'labels', 'names'];
const DATASET = [
  ...[
    'name',
    'size',
    'shape',
    'smallest',
    'beside',
    'views',
    'tokens',
    'constants',
    'classes',
    'batches',
    'slice',
  ],
];

/** @throws {InputError} where it is none, or has a field that is taken for one of a data set */
export function expectDataset(operation: string, name: string, value: unknown): void {
  expectMethods(operation, name, value, 'a data set (such as of imageDataset(…))', 'batches');
  expectNoSlip(`${operation}: "${name}"`, value as object, DATASET);
  const { size, shape } = value as Dataset;
  if (!(Number.isInteger(size) && size >= 0))
    throw new InputError(`${operation}: "size" of "${name}" expected a number of samples, got ${said(size)}`);
  if (!(Array.isArray(shape) && shape.every((dim) => Number.isInteger(dim) && dim > 0)))
    throw new InputError(
      `${operation}: "shape" of "${name}" expected the dims of a sample, got ${said(shape)}`,
    );
}

/** @throws {InputError} where a batch of the caller's own data set is none of samples of its shape */
export function expectBatch(batch: Batch, { name = 'data set', shape, tokens }: Dataset): void {
  const place = `"${name}"`;
  expectObject(place, 'batch', batch);
  expectNoSlip(`${place}: batch`, batch, BATCH);
  const { inputs, count, dims = shape } = batch;
  if (!(inputs instanceof Float32Array))
    throw new InputError(`${place}: "inputs" of a batch expected a Float32Array, got ${said(inputs)}`);
  const expected = count * elements(dims);
  if (!(Number.isInteger(count) && count > 0 && inputs.length === expected))
    throw new InputError(
      `${place}: a batch of ${said(count)} samples expected ${expected} values for shape ${formatShape(dims)}, got ${inputs.length}`,
    );
  if (tokens !== undefined && !batch.others?.[tokens])
    throw new InputError(`${place}: "others" of a batch expected the token ids "${tokens}"`);
}

/** @throws {InputError} naming the value that is NaN or infinite */
export function checkFinite(name: string, input: Float32Array): void {
  const bad = nonFiniteAt(input);
  if (bad >= 0) throw new InputError(`"${name}": value ${bad} of the input is ${input[bad]}`);
}

/** @throws {InputError} naming the data where there are none */
export function expectSamples(count: number, { name }: Described): void {
  if (count === 0) throw new InputError(`${name === undefined ? '' : `"${name}": `}the data set is empty`);
}

/**
 * A dataset of samples that `load` gives by index.
 *
 * @example
 * const zeros = () => ({ data: new Float32Array(784) });
 * const samples = datasetOf([{ name: 'a', label: 0 }], [1, 28, 28], zeros, { name: 'zeros' });
 */
export function datasetOf(
  samples: readonly { name: string; label?: number }[],
  shape: number[],
  load: (i: number) => Loaded | Promise<Loaded>,
  described: Described,
): Dataset {
  expectObjects('datasetOf', 'samples', samples);
  expectDims('datasetOf', 'shape', shape);
  if (typeof load !== 'function')
    throw new InputError(`datasetOf: "load" expected a function, got ${said(load)}`);
  expectOptions('datasetOf', described, DESCRIBED);
  const size = samples.length;
  expectSamples(size, described);
  for (const sample of samples) {
    const { name, label } = sample;
    expectNoSlip(`"${name}"`, sample, SAMPLE);
    if (label === undefined || (Number.isInteger(label) && Math.abs(label) < 2 ** 31)) continue;
    throw new InputError(`"${name}": expected a class number as label, got ${said(label)}`);
  }
  const isLabeled = samples.every(({ label }) => label !== undefined);
  async function* each(): AsyncGenerator<Batch> {
    for (const [i, { name, label }] of samples.entries()) {
      const { data, dims, others } = await load(i);
      yield {
        inputs: data,
        count: 1,
        ...(dims && { dims }),
        ...(others && { others: mapped(others, (tensor) => ({ ...tensor, dims: [1, ...tensor.dims] })) }),
        ...(isLabeled && { labels: Int32Array.of(label!) }),
        names: [name],
      };
    }
  }
  return {
    ...described,
    size,
    shape,
    async *batches(batchSize) {
      if (!(Number.isInteger(batchSize) && batchSize > 0)) {
        throw new InputError(`batch size: expected a whole number above 0, got ${batchSize}`);
      }
      yield* joinSamples(each(), batchSize);
    },
  };
}

export const concatenated = (parts: readonly Float32Array[]) => concatenate(Float32Array, parts);

type Others = NonNullable<Batch['others']>;

function mapped(others: Others, to: (tensor: FloatTensor, name: string) => FloatTensor): Others {
  return Object.fromEntries(Object.entries(others).map(([name, tensor]) => [name, to(tensor, name)]));
}

/** Consecutive items that are of one form, at most so many at a time, as soon as these are there. */
export async function* alike<T>(
  items: AsyncIterable<T>,
  most: number,
  formOf: (item: T) => string,
): AsyncGenerator<T[]> {
  let part: T[] = [];
  let form = '';
  for await (const next of items) {
    const own = formOf(next);
    if (part.length > 0 && own !== form) {
      yield part;
      part = [];
    }
    form = own;
    part.push(next);
    if (part.length < most) continue;
    yield part;
    part = [];
  }
  if (part.length > 0) yield part;
}

/** Batches of consecutive samples that come one by one: of one form, and no more than `batchSize`. */
export async function* joinSamples(samples: AsyncIterable<Batch>, batchSize: number): AsyncGenerator<Batch> {
  for await (const part of alike(samples, batchSize, formOf)) yield joined(part);
}

/** Samples of one form go through a model together. */
function formOf({ dims, others = {} }: Batch): string {
  return JSON.stringify([dims, Object.entries(others).map(([name, tensor]) => [name, tensor.dims])]);
}

/** @param part  batches of one sample */
function joined(part: readonly Batch[]): Batch {
  const [{ dims, labels, others }] = part;
  const join = ({ dims: [, ...rest] }: FloatTensor, name: string) => ({
    dims: [part.length, ...rest],
    data: concatenated(part.map((it) => it.others![name].data)),
  });
  return {
    inputs: concatenated(part.map(({ inputs }) => inputs)),
    count: part.length,
    ...(dims && { dims }),
    ...(others && { others: mapped(others, join) }),
    ...(labels && { labels: Int32Array.from(part, (it) => it.labels![0]) }),
    names: part.flatMap(({ names }) => names),
  };
}

/** Some samples of a batch, by their places in it. */
export function pickRows(batch: Batch, rows: readonly number[]): Batch {
  const pick = (data: Float32Array) => {
    const size = data.length / batch.count;
    return concatenated(rows.map((row) => data.subarray(row * size, (row + 1) * size)));
  };
  const { labels, others } = batch;
  const picked = ({ dims, data }: FloatTensor) => ({
    dims: [rows.length, ...dims.slice(1)],
    data: pick(data),
  });
  return {
    ...batch,
    inputs: pick(batch.inputs),
    count: rows.length,
    ...(labels && { labels: Int32Array.from(rows, (row) => labels[row]) }),
    ...(others && { others: mapped(others, picked) }),
    names: rows.map((row) => batch.names[row]),
  };
}

/**
 * Images, decoded and preprocessed when they are first needed.
 *
 * @param entries  files, or names and what reads the bytes of each, with a label where there is one
 * @param inputShape  the model's, without the batch, as [1, 28, 28]; dimensions that it leaves open are ≤ 0. Where it
 *   leaves the size open and `preprocessing` gives none, every image has its own
 * @throws {InputError} if there are none, or if shape and preprocessing do not go together; while iterating,
 *   {InputError} and {FormatError} that name the image
 *
 * @example
 * const entries = [{ name: 'cat.png', label: 3, read: () => readFile('cat.png') }];
 * const samples = imageDataset(entries, parsePreprocessing({ mean: 0.5, std: 0.5 }), model.input.shape);
 */
export function imageDataset(
  entries: readonly (ImageEntry | File)[],
  preprocessing: Preprocessing,
  inputShape: readonly number[],
  options: DatasetOptions = {},
): Dataset {
  expectObjects('imageDataset', 'entries', entries);
  expectObject('imageDataset', 'preprocessing', preprocessing);
  expectDims('imageDataset', 'inputShape', inputShape);
  expectOptions('imageDataset', options, IMAGE_OPTIONS);
  const { keepBytes, extents, ...described } = options;
  const shapeAt = (size: [number, number]) => imageShape({ ...preprocessing, size }, inputShape);
  const shape = extents ? shapeAt(extents.largest) : imageShape(preprocessing, inputShape);
  const { views = 1 } = described;
  const images = entries.map(entryOf);
  for (const [i, entry] of images.entries()) {
    expectMethods('imageDataset', `entries[${i}]`, entry, 'a name and `read`, which gives the bytes', 'read');
    expectNoSlip(`imageDataset: "entries[${i}]"`, entry, ['name', ...SAMPLE]);
  }
  const samples = images.flatMap((entry) => new Array<ImageEntry>(views).fill(entry));
  let last: { readonly entry: ImageEntry; readonly image: DecodedImage } | undefined;
  const decoded = async (entry: ImageEntry) => {
    if (last?.entry !== entry) last = { entry, image: await decodeImage(await entry.read(), entry.name) };
    return last.image;
  };
  const load = async (i: number) => {
    const image = augmented(await decoded(samples[i]), i % views, i);
    // To the nearest multiples, whatever `resize` says of a common size.
    const own = extents
      ? { ...preprocessing, size: ownSize(image, preprocessing), resize: 'fit' as const }
      : preprocessing;
    const data = preprocess(image, own, inputShape);
    return extents ? { data, dims: imageShape(own, inputShape) } : { data };
  };
  const loaded = loadedOnce(load, samples.length, shape, keepBytes);
  return datasetOf(samples, shape, loaded, { ...described, smallest: extents && shapeAt(extents.smallest) });
}

/**
 * The rows of an array of shape n × input, which are model inputs already: no preprocessing.
 *
 * @param name  the file's, for messages
 * @throws {InputError} if the shape does not fit the model or a value is NaN or infinite
 *
 * @example
 * const samples = npyDataset(decodeNpy(bytes, 'inputs.npy'), model.input.shape, 'inputs.npy');
 */
export function npyDataset(
  array: NpyArray,
  inputShape: readonly number[],
  name: string,
  labels?: ArrayLike<number>,
): Dataset {
  expectArray('npyDataset', array);
  expectDims('npyDataset', 'inputShape', inputShape);
  const { shape, data } = array;
  const sampleShape = shape.slice(1);
  if (!fits(sampleShape, inputShape)) {
    const expected = ['n', ...inputShape.map((dim) => (dim > 0 ? dim : '?'))].join(', ');
    throw new InputError(
      `"${name}": expected an array of shape [${expected}], got ${formatShape(shape)}${layoutHint(shape, inputShape)}`,
    );
  }
  if (data.length === 0) throw new InputError(`"${name}": the array is empty (shape ${formatShape(shape)})`);
  if (labels && labels.length !== shape[0]) {
    throw new InputError(`"${name}": expected ${shape[0]} labels, got ${labels.length}`);
  }
  const length = elements(sampleShape);
  const row = (i: number) => ({ data: data.subarray(i * length, (i + 1) * length) });
  const samples = Array.from({ length: shape[0] }, (_, i) => ({ name: `${name}[${i}]`, label: labels?.[i] }));
  for (let i = 0; i < samples.length; i++) checkFinite(samples[i].name, row(i).data);
  return datasetOf(samples, sampleShape, row, { name });
}

/** Whether a sample has the dims that the model fixes. */
const fits = (dims: readonly number[], inputShape: readonly number[]) =>
  dims.length === inputShape.length && inputShape.every((dim, i) => !(dim > 0) || dim === dims[i]);

/** How NumPy makes of an array `x` what the model takes, where that can be told. */
function layoutHint(shape: readonly number[], inputShape: readonly number[]): string {
  if (fits(shape, inputShape)) return '; where it is one sample, x[None] makes that of it';
  const sample = shape.slice(1);
  const isOpen = inputShape.some((dim) => !(dim > 0));
  if (isOpen || elements(sample) !== elements(inputShape)) return '';
  const left: (number | undefined)[] = [...sample];
  const axes = inputShape.map((dim) => {
    const axis = left.indexOf(dim);
    left[axis] = undefined;
    return axis + 1;
  });
  return sample.length === inputShape.length && !axes.includes(0)
    ? `; its axes are in another order, which x.transpose(${[0, ...axes].join(', ')}) mends`
    : `; where only the shape is another, x.reshape(${[-1, ...inputShape].join(', ')}) mends it`;
}

/** What `iterableDataset` takes: model inputs, with or without a label. */
export type SampleSource = Float32Array | { data: Float32Array; label?: number };

/** @throws {InputError} where nothing comes out of it, one by one */
export function expectSource(operation: string, source: unknown): void {
  if (hasMethods(source, Symbol.asyncIterator)) return;
  if (typeof source === 'string' || !hasMethods(source, Symbol.iterator))
    throw new InputError(
      `${operation}: "source" expected a list or an iterator of samples, got ${said(source)}`,
    );
}

/**
 * Model inputs from the caller's own loader. The source is read to its end at once and copied, as it may be
 * a stream and may reuse its buffer.
 *
 * @param shape  of one sample, without the batch
 * @throws {InputError} if it is empty, or a sample has another length or a NaN or infinite value
 *
 * @example
 * const samples = await iterableDataset([{ data: new Float32Array(784), label: 3 }], [1, 28, 28]);
 */
export async function iterableDataset(
  source: AsyncIterable<SampleSource> | Iterable<SampleSource>,
  shape: readonly number[],
  described: Described = {},
): Promise<Dataset> {
  expectSource('iterableDataset', source);
  expectDims('iterableDataset', 'shape', shape);
  expectOptions('iterableDataset', described, DESCRIBED);
  const samples: { name: string; label?: number; input: Float32Array }[] = [];
  const length = elements(shape);
  for await (const item of source) {
    const { data, label } = item instanceof Float32Array ? { data: item, label: undefined } : Object(item);
    const name = `sample ${samples.length}`;
    if (!(item instanceof Float32Array)) expectNoSlip(`"${name}"`, Object(item), SAMPLE);
    if (!(data instanceof Float32Array))
      throw new InputError(`"${name}": expected a Float32Array, or one as \`data\`, got ${said(item)}`);
    if (data.length !== length) {
      throw new InputError(
        `"${name}": expected ${length} values for shape ${formatShape(shape)}, got ${data.length}`,
      );
    }
    checkFinite(name, data);
    samples.push({ name, label, input: data.slice() });
  }
  return datasetOf(samples, [...shape], (i) => ({ data: samples[i].input }), described);
}

/**
 * The samples of a set at some positions.
 *
 * @example
 * const every4th = selectSamples(samples, (index) => index % 4 === 0);
 */
export function selectSamples(samples: Dataset, select: (index: number) => boolean): Dataset {
  expectDataset('selectSamples', 'samples', samples);
  if (typeof select !== 'function')
    throw new InputError(`selectSamples: "select" expected a function, got ${said(select)}`);
  let size = 0;
  for (let i = 0; i < samples.size; i++) if (select(i)) size++;
  return {
    ...samples,
    size,
    slice: undefined,
    async *batches(batchSize) {
      let [position, left] = [0, size];
      for await (const batch of samples.batches(batchSize)) {
        const chosen = Array.from({ length: batch.count }, (_, i) => i).filter((i) => select(position + i));
        position += batch.count;
        left -= chosen.length;
        if (chosen.length > 0) yield pickRows(batch, chosen);
        if (left === 0) return;
      }
    },
  };
}

/** The same, whose reading ends when the signal is aborted, also where a sample never comes. */
export function abortable(samples: Dataset, signal: AbortSignal | undefined): Dataset {
  if (!signal) return samples;
  const { name, size, shape, smallest, beside, views, tokens, constants, classes } = samples;
  return {
    ...{ name, size, shape, smallest, beside, views, tokens, constants, classes },
    batches: (batchSize) => untilAborted(samples.batches(batchSize), signal),
    slice: samples.slice && ((range) => abortable(samples.slice!(range), signal)),
  };
}

/** @throws the signal's reason, where it is aborted */
async function* untilAborted<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = items[Symbol.asyncIterator]();
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await orAborted(iterator.next(), signal);
      ended = done === true;
      if (ended) return;
      yield value;
    }
  } finally {
    // What waits for a sample that never comes would never return either.
    const returned = ended ? undefined : iterator.return?.();
    if (signal.aborted) returned?.catch(() => {});
    else await returned;
  }
}

async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop!);
  }
}

/** So many of the samples, from all over the set; all where it has no more. */
export function spreadSamples(samples: Dataset, count: number): Dataset {
  if (count >= samples.size) return samples;
  const chosen = new Set(Array.from({ length: count }, (_, i) => Math.floor((i * samples.size) / count)));
  return selectSamples(samples, (index) => chosen.has(index));
}
