// The dense and the pruned network side by side, within one graph.
//
// Layers are pruned in sequence from input to output, and each needs activations of both networks. To
// run neither from its input again and again, the activations of both are kept at a cut: a place where a
// single value is live, so that everything behind it can be computed from it alone. As pruning
// proceeds, the frontier moves from cut to cut.

import type { Engine, EngineSession, FloatTensor } from '../engine/index.ts';
import { type Cut, elements, type Model, segments, subgraph } from '../graph/index.ts';
import { type ActivationLimits, Activations, activationLimit, type Pair, pairBytes } from './activations.ts';
import { type Batch, type BatchSource, feedsOf } from './batches.ts';
import { DenseBatches, type Findings } from './findings.ts';
import type { OpenedModel } from './open.ts';
import { turn } from './turn.ts';

type Tensors = Readonly<Record<string, FloatTensor>>;

/** Values of both networks for one batch, by name. */
export interface Values extends Pick<Batch, 'count' | 'others'> {
  readonly dense: Tensors;
  readonly pruned: Tensors;
  /** Samples in the tensors, of which `count` are no padding. */
  readonly batch: number;
}

/** Where to compute from next. */
export interface Move {
  readonly cut: Cut;
  /** Values of the dense network that are computed on the way there, those at the cut among them. */
  readonly watched: readonly string[];
  /** The dense network's activations at the cut, where a run has computed them already. */
  readonly dense?: readonly FloatTensor[];
}

export class Frontier {
  readonly #engine: Engine;
  readonly #opened: OpenedModel;
  readonly #pruned: () => Model;
  readonly #source: BatchSource;
  readonly #limits: ActivationLimits;
  readonly #findings: Findings;
  /** What the dense network's values depend on, up to the frontier: which values a session gives can change their bits. */
  readonly #path: unknown[];
  readonly #cuts: readonly Cut[];
  readonly #inputs: readonly string[];
  /** Moves that nobody has needed yet. */
  #moves: Move[] = [];
  #value: string;
  /** Position in the topological order behind which the frontier lies; −1 is the model's input. */
  #after = -1;
  /** The activations at the frontier; at the model's input they come from the source instead. */
  #held:
    | { readonly pairs: Activations; readonly sizes: readonly Pick<Values, 'batch' | 'count' | 'others'>[] }
    | undefined;

  /**
   * @param pruned  a model with the values of the dense one, whose weights change while the frontier moves
   * @param about  what the source's dense values depend on, for `findings`
   */
  constructor(
    engine: Engine,
    opened: OpenedModel,
    pruned: () => Model,
    source: BatchSource,
    limits: ActivationLimits,
    findings: Findings,
    about: unknown,
  ) {
    const { model, info, input } = opened;
    this.#engine = engine;
    this.#opened = opened;
    this.#pruned = pruned;
    this.#source = source;
    this.#limits = limits;
    this.#findings = findings;
    this.#path = [about];
    this.#cuts = segments(model, info.shapes, input.name, info.batchAxes);
    this.#inputs = model.inputs.map(({ name }) => name);
    this.#value = input.name;
  }

  /** The last cut before the node at position `before` whose activations may be held, if the next moves do not pass it. */
  cutBefore(before: number): Cut | undefined {
    const behind = this.#moves.at(-1)?.cut.after ?? this.#after;
    return this.#cuts.findLast(
      ({ after, value }) => after > behind && after < before && this.#mayHold(this.#bytes(value)),
    );
  }

  /**
   * Moves to a cut, when next something is computed: what lies before it must be final in the pruned network. The same
   * values are computed in the same way however late that is, so the bits are the same.
   */
  moveTo(move: Move): void {
    this.#moves.push(move);
  }

  /**
   * Computes the named values of either network from the frontier, batch by batch.
   *
   * @param variant  of the pruned network, instead of it
   */
  async *run(
    dense: readonly string[],
    pruned: readonly string[],
    signal?: AbortSignal,
    variant?: Model,
  ): AsyncGenerator<Values> {
    for (const move of this.#moves.splice(0)) await this.#advance(move, signal);
    yield* this.#compute(dense, pruned, signal, variant);
  }

  /** Lets go of the activations. */
  async close(): Promise<void> {
    await this.#held?.pairs.close();
    this.#held = undefined;
  }

  async #advance({ cut: { value, after }, watched, dense }: Move, signal?: AbortSignal): Promise<void> {
    const before = dense ?? (await this.#dense(value, watched, signal));
    const pairs = new Activations(this.#bytes(value), this.#limits);
    const sizes: Pick<Values, 'batch' | 'count' | 'others'>[] = [];
    try {
      for await (const { pruned, batch, count, others } of this.#compute([], [value], signal)) {
        await pairs.set(sizes.length, { dense: before[sizes.length], pruned: pruned[value] });
        sizes.push({ batch, count, others });
      }
    } catch (error) {
      await pairs.close();
      throw error;
    }
    await this.close();
    this.#value = value;
    this.#after = after;
    this.#path.push(watched);
    this.#held = { pairs, sizes };
  }

  async #dense(value: string, watched: readonly string[], signal?: AbortSignal): Promise<FloatTensor[]> {
    const tensors: FloatTensor[] = [];
    for await (const { dense } of this.#compute(watched, [], signal)) tensors.push(dense[value]);
    return tensors;
  }

  async *#compute(
    dense: readonly string[],
    pruned: readonly string[],
    signal?: AbortSignal,
    variant = this.#pruned(),
  ): AsyncGenerator<Values> {
    const known = await this.#known(dense);
    const sessions: (EngineSession | undefined)[] = [];
    let index = 0;
    try {
      sessions.push(known.isKnown ? undefined : await this.#load(this.#opened.model, dense));
      sessions.push(await this.#load(variant, pruned));
      const [denseSession, prunedSession] = sessions;
      for await (const at of this.#current()) {
        await turn(signal);
        const values = await known.at(index++, () => this.#run(denseSession, at.dense, at));
        yield {
          dense: this.#withHeld(values, dense, at.dense),
          pruned: this.#withHeld(await this.#run(prunedSession, at.pruned, at), pruned, at.pruned),
          batch: at.batch,
          count: at.count,
          others: at.others,
        };
      }
      await known.keep();
    } finally {
      for (const session of sessions) await session?.release();
    }
  }

  #known(dense: readonly string[]): Promise<DenseBatches<Tensors>> {
    const computed = this.#computed(dense);
    if (computed.length === 0) return Promise.resolve(new DenseBatches());
    const bytes = computed.reduce((sum, value) => sum + this.#bytes(value) / 2, 0);
    return this.#findings.dense([...this.#path, computed], bytes);
  }

  #computed(values: readonly string[]): string[] {
    return values.filter((value) => value !== this.#value);
  }

  async #load(model: Model, values: readonly string[]): Promise<EngineSession | undefined> {
    const computed = this.#computed(values);
    if (computed.length === 0) return undefined;
    return this.#engine.load(subgraph(model, [this.#value], computed, this.#opened.info, this.#inputs));
  }

  async #run(
    session: EngineSession | undefined,
    at: FloatTensor,
    batch: Pick<Batch, 'others'>,
  ): Promise<Tensors> {
    return session ? session.run(feedsOf(session, batch, at, this.#value)) : {};
  }

  /** The values, and those at the frontier, which no session gives. */
  #withHeld(values: Tensors, names: readonly string[], at: FloatTensor): Tensors {
    return names.includes(this.#value) ? { ...values, [this.#value]: at } : values;
  }

  async *#current(): AsyncGenerator<Pair & Pick<Values, 'batch' | 'count' | 'others'>> {
    if (this.#held) {
      const { pairs, sizes } = this.#held;
      for (const [i, size] of sizes.entries()) yield { ...(await pairs.get(i)), ...size };
    } else {
      const { info, input: model } = this.#opened;
      for await (const { input, pruned = input, sample, count, others } of this.#source.batches()) {
        // Where sizes differ, what is computed from them needs the samples themselves.
        const along = info.varies ? { ...others, [model.name]: sample } : others;
        yield { dense: input, pruned, batch: input.dims[0], count, others: along };
      }
    }
  }

  #mayHold(bytes: number): boolean {
    return (
      bytes <= activationLimit(this.#limits) || (this.#limits.scratch !== undefined && Number.isFinite(bytes))
    );
  }

  /** Bytes of a value's activations over all samples, for both networks. */
  #bytes(value: string): number {
    const { info, input } = this.#opened;
    const dims = info.shapes.get(value);
    if (!dims) return Number.POSITIVE_INFINITY;
    // Shapes are those of one run on the smallest batch, whichever axis the samples are in.
    const probed = info.shapes.get(input.name)?.[0] || 1;
    return pairBytes((elements(dims) / probed) * this.#source.samples);
  }
}
