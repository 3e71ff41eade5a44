// The dense and the pruned network side by side, part by part.
//
// Layers are pruned in sequence from input to output, and each needs activations of both networks. To
// run neither from its input again and again, the activations of both are kept at a cut: a place where a
// single value is live, so that everything behind it can be computed from it alone. As pruning
// proceeds, the frontier moves from cut to cut.

import type { Engine, EngineSession, FloatTensor } from '../engine/index.ts';
import { type Cut, type Model, segments, subgraph, type ValueInfo } from '../graph/index.ts';
import type { BatchSource } from './batches.ts';
import { turn } from './turn.ts';

/** Values of both networks for one batch, by name. */
export interface Activations {
  readonly dense: Readonly<Record<string, FloatTensor>>;
  readonly pruned: Readonly<Record<string, FloatTensor>>;
  /** Samples in the tensors. */
  readonly batch: number;
  /** Of them, samples that count; the others are padding. */
  readonly count: number;
}

interface Pair {
  readonly dense: FloatTensor;
  readonly pruned: FloatTensor;
  readonly batch: number;
  readonly count: number;
}

export class Frontier {
  readonly #engine: Engine;
  readonly #dense: Model;
  readonly #pruned: Model;
  readonly #info: ValueInfo;
  readonly #source: BatchSource;
  readonly #limit: number;
  /** Samples in the run that gave the shapes. */
  readonly #probed: number;
  readonly #cuts: readonly Cut[];
  readonly #inputs: readonly string[];
  #value: string;
  /** Position in the topological order behind which the frontier lies; −1 is the model's input. */
  #after = -1;
  /** The activations at the frontier; at the model's input they come from the source instead. */
  #pairs: Pair[] | undefined;

  /**
   * @param pruned  a model with the nodes of `dense`, whose weights change while the frontier moves
   * @param limit  bytes of activations that may be kept; a cut with more is passed over
   */
  constructor(
    engine: Engine,
    dense: Model,
    pruned: Model,
    input: string,
    info: ValueInfo,
    source: BatchSource,
    limit: number,
  ) {
    this.#engine = engine;
    this.#dense = dense;
    this.#pruned = pruned;
    this.#info = info;
    this.#source = source;
    this.#limit = limit;
    this.#probed = info.shapes.get(input)?.[0] || 1;
    this.#cuts = segments(dense, info.shapes, input);
    this.#inputs = dense.inputs.map(({ name }) => name);
    this.#value = input;
  }

  /** The last cut before the node at position `before` whose activations fit the limit, if it is behind this one. */
  cutBefore(before: number): Cut | undefined {
    return this.#cuts.findLast(
      ({ after, value }) => after > this.#after && after < before && this.#bytes(value) <= this.#limit,
    );
  }

  /**
   * Moves to a cut. Everything between the old and the new one must be final in the pruned network.
   * @param dense  the dense network's activations there, where a run has computed them already
   */
  async advance(cut: Cut, dense?: readonly FloatTensor[], signal?: AbortSignal): Promise<void> {
    const pairs: Pair[] = [];
    for await (const activations of this.run(dense ? [] : [cut.value], [cut.value], signal)) {
      pairs.push({
        dense: dense ? dense[pairs.length] : activations.dense[cut.value],
        pruned: activations.pruned[cut.value],
        batch: activations.batch,
        count: activations.count,
      });
    }
    this.#value = cut.value;
    this.#after = cut.after;
    this.#pairs = pairs;
  }

  /** Computes the named values of either network from the frontier, batch by batch. */
  async *run(
    dense: readonly string[],
    pruned: readonly string[],
    signal?: AbortSignal,
  ): AsyncGenerator<Activations> {
    const sessions: (EngineSession | undefined)[] = [];
    try {
      sessions.push(await this.#load(this.#dense, dense));
      sessions.push(await this.#load(this.#pruned, pruned));
      const [denseSession, prunedSession] = sessions;
      for await (const pair of this.#current()) {
        await turn(signal);
        yield {
          dense: await this.#values(denseSession, dense, pair.dense),
          pruned: await this.#values(prunedSession, pruned, pair.pruned),
          batch: pair.batch,
          count: pair.count,
        };
      }
    } finally {
      for (const session of sessions) await session?.release();
    }
  }

  async #load(model: Model, values: readonly string[]): Promise<EngineSession | undefined> {
    const computed = values.filter((value) => value !== this.#value);
    if (computed.length === 0) return undefined;
    return this.#engine.load(subgraph(model, [this.#value], computed, this.#info, this.#inputs));
  }

  async #values(
    session: EngineSession | undefined,
    names: readonly string[],
    at: FloatTensor,
  ): Promise<Record<string, FloatTensor>> {
    const results = session ? await session.run({ [this.#value]: at }) : {};
    if (names.includes(this.#value)) results[this.#value] = at;
    return results;
  }

  async *#current(): AsyncGenerator<Pair> {
    if (this.#pairs) yield* this.#pairs;
    else {
      for await (const { input, pruned = input, count } of this.#source.batches())
        yield { dense: input, pruned, batch: input.dims[0], count };
    }
  }

  /** Bytes of a value's activations over all samples, for both networks. */
  #bytes(value: string): number {
    const dims = this.#info.shapes.get(value);
    if (!dims) return Number.POSITIVE_INFINITY;
    // Shapes are those of one run on the smallest batch, whichever axis the samples are in.
    const values = dims.reduce((product, dim) => product * dim, 1) / this.#probed;
    return 2 * Float32Array.BYTES_PER_ELEMENT * values * this.#source.samples;
  }
}
