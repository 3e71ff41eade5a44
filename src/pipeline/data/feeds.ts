// Samples of several inputs: ids with their masks, images with points, states. What goes along is as long as the sample.

import type { FloatTensor } from '../../engine/index.ts';
import { InputError } from '../../errors.ts';
import { expectObject, said } from '../../expect.ts';
import { elements } from '../../graph/tensor.ts';
import { expectNoSlip, expectOptions } from '../../options.ts';
import { named } from '../../printable.ts';
import {
  expectInput,
  isTokenMask,
  type ModelInput,
  type OtherInput,
  sampleAxis,
  takesTokens,
} from '../open/inputs.ts';
import {
  checkFinite,
  type Dataset,
  DESCRIBED,
  type Described,
  datasetOf,
  expectSamples,
  expectSource,
  type Loaded,
} from './dataset.ts';
import { formatShape, type NpyArray } from './npy.ts';
import { extremesOf } from './sample.ts';

/** What some inputs of a model are for one sample, without the batch; by their names. */
export interface FeedSample {
  readonly inputs: Readonly<Record<string, FloatTensor>>;
  readonly label?: number;
  /** For messages. */
  readonly name?: string;
}

/**
 * Samples of several inputs from the caller's own loader, read to its end at once. Inputs that are left out are made
 * where a convention says how: masks, positions, first states. Padding that a mask tells is cut off where the model
 * leaves the length open.
 *
 * @param input  of the opened model
 * @throws {InputError} naming sample and input, where the model does not take it
 *
 * @example
 * const audio = { data: new Float32Array(16000), dims: [16000] };
 * const samples = await feedsDataset([{ inputs: { audio }, label: 3 }], model.input);
 */
export async function feedsDataset(
  source: AsyncIterable<FeedSample> | Iterable<FeedSample>,
  input: ModelInput,
  described: Described = {},
): Promise<Dataset> {
  expectSource('feedsDataset', source);
  expectInput('feedsDataset', input);
  expectOptions('feedsDataset', described, DESCRIBED);
  const samples: (Loaded & { name: string; label?: number; dims: readonly number[] })[] = [];
  const constants: Record<string, FloatTensor> = {};
  for await (const sample of source) {
    expectObject('feedsDataset', `samples[${samples.length}]`, sample);
    const { label, name = `sample ${samples.length}` } = sample;
    expectNoSlip(`"${name}"`, sample, ['inputs', 'label', 'name']);
    expectObject(`"${name}"`, 'inputs', sample.inputs);
    const inputs = withoutBatch(sample.inputs, input);
    checkSample(inputs, input, name);
    const { [input.name]: main, ...others } = withoutPadding(inputs, input);
    const entries = Object.entries(others);
    for (const [other, { dims, data }] of entries.filter(([other]) => isShared(input, other))) {
      constants[other] ??= { dims, data };
      const first = constants[other];
      if (first.data === data || (String(first.dims) === String(dims) && isSame(first.data, data))) continue;
      throw new InputError(
        `"${name}": other values of input "${other}" than before: it has no axis for samples, all need the same`,
      );
    }
    const own = Object.fromEntries(entries.filter(([other]) => !isShared(input, other)));
    samples.push({ name, label, data: main.data, dims: main.dims, others: own });
  }
  expectSamples(samples.length, described);
  const sizes = samples.map(({ dims }) => dims);
  const [least, shape] = [Math.min, Math.max].map((extreme) => extremesOf(sizes, extreme));
  const smallest = String(least) === String(shape) ? undefined : least;
  const loaded = samples.map(({ data, dims, others }) => ({ data, others, ...(smallest && { dims }) }));
  const beside = largestOf(samples);
  return datasetOf(samples, shape, (i) => loaded[i], { ...described, constants, smallest, beside });
}

function largestOf(samples: readonly Pick<Loaded, 'others'>[]): Dataset['beside'] {
  const sizes = Object.keys(samples[0].others ?? {}).map((name) => {
    const dims = samples.flatMap(({ others }) => (others?.[name] ? [others[name].dims] : []));
    return [name, extremesOf(dims, Math.max)] as const;
  });
  return sizes.length > 0 ? Object.fromEntries(sizes) : undefined;
}

const namesOf = ({ name, others }: ModelInput) => [name, ...others.map((it) => it.name)];

const isSame = (one: FloatTensor['data'], other: FloatTensor['data']) => one.every((x, i) => x === other[i]);

/** Whether another input has one value for all samples. */
const isShared = ({ others }: ModelInput, name: string) =>
  others.some((it) => it.name === name && sampleAxis(it) === undefined);

/** @throws {InputError} */
function checkSample(inputs: FeedSample['inputs'], input: ModelInput, name: string): void {
  const { name: main, shape, open, fixedBatch, others } = input;
  const known = namesOf(input);
  for (const given of Object.keys(inputs)) {
    if (!known.includes(given))
      throw new InputError(`"${name}": the model has no input "${given}"; ${listOf(known)}`);
  }
  if (!inputs[main]) throw new InputError(`"${name}": no values for the input "${main}"`);
  const closed = shape.map((dim, axis) => (open[axis] ? -1 : dim));
  checkTensor(inputs[main], closed, main, name);
  for (const other of others) {
    const tensor = inputs[other.name];
    if (!tensor && !other.fill) {
      throw new InputError(
        `"${name}": no values for the input "${other.name}", and no convention says what it is`,
      );
    }
    if (tensor) checkTensor(tensor, dimsOf(other, fixedBatch), other.name, name);
  }
}

/** Of a sample, or of all of them. */
function dimsOf(input: OtherInput, fixedBatch: number): number[] {
  const all = input.dims.map((dim, axis) => {
    if (axis === input.batchAxis) return fixedBatch || -1;
    return typeof dim === 'number' && dim > 0 ? dim : -1;
  });
  const own = sampleAxis(input);
  return own === undefined ? all : all.toSpliced(own, 1);
}

/** States as the model takes those of one sample, without the axis for samples. */
function withoutBatch(inputs: FeedSample['inputs'], { others }: ModelInput): FeedSample['inputs'] {
  const own = { ...inputs };
  for (const other of others) {
    const [given, axis] = [inputs[other.name], sampleAxis(other)];
    if (!axis || given?.dims?.length !== other.dims.length || given.dims[axis] !== 1) continue;
    own[other.name] = { dims: given.dims.toSpliced(axis, 1), data: given.data };
  }
  return own;
}

function checkTensor(
  { dims, data }: FloatTensor,
  expected: readonly number[],
  input: string,
  name: string,
): void {
  const fits = dims.length === expected.length && expected.every((dim, i) => dim < 0 || dim === dims[i]);
  const count = elements(dims);
  if (!fits) {
    const shape = formatShape(expected.map((dim) => (dim < 0 ? '?' : dim)));
    throw new InputError(`"${name}": input "${input}" expected shape ${shape}, got ${formatShape(dims)}`);
  }
  if (count !== data.length || count === 0) {
    throw new InputError(
      `"${name}": input "${input}" expected ${count || 'some'} values, got ${data.length}`,
    );
  }
  checkFinite(`${name}: ${input}`, data);
}

/** The sample without the tokens at its end that its mask leaves out. */
function withoutPadding(inputs: FeedSample['inputs'], input: ModelInput): FeedSample['inputs'] {
  const mask = Object.entries(inputs).find(([name]) => isTokenMask(name))?.[1];
  const [length] = inputs[input.name].dims;
  if (!takesTokens(input) || !input.open[0] || mask?.dims.length !== 1 || mask.dims[0] !== length)
    return inputs;
  const end = mask.data.lastIndexOf(1) + 1;
  if (end === 0 || mask.data.subarray(0, end).some((value) => value !== 1)) return inputs;
  const cut = ([name, { dims, data }]: [string, FloatTensor]) => {
    const tensor =
      dims.length === 1 && dims[0] === length ? { dims: [end], data: data.subarray(0, end) } : { dims, data };
    return [name, tensor] as const;
  };
  return Object.fromEntries(Object.entries(inputs).map(cut));
}

/** Class numbers of samples that a file holds beside their inputs. */
const LABELS = /^(labels?|targets?|y)$/;

/**
 * The samples of arrays by input name, as in an .npz file: rows of n samples, or one sample without a batch.
 *
 * @param name  the file's, for messages
 * @throws {InputError} where the arrays do not go together
 *
 * @example
 * const arrays = await decodeNpz(bytes, 'speech.npz');
 * const samples = await feedsDataset(arraySamples(arrays, model.input, 'speech.npz'), model.input);
 */
export function* arraySamples(
  arrays: ReadonlyMap<string, NpyArray>,
  input: ModelInput,
  name: string,
): Generator<FeedSample> {
  if (!(arrays instanceof Map))
    throw new InputError(
      `arraySamples: "arrays" expected a Map (of decodeNpz(bytes, …)), got ${said(arrays)}`,
    );
  expectInput('arraySamples', input);
  const known = namesOf(input);
  const labels = [...arrays].find(([key]) => LABELS.test(key) && !known.includes(key));
  const given = [...arrays].filter(([key]) => key !== labels?.[0]);
  // What numpy.savez calls an array without a name is the samples.
  const rows =
    given.length === 1 && !known.includes(given[0][0]) ? [[input.name, given[0][1]] as const] : given;
  const main = rows.find(([key]) => key === input.name)?.[1];
  if (!main) {
    const found = named(given.map(([key]) => key)) || 'none';
    throw new InputError(`"${name}": no array for the input "${input.name}"; its arrays are ${found}`);
  }
  const single = main.shape.length === input.shape.length;
  const count = single ? 1 : main.shape[0];
  for (const [key, { shape }] of [...rows, ...(labels ? [labels] : [])]) {
    if (!single && !isShared(input, key) && shape[0] !== count) {
      throw new InputError(`"${name}": expected ${count} rows in "${key}", got shape ${formatShape(shape)}`);
    }
  }
  if (labels && labels[1].data.length !== count) {
    const [key, { shape }] = labels;
    throw new InputError(
      `"${name}": expected one class number for each sample in "${key}", got shape ${formatShape(shape)}`,
    );
  }
  for (let i = 0; i < count; i++) {
    const row = ([key, array]: readonly [string, NpyArray]) =>
      [key, single || isShared(input, key) ? whole(array) : rowOf(array, i)] as const;
    yield {
      inputs: Object.fromEntries(rows.map(row)),
      name: single ? name : `${name}[${i}]`,
      ...(labels && { label: labels[1].data[i] }),
    };
  }
}

const whole = ({ shape, data }: NpyArray): FloatTensor => ({ dims: shape, data });

function rowOf({ shape: [count, ...dims], data }: NpyArray, i: number): FloatTensor {
  const size = data.length / count;
  return { dims, data: data.subarray(i * size, (i + 1) * size) };
}

/**
 * A sample from a line of JSON: an object of numbers and nested lists of them, by input name, and perhaps a `label`.
 *
 * @throws {InputError} naming the line
 *
 * @example
 * const sample = jsonSample({ input_ids: [101, 2023, 102], label: 1 }, model.input, 'line 1');
 * const samples = await feedsDataset([sample], model.input);
 */
export function jsonSample(value: object, input: ModelInput, at: string): FeedSample {
  expectObject('jsonSample', 'value', value);
  expectInput('jsonSample', input);
  const inputs: Record<string, FloatTensor> = {};
  let label: number | undefined;
  const known = namesOf(input);
  for (const [key, content] of Object.entries(value)) {
    if (known.includes(key)) inputs[key] = tensorOf(content, `${at}: "${key}"`);
    else if (LABELS.test(key) && Number.isInteger(content)) label = content as number;
    else
      throw new InputError(`${at}: "${key}" is neither an input of the model nor a label; ${listOf(known)}`);
  }
  return { inputs, name: at, ...(label !== undefined && { label }) };
}

const listOf = (inputs: readonly string[]) => `its inputs are ${inputs.map((it) => `"${it}"`).join(', ')}`;

function tensorOf(value: unknown, at: string): FloatTensor {
  const dims: number[] = [];
  for (let inner = value; Array.isArray(inner); [inner] = inner) dims.push(inner.length);
  const data: number[] = [];
  const collect = (content: unknown, depth: number): void => {
    if (depth === dims.length && typeof content === 'number') data.push(content);
    else if (Array.isArray(content) && content.length === dims[depth])
      for (const item of content) collect(item, depth + 1);
    else throw new InputError(`${at}: expected numbers in lists of equal length`);
  };
  collect(value, 0);
  return { dims, data: Float32Array.from(data) };
}
