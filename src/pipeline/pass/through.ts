// Samples through a chain, part by part: each part is looked at, and perhaps pruned, before its samples move on.

import type { EngineSession, FloatTensor } from '../../engine/index.ts';
import { InputError } from '../../errors.ts';
import { elements, type Model } from '../../graph/index.ts';
import { turn } from '../../turn.ts';
import type { Chain, Part, RunOptions } from '../chain.ts';
import { type BatchSource, inStep, onlyOutput, type Select } from '../data/batches.ts';
import type { Dataset } from '../data/index.ts';
import { shardRange } from '../data/shards.ts';
import { loadModel } from '../open/load.ts';
import type { Pass } from '../recipe.ts';
import { pairBytes } from '../store/activations.ts';
import { type DenseBatches, Findings } from '../store/findings.ts';
import {
  gathered,
  givenSamples,
  HeldSamples,
  type MovedBatch,
  type MovedShard,
  type Samples,
  StoredSamples,
} from './samples.ts';
import { type At, type History, hereWork, START, shardOf, type Work } from './work.ts';

/** A part and the samples before it. */
export interface Place {
  readonly part: Part;
  readonly at: At;
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

/** What both networks give behind a part for the samples that a pass is fitted to. */
export interface PartOutputs extends Pick<Pass, 'samples'> {
  /** Which these are; absent where they are all. */
  readonly fit?: Select;
  /** Batch by batch, of a shard. */
  of(shard: number): AsyncIterable<readonly [dense: FloatTensor, pruned: FloatTensor]>;
  /** What the dense network's bits depend on. */
  path(shard: number): unknown;
  close(): Promise<void>;
}

/** A part of the pruned network. */
interface Visited {
  readonly model: Model;
  /** With all that was solved in it. */
  readonly history: History;
  /** What comes of it, and of the dense network, where that need not be computed from their input. */
  readonly outputs?: PartOutputs;
}

/** Gives the pruned network's part, where that is not the dense network's. */
export type Visit = (place: Place) => Promise<Visited | undefined>;

/** How samples go through a chain. */
interface Through {
  /** Of these samples, where other passes over them follow or went before. */
  readonly findings?: Findings;
  /** Who does it. Default: it is done here. */
  readonly work?: Work;
  /** Where to begin, what lies before having been done before. */
  readonly at?: At;
}

/**
 * Takes samples to the last part. `visit` sees every part before its samples move on.
 */
export async function through(
  chain: Chain,
  data: Dataset,
  options: RunOptions,
  visit: Visit = async () => undefined,
  { findings = new Findings(), work = hereWork(), at = START }: Through = {},
): Promise<LastPlace> {
  const rangeOf = (shard?: number) =>
    shard === undefined ? { first: 0, end: data.size } : shardRange(data, work.shards, shard);
  const behind = async (
    { part, history: { name, isDense } }: At,
    make: (shard: number) => Promise<MovedShard>,
  ) => {
    const about = { part, output: true, before: isDense ? undefined : name };
    const pieces = await work.each('behind', about, make, { isShared: isDense });
    return new StoredSamples(pieces, data, work.shards);
  };
  let { part: index, history } = at;
  let samples: Samples =
    index === 0 ? givenSamples(data, chain.input) : await behind({ part: index - 1, history }, unmade);
  let dense: string | undefined;
  try {
    for (; ; index++) {
      const at = { part: index, history };
      work.enter(at, samples.pieces);
      const part = await chain.open(index);
      const [before, diverged] = [samples, !history.isDense];
      const source = (select?: Select, shard?: number) =>
        before.source({ batch: part.batch, diverged }, rangeOf(shard), select);
      const place: Place = { part, at, source, dense };
      const visited = await visit(place);
      if (index === chain.parts - 1) return { ...place, pruned: visited?.model, close: () => before.close() };
      history = visited?.history ?? history;
      const { outputs } = visited ?? {};
      const moving = { chain, place, visited, diverged: !history.isDense, findings, work, options };
      try {
        if (work.isHere) {
          const held = before instanceof HeldSamples ? before : new HeldSamples(chain, data, options);
          samples = held;
          for (let shard = 0; shard < work.shards; shard++)
            for await (const batch of advance(moving, shard)) await held.add(batch, rangeOf(shard).first);
          if (outputs) dense = await findings.hash(outputs.path(work.shards - 1));
        } else
          samples = await behind({ part: index, history }, (shard) =>
            gathered(advance(moving, shard), chain),
          );
      } finally {
        await outputs?.close();
      }
    }
  } catch (error) {
    await samples.close();
    throw error;
  }
}

/** Of what lies before the part that a pass begins with. */
async function unmade(): Promise<never> {
  throw new InputError('the run store lacks activations that were there; the same run makes them again');
}

/** What it takes to move samples behind a part. */
interface Moving extends Required<Pick<Through, 'findings' | 'work'>> {
  readonly chain: Chain;
  readonly place: Place;
  readonly visited: Visited | undefined;
  /** Whether the networks differ behind it. */
  readonly diverged: boolean;
  readonly options: RunOptions;
}

/** Moves the samples of a shard behind a part: first those that what comes of it is known of, then the others. */
async function* advance(moving: Moving, shard: number): AsyncGenerator<MovedBatch> {
  const { chain, place, visited, findings, work } = moving;
  const { outputs } = visited ?? {};
  const isKnown = outputs ? (outputs.fit ?? (() => true)) : () => false;
  if (outputs) {
    const batches = place.source(isKnown, shard).batches();
    for await (const [[before, after], batch] of inStep(outputs.of(shard), batches))
      yield [before, after, batch];
  }
  const rest = place.source((i) => !isKnown(i), shard);
  if (rest.samples === 0) return;
  const about = { part: place.at.part, output: true, ...shardOf(work, shard), beside: outputs?.samples };
  const bytes = pairBytes(rest.samples * elements(chain.between)) / 2;
  yield* compute(moving, rest, await findings.dense(about, bytes));
}

/** Runs samples through a part. */
async function* compute(
  { chain: { engine }, place: { part }, visited, diverged, options: { signal } }: Moving,
  source: BatchSource,
  dense: DenseBatches<FloatTensor>,
): AsyncGenerator<MovedBatch> {
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
