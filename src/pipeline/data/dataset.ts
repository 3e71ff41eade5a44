// Calibration and evaluation data as batches of float32 model inputs, several passes over the same samples.
//
// Every source is read once and kept where that fits KEEP_BYTES; images beyond it are decoded anew on every pass.
// No shuffling: the passes of one run must see the samples in one order.

import { InputError } from '../../errors.ts';
import { elements } from '../../graph/tensor.ts';
import { decodeImage } from './image.ts';
import { formatShape, type NpyArray } from './npy.ts';
import { imageShape, type Preprocessing, preprocess } from './preprocessing.ts';

/** Consecutive samples. */
export interface Batch {
  /** count × shape, contiguous; the caller's to keep. */
  inputs: Float32Array;
  count: number;
  /** Present where every sample of the dataset has a label. */
  labels?: Int32Array;
  names: string[];
}

/** Model inputs that can be read any number of times, in the same order. */
export interface Dataset {
  /** For messages: where the samples come from. */
  readonly name?: string;
  readonly size: number;
  /** Of one sample, without the batch. */
  readonly shape: number[];
  /** Names of the labels 0, 1, 2…, where known. */
  readonly classes?: string[];
  /** The samples in order; the last batch may be smaller. Any number of passes. */
  batches(batchSize: number): AsyncIterable<Batch>;
}

/** An image file, wherever it is. */
export interface ImageEntry {
  name: string;
  label?: number;
  /** The bytes of the file. */
  read(): Promise<Uint8Array>;
}

/** What is known of a data set beside its samples. */
type Described = Pick<Dataset, 'name' | 'classes'>;

/** Of an image data set. */
export interface DatasetOptions extends Described {
  /** Decoded images are kept if all of them take at most this many bytes. */
  keepBytes?: number;
}

// 1,700 ImageNet inputs or all of CIFAR-10; a browser tab and a small server can spare it.
const KEEP_BYTES = 2 ** 30;

function checkFinite(name: string, input: Float32Array): void {
  for (let i = 0; i < input.length; i++) {
    if (!Number.isFinite(input[i])) throw new InputError(`"${name}": value ${i} of the input is ${input[i]}`);
  }
}

/** A dataset of samples that `load` gives by index. */
function datasetOf(
  samples: readonly { name: string; label?: number }[],
  shape: number[],
  load: (i: number) => Float32Array | Promise<Float32Array>,
  described: Described,
): Dataset {
  const size = samples.length;
  if (size === 0) throw new InputError('the data set is empty');
  for (const { name, label } of samples) {
    if (label === undefined || (Number.isInteger(label) && Math.abs(label) < 2 ** 31)) continue;
    throw new InputError(`"${name}": expected a class number as label, got ${label}`);
  }
  const length = elements(shape);
  const labeled = samples.every(({ label }) => label !== undefined);
  return {
    ...described,
    size,
    shape,
    async *batches(batchSize) {
      if (!(Number.isInteger(batchSize) && batchSize > 0)) {
        throw new InputError(`batch size: expected a whole number above 0, got ${batchSize}`);
      }
      for (let start = 0; start < size; start += batchSize) {
        const part = samples.slice(start, start + batchSize);
        const inputs = new Float32Array(part.length * length);
        for (let i = 0; i < part.length; i++) inputs.set(await load(start + i), i * length);
        yield {
          inputs,
          count: part.length,
          ...(labeled && { labels: Int32Array.from(part, ({ label }) => label!) }),
          names: part.map(({ name }) => name),
        };
      }
    },
  };
}

/**
 * Images, decoded and preprocessed when they are first needed.
 *
 * @param inputShape  the model's, without the batch, as [1, 28, 28]; dimensions that it leaves open are ≤ 0
 * @throws {InputError} if there are none, or if shape and preprocessing do not go together; while iterating,
 *   {InputError} and {FormatError} that name the image
 */
export function imageDataset(
  entries: readonly ImageEntry[],
  preprocessing: Preprocessing,
  inputShape: readonly number[],
  { keepBytes = KEEP_BYTES, ...described }: DatasetOptions = {},
): Dataset {
  const shape = imageShape(preprocessing, inputShape);
  const keep = 4 * elements(shape) * entries.length <= keepBytes;
  const kept: Float32Array[] = [];
  const load = async (i: number) => {
    if (kept[i]) return kept[i];
    const { name, read } = entries[i];
    const input = preprocess(decodeImage(await read(), name), preprocessing, inputShape);
    checkFinite(name, input);
    if (keep) kept[i] = input;
    return input;
  };
  return datasetOf(entries, shape, load, described);
}

/**
 * The rows of an array of shape n × input, which are model inputs already: no preprocessing.
 *
 * @param name  the file's, for messages
 * @throws {InputError} if the shape does not fit the model or a value is NaN or infinite
 */
export function npyDataset(
  { shape, data }: NpyArray,
  inputShape: readonly number[],
  name: string,
  labels?: ArrayLike<number>,
): Dataset {
  const sampleShape = shape.slice(1);
  const fits =
    sampleShape.length === inputShape.length &&
    inputShape.every((dim, i) => !(dim > 0) || dim === sampleShape[i]);
  if (!fits) {
    const expected = ['n', ...inputShape.map((dim) => (dim > 0 ? dim : '?'))].join(', ');
    throw new InputError(`"${name}": expected an array of shape [${expected}], got ${formatShape(shape)}`);
  }
  if (data.length === 0) throw new InputError(`"${name}": the array is empty (shape ${formatShape(shape)})`);
  if (labels && labels.length !== shape[0]) {
    throw new InputError(`"${name}": expected ${shape[0]} labels, got ${labels.length}`);
  }
  const length = elements(sampleShape);
  const row = (i: number) => data.subarray(i * length, (i + 1) * length);
  const samples = Array.from({ length: shape[0] }, (_, i) => ({ name: `${name}[${i}]`, label: labels?.[i] }));
  for (let i = 0; i < samples.length; i++) checkFinite(samples[i].name, row(i));
  return datasetOf(samples, sampleShape, row, { name });
}

/** What `iterableDataset` takes: model inputs, with or without a label. */
export type SampleSource = Float32Array | { data: Float32Array; label?: number };

/**
 * Model inputs from the caller's own loader. The source is read to its end at once and copied, as it may be
 * a stream and may reuse its buffer.
 *
 * @param shape  of one sample, without the batch
 * @throws {InputError} if it is empty, or a sample has another length or a NaN or infinite value
 */
export async function iterableDataset(
  source: AsyncIterable<SampleSource> | Iterable<SampleSource>,
  shape: readonly number[],
  described: Described = {},
): Promise<Dataset> {
  const samples: { name: string; label?: number; input: Float32Array }[] = [];
  const length = elements(shape);
  for await (const item of source) {
    const { data, label } = item instanceof Float32Array ? { data: item, label: undefined } : item;
    const name = `sample ${samples.length}`;
    if (!(data instanceof Float32Array)) throw new TypeError(`"${name}": expected a Float32Array`);
    if (data.length !== length) {
      throw new InputError(
        `"${name}": expected ${length} values for shape ${formatShape(shape)}, got ${data.length}`,
      );
    }
    checkFinite(name, data);
    samples.push({ name, label, input: data.slice() });
  }
  return datasetOf(samples, [...shape], (i) => samples[i].input, described);
}

/** The samples of a set at some positions. */
export function selectSamples(samples: Dataset, select: (index: number) => boolean): Dataset {
  let size = 0;
  for (let i = 0; i < samples.size; i++) if (select(i)) size++;
  const length = elements(samples.shape);
  return {
    ...samples,
    size,
    async *batches(batchSize) {
      let [position, left] = [0, size];
      for await (const { inputs, count, labels, names } of samples.batches(batchSize)) {
        const chosen = Array.from({ length: count }, (_, i) => i).filter((i) => select(position + i));
        position += count;
        left -= chosen.length;
        if (chosen.length > 0) {
          const own = new Float32Array(chosen.length * length);
          chosen.forEach((i, at) => {
            own.set(inputs.subarray(i * length, (i + 1) * length), at * length);
          });
          yield {
            inputs: own,
            count: chosen.length,
            ...(labels && { labels: Int32Array.from(chosen, (i) => labels[i]) }),
            names: chosen.map((i) => names[i]),
          };
        }
        if (left === 0) return;
      }
    },
  };
}
