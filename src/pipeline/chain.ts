// A model as parts that hand one activation on: an ONNX file has one, a folder has embedding, blocks and head. Only one
// part is in memory at a time.

import type { Engine, EngineSession, FloatTensor } from '../engine/index.ts';
import { elements, type Gain, type Model, type Structure } from '../graph/index.ts';
import type { AbortOptions } from '../pool/index.ts';
import { type ActivationLimits, Activations, pairBytes } from './activations.ts';
import { type Batch, type BatchSource, batchSource, feedsOf, type Select } from './batches.ts';
import type { Dataset } from './data/index.ts';
import { type DenseBatches, Findings } from './findings.ts';
import { isCache, type ModelInput } from './inputs.ts';
import { loadModel } from './load.ts';
import type { OpenedModel } from './open.ts';
import type { Named } from './recipe.ts';
import { turn } from './turn.ts';

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
  /** All samples or some of them, as both networks have them here. */
  source(select?: Select): BatchSource;
}

/** The last part, with the activations of all that went before it. */
export interface LastPlace extends Place {
  close(): Promise<void>;
}

/** A part of the pruned network. */
export interface Visited {
  readonly model: Model;
  /** What it gives for every batch, where that is known already. */
  readonly outputs?: Activations;
}

/** Gives the pruned network's part, where that is not the dense network's. */
export type Visit = (place: Place, index: number) => Promise<Visited | undefined>;

/**
 * Takes samples to the last part. `visit` sees every part before its samples move on.
 *
 * @param findings  of these samples, where other passes over them follow or went before
 */
export async function through(
  chain: Chain,
  samples: Dataset,
  options: RunOptions,
  visit: Visit = async () => undefined,
  findings = new Findings(),
): Promise<LastPlace> {
  let states: States | undefined;
  let diverged = false;
  try {
    for (let index = 0; ; index++) {
      const part = await chain.open(index);
      const [before, apart] = [states, diverged];
      const source = (select?: Select) =>
        before?.source(part.batch, apart, select) ?? batchSource(samples, chain.input, select);
      const visited = await visit({ part, source }, index);
      diverged ||= visited !== undefined;
      if (index === chain.parts - 1)
        return { part, pruned: visited?.model, source, close: async () => states?.close() };
      try {
        states ??= new States(samples.size, chain.between, options);
        const bytes = pairBytes(samples.size * elements(chain.between)) / 2;
        const dense = await findings.dense<FloatTensor>({ part: index, output: true }, bytes);
        await advance(chain, { part, source }, visited, diverged, states, dense, options);
      } finally {
        await visited?.outputs?.close();
      }
    }
  } catch (error) {
    await states?.close();
    throw error;
  }
}

/** Moves all samples behind a part. */
async function advance(
  { engine }: Chain,
  { part, source }: Place,
  { model: pruned, outputs }: Partial<Visited> = {},
  diverged: boolean,
  states: States,
  dense: DenseBatches<FloatTensor>,
  { signal }: RunOptions,
): Promise<void> {
  const sessions: EngineSession[] = [];
  const load = async (model: Model) => {
    sessions.push(await loadModel(engine, model));
    return sessions[sessions.length - 1];
  };
  try {
    const isUsed = !dense.isKnown || (diverged && !pruned);
    const own = isUsed ? await load(part.opened?.model ?? (await part.read())) : undefined;
    const other = pruned && !outputs ? await load(pruned) : own;
    let index = 0;
    for await (const batch of source().batches()) {
      await turn(signal);
      const before = await dense.at(index, () => onlyOutput(own!, batch.input, batch));
      const run = () => onlyOutput(other!, batch.pruned ?? batch.input, batch);
      const after = diverged ? ((await outputs?.get(index))?.[0] ?? (await run())) : before;
      await states.add(before, after, batch);
      index++;
    }
    await dense.keep();
    states.rewind();
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
  const session = await loadModel(engine, changed ?? (await part.read()));
  try {
    for await (const batch of source(select).batches()) {
      await turn(signal);
      const { input, pruned = input, count } = batch;
      const outputs = session.outputs.filter(
        ({ name, type }) => !isCache(name) && /^(u?int|float|bool)/.test(type),
      );
      const names = outputs.map(({ name }) => name);
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

/** Not a number of rows: the first axis may hold samples and positions. */
function firstPart({ dims: [rows, ...dims], data }: FloatTensor, part: number): FloatTensor {
  return { dims: [rows * part, ...dims], data: data.subarray(0, data.length * part) };
}

/** Samples between two parts, one by one. Those behind a part take the place of those before it. */
class States {
  readonly #activations: Activations;
  readonly #size: number;
  readonly #samples: {
    readonly sample: FloatTensor;
    readonly label?: number;
    readonly dims: readonly number[];
  }[] = [];
  #next = 0;

  constructor(size: number, dims: readonly number[], options: RunOptions) {
    this.#size = size;
    this.#activations = new Activations(pairBytes(size * elements(dims)), options);
  }

  /** The next samples in order: what they have become, and in `batch` what they were. */
  async add(dense: FloatTensor, pruned: FloatTensor, { count, sample, labels }: Batch): Promise<void> {
    const dims = dense.dims.slice(1);
    for (let i = 0; i < count; i++) {
      const own = sampleOf(dense, i, dims);
      const other = dense === pruned ? own : sampleOf(pruned, i, dims);
      await this.#activations.set(this.#next, [own, other]);
      const source = sampleOf(sample, i, sample.dims.slice(1));
      this.#samples[this.#next] = { sample: source, label: labels?.[i], dims };
      this.#next++;
    }
  }

  /** To be called when all have moved on. */
  rewind(): void {
    this.#next = 0;
  }

  close(): Promise<void> {
    return this.#activations.close();
  }

  source(batchSize: number, diverged: boolean, select: Select = () => true): BatchSource {
    const indices = [...Array(this.#size).keys()].filter(select);
    const states = this;
    return {
      samples: indices.length,
      diverged,
      async *batches() {
        const formOf = (place: number) => String(states.#samples[indices[place]].dims);
        for (let first = 0; first < indices.length; ) {
          let end = first + 1; // consecutive samples of one size
          while (end < Math.min(indices.length, first + batchSize) && formOf(end) === formOf(first)) end++;
          yield await states.#batch(indices.slice(first, end), diverged);
          first = end;
        }
      },
    };
  }

  async #batch(indices: readonly number[], diverged: boolean): Promise<Batch> {
    const pairs = await Promise.all(indices.map((index) => this.#activations.get(index)));
    const samples = indices.map((index) => this.#samples[index]);
    const input = stack(pairs.map(([dense]) => dense));
    return {
      input,
      pruned: diverged ? stack(pairs.map(([, pruned]) => pruned)) : input,
      sample: stack(samples.map(({ sample }) => sample)),
      count: indices.length,
      labels: samples[0].label === undefined ? undefined : Int32Array.from(samples, ({ label }) => label!),
    };
  }
}

/** A sample of a batch. */
export function sampleOf({ data }: FloatTensor, index: number, dims: readonly number[]): FloatTensor {
  const size = elements(dims);
  return { dims, data: data.slice(index * size, (index + 1) * size) };
}

/** Samples as a batch. */
export function stack(samples: readonly FloatTensor[]): FloatTensor {
  const size = samples[0].data.length;
  const data = new Float32Array(samples.length * size);
  samples.forEach((sample, i) => {
    data.set(sample.data, i * size);
  });
  return { dims: [samples.length, ...samples[0].dims], data };
}
