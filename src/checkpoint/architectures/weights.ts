// Weights between the layout of a checkpoint and that of a graph: matrices are in × out there, and fused q, k
// and v are three. One rule for both directions.

import { InputError } from '../../errors.ts';
import {
  GraphBuilder,
  type Model,
  type ModelOutline,
  sum,
  type Tensor,
  toFloat32,
} from '../../graph/index.ts';
import { elements } from '../../graph/tensor.ts';
import { encode } from '../tensor.ts';
import type { CheckpointTensor, Linear, Part, TensorNames, TensorSource } from './types.ts';

/** Of the maps that a fused tensor holds. */
const PLACES: Readonly<Record<Part['label'], number>> = {
  ...{ q: 0, k: 1, v: 2, z: 3 },
  ...{ gate: 0, up: 1 },
  open: 1,
  ...{ b: 0, a: 1 },
};

/** Of a fused tensor: the columns of all maps, and how many key-value heads share them out. */
export interface Fused {
  readonly widths: readonly number[];
  readonly kvHeads?: number;
}

/** How a tensor has the columns of a map. */
type Stored = Partial<Pick<Linear, 'transposed' | 'part'> & Fused> & {
  /** The tensor that has it as one of several, on a first axis. */
  readonly stack?: { readonly tensor: string; readonly index: number; readonly count: number };
  /** Where checkpoints need not have it. */
  readonly otherwise?: () => Float32Array;
  /** The tensor that it is read from, where that is another, which several share. */
  readonly from?: string;
  /** How it is made of the tensor, where that has another shape. */
  readonly made?: { readonly shape: readonly number[]; readonly of: (data: Float32Array) => Float32Array };
  /** The tensor of factors that its columns are multiplied by. */
  readonly factors?: string;
  /** The tensors that its first axis has one behind the other. */
  readonly rows?: readonly string[];
};

/** An initialiser and the tensor that it comes from. */
export interface Parameter extends Stored {
  /** Of the initialiser: the tensor's name, with `#` and the part's label where it is a part of it. */
  readonly name: string;
  readonly tensor: string;
  /** Of the initialiser: [columns] or [rows, columns]; with more axes it is as in the checkpoint. */
  readonly dims: readonly number[];
  /** Tokens that pass it, of all. */
  readonly share: number;
  /** Whether it is of factors: the graph has no initialiser of them. */
  readonly isFactors?: boolean;
  /** Of a tensor that is a row of an initialiser. */
  readonly row?: { readonly of: string; readonly index: number };
}

/** What a name of the checkpoint is in a graph. */
export function partName(name: string, { part }: Pick<Stored, 'part'>): string {
  return part ? `${name}#${part.label}` : name;
}

/** A graph under construction whose weights are known by name and shape and read afterwards. */
export class WeightGraph extends GraphBuilder {
  readonly parameters = new Map<string, Parameter>();
  #share = 1;
  #round = 0;

  /** @param prefix  before the names of tensors, as the checkpoint has it */
  constructor(readonly prefix: string) {
    super();
  }

  weight(tensor: string, dims: readonly number[], stored: Stored = {}): string {
    const name = partName(tensor, stored);
    const read = stored.stack?.tensor ?? stored.from ?? tensor;
    this.parameters.set(name, { ...stored, name, tensor: read, dims, share: this.#share });
    const { factors } = stored;
    if (factors !== undefined) {
      const own = { name: factors, tensor: factors, dims: dims.slice(-1), share: this.#share };
      this.parameters.set(factors, { ...own, isFactors: true });
    }
    for (const [index, row] of (stored.rows ?? []).entries()) {
      const own = { name: row, tensor: row, dims: dims.slice(1), share: this.#share };
      this.parameters.set(row, { ...own, row: { of: name, index } });
    }
    return name;
  }

  /** What is built meanwhile has weights that so many of all tokens pass, or that they pass so often. */
  sharing<T>(share: number, build: () => T): T {
    const before = this.#share;
    this.#share = share;
    const built = build();
    this.#share = before;
    return built;
  }

  /** What is built meanwhile has the weights of what was built in rounds before, but nodes of its own. */
  again<T>(round: number, build: () => T): T {
    this.#round = round;
    const built = build();
    this.#round = 0;
    return built;
  }

  override node(...[opType, inputs, attributes, name]: Parameters<GraphBuilder['node']>): string {
    const isNamed = name !== undefined && this.#round > 0;
    return super.node(opType, inputs, attributes, isNamed ? `${name} (${this.#round + 1})` : name);
  }

  /** Reads the weights, each tensor once, and builds the model. */
  async load(source: TensorSource, name: string): Promise<Model> {
    const { model, weights } = this.outline(source, name);
    for await (const tensor of weights) model.tensors.set(tensor.name, tensor);
    return model;
  }

  /** Builds the model, whose weights are read while one goes through them. */
  outline(source: TensorSource, name: string): ModelOutline {
    const groups = byTensor(initialisersOf(this.parameters).values());
    for (const { name, dims } of [...groups.values()].flat()) {
      this.tensor({ name, type: 'float32', dims, bytes: new Uint8Array() });
    }
    return { model: this.build(name), weights: readAll(source, groups) };
  }
}

async function* readAll(source: TensorSource, groups: Map<string, Parameter[]>): AsyncGenerator<Tensor> {
  const factors = new Map<string, Float32Array>();
  for (const [tensor, parameters] of groups) {
    const [{ otherwise, factors: by, dims, rows }] = parameters;
    if (rows) {
      yield initialiser(parameters[0], await readRows(source, rows, dims));
      continue;
    }
    checkTensor(source, parameters[0]);
    const data = source.tensors.has(tensor) ? await source.read(tensor) : otherwise!();
    if (by !== undefined && !factors.has(by)) {
      checkTensor(source, { name: by, tensor: by, dims: dims.slice(-1), share: 1 });
      factors.set(by, await source.read(by));
    }
    for (const parameter of parameters) yield initialiser(parameter, data, factors.get(by ?? ''));
  }
}

async function readRows(
  source: TensorSource,
  rows: readonly string[],
  dims: readonly number[],
): Promise<Float32Array> {
  const own = dims.slice(1);
  const data = new Float32Array(elements(dims));
  for (const [index, row] of rows.entries()) {
    checkTensor(source, { name: row, tensor: row, dims: own, share: 1 });
    data.set(await source.read(row), index * elements(own));
  }
  return data;
}

function initialisersOf(parameters: ReadonlyMap<string, Parameter>): Map<string, Parameter> {
  return new Map([...parameters].filter(([, { isFactors, row }]) => !isFactors && !row));
}

/** Those that checkpoints have as a tensor, or a part of one. */
export function tensorsIn(parameters: ReadonlyMap<string, Parameter>): Parameter[] {
  return [...parameters.values()].filter(({ rows }) => !rows);
}

/**
 * @param saying  what says the shape, with its verb
 * @throws {InputError} if the source lacks the tensor or has it in another shape
 */
export function checkTensor(source: TensorNames, parameter: Parameter, saying = 'config.json does'): void {
  const { tensor, otherwise } = parameter;
  if (otherwise && !source.tensors.has(tensor)) return;
  checkShape(
    `${saying} not go with the weights: tensor "${tensor}"`,
    shapeOf(parameter),
    source.tensors.get(tensor)?.shape,
  );
}

function checkShape(what: string, expected: readonly number[], found?: readonly number[]): void {
  if (String(found) === String(expected)) return;
  throw new InputError(`${what} expected [${expected}], got ${found ? `[${found}]` : 'none'}`);
}

/**
 * The tensors that a graph's initialisers make up, in the layout of the checkpoint.
 *
 * @throws {InputError} if the model lacks an initialiser or has it in another shape
 */
export function checkpointTensors(
  model: Model,
  parameters: ReadonlyMap<string, Parameter>,
): CheckpointTensor[] {
  for (const { name, dims } of initialisersOf(parameters).values()) {
    checkShape(`${model.name}: initialiser "${name}"`, dims, model.tensors.get(name)?.dims);
  }
  const kept = tensorsIn(parameters).filter(({ otherwise, from }) => !otherwise && !from);
  return Array.from(byTensor(kept), ([name, group]) => {
    const shape = shapeOf(group[0]);
    const size = elements(shape);
    const { row } = group[0];
    if (row) {
      const all = toFloat32(model.tensors.get(row.of)!);
      return { name, shape, data: all.slice(row.index * size, (row.index + 1) * size) };
    }
    const data = new Float32Array(size);
    // What they were is in the maps.
    if (group[0].isFactors) return { name, shape, data: data.fill(1) };
    for (const parameter of group) scatter(toFloat32(model.tensors.get(parameter.name)!), parameter, data);
    return { name, shape, data };
  });
}

function byTensor(parameters: Iterable<Parameter>): Map<string, Parameter[]> {
  const groups = new Map<string, Parameter[]>();
  for (const parameter of parameters) {
    groups.set(parameter.tensor, [...(groups.get(parameter.tensor) ?? []), parameter]);
  }
  return groups;
}

/** The shape in the checkpoint. */
export function shapeOf(parameter: Parameter): number[] {
  const { stack } = parameter;
  return stack ? [stack.count, ...ownShape(parameter)] : ownShape(parameter);
}

/** Of one of those that a tensor has. */
function ownShape({ dims, transposed, widths, made }: Parameter): number[] {
  if (made) return [...made.shape];
  if (dims.length > 2) return [...dims];
  const total = widths ? sum(widths) : dims.at(-1)!;
  if (dims.length === 1) return [total];
  return transposed ? [total, dims[0]] : [dims[0], total];
}

/** Its part of the values of a tensor. */
function ownOf(parameter: Parameter, all: Float32Array): Float32Array {
  if (!parameter.stack) return all;
  const size = elements(ownShape(parameter));
  const from = parameter.stack.index * size;
  return all.subarray(from, from + size);
}

function initialiser(parameter: Parameter, all: Float32Array, factors?: Float32Array): Tensor {
  const { name, dims, made } = parameter;
  const data = ownOf(parameter, all);
  if (made) return { name, type: 'float32', dims, bytes: encode(made.of(data), 'float32') };
  const values = isAsStored(parameter) ? data : gather(data, parameter);
  if (factors) for (let at = 0; at < values.length; at++) values[at] *= factors[at % factors.length];
  return { name, type: 'float32', dims, bytes: encode(values, 'float32') };
}

/** Whether the checkpoint has the values of an initialiser in the same order. */
function isAsStored({ dims, transposed, part }: Parameter): boolean {
  return !part && (!transposed || dims.length === 1);
}

/** Where the checkpoint has element (r, c) of an initialiser: columns[c] + r·stride. */
function places({ dims, transposed, part, widths = [dims.at(-1)!], kvHeads = 1 }: Parameter) {
  const rows = dims.length === 1 ? 1 : dims[0];
  const count = dims.at(-1)!;
  const { byHeads, groups, label, place: own } = part ?? {};
  // q, v and k in the place of q, k and v.
  const order = widths.map((_, at) => (groups && at > 0 ? widths.length - at : at));
  const before = label ? order.indexOf(own ?? PLACES[label]) : 0;
  const rounds = byHeads ? kvHeads : groups && kvHeads % groups === 0 ? groups : 1;
  const runs = order.map((at) => widths[at] / rounds);
  const [first, run, round] = [sum(runs.slice(0, before)), runs[before], sum(runs)];
  const place = (c: number) => first + Math.floor(c / run) * round + (c % run);
  const step = transposed ? rows : 1;
  const columns = Array.from({ length: count }, (_, c) => step * place(c));
  return { rows, stride: transposed ? 1 : sum(widths), columns };
}

/** A cache line of what is written, where it is transposed, and few enough for all that is read at a time to stay in the cache. */
const COLUMNS_AT_A_TIME = 16;

function gather(data: Float32Array, parameter: Parameter): Float32Array {
  const { rows, stride, columns } = places(parameter);
  const count = columns.length;
  const values = new Float32Array(rows * count);
  for (let first = 0; first < count; first += COLUMNS_AT_A_TIME) {
    const end = Math.min(count, first + COLUMNS_AT_A_TIME);
    for (let r = 0; r < rows; r++) {
      for (let c = first; c < end; c++) values[r * count + c] = data[columns[c] + r * stride];
    }
  }
  return values;
}

function scatter(values: Float32Array, parameter: Parameter, all: Float32Array): void {
  const data = ownOf(parameter, all);
  if (isAsStored(parameter)) {
    data.set(values);
    return;
  }
  const { rows, stride, columns } = places(parameter);
  for (let r = 0, at = 0; r < rows; r++) {
    for (const column of columns) data[column + r * stride] = values[at++];
  }
}
