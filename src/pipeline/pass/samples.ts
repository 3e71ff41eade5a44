// Samples at a place between two parts of a model, as both networks have them there: the data themselves before the first
// part, behind it held here, or in pieces that were made anywhere.

import type { FloatTensor } from '../../engine/index.ts';
import { elements } from '../../graph/index.ts';
import type { Chain, RunOptions } from '../chain.ts';
import { type Batch, type BatchSource, batchSource, type Select } from '../data/batches.ts';
import { alike, concatenated, type Dataset } from '../data/dataset.ts';
import { type Range, shardRange, sliceOf } from '../data/shards.ts';
import type { Feeds, ModelInput } from '../open/inputs.ts';
import { Activations, pairBytes } from '../store/activations.ts';
import type { Pieces } from './work.ts';

/** How samples go into a part. */
interface Batching {
  /** Samples at a time, of the parts behind the first. */
  readonly batch: number;
  /** Whether the pruned network has others. */
  readonly diverged: boolean;
}

/** Samples at one place. */
export interface Samples {
  /** Those of a range that `select` names. */
  source(how: Batching, range: Range, select?: Select): BatchSource;
  /** Where they are kept for others. */
  readonly pieces?: Pieces<MovedShard>;
  close(): Promise<void>;
}

/** Before the first part. */
export function givenSamples(samples: Dataset, input: ModelInput): Samples {
  return {
    source(_, range, select) {
      const inside = select && ((i: number) => select(range.first + i));
      return batchSource(sliceOf(samples, range), input, inside);
    },
    async close() {},
  };
}

/** A batch behind a part: of the dense network, of the pruned one, and as it was. */
export type MovedBatch = readonly [dense: FloatTensor, pruned: FloatTensor, batch: Batch];

/** A sample between two parts, in both networks. */
interface State {
  readonly dense: FloatTensor;
  /** Absent where it is the same. */
  readonly pruned?: FloatTensor;
  /** What it was to the first part. */
  readonly sample: FloatTensor;
  /** What goes along with it, of what parts behind the first read. */
  readonly others?: Feeds;
  readonly label?: number;
}

/** The samples of a shard behind a part. */
export interface MovedShard {
  readonly states: readonly State[];
}

/** The samples of a batch, one by one, with their places in the shard. */
function statesOf(
  [dense, pruned, { places, sample, others = {}, labels }]: MovedBatch,
  along: Chain['along'],
): [place: number, State][] {
  return places.map((place, i) => {
    const own = (tensor: FloatTensor) => sampleOf(tensor, i, tensor.dims.slice(1));
    const state = {
      dense: own(dense),
      pruned: dense === pruned ? undefined : own(pruned),
      sample: own(sample),
      ...(along && { others: Object.fromEntries(along.map((name) => [name, own(others[name])])) }),
      label: labels?.[i],
    };
    return [place, state];
  });
}

export async function gathered(
  batches: AsyncIterable<MovedBatch>,
  { along }: Pick<Chain, 'along'>,
): Promise<MovedShard> {
  const states: State[] = [];
  for await (const batch of batches)
    for (const [place, state] of statesOf(batch, along)) states[place] = state;
  return { states };
}

/** One by one. */
abstract class States implements Samples {
  abstract at(index: number): Promise<State>;
  abstract close(): Promise<void>;

  source(
    { batch: size, diverged }: Batching,
    { first, end }: Range,
    select: Select = () => true,
  ): BatchSource {
    const indices = Array.from({ length: end - first }, (_, i) => first + i).filter(select);
    const at = (index: number) => this.at(index);
    async function* states() {
      for (const index of indices) yield { place: index - first, state: await at(index) };
    }
    return {
      samples: indices.length,
      async *batches() {
        for await (const part of alike(states(), size, ({ state }) => formOf(state))) {
          const batch = part.map(({ state }) => state);
          yield { ...batchOf(batch, diverged), places: part.map(({ place }) => place) };
        }
      },
    };
  }
}

/** Samples of one form go through a part together. */
const formOf = ({ dense, others = {} }: State) =>
  [dense, ...Object.values(others)].map(({ dims }) => String(dims)).join(';');

function batchOf(states: readonly State[], diverged: boolean): Omit<Batch, 'places'> {
  const input = stack(states.map(({ dense }) => dense));
  const isLabelled = states[0].label !== undefined;
  return {
    input,
    pruned: diverged ? stack(states.map(({ dense, pruned = dense }) => pruned)) : input,
    sample: stack(states.map(({ sample }) => sample)),
    others: states[0].others && stackedOthers(states),
    count: states.length,
    labels: isLabelled ? Int32Array.from(states, ({ label }) => label!) : undefined,
  };
}

function stackedOthers(states: readonly State[]): Feeds {
  const names = Object.keys(states[0].others!);
  return Object.fromEntries(names.map((name) => [name, stack(states.map(({ others }) => others![name]))]));
}

/** Here. Those behind a part take the place of those before it. */
export class HeldSamples extends States {
  readonly #activations: Activations;
  readonly #samples: Omit<State, 'dense' | 'pruned'>[] = [];
  readonly #along: Chain['along'];

  constructor({ between, along }: Chain, { size }: Dataset, options: RunOptions) {
    super();
    this.#along = along;
    this.#activations = new Activations(pairBytes(size * elements(between)), options);
  }

  /** What samples of a shard have become, and in the batch what they were. @param first  of the shard */
  async add(batch: MovedBatch, first: number): Promise<void> {
    for (const [place, { dense, pruned = dense, ...kept }] of statesOf(batch, this.#along)) {
      await this.#activations.set(first + place, [dense, pruned]);
      this.#samples[first + place] = kept;
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
export class StoredSamples extends States {
  readonly pieces: Pieces<MovedShard>;
  /** Of the shards. */
  readonly #ranges: readonly Range[];
  #read: { readonly shard: number; readonly states: readonly State[] } | undefined;

  constructor(pieces: Pieces<MovedShard>, samples: Dataset, shards: number) {
    super();
    this.pieces = pieces;
    this.#ranges = Array.from({ length: shards }, (_, shard) => shardRange(samples, shards, shard));
  }

  async at(index: number): Promise<State> {
    const shard = this.#ranges.findIndex(({ end }) => index < end);
    if (this.#read?.shard !== shard) this.#read = { shard, states: (await this.pieces.read(shard)).states };
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
