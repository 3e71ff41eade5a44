// A model as parts that hand one activation on: an ONNX file has one, a folder has embedding, blocks and head. Only one
// part is in memory at a time.

import type { Engine, EngineSession, FloatTensor } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import { elements, type Gain, type Model, type Structure, withOutputs } from '../graph/index.ts';
import type { AbortOptions } from '../pool/index.ts';
import { turn } from '../turn.ts';
import { type ActivationLimits, Activations, pairBytes } from './activations.ts';
import { type Batch, type BatchSource, batchSource, feedsOf, type Select } from './batches.ts';
import { concatenated } from './data/dataset.ts';
import type { Dataset } from './data/index.ts';
import { type DenseBatches, Findings } from './findings.ts';
import type { Ends } from './frontier.ts';
import { isCache, type ModelInput } from './inputs.ts';
import { loadModel } from './load.ts';
import type { OpenedModel } from './open.ts';
import type { Pass } from './pass.ts';
import type { Named } from './recipe.ts';
import type { History } from './sequence.ts';
import { type Range, shardRange, sliceOf } from './shards.ts';
import { hereWork, type Pieces, type Work } from './work.ts';

export interface Chain {
  /** For messages. */
  readonly name: string;
  /** Runs the parts. */
  readonly engine: Engine;
  /** What samples are to the first part. */
  readonly input: ModelInput;
  /** Whether the first output has a score of every token of the vocabulary for every position. */
  readonly predictsTokens: boolean;
  readonly parts: number;
  /** Dims of what one part hands on to the next, for one sample; where they vary, the largest. */
  readonly between: readonly number[];
  open(part: number): Promise<Part>;
}

export interface Part {
  /** The part as it is written, which counts where outputs are looked at; not to be held on to where it is large. */
  read(): Promise<Model>;
  /** With its shapes; absent where nothing can be pruned. */
  readonly opened?: OpenedModel;
  /** Samples that go through it at a time, of the parts behind the first. */
  readonly batch: number;
  /** What ratios and reports call a structure. */
  named(structure: Structure): Named;
  /** Of the last part, where that is all of it that can be refitted. */
  readonly gain?: Gain;
}

/** What running a chain takes. */
export interface RunOptions extends ActivationLimits, AbortOptions {}

/** A part and the samples before it. */
export interface Place {
  readonly part: Part;
  /** The part in the pruned network, where it differs. */
  readonly pruned?: Model;
  /** All samples, those of a shard, or some of them, as both networks have them here. */
  source(select?: Select, shard?: number): BatchSource;
  /** What the bits of the dense network's values depend on here, where that is not the model alone. */
  readonly dense?: string;
}

/** The last part, with the activations of all that went before it. */
export interface LastPlace extends Place {
  close(): Promise<void>;
}

/** What both networks give for the samples that a pass is fitted to, for every batch of a shard. */
export interface ShardOutputs extends Pick<Pass, 'samples'> {
  /** Which these are; absent where they are all. */
  readonly fit?: Select;
  of(shard: number): Promise<Ends>;
  close(): Promise<void>;
}

/** A part of the pruned network. */
interface Visited {
  readonly model: Model;
  /** What comes of it, and of the dense network, where that need not be computed from their input. */
  readonly outputs?: ShardOutputs;
}

/** Gives the pruned network's part, where that is not the dense network's. */
export type Visit = (place: Place, index: number) => Promise<Visited | undefined>;

/** How samples go through a chain. */
interface Through {
  /** Of these samples, where other passes over them follow or went before. */
  readonly findings?: Findings;
  /** Who does it. Default: it is done here. */
  readonly work?: Work;
  /** All that was solved on the way; `visit` goes on with it. */
  readonly history?: History;
  /** The part to begin with, where what lies before it was done before. */
  readonly from?: number;
}

/**
 * Takes samples to the last part. `visit` sees every part before its samples move on.
 */
export async function through(
  chain: Chain,
  samples: Dataset,
  options: RunOptions,
  visit: Visit = async () => undefined,
  { findings = new Findings(), work = hereWork(), history = DENSE, from = 0 }: Through = {},
): Promise<LastPlace> {
  let states: States | undefined;
  let diverged = !history.isDense;
  let dense: string | undefined;
  const ranges = Array.from({ length: work.shards }, (_, shard) => shardRange(samples, work.shards, shard));
  const behind = (part: number, make: (shard: number) => Promise<Moved>) => {
    const about = { part, output: true, before: history.isDense ? undefined : history.name };
    return work.each('behind', about, make, { isShared: history.isDense });
  };
  const stored = (pieces: Pieces<Moved>) => new StoredStates(samples.size, ranges, pieces);
  try {
    if (from > 0) states = stored(await behind(from - 1, unmade));
    for (let index = from; ; index++) {
      work.enter({ part: index, history: { ...history } }, states?.pieces);
      const part = await chain.open(index);
      const [before, apart] = [states, diverged];
      const source = (select?: Select, shard?: number): BatchSource => {
        const range = shard === undefined || work.shards === 1 ? undefined : ranges[shard];
        if (before) return before.source(part.batch, apart, select, range);
        if (!range) return batchSource(samples, chain.input, select);
        const inside = select && ((i: number) => select(range.first + i));
        return batchSource(sliceOf(samples, range), chain.input, inside);
      };
      const visited = await visit({ part, source, dense }, index);
      diverged ||= visited !== undefined;
      if (index === chain.parts - 1)
        return { part, pruned: visited?.model, source, close: async () => states?.close() };
      const ends = async (shard: number) => {
        const found = await visited?.outputs?.of(shard);
        if (found) dense = await findings.hash(found.path);
        return found;
      };
      const known = (shard: number, count: number, apart: object) => {
        const about = { part: index, output: true, ...(work.shards > 1 && { shard, of: work.shards }) };
        return findings.dense<FloatTensor>(
          { ...about, ...apart },
          pairBytes(count * elements(chain.between)) / 2,
        );
      };
      const moving = { chain, place: { part, source }, visited, diverged, ends, known, options };
      try {
        if (work.isHere) {
          states ??= new HeldStates(samples.size, chain.between, options);
          const held = states as HeldStates;
          for (const [shard, { first }] of ranges.entries())
            for await (const step of advance(moving, shard)) await held.add(step, first);
        } else states = stored(await behind(index, (shard) => gathered(advance(moving, shard))));
      } finally {
        await visited?.outputs?.close();
      }
    }
  } catch (error) {
    await states?.close();
    throw error;
  }
}

const DENSE: History = { name: '', isDense: true };

/** Of what lies before the part that a pass begins with. */
async function unmade(): Promise<never> {
  throw new InputError('the run store lacks activations that were there; the same run makes them again');
}

/** A batch behind a part: of the dense network, of the pruned one, and as it was. */
type Step = readonly [dense: FloatTensor, pruned: FloatTensor, batch: Batch];

/** What it takes to move samples behind a part. */
interface Moving {
  readonly chain: Chain;
  readonly place: Place;
  readonly visited: Visited | undefined;
  readonly diverged: boolean;
  /** What comes of a shard's samples, where that is known in both networks. */
  ends(shard: number): Promise<Ends | undefined>;
  /** What other passes have of the dense network for so many samples of a shard. */
  known(shard: number, samples: number, apart: object): Promise<DenseBatches<FloatTensor>>;
  readonly options: RunOptions;
}

/** Moves the samples of a shard behind a part: first those that what comes of it is known of, then the others. */
async function* advance(moving: Moving, shard: number): AsyncGenerator<Step> {
  const { place, visited, ends, known } = moving;
  const found = await ends(shard);
  if (!found) {
    const source = place.source(undefined, shard);
    return yield* compute(moving, source, await known(shard, source.samples, {}));
  }
  const { samples, fit: isKnown = () => true } = visited!.outputs!;
  try {
    let index = 0;
    for await (const batch of place.source(isKnown, shard).batches()) {
      const [[before], [after]] = [await found.dense.get(index), await found.pruned.get(index)];
      yield [before, after, batch];
      index++;
    }
  } finally {
    for (const activations of [found.dense, found.pruned]) await activations.close();
  }
  const rest = place.source((i) => !isKnown(i), shard);
  if (rest.samples > 0) yield* compute(moving, rest, await known(shard, rest.samples, { beside: samples }));
}

/** Runs samples through a part. */
async function* compute(
  { chain: { engine }, place: { part }, visited, diverged, options: { signal } }: Moving,
  source: BatchSource,
  dense: DenseBatches<FloatTensor>,
): AsyncGenerator<Step> {
  const pruned = visited?.model;
  const sessions: EngineSession[] = [];
  const load = async (model: Model) => {
    sessions.push(await loadModel(engine, model));
    return sessions[sessions.length - 1];
  };
  try {
    const isUsed = !dense.isKnown || (diverged && !pruned);
    const own = isUsed ? await load(part.opened?.model ?? (await part.read())) : undefined;
    const other = pruned ? await load(pruned) : own;
    let index = 0;
    for await (const batch of source.batches()) {
      await turn(signal);
      const before = await dense.at(index, () => onlyOutput(own!, batch.input, batch));
      const after = diverged ? await onlyOutput(other!, batch.pruned ?? batch.input, batch) : before;
      yield [before, after, batch];
      index++;
    }
    await dense.keep();
  } finally {
    for (const session of sessions) await session.release();
  }
}

/** The first output of a part. */
export async function onlyOutput(
  session: EngineSession,
  input: FloatTensor,
  batch: Pick<Batch, 'others'> = {},
): Promise<FloatTensor> {
  return Object.values(await session.run(feedsOf(session, batch, input)))[0];
}

/** Outputs of a part for some samples, in one of the networks. */
export interface Outputs {
  readonly batch: Batch;
  /** The samples' own, padding left out, by name. */
  readonly values: ReadonlyMap<string, FloatTensor>;
}

/** What the model gives for the samples that are before its last part. */
export async function* outputsOf(
  { engine }: Chain,
  { part, pruned, source }: Place,
  network: 'dense' | 'pruned',
  { signal }: RunOptions,
  select?: Select,
): AsyncGenerator<Outputs> {
  const changed = network === 'pruned' ? pruned : undefined;
  const measured = part.opened?.measured;
  const model = changed ?? (await part.read());
  const session = await loadModel(engine, measured ? withOutputs(model, measured) : model);
  try {
    for await (const batch of source(select).batches()) {
      await turn(signal);
      const { input, pruned = input, count } = batch;
      const outputs = session.outputs.filter(
        ({ name, type }) => !isCache(name) && /^(u?int|float|bool)/.test(type),
      );
      const names = measured ?? outputs.map(({ name }) => name);
      const fed = network === 'dense' ? input : pruned;
      const results = await session.run(feedsOf(session, batch, fed), names);
      const part = count / input.dims[0];
      const values = names.map((name) => [name, firstPart(results[name], part)] as const);
      yield { batch, values: new Map(values) };
    }
  } finally {
    await session.release();
  }
}

/** What a model gives as it stands, for a whole set or some of it. */
export async function* modelOutputs(
  chain: Chain,
  samples: Dataset,
  options: RunOptions,
  select?: Select,
): AsyncGenerator<Outputs> {
  const last = await through(chain, samples, options);
  try {
    yield* outputsOf(chain, last, 'dense', options, select);
  } finally {
    await last.close();
  }
}

/** Not a number of rows: the first axis may hold samples and positions. */
function firstPart({ dims: [rows, ...dims], data }: FloatTensor, part: number): FloatTensor {
  return { dims: [rows * part, ...dims], data: data.subarray(0, data.length * part) };
}

/** A sample between two parts, in both networks. */
interface State {
  readonly dense: FloatTensor;
  /** Absent where it is the same. */
  readonly pruned?: FloatTensor;
  /** What it was to the first part. */
  readonly sample: FloatTensor;
  readonly label?: number;
}

/** The samples of a shard behind a part. */
interface Moved {
  readonly states: readonly State[];
}

/** The samples of a batch, one by one. */
function statesOf([dense, pruned, { count, sample, labels }]: Step): State[] {
  const dims = dense.dims.slice(1);
  return Array.from({ length: count }, (_, i) => ({
    dense: sampleOf(dense, i, dims),
    pruned: dense === pruned ? undefined : sampleOf(pruned, i, dims),
    sample: sampleOf(sample, i, sample.dims.slice(1)),
    label: labels?.[i],
  }));
}

async function gathered(steps: AsyncIterable<Step>): Promise<Moved> {
  const states: State[] = [];
  for await (const step of steps) {
    const { places } = step[2];
    for (const [i, state] of statesOf(step).entries()) states[places[i]] = state;
  }
  return { states };
}

/** Samples between two parts, one by one. */
abstract class States {
  readonly #size: number;
  /** Where they are kept for others. */
  readonly pieces?: Pieces<Moved>;

  constructor(size: number, pieces?: Pieces<Moved>) {
    this.#size = size;
    this.pieces = pieces;
  }

  abstract at(index: number): Promise<State>;
  abstract close(): Promise<void>;

  /** @param range  of the samples that `select` is asked about; default: all */
  source(
    batchSize: number,
    diverged: boolean,
    select: Select = () => true,
    { first, end }: Range = { first: 0, end: this.#size },
  ): BatchSource {
    const indices = Array.from({ length: end - first }, (_, i) => first + i).filter(select);
    const at = (place: number) => (place < indices.length ? this.at(indices[place]) : undefined);
    return {
      samples: indices.length,
      diverged,
      async *batches() {
        const formOf = ({ dense }: State) => String(dense.dims);
        let place = 0;
        for (let next = await at(place); next; ) {
          const batch = [next]; // consecutive samples of one size
          const begin = place;
          next = await at(++place);
          while (next && batch.length < batchSize && formOf(next) === formOf(batch[0])) {
            batch.push(next);
            next = await at(++place);
          }
          const places = indices.slice(begin, place).map((index) => index - first);
          yield { ...batchOf(batch, diverged), places };
        }
      },
    };
  }
}

function batchOf(states: readonly State[], diverged: boolean): Omit<Batch, 'places'> {
  const input = stack(states.map(({ dense }) => dense));
  const isLabelled = states[0].label !== undefined;
  return {
    input,
    pruned: diverged ? stack(states.map(({ dense, pruned = dense }) => pruned)) : input,
    sample: stack(states.map(({ sample }) => sample)),
    count: states.length,
    labels: isLabelled ? Int32Array.from(states, ({ label }) => label!) : undefined,
  };
}

/** Here. Those behind a part take the place of those before it. */
class HeldStates extends States {
  readonly #activations: Activations;
  readonly #samples: Pick<State, 'sample' | 'label'>[] = [];

  constructor(size: number, dims: readonly number[], options: RunOptions) {
    super(size);
    this.#activations = new Activations(pairBytes(size * elements(dims)), options);
  }

  /** What samples of a shard have become, and in the batch what they were. @param first  of the shard */
  async add(step: Step, first: number): Promise<void> {
    const { places } = step[2];
    for (const [i, { dense, pruned = dense, ...kept }] of statesOf(step).entries()) {
      const index = first + places[i];
      await this.#activations.set(index, [dense, pruned]);
      this.#samples[index] = kept;
    }
  }

  async at(index: number): Promise<State> {
    const [dense, pruned] = await this.#activations.get(index);
    return { dense, pruned, ...this.#samples[index] };
  }

  close(): Promise<void> {
    return this.#activations.close();
  }
}

/** In pieces that were made anywhere, read as they are needed. */
class StoredStates extends States {
  /** Of the shards. */
  readonly #ranges: readonly Range[];
  readonly #moved: Pieces<Moved>;
  #read: { readonly shard: number; readonly states: readonly State[] } | undefined;

  constructor(size: number, ranges: readonly Range[], moved: Pieces<Moved>) {
    super(size, moved);
    this.#ranges = ranges;
    this.#moved = moved;
  }

  async at(index: number): Promise<State> {
    const shard = this.#ranges.findIndex(({ end }) => index < end);
    if (this.#read?.shard !== shard) this.#read = { shard, states: (await this.#moved.read(shard)).states };
    return this.#read.states[index - this.#ranges[shard].first];
  }

  async close(): Promise<void> {
    this.#read = undefined;
  }
}

/** A sample of a batch. */
export function sampleOf({ data }: FloatTensor, index: number, dims: readonly number[]): FloatTensor {
  const size = elements(dims);
  return { dims, data: data.slice(index * size, (index + 1) * size) };
}

/** Samples as a batch. */
export function stack(samples: readonly FloatTensor[]): FloatTensor {
  return { dims: [samples.length, ...samples[0].dims], data: concatenated(samples.map(({ data }) => data)) };
}
