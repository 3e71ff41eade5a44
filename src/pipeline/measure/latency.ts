// How long a model takes as a function of what its structures keep: shrunk models are timed beside the dense one, and a sum
// is fitted that knows which widths multiply. What comes of it is plain data, for other machines too.

import { expectEngine } from '../../engine/index.ts';
import { FormatError, InputError } from '../../errors.ts';
import { isObject, said } from '../../expect.ts';
import { groupBy, type Model, sizeAt, sizeTerms, sum, type Term } from '../../graph/index.ts';
import { parseJson } from '../../json.ts';
import { expectOptions, FUNCTION, OBJECT, type Options } from '../../options.ts';
import { widthsOf } from '../budget.ts';
import { type ProgressStep, telling } from '../course.ts';
import { type Batch, madeUp } from '../data/batches.ts';
import { mulberry32 } from '../data/sample.ts';
import type { Prunable, Sizes } from '../keep.ts';
import { loadModel, withSessions } from '../open/load.ts';
import { expectOpened, type OpenedModel, prunableOf, shrunkTo } from '../open/open.ts';
import { nonNegative } from './nnls.ts';
import {
  alternately,
  CAREFUL,
  median,
  type Rounds,
  ratioOf,
  TIMING_OPTIONS,
  type TimingOptions,
} from './timing.ts';

/** Milliseconds of one sample (of the batch, where the model insists on one), at any widths. */
export interface LatencyTable {
  readonly version: 1;
  /** The model's name. */
  readonly model: string;
  /** Groups of the structures that can be pruned, and multiply-adds: a table is of models that have the same. */
  readonly structures: Readonly<Record<string, number>>;
  readonly macs: number;
  /** Dims of a sample. */
  readonly sample: readonly number[];
  readonly engine: string;
  readonly denseMs: number;
  /** Milliseconds, each times the fractions that its structures keep. */
  readonly terms: readonly Term[];
  /** What the terms were fitted to; groups that stay, by structure. */
  readonly measured: readonly { readonly widths: Readonly<Record<string, number>>; readonly ms: number }[];
  /** Median relative error of the terms on what was measured. */
  readonly error: number;
}

/** How a model is timed at several sizes. */
export interface LatencyOptions extends TimingOptions {
  /** What is run, a sample or the batch that the model insists on. Default: noise, or token 0. */
  readonly input?: Pick<Batch, 'input' | 'others'>;
  /** Called after every timing. */
  readonly onProgress?: (progress: ProgressStep) => void;
}

const OPTIONS: Options<LatencyOptions> = { ...TIMING_OPTIONS, input: OBJECT, onProgress: FUNCTION };

/** Fractions at which each structure is measured alone, and all together. */
const FRACTIONS = [0.75, 0.5, 0.25];
/** Drawn widths of all structures, at least: what tells the products of widths from single ones. */
const MIXED = 3;
const STRUCTURES_PER_MIXED = 4;
const SEED = 1;

const QUICK: Rounds = { warmUp: 2, most: 15, limitMs: 4000 };
/** Models that are timed beside the dense one at a time, where so many bytes of weights may be loaded. */
const MOST_TOGETHER = 6;
const LOADED_BYTES = 2 ** 28;

/**
 * Times shrunk models (with weights as they are, which matter by a few percent) and fits ms = Σ term(widths), all terms ≥ 0. Takes seconds to minutes.
 *
 * @throws {InputError} where nothing is prunable
 *
 * @example
 * const latencyTable = await measureLatency(model, { engine });
 * await prune(model, { engine, calibration, latency: 0.5, latencyTable });
 */
export async function measureLatency(opened: OpenedModel, options: LatencyOptions): Promise<LatencyTable> {
  expectOptions('measureLatency', options, OPTIONS);
  expectEngine('measureLatency', options.engine);
  expectOpened('measureLatency', opened);
  return latencyTable(opened, options);
}

/** Sizes that are timed before others. */
export interface TimedFirst {
  readonly sizes: Sizes;
  /** Given milliseconds of the dense model and of these sizes; may end it all. */
  readonly onTimed: (denseMs: number, ms: number) => unknown;
}

export async function latencyTable(
  opened: OpenedModel,
  options: LatencyOptions,
  first?: TimedFirst,
): Promise<LatencyTable> {
  const structures = prunableOf(opened);
  if (structures.length === 0) throw new InputError(`${opened.name}: no prunable structure`);
  const configurations = [...(first ? [first.sizes] : []), ...configurationsOf(structures)];
  const models = configurations.map((sizes) => () => shrunkTo(opened, sizes));
  const { denseMs, ratios: all } = await timesBeside(opened, models, QUICK, options, first?.onTimed);
  // What goes whole takes nodes along that no width says anything of.
  const isFitted = (sizes: Sizes) => ![...sizes.values()].includes(0);
  const ratios = all.filter((_, i) => isFitted(configurations[i]));
  const timed = configurations.filter(isFitted);
  const groups = new Map(structures.map((it) => [it.name, it.groups]));
  const fractions = timed.map((sizes) => (name: string) => sizes.get(name)! / groups.get(name)!);
  const fitted = fitTerms(basisOf(opened), fractions, ratios);
  return {
    version: 1,
    model: opened.name,
    ...signatureOf(opened),
    engine: options.engine.name,
    denseMs,
    terms: fitted.map(({ value, of }) => ({ value: value * denseMs, of })),
    measured: timed.map((sizes, i) => ({
      widths: Object.fromEntries(sizes),
      ms: ratios[i] * denseMs,
    })),
    error: median(fractions.map((kept, i) => Math.abs(sizeAt(fitted, kept) / ratios[i] - 1))),
  };
}

/** Milliseconds of what was made of the model: how much longer than the dense one it takes now, times the table's dense time. */
export async function timeOf(
  small: Model,
  opened: OpenedModel,
  { denseMs }: LatencyTable,
  options: LatencyOptions,
): Promise<number> {
  const { ratios } = await timesBeside(opened, [() => small], CAREFUL, options);
  return ratios[0] * denseMs;
}

/**
 * @throws {InputError} where the table is of another model
 * @throws {FormatError} where it is none
 */
export function checkTable(table: LatencyTable, opened: OpenedModel): void {
  expectTable(table, '`latencyTable`');
  const { structures, ...own } = signatureOf(opened);
  const sorted = (it: LatencyTable['structures']) => Object.entries(it).sort();
  const pairs = { ...own, structures: sorted(structures) };
  const given = { ...table, structures: sorted(table.structures) };
  for (const field of ['structures', 'macs', 'sample'] as const) {
    if (JSON.stringify(given[field]) === JSON.stringify(pairs[field])) continue;
    throw new InputError(
      `\`latencyTable\`: of ${said(table.model)}, whose "${field}" are not those of "${opened.name}" here; measure this one (osscar latency)`,
    );
  }
}

/**
 * @param where  what messages begin with
 * @throws {FormatError} where the text is no table
 *
 * @example
 * const latencyTable = parseLatencyTable(await readFile('phone.json', 'utf8'));
 * await prune(model, { engine, calibration, latency: 0.5, latencyTable });
 */
export function parseLatencyTable(text: string, where = 'latency table'): LatencyTable {
  return expectTable(parseJson(text, where), where);
}

/** @throws {FormatError} where it is no table, whoever has made it */
function expectTable(table: unknown, where: string): LatencyTable {
  const { version, structures, terms, denseMs } = isObject(table) ? table : {};
  const isTerm = (term: unknown) =>
    isObject(term) &&
    isPositive(term.value) &&
    Array.isArray(term.of) &&
    term.of.every((name) => Object.hasOwn(structures as object, name));
  if (version !== 1) throw new FormatError(`${where}: expected version 1, got ${said(version)}`);
  const isWhole = isObject(structures) && Array.isArray(terms) && terms.every(isTerm);
  if (!(isWhole && isPositive(denseMs)))
    throw new FormatError(`${where}: expected structures, terms of them, and times above 0`);
  return table as unknown as LatencyTable;
}

const isPositive = (value: unknown) => typeof value === 'number' && value > 0;

function signatureOf(opened: OpenedModel): Pick<LatencyTable, 'structures' | 'macs' | 'sample'> {
  const structures = Object.fromEntries(prunableOf(opened).map(({ name, groups }) => [name, groups]));
  return { structures, macs: opened.macs, sample: opened.input.shape };
}

/** All whole; each structure alone at some widths; all together at those, and at drawn ones. */
function configurationsOf(structures: readonly Prunable[]): Sizes[] {
  const widths = widthsOf(
    structures.map((it) => ({ ...it, canGo: false })),
    {},
  );
  const nearest = ({ name, groups }: Prunable, fraction: number) => {
    const distance = (width: number) => Math.abs(width - fraction * groups);
    return widths.get(name)!.reduce((a, b) => (distance(b) < distance(a) ? b : a));
  };
  const sizesBy = (width: (structure: Prunable) => number): Sizes =>
    new Map(structures.map((it) => [it.name, width(it)]));
  const whole = sizesBy(({ groups }) => groups);
  const alone = structures.flatMap((it) =>
    [...new Set(FRACTIONS.map((fraction) => nearest(it, fraction)))]
      .filter((width) => width < it.groups)
      .map((width) => new Map(whole).set(it.name, width)),
  );
  const uniform = FRACTIONS.map((fraction) => sizesBy((it) => nearest(it, fraction)));
  const next = mulberry32(SEED);
  const mixed = Math.max(MIXED, Math.ceil(structures.length / STRUCTURES_PER_MIXED));
  const drawn = Array.from({ length: mixed }, () =>
    sizesBy(({ name, groups }) => {
      const own = widths.get(name)!.filter((width) => width >= FRACTIONS.at(-1)! * groups);
      return own[Math.floor(next() * own.length)];
    }),
  );
  return [whole, ...alone, ...uniform, ...drawn];
}

/** @returns of the file as it is the median, and of the models how much longer they take */
async function timesBeside(
  opened: OpenedModel,
  models: readonly (() => Model)[],
  rounds: Rounds,
  { engine, input: sample = madeUp(opened.input, 1), signal, now, onProgress }: LatencyOptions,
  onFirst?: TimedFirst['onTimed'],
): Promise<{ denseMs: number; ratios: number[] }> {
  const { name, source, bytes } = opened;
  const together = Math.max(1, Math.min(MOST_TOGETHER, Math.floor(LOADED_BYTES / bytes)));
  const total = models.length;
  const tell = telling()(onProgress);
  const ratios: number[] = [];
  const denseTimes: number[] = [];
  const loadOf = (model: () => Model) => () => loadModel(engine, model(), { asUsed: true });
  await withSessions([loadOf(() => source)], async (dense) => {
    for (let at = 0; at < total; at += together) {
      const loads = models.slice(at, at + together).map(loadOf);
      await withSessions(loads, async (...sessions) => {
        const [own, ...others] = await alternately([dense, ...sessions], sample, rounds, { signal, now });
        denseTimes.push(...own);
        ratios.push(...others.map((times) => ratioOf(times, own)));
        if (at === 0) onFirst?.(median(own), ratios[0] * median(own));
      });
      tell({ label: `timing ${name}`, done: ratios.length, total });
    }
  });
  return { denseMs: median(denseTimes), ratios };
}

/** Terms whose time is to be found, by the part of it that each takes, and the part of the dense model's that they are thought to take beforehand. */
interface Unknown {
  readonly terms: readonly Term[];
  readonly prior: number;
}

/**
 * More products than these, as of layers that each read all before, are found together where their last structure is the same: single
 * ones no measurement tells apart, and the fit takes the square of their number.
 */
const MOST_PRODUCTS = 2 ** 9;

/** What multiplies in multiply-adds, and of every structure what only follows its width (elementwise operators). */
function basisOf(opened: OpenedModel): Unknown[] {
  const { model, analysis, info, macs } = opened;
  const products = sizeTerms(model, analysis, info.shapes).macs;
  const names = prunableOf(opened).map(({ name }) => name);
  const places = new Map(names.map((name, place) => [name, place]));
  const last = ({ of }: Term) => String(Math.max(-1, ...of.map((name) => places.get(name)!)));
  const together =
    products.length > MOST_PRODUCTS ? [...groupBy(products, last).values()] : products.map((it) => [it]);
  const known = new Set(products.map(({ of }) => of.join('\0')));
  const single = [[], ...names.map((name) => [name])];
  return [
    ...together.map((terms) => {
      const own = terms.map(({ value }) => Math.max(0, value));
      const all = sum(own);
      const parts = terms.map(({ of }, i) => ({ value: all > 0 ? own[i] / all : 1 / own.length, of }));
      return { terms: parts, prior: all / (macs || 1) };
    }),
    ...single
      .filter((of) => !known.has(of.join('\0')))
      .map((of) => ({ terms: [{ value: 1, of }], prior: 0 })),
  ];
}

/**
 * Weight of the prior: of a measured ratio's variance, 1e-4 or more, to the square of how far off a prior may be, 0.3. It
 * decides only what measurements leave open: each structure alone does not tell a product from a single width.
 */
const RIDGE = 1e-3;

/** Relative errors above it count less, as Huber has it: an interruption may outlast all rounds of a model. */
const LARGEST_ERROR = 0.02;
const REWEIGHTED = 5;

/** Non-negative least squares of relative errors, large ones apart. */
function fitTerms(
  basis: readonly Unknown[],
  fractions: readonly ((name: string) => number)[],
  ratios: readonly number[],
): Term[] {
  const measured = fractions.map((kept, i) => basis.map(({ terms }) => sizeAt(terms, kept) / ratios[i]));
  const ridge = Math.sqrt(RIDGE);
  const prior = basis.map((_, i) => basis.map((_, j) => (i === j ? ridge : 0)));
  let found = basis.map(() => 0);
  let weights = ratios.map(() => 1);
  for (let pass = 0; pass < REWEIGHTED; pass++) {
    found = nonNegative(
      [...measured.map((row, i) => row.map((value) => weights[i] * value)), ...prior],
      [...weights, ...basis.map(({ prior }) => ridge * prior)],
      found,
    );
    const errors = measured.map((row) => Math.abs(sum(row.map((value, j) => value * found[j])) - 1));
    weights = errors.map((error) => Math.sqrt(Math.min(1, LARGEST_ERROR / error)));
  }
  const timed = basis.flatMap(({ terms }, i) =>
    terms.map(({ value, of }) => ({ value: value * found[i], of })),
  );
  return timed.filter(({ value }) => value > 0);
}

/**
 * What half of each structure saves alone, in milliseconds.
 *
 * @example
 * for (const [structure, ms] of savedByHalf(latencyTable)) console.log(structure, ms.toFixed(3));
 */
export function savedByHalf(table: LatencyTable): Map<string, number> {
  const { terms, structures } = expectTable(table, 'savedByHalf: latency table');
  const dense = sizeAt(terms, () => 1);
  const half = (name: string) => sizeAt(terms, (it) => (it === name ? 0.5 : 1));
  return new Map(Object.keys(structures).map((name) => [name, dense - half(name)]));
}
