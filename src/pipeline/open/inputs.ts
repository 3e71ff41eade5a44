// The inputs of a model: the one that samples go to, and those that go along. Masks, positions, empty caches and the first
// states of recurrent models have one value that goes with a sample that is run whole and from its beginning; what is
// in none of these conventions comes with the data, or is said once for all.

import type { FloatTensor, ValueDescription } from '../../engine/index.ts';
import { InputError, UnsupportedModelError } from '../../errors.ts';
import { expectObject, said } from '../../expect.ts';
import { elements, type State } from '../../graph/index.ts';

/** Values of a model's inputs, by name. */
export type Feeds = Readonly<Record<string, FloatTensor>>;

/** Dims of a model's input, where all is known. */
type Dims = readonly number[];

/** An input beside the one that samples go to. */
export interface OtherInput extends ValueDescription {
  /** The axis that counts samples; undefined where all samples share the value. */
  readonly batchAxis?: number;
  /** What the data say of its axes, that of the batch among them; −1 where they do not. */
  readonly said?: Dims;
  /** The output that it is in the next step, of a network that runs step by step. */
  readonly state?: string;
  /** What it is where the data does not say, given what the samples are. Left out: the data has to say. */
  readonly fill?: Fill;
}

/** @param dims  of the batch of samples; @param named  extents of axes that have a name, where the data has given them */
type Fill = (dims: Dims, named?: ReadonlyMap<number | string, number>) => FloatTensor;

/** The input that samples go to, with its batch and sample dimensions told apart. */
export interface ModelInput {
  readonly name: string;
  /** As onnxruntime names it, e.g. `float32`. */
  readonly type: string;
  /** Dimensions of one sample; 0 where the model leaves one open and no size was given. */
  readonly shape: readonly number[];
  /** Those that the model leaves open. */
  readonly open: readonly boolean[];
  /** Batch size the model insists on, or 0. */
  readonly fixedBatch: number;
  /** Whether it insists on that although it declares any. */
  readonly isHeld?: boolean;
  /** Inputs that have no axis for samples in the file, which takes one image, or one graph: its nodes, edges and whatever else. */
  readonly single?: readonly string[];
  /** Inputs of which the file takes a list in each sample, on its second axis, and what that is called: here lists are of one. */
  readonly lists?: { readonly names: readonly string[]; readonly axis: string };
  /** Values that the model gives for one sample, where known. */
  readonly outputs?: number;
  /** The inputs that go along. */
  readonly others: readonly OtherInput[];
}

/** @throws {InputError} where it is none */
export function expectInput(operation: string, input: unknown): void {
  const { name, shape, others } = Object(input) as Partial<ModelInput>;
  if (!(typeof name === 'string' && Array.isArray(shape) && Array.isArray(others)))
    throw new InputError(`${operation}: "input" expected that of an opened model, got ${said(input)}`);
}

/**
 * Whether samples are windows of token ids.
 *
 * @example
 * const what = takesTokens(model.input) ? 'text' : 'arrays';
 */
export function takesTokens(input: Pick<ModelInput, 'type' | 'shape'>): boolean {
  expectObject('takesTokens', 'input', input);
  const { type, shape } = input;
  return (type === 'int64' || type === 'int32') && shape.length === 1;
}

/** Whether samples are windows of what stands for tokens, n × features each, as decoders behind an embedding take them. */
export function takesEmbeddings({ name, shape }: Pick<ModelInput, 'name' | 'shape'>): boolean {
  return EMBEDDINGS.test(name) && shape.length === 2;
}

const EMBEDDINGS = /^inputs?_embeds$/;

/** Whether samples are windows, of tokens or of what stands for them. */
export const takesWindows = (input: ModelInput): boolean => takesTokens(input) || takesEmbeddings(input);

/**
 * Whether an input says which tokens count.
 *
 * @example
 * const masks = model.input.others.filter(({ name }) => isTokenMask(name));
 */
export function isTokenMask(name: string): boolean {
  return /(^|_)(attention|input)_mask$/.test(name);
}

/** What some inputs are for all samples: a number fills the input. */
export type InputValues = Readonly<Record<string, number | readonly number[]>>;

/** Dims of a sample, without the batch, of inputs by name: what the data say of those that go along. */
export type InputDims = Readonly<Record<string, readonly number[]>>;

/**
 * @param outputs  by which the states of a recurrent model are told
 * @param values  of inputs that the user has said
 * @param sample  where the model leaves extents of inputs that go along open
 * @throws {InputError} where a value is of an input that there is not, or of the one that samples go to
 * @throws {UnsupportedModelError} where no input has a leading batch dimension
 */
export function modelInput(
  inputs: readonly ValueDescription[],
  outputs: readonly ValueDescription[],
  values: InputValues = {},
  sample: InputDims = {},
): ModelInput {
  for (const name of Object.keys(values)) {
    if (!inputs.some((input) => input.name === name))
      throw new InputError(`there is no input "${name}"; the inputs are ${namesOf(inputs)}`);
  }
  const isSaid = (input: ValueDescription) =>
    Object.hasOwn(values, input.name) || conventionOf(input, inputs, outputs) !== undefined;
  const data = inputs.filter((input) => !isSaid(input));
  // What comes in and goes out is data where there is nothing else: the hidden states between two parts of a network.
  const unnamed = inputs.filter(({ name }) => !Object.hasOwn(values, name) && !conventionByName(name));
  const found = mainOf([data, unnamed, inputs].find(({ length }) => length > 0) ?? []);
  if (!found) throw new UnsupportedModelError('the model has no input');
  if (Object.hasOwn(values, found.name))
    throw new InputError(`\`inputs.${found.name}\`: that input is what samples are given to; leave it out`);
  const edges = inputs.find(areEdges);
  const ones = edges?.dims.length === 2 ? inputs : isOneImage(found.dims, outputs) ? [found] : [];
  const axis = listAxis(found);
  const lists = axis === undefined ? [] : inputs.filter(({ dims }) => dims[1] === axis);
  const asOne = <I extends ValueDescription>(input: I): I => {
    if (lists.includes(input)) return { ...input, dims: input.dims.toSpliced(1, 1) };
    return ones.includes(input) ? { ...input, dims: [1, ...input.dims] } : input;
  };
  const main = asOne(found);
  const { name, type, dims } = main;
  // ids that tables are asked for, one in a sample
  const isId = dims.length === 1 && fixed(dims[0]) === 0 && /^int(64|32)$/.test(type);
  if (dims.length < 2 && !isId) throw withoutBatch(name, dims);
  const next = nextSteps(
    inputs.filter((input) => input !== found && !isImageBeside(input, main)),
    inputs,
    outputs,
  );
  const beside = inputs
    .filter((input) => input !== found)
    .map(asOne)
    .map((input) => {
      const convention = conventionOf(input, inputs, outputs);
      const value = values[input.name];
      const isShared = input.dims.length < 2 && (value !== undefined || convention?.isShared);
      const batchAxis = isShared ? undefined : edges ? 0 : batchAxisOf(input, main, next.has(input.name));
      const state = next.get(input.name);
      return {
        ...input,
        batchAxis,
        ...(state !== undefined && { state }),
        convention: value === undefined ? convention : { value: elementOf(value) },
      };
    });
  const said = saidOf(beside, sample);
  const others = beside.map(({ convention, ...input }, i) =>
    withFill({ ...input, said: said[i] }, main, convention),
  );
  const shape = dims.slice(1).map(fixed);
  const fixedBatch = fixed(dims[0]) || batchOfStates(others, main);
  const open = shape.map((dim) => dim === 0);
  const listed = axis === undefined ? undefined : { names: lists.map((it) => it.name), axis };
  return {
    ...{ name, type, shape, open, fixedBatch, single: ones.map((it) => it.name), others },
    ...(listed && { lists: listed }),
  };
}

/** What the axis is called of which a sample has several images, as a vision encoder takes the tiles of one; those of a video are no such list. */
function listAxis({ type, dims }: ValueDescription): string | undefined {
  const [, list, channels] = dims;
  const isList =
    dims.length === 5 && channels === 3 && /^float/.test(type) && /image|tile|crop/i.test(String(list));
  return isList ? String(list) : undefined;
}

/** Extents in words; of an open one a question mark, or its name. */
function listed(dims: ValueDescription['dims']): string {
  return `[${dims.map((dim) => dim || '?').join(', ')}]`;
}

/** @param dims  of an input that has no axis for samples, and needs one */
export function withoutBatch(name: string, dims: ValueDescription['dims']): UnsupportedModelError {
  return new UnsupportedModelError(
    `input "${name}" has shape ${listed(dims)}; a leading batch dimension is needed`,
  );
}

/**
 * Whether an input is one image, its three channels first, as detectors of torchvision are exported for, or last, as what has the decoded
 * pixels in front: these or its rows are no samples. No output has as many.
 */
function isOneImage(
  [first, second, last, ...more]: ValueDescription['dims'],
  outputs: readonly ValueDescription[],
): boolean {
  if (last === undefined || more.length > 0 || outputs.some(({ dims }) => dims[0] === first)) return false;
  const areRows =
    last === 3 &&
    first !== 1 &&
    fixed(first) > 0 === fixed(second) > 0 &&
    outputs.every(({ dims }) => fixed(dims[0]) > 0);
  return first === 3 || areRows;
}

const namesOf = (inputs: readonly { name: string }[]) => inputs.map(({ name }) => `"${name}"`).join(', ');
const fixed = (dim: number | string) => (typeof dim === 'number' && dim > 0 ? dim : 0);

/** Whether more than its batch is open. */
export function isOpen({ dims }: Pick<ValueDescription, 'dims'>): boolean {
  return dims.slice(1).some((dim) => fixed(dim) === 0);
}

/** What the data say of axes; those of one name have one extent. */
function saidOf(
  inputs: readonly Pick<OtherInput, 'name' | 'dims' | 'batchAxis'>[],
  sample: InputDims,
): Dims[] {
  const own = inputs.map(({ name, dims, batchAxis }) => {
    const extents = [...(sample[name] ?? [])];
    if (batchAxis === 0 || (batchAxis && extents.length < dims.length)) extents.splice(batchAxis, 0, -1);
    return dims.map((_, axis) => extents[axis] ?? -1);
  });
  const named = new Map<number | string, number>();
  for (const [i, { dims }] of inputs.entries()) {
    for (const [axis, dim] of dims.entries())
      if (typeof dim === 'string' && own[i][axis] >= 0) named.set(dim, own[i][axis]);
  }
  return inputs.map(({ dims }, i) =>
    dims.map((dim, axis) => (own[i][axis] >= 0 ? own[i][axis] : (named.get(dim) ?? -1))),
  );
}

/** Where the edges of a graph begin and end, as PyTorch Geometric has them. */
export function areEdges({ name, dims, type }: ValueDescription): boolean {
  return /edge_?ind/i.test(name) && /^int(64|32)$/.test(type) && dims.at(-2) === 2;
}

/** What stands for tokens, then images before tokens before the rest: where a model takes several, the work is behind the images. Of graphs it is behind the nodes. */
function mainOf(inputs: readonly ValueDescription[]): ValueDescription | undefined {
  const isImage = ({ dims, type }: ValueDescription) => dims.length === 4 && /^float|^uint8/.test(type);
  const isTokens = ({ dims, type }: ValueDescription) => dims.length === 2 && /^int(64|32)$/.test(type);
  const isNodes = ({ dims, type }: ValueDescription) => dims.length > 1 && /^float/.test(type);
  const areIds = inputs.some(isTokens);
  return (
    inputs.find(({ name }) => EMBEDDINGS.test(name) && !areIds) ??
    inputs.find(isImage) ??
    inputs.find(inputs.some(areEdges) ? isNodes : isTokens) ??
    inputs.find(({ dims }) => dims.length > 1) ??
    inputs[0]
  );
}

/** A value of every element, or how it follows from where the element is. */
interface Convention {
  /** What an axis of an open extent has that counts neither samples nor what the samples have. */
  readonly open?: number;
  readonly value: number | ((place: number, dims: Dims) => number);
  /** A number for all samples. */
  readonly isShared?: boolean;
}

/** Caches of keys and values, or of what convolutions and recurrences have of earlier tokens (`past_conv.0`), as they come in and go out. */
const PAST = /^past(_key_values?)?[._]/;
const PRESENT = /^present(_key_values?)?[._]/;

/** Names as exporters give them, and what they stand for where a sample is run whole and from its beginning. */
const CONVENTIONS: readonly [name: RegExp, convention: Convention][] = [
  [/(^|_)attention_mask$|^input_mask$|^pixel_mask$|^mask$|^padding_mask$/, { value: 1 }],
  [/(^|_)(token_type|segment)_ids?$/, { value: 0 }],
  [/(^|_)position_ids$|^cache_position$/, { value: (place, dims) => place % dims[dims.length - 1] }],
  // n × heads × 0 × head size: no tokens have gone before.
  [PAST, { value: 0, open: 0 }],
  [/^use_cache_branch$/, { value: 0, isShared: true }],
  // 0: scores of all tokens.
  [/^num_logits_to_keep$/, { value: 0, isShared: true }],
  [/^(sr|sample_?rate|sampling_rate)$/, { value: 16000, isShared: true }],
];

const conventionByName = (name: string) => CONVENTIONS.find(([pattern]) => pattern.test(name))?.[1];

function conventionOf(
  input: ValueDescription,
  inputs: readonly ValueDescription[],
  outputs: readonly ValueDescription[],
): Convention | undefined {
  const named = conventionByName(input.name);
  if (named?.value === 1 && /^float/.test(input.type) && input.dims.length === 4) return { value: 0 }; // added to scores
  return named ?? (nextOf(input, inputs, outputs) ? { value: 0, open: 1 } : undefined);
}

/** Whether an input is an image of the same height and width, as the mask or the flow of before: what comes of it is what the model is for. */
function isImageBeside({ dims }: ValueDescription, main: ValueDescription): boolean {
  return dims.length === 4 && String(dims.slice(2)) === String(main.dims.slice(-2));
}

/** The outputs that inputs are in the next step, by the inputs' names; none where the model gives nothing else. */
function nextSteps(
  beside: readonly ValueDescription[],
  inputs: readonly ValueDescription[],
  outputs: readonly ValueDescription[],
): ReadonlyMap<string, string> {
  const next = beside.flatMap((input) => {
    const output = conventionByName(input.name) ? undefined : nextOf(input, inputs, outputs);
    return output ? [[input.name, output.name] as const] : [];
  });
  const hasMore = outputs.some(({ name }) => !next.some(([, output]) => output === name));
  return new Map(hasMore ? next : []);
}

/**
 * The output that an input is in the next step. A state comes in and goes out, of the same extents and nearly the same name: `h` and
 * `hn`, `state` and `stateN`. An image that is all that comes out is none: it is what a denoiser makes of another one.
 */
function nextOf(
  input: ValueDescription,
  inputs: readonly ValueDescription[],
  outputs: readonly ValueDescription[],
): ValueDescription | undefined {
  const { name, type, dims } = input;
  if (!/^float/.test(type) || dims.length < 2 || (dims.length === 4 && outputs.length === 1))
    return undefined;
  const own = stemOf(name);
  const found = outputs.find((output) => {
    const alike = output.dims.length === dims.length || output.dims.length === 0;
    const fits = output.dims.every((dim, i) => fixed(dim) === 0 || fixed(dims[i]) === 0 || dim === dims[i]);
    return alike && fits && stemOf(output.name) === own;
  });
  return found ?? nextByShape(input, inputs, outputs);
}

/**
 * Where names say nothing, of a network that runs one sample: what has the extents of one output and of no other input, behind the first
 * input, and is no image beside it.
 */
function nextByShape(
  input: ValueDescription,
  inputs: readonly ValueDescription[],
  outputs: readonly ValueDescription[],
): ValueDescription | undefined {
  const { dims } = input;
  const alike = (it: ValueDescription) => String(it.dims.slice(1)) === String(dims.slice(1));
  const isState =
    inputs.indexOf(input) > 0 &&
    dims.length > 2 &&
    dims[0] === 1 &&
    dims.every((dim) => fixed(dim) > 0) &&
    !isImageBeside(input, inputs[0]);
  const found = isState && inputs.filter(alike).length === 1 ? outputs.filter(alike) : [];
  return found.length === 1 && outputs.length > 1 ? found[0] : undefined;
}

const stemOf = (name: string) =>
  name
    .toLowerCase()
    .replace(
      /^(in|out|input|output|new|next|prev|initial|last)[._]|[._](in|out|input|output|new|next|prev)$|(?<=.)[n0]$|(?<=\d)[io]$/g,
      '',
    );

/** Which axis of an input counts samples: the one that bears the name, else the first that is open. */
function batchAxisOf(
  { dims }: ValueDescription,
  main: ValueDescription,
  isState: boolean,
): number | undefined {
  const [batch] = main.dims;
  if (typeof batch === 'string' && dims.includes(batch)) return dims.indexOf(batch);
  const open = dims.findIndex(
    (dim) => fixed(dim) === 0 && !(typeof dim === 'string' && main.dims.includes(dim)),
  );
  if (open >= 0) return open;
  const at = dims.indexOf(batch);
  return at === 0 || (at > 0 && isState) ? at : undefined;
}

function withFill(input: OtherInput, main: ValueDescription, convention: Convention | undefined): OtherInput {
  if (!convention) return input;
  const { value, open } = convention;
  return { ...input, fill: (dims, named) => filled(extentsOf(input, main, dims, open, named), value) };
}

const elementOf = (said: number | readonly number[]) =>
  typeof said === 'number' ? said : (place: number) => said[place % said.length];

/** Dims of another input beside a batch of samples: axes of one name have one extent. */
export function extentsOf(
  { name, dims, batchAxis, said }: OtherInput,
  main: ValueDescription,
  batch: Dims,
  open?: number,
  named?: ReadonlyMap<number | string, number>,
): number[] {
  // What goes along with embeddings is of tokens.
  const counted = EMBEDDINGS.test(main.name) ? batch.slice(0, 2) : batch;
  return dims.map((dim, axis) => {
    if (axis === batchAxis) return batch[0];
    if (fixed(dim) > 0) return dim as number;
    const same = typeof dim === 'string' ? main.dims.indexOf(dim) : -1;
    if (same >= 0) return batch[same];
    if (named?.has(dim)) return named.get(dim)!;
    if (said && said[axis] >= 0) return said[axis];
    if (open !== undefined) return open;
    if (dims.length === counted.length) return counted[axis];
    throw new InputError(
      `input "${name}" has open dimensions [${dims.join(', ')}] that samples do not say (\`dims\`)`,
    );
  });
}

function filled(dims: number[], value: Convention['value']): FloatTensor {
  const data = new Float32Array(elements(dims));
  if (typeof value === 'number') data.fill(value);
  else for (let i = 0; i < data.length; i++) data[i] = value(i, dims);
  return { dims, data };
}

/** States of a fixed batch hold a model to it. */
function batchOfStates(others: readonly OtherInput[], main: ValueDescription): number {
  const isOpen = fixed(main.dims[0]) === 0;
  const held = others.find(
    ({ dims, fill, batchAxis }) => fill && batchAxis === undefined && dims.length === 3,
  );
  return isOpen && held ? fixed(held.dims[1]) : 0;
}

/**
 * The feeds of all other inputs beside a batch of samples.
 *
 * @param given  by the data
 * @throws {InputError} naming an input of which neither data nor convention says what it is
 */
export function otherFeeds(
  { others }: Pick<ModelInput, 'others'>,
  dims: Dims,
  given: Feeds = {},
): Record<string, FloatTensor> {
  const own = new Map<string, FloatTensor>();
  const named = new Map<number | string, number>();
  for (const input of others) {
    const { name, dims: axes } = input;
    const [tensor, axis] = [given[name], sampleAxis(input)];
    if (!tensor) continue;
    const moved = axis ? withSamplesAt(tensor, axis) : tensor;
    own.set(name, moved);
    for (const [at, dim] of axes.entries())
      if (typeof dim === 'string' && moved.dims.length === axes.length) named.set(dim, moved.dims[at]);
  }
  return Object.fromEntries(
    others.map(({ name, fill }) => {
      const tensor = own.get(name) ?? fill?.(dims, named);
      if (tensor) return [name, tensor];
      throw new InputError(
        `the data says nothing of input "${name}"; give it in an .npz file, or one value for all samples (\`inputs.${name}\`)`,
      );
    }),
  );
}

/** The axis along which samples have values of their own; undefined where all have the same. */
export function sampleAxis({ batchAxis, state }: OtherInput): number | undefined {
  return batchAxis === 0 || state !== undefined ? batchAxis : undefined;
}

/** (n, a, b) to (a, n, b). */
function withSamplesAt({ dims: [n, ...rest], data }: FloatTensor, axis: number): FloatTensor {
  const [outer, inner] = [rest.slice(0, axis), rest.slice(axis)].map(elements);
  const moved = new Float32Array(data.length);
  for (let i = 0; i < n; i++)
    for (let at = 0; at < outer; at++) {
      const from = (i * outer + at) * inner;
      moved.set(data.subarray(from, from + inner), (at * n + i) * inner);
    }
  return { dims: rest.toSpliced(axis, 0, n), data: moved };
}

/** States of a network that runs step by step. */
export function statesOf({ others }: Pick<ModelInput, 'others'>): readonly State[] {
  return others.flatMap(({ name, state }) => (state === undefined ? [] : [{ input: name, output: state }]));
}

/** What is told of them, by the first state, and of samples that have to come by as many. */
export function inputTexts(input: ModelInput): string[] {
  const { name, fixedBatch, isHeld } = input;
  const [first] = statesOf(input);
  return [
    ...(first
      ? [
          `input "${first.input}" is output "${first.output}" in the next step: states keep their sizes, with zeros where channels went; samples without them begin with zeros`,
        ]
      : []),
    ...(isHeld
      ? [
          `input "${name}" is said to take any number of samples, and the network takes ${fixedBatch} at a time, which its export wrote into the graph: so does the pruned one`,
        ]
      : []),
  ];
}

/** Outputs that hand a key-value cache on. */
export function isCache(name: string): boolean {
  return PRESENT.test(name);
}

/**
 * The names of what a model is measured and compared by, and of the states among it, which are for the next step.
 *
 * @param measured  values that stand for its outputs
 */
export function comparedNames(
  outputs: readonly Pick<ValueDescription, 'name' | 'type'>[],
  input: Pick<ModelInput, 'others'>,
  measured?: readonly string[],
): { readonly values: readonly string[]; readonly states: readonly string[] } {
  const numbers = outputs.filter(({ name, type }) => !isCache(name) && /^(u?int|float|bool)/.test(type));
  const names = measured ?? numbers.map(({ name }) => name);
  const known = new Set(statesOf(input).map(({ output }) => output));
  return {
    values: names.filter((name) => !known.has(name)),
    states: names.filter((name) => known.has(name)),
  };
}

/** Outputs that hand caches on, by the inputs that take them. */
export function cachesOf(
  inputs: readonly ValueDescription[],
  outputs: readonly ValueDescription[],
): Map<string, string> {
  const caches = new Map(
    outputs.filter(({ name }) => isCache(name)).map(({ name }) => [name.replace(PRESENT, ''), name]),
  );
  return new Map(
    inputs.flatMap(({ name }) => {
      const present = PAST.test(name) ? caches.get(name.replace(PAST, '')) : undefined;
      return present === undefined ? [] : [[name, present] as const];
    }),
  );
}
