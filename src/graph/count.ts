// Sizes: parameters and multiply-adds, of a model as it is and as functions of how much of its structures stays.

import { InputError } from '../errors.ts';
import { blockOf } from './blocks.ts';
import { linearMaps, type Shapes } from './linear.ts';
import type { Model } from './model.ts';
import { reads } from './node.ts';
import { steppedMaps } from './steps.ts';
import { hasTable, isFitted, type StoredType, storedBytes, TABLE_BYTES, typeOf } from './stored.ts';
import type { Analysis, Slice, Structure } from './structure.ts';
import { elements, groupBy, sum, type Tensor } from './tensor.ts';

// Constants of these types are shapes, indices and switches, not parameters.
const NO_PARAMETERS = new Set(['int64', 'int32', 'bool', 'string']);

/** Numbers in the constants of a model, but for integers that say how to compute. */
export function countParameters(model: Model): number {
  let count = 0;
  for (const { type, dims } of model.tensors.values()) if (!NO_PARAMETERS.has(type)) count += elements(dims);
  return count;
}

/**
 * Multiply-adds for one sample, of the operators whose descriptions say how many: convolutions, products of matrices,
 * attention, recurrent layers.
 *
 * @param shapes  dims of every value in a run; the batch is divided out
 * @throws {InputError} if the shape of a value that counts is missing
 */
export function countMacs(model: Model, shapes: Shapes): number {
  const dims = (value: string) => dimsOf(model, shapes, value);
  return (
    sum(model.nodes.map((node) => model.operator(node)?.macs?.(node, dims) ?? 0)) / batchOf(model, shapes)
  );
}

function dimsOf(model: Model, shapes: Shapes, value: string): readonly number[] {
  const found = model.tensors.get(value)?.dims ?? shapes.get(value);
  if (!found) throw new InputError(`countMacs: no shape for the value "${value}"`);
  return found;
}

function batchOf(model: Model, shapes: Shapes): number {
  return shapes.get(model.inputs[0]?.name)?.[0] || 1;
}

/** A part of a size: `value` times the fraction of its groups that each structure in `of` keeps. */
export interface Term {
  readonly value: number;
  /** Names of structures; twice, where it falls with the square. */
  readonly of: readonly string[];
}

/**
 * Sizes of a model, as sums: the multiply-adds of a layer fall with the channels that it reads and with those that it
 * makes. Parameters and bytes count a bias for every layer that may be given one when it is re-solved.
 */
export interface SizeTerms {
  readonly macs: readonly Term[];
  /** Parameters that the model has as it is. */
  readonly weights: readonly Term[];
  readonly parameters: readonly Term[];
  readonly bytes: readonly Term[];
}

/**
 * The sizes of what `shrink` makes of a model, as functions of what is kept.
 *
 * @param shapes  as of `countMacs`
 * @param stored  what weights are stored as; default: as they are
 */
export function sizeTerms(
  model: Model,
  { structures }: Analysis,
  shapes: Shapes,
  stored?: StoredType,
): SizeTerms {
  const extents = extentsOf(structures.filter(({ prunable }) => prunable));
  const batch = batchOf(model, shapes);
  const macs = model.nodes.flatMap((node) => {
    const count = model.operator(node)?.macs;
    if (!count) return [];
    const values = [...reads(node), ...node.output];
    return expand(extents, values, (kept) => {
      const dims = (value: string) => scaled(extents.get(value), dimsOf(model, shapes, value), kept);
      return count(node, dims) / batch;
    });
  });
  const of = (tensor: Tensor, size: (dims: readonly number[]) => number) =>
    expand(extents, [tensor.name], (kept) => size(scaled(extents.get(tensor.name), tensor.dims, kept)));
  const tensors = [...model.tensors.values()];
  const numbers = tensors.filter(({ type }) => !NO_PARAMETERS.has(type));
  const weights = numbers.flatMap((tensor) => of(tensor, elements));
  const biases = newBiases(model, structures, shapes);
  const onSteps = new Set(isFitted(stored) ? steppedMaps(model, shapes).map(({ weight }) => weight) : []);
  const isUnpacked = Array.from(onSteps).some((name) =>
    hasTable(stored!, blockOf(model, model.tensors.get(name)!)),
  );
  const storedAs = (tensor: Tensor) => stored && typeOf(model, tensor, stored, onSteps);
  return {
    macs: merged(macs),
    weights: merged(weights),
    parameters: merged([...weights, ...biases]),
    bytes: merged([
      ...tensors.flatMap((tensor) => of(tensor, bytesOf(model, tensor, storedAs(tensor)))),
      ...biases.map(({ value, size, of }) => ({ value: value * size, of })),
      ...(isUnpacked ? [{ value: TABLE_BYTES, of: [] }] : []),
    ]),
  };
}

/** Bytes that a constant takes at other dims. */
function bytesOf(
  model: Model,
  tensor: Tensor,
  stored?: ReturnType<typeof typeOf>,
): (dims: readonly number[]) => number {
  const size = tensor.bytes.byteLength / Math.max(1, elements(tensor.dims));
  return (stored && storedBytes(model, tensor, stored)) ?? ((dims) => elements(dims) * size);
}

/** Fraction of its groups that a structure keeps; of a structure that lies on several axes, one for each. */
type Kept = (variable: string) => number;
/** Positions of an axis that belong to a structure. */
type Extent = { readonly axis: number; readonly positions: number; readonly variable: string };

/** Recurrent weights have the units twice: what they count is the product of both. */
const variableOf = (structure: string, before: number) => `${structure}${'\0'.repeat(before)}`;
const structureOf = (variable: string) => variable.replaceAll('\0', '');

type Place = Pick<Slice, 'axis' | 'offset' | 'block'>;

/** By the names of tensors and values. What several nodes read counts once. */
function extentsOf(structures: readonly Structure[]): Map<string, Extent[]> {
  const found = new Map<string, Map<string, Extent>>();
  const byAxis = (a: Place, b: Place) => a.axis - b.axis;
  for (const { name, groups, slices, values } of structures) {
    const axesOf = new Map<string, Set<number>>();
    const add = (at: string, { axis, offset, block }: Place) => {
      const axes = (axesOf.get(at) ?? new Set()).add(axis);
      axesOf.set(at, axes);
      const before = [...axes].filter((it) => it < axis).length;
      const own = found.get(at) ?? new Map<string, Extent>();
      own.set(`${axis} ${offset}`, { axis, positions: groups * block, variable: variableOf(name, before) });
      found.set(at, own);
    };
    const constants = slices.filter(({ whole }) => whole === undefined);
    for (const at of constants.sort(byAxis)) add(at.tensor, at);
    for (const at of [...values].sort(byAxis)) add(at.value, at);
  }
  return new Map(Array.from(found, ([at, own]) => [at, [...own.values()]]));
}

function scaled(extents: readonly Extent[] = [], dims: readonly number[], kept: Kept): number[] {
  return dims.map((dim, place) => {
    const own = extents.filter(({ axis }) => axis === place);
    // Heads that are merged with the batch were analysed with more samples than are counted.
    const samples = Math.max(1, sum(own.map(({ positions }) => positions)) / (dim || 1));
    return dim - sum(own.map(({ positions, variable }) => (positions / samples) * (1 - kept(variable))));
  });
}

/** Layers multiply two widths: terms of more structures are not looked for where there are many, as behind a Concat. */
const [FEW_STRUCTURES, MOST_IN_TERM] = [6, 2];

/** Structures that lie beside each other wherever they lie, and how many positions each of them has. */
type Kind = ReadonlyMap<string, number>;

/**
 * A function that is linear in what each structure on some values keeps, as its terms. Of many structures it is asked for those of a
 * kind together: what comes of these is divided by their positions.
 */
function expand(
  extents: ReadonlyMap<string, readonly Extent[]>,
  values: readonly string[],
  count: (kept: Kept) => number,
): Term[] {
  const at = values.flatMap((value) => extents.get(value) ?? []);
  const names = [...new Set(at.map(({ variable }) => variable))];
  const terms =
    names.length <= FEW_STRUCTURES
      ? termsOf(names, names.length, count)
      : dividedTerms(names, kindsAt(extents, values), count);
  return terms.map(({ value, of }) => ({ value, of: of.map(structureOf) }));
}

function kindsAt(extents: ReadonlyMap<string, readonly Extent[]>, values: readonly string[]): Kind[] {
  const places = new Map<string, Map<string, number>>();
  for (const value of new Set(values))
    for (const { axis, positions, variable } of extents.get(value) ?? []) {
      const own = places.get(variable) ?? new Map<string, number>();
      const place = `${axis} ${value}`;
      places.set(variable, own.set(place, positions + (own.get(place) ?? 0)));
    }
  const first = (own: ReadonlyMap<string, number>): number => own.values().next().value!;
  const kinds = groupBy(places, ([, own]) =>
    JSON.stringify(Array.from(own, ([place, positions]) => [place, positions / first(own)])),
  );
  return Array.from(kinds.values(), (kind) => new Map(kind.map(([name, own]) => [name, first(own)])));
}

/** In the order of `termsOf`. */
function dividedTerms(
  names: readonly string[],
  kinds: readonly Kind[],
  count: (kept: Kept) => number,
): Term[] {
  const kindOf = new Map<string, string>();
  for (const [i, kind] of kinds.entries()) for (const name of kind.keys()) kindOf.set(name, String(i));
  const place = new Map(names.map((name, i) => [name, i]));
  const together = termsOf([...kinds.keys()].map(String), MOST_IN_TERM, (kept) =>
    count((name) => kept(kindOf.get(name)!)),
  );
  const parts = together.flatMap(({ value, of }) => {
    let parts = value === 0 ? [] : [{ value, at: [] as number[] }];
    for (const kind of of.map((i) => kinds[Number(i)])) {
      const whole = sum([...kind.values()]);
      parts = parts.flatMap(({ value, at }) =>
        Array.from(kind, ([name, own]) => ({
          value: (value * own) / whole,
          at: [...at, place.get(name)!],
        })),
      );
    }
    return parts.map(({ value, at }) => ({ value, at: at.sort((a, b) => a - b) }));
  });
  parts.sort((a, b) => a.at.length - b.at.length || a.at[0] - b.at[0] || a.at[1] - b.at[1]);
  return parts.map(({ value, at }) => ({ value, of: at.map((i) => names[i]) }));
}

/** From the values of the function where each keeps all or nothing. @param most  names in a term */
function termsOf(names: readonly string[], most: number, count: (kept: Kept) => number): Term[] {
  const values = new Map<string, number>();
  return subsetsOf(names, most).map((of) => {
    const inner = subsetsOf(of, of.length - 1);
    const known = sum(inner.map((it) => values.get(it.join('\0'))!));
    const value = count((name) => (of.includes(name) || !names.includes(name) ? 1 : 0)) - known;
    values.set(of.join('\0'), value);
    return { value, of };
  });
}

/** Of up to so many names, the smaller ones first. */
function subsetsOf(names: readonly string[], most: number): string[][] {
  const bySize: { of: string[]; next: number }[][] = most < 0 ? [] : [[{ of: [], next: 0 }]];
  for (let size = 1; size <= most; size++) {
    const longer = bySize[size - 1].flatMap(({ of, next }) =>
      names.slice(next).map((name, i) => ({ of: [...of, name], next: next + i + 1 })),
    );
    bySize.push(longer);
  }
  return bySize.flat().map(({ of }) => of);
}

/** Of layers that have no bias and may be given one (a bare MatMul has nowhere to put it). */
function newBiases(model: Model, structures: readonly Structure[], shapes: Shapes) {
  const prunable = structures.filter((it) => it.prunable);
  // Also where channels only pass, group by group; of several structures, as queries, keys and values, each has its part.
  const cuts = groupBy(
    prunable.flatMap(({ name, groups, slices }) =>
      slices.flatMap(({ node, input, axis, block }) =>
        input === 1 ? [{ name, node, axis, value: groups * block }] : [],
      ),
    ),
    ({ node }) => node,
  );
  return linearMaps(model, shapes)
    .filter(({ bias, kind }) => bias === undefined && kind !== 'matmul')
    .flatMap(({ node, m, weight }) => {
      const { dims, bytes } = model.tensors.get(weight)!;
      const size = bytes.byteLength / elements(dims);
      const made = model.node(node)!;
      const place = model.operator(made)!.layer!.outputAxis(made);
      const own = (cuts.get(node) ?? [])
        .filter(({ axis }) => axis === place)
        .map(({ name, value }) => ({ value, of: [name], size }));
      return [...own, { value: m - sum(own.map(({ value }) => value)), of: [], size }];
    });
}

function merged(terms: readonly Term[]): Term[] {
  const found = new Map<string, Term>();
  for (const { value, of } of terms) {
    const key = [...of].sort().join('\0');
    found.set(key, { value: value + (found.get(key)?.value ?? 0), of });
  }
  return [...found.values()].filter(({ value }) => value !== 0);
}

/** The terms that each structure is in. */
export function byStructure(terms: readonly Term[]): Map<string, Term[]> {
  const found = new Map<string, Term[]>();
  for (const term of terms)
    for (const name of new Set(term.of)) {
      const own = found.get(name);
      if (own) own.push(term);
      else found.set(name, [term]);
    }
  return found;
}

/** A size where structures keep these fractions of their groups. */
export function sizeAt(terms: readonly Term[], kept: Kept): number {
  return sum(terms.map(({ value, of }) => of.reduce((product, name) => product * kept(name), value)));
}
