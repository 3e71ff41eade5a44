// The dense and the pruned network side by side, within one graph.
//
// Layers are pruned in sequence from input to output, and each needs activations of both networks. To
// run neither from its input again and again, activations are kept from which everything behind them can be
// computed, however many values that takes: of the pruned network right before the layer, of the dense one, which does not
// change, right behind what it was run for. So no layer runs twice. As pruning proceeds, the frontier moves on.

import type { EngineSession, FloatTensor } from '../../engine/index.ts';
import { elements, type Live, liveValues, type Model, subgraph, sum } from '../../graph/index.ts';
import { turn } from '../../turn.ts';
import type { RunOptions } from '../chain.ts';
import type { Batch, BatchSource } from '../data/batches.ts';
import type { OpenedModel } from '../open/open.ts';
import type { Run } from '../run.ts';
import { Activations, activationLimit, pairBytes } from '../store/activations.ts';
import { DenseBatches } from '../store/findings.ts';

type Tensors = Readonly<Record<string, FloatTensor>>;

/** Values of both networks for one batch, by name. */
export interface Values extends Pick<Batch, 'count' | 'others'> {
  readonly dense: Tensors;
  readonly pruned: Tensors;
  /** Samples in the tensors, of which `count` are no padding. */
  readonly batch: number;
}

type Network = 'dense' | 'pruned';
type Along = Omit<Values, Network>;

/** Where to compute values of a network from next. */
interface Move {
  readonly to: Live;
  /** Values that are computed on the way there, those that are live there among them. */
  readonly watched: readonly string[];
}

/** What is at hand of a network. */
interface Held {
  readonly at: Live;
  /** Batch by batch; at the model's input they come from the source instead. */
  readonly tensors?: Activations;
}

/** What running the networks takes. */
type FrontierRun = Pick<Run, 'chain' | 'findings' | keyof RunOptions>;

/** Where samples are among others. */
interface Among {
  readonly first: number;
  readonly samples: number;
}

export class Frontier implements Among {
  readonly #run: FrontierRun;
  readonly opened: OpenedModel;
  /** Samples of the pass, and how many of them come before these. */
  readonly samples: number;
  readonly first: number;
  readonly #pruned: () => Model;
  readonly #source: BatchSource;
  /** What the dense network's values depend on, up to the frontier: which values a session gives can change their bits. */
  readonly path: unknown[];
  /** Where activations may be held. */
  readonly #places: readonly Live[];
  readonly #inputs: readonly string[];
  /** Moves that nobody has needed yet. */
  readonly #moves: Record<Network, Move[]> = { dense: [], pruned: [] };
  readonly #held: Record<Network, Held>;
  /** Where the dense network goes on to in runs for a step's targets, and what they have left there. */
  #aim: Move | undefined;
  #ahead: Held | undefined;
  /** What goes along with every batch. */
  #along: readonly Along[] = [];

  /**
   * @param pruned  a model with the values of the dense one, whose weights change while the frontier moves
   * @param about  what the source's dense values depend on, for findings
   * @param among  where the source's samples are among those of the pass
   */
  constructor(
    run: FrontierRun,
    opened: OpenedModel,
    pruned: () => Model,
    source: BatchSource,
    about: unknown,
    { first, samples }: Among = { first: 0, samples: source.samples },
  ) {
    const { model, info, input } = opened;
    this.#run = run;
    this.opened = opened;
    this.first = first;
    this.samples = samples;
    this.#pruned = pruned;
    this.#source = source;
    this.path = [about];
    this.#places = liveValues(model, info, input.name).filter((place) => this.#mayHold(place));
    this.#inputs = model.inputs.map(({ name }) => name);
    const start: Held = { at: { after: -1, values: [input.name] } };
    this.#held = { dense: start, pruned: start };
  }

  /**
   * Moves in the dense network to the last place before the node at position `before` whose activations may be held, when next something is
   * computed. The same values are computed in the same way however late that is, so the bits are the same.
   */
  moveDense(before: number): void {
    this.#move('dense', this.#placeBefore('dense', before));
  }

  /**
   * As `moveDense`, in the pruned network: what lies before the node must be final.
   *
   * @param watched  values that a run is for that takes the frontier along
   */
  movePruned(before: number, watched: readonly string[]): void {
    this.#move('pruned', this.#placeBefore('pruned', before), watched);
  }

  /**
   * From here on a run for values of the dense network, which are a step's targets, takes it along behind them. Every run for these does, so
   * that what one of them finds is what another would.
   *
   * @param before  position of the node that it goes on to at most; default: to the end
   */
  aim(targets: readonly string[], before?: number): void {
    if (targets.length === 0) return;
    const to = before === undefined ? this.#end : this.#placeBehind(targets, before);
    this.#aim = to && { to, watched: [...new Set([...targets, ...to.values])] };
  }

  /** Moves to where the dense network was aimed, whether or not it has run. */
  follow(): void {
    if (this.#aim) this.#moves.dense.push(this.#aim);
    this.#aim = undefined;
  }

  /**
   * Computes the named values of either network from the frontier, batch by batch.
   *
   * @param variant  of the pruned network, instead of it
   */
  async *run(dense: readonly string[], pruned: readonly string[], variant?: Model): AsyncGenerator<Values> {
    const isDenseAsked = dense.length > 0;
    const ahead = isDenseAsked ? this.#aim?.to : undefined;
    for (const move of isDenseAsked ? this.#moves.dense.splice(0) : []) await this.#advance('dense', move);
    const moves = this.#moves.pruned.splice(0);
    const last = moves.at(-1);
    const isAlong = last && !variant && pruned.every((value) => last.watched.includes(value));
    for (const move of isAlong ? moves.slice(0, -1) : moves) await this.#advance('pruned', move);
    const both = [...new Set([...dense, ...(ahead?.values ?? [])])];
    const values = this.#compute(both, isAlong ? last.watched : pruned, variant);
    const moving = isAlong ? this.#moving('pruned', last.to, values) : values;
    yield* ahead && ahead.after !== this.#ahead?.at.after ? this.#moving('ahead', ahead, moving) : moving;
  }

  /** Behind the last node. */
  get #end(): Live {
    const { nodes, outputs } = this.opened.model;
    return { after: nodes.length, values: [outputs[0].name] };
  }

  /** What comes of both networks, which must be final, batch by batch. */
  async *outputs(): AsyncGenerator<readonly [dense: FloatTensor, pruned: FloatTensor]> {
    const { values } = this.#end;
    if (this.#at('dense').after < this.#end.after) this.#move('dense', this.#end);
    for await (const { dense, pruned } of this.run(values, values))
      yield [dense[values[0]], pruned[values[0]]];
    await this.close();
  }

  /** Lets go of the activations. */
  async close(): Promise<void> {
    for (const held of [this.#held.dense, this.#held.pruned, this.#ahead]) await held?.tensors?.close();
  }

  /** Where a network will be when it has moved. */
  #at(network: Network): Live {
    return this.#moves[network].at(-1)?.to ?? this.#held[network].at;
  }

  #move(network: Network, to: Live | undefined, watched: readonly string[] = []): void {
    if (to) this.#moves[network].push({ to, watched: [...new Set([...watched, ...to.values])] });
  }

  /** Unless it is there already. */
  #placeBefore(network: Network, before: number): Live | undefined {
    return this.#next(network, ({ after }) => after < before);
  }

  /**
   * Where the dense network can go on to with a run for values that lie before the node at position `before`: of the places in between,
   * the last of those that hold the fewest bytes beside these values and what is held already.
   */
  #placeBehind(watched: readonly string[], before: number): Live | undefined {
    const { model } = this.opened;
    const done = Math.max(...watched.map((value) => model.position(model.producer(value)!)));
    const known = new Set([...this.#at('dense').values, ...watched]);
    const more = ({ values }: Live) => this.#bytes(values.filter((value) => !known.has(value)));
    const between = this.#places.filter(({ after }) => after >= done && after < before);
    if (between.length === 0) return this.#placeBefore('dense', before);
    const least = Math.min(...between.map(more));
    return this.#next('dense', (place) => between.includes(place) && more(place) === least);
  }

  #next(network: Network, isWanted: (place: Live) => boolean): Live | undefined {
    const { after } = this.#at(network);
    return this.#places.findLast((place) => place.after > after && isWanted(place));
  }

  async #advance(network: Network, { to, watched }: Move): Promise<void> {
    if (network === 'dense' && this.#ahead?.at.after === to.after) {
      await this.#held.dense.tensors?.close();
      this.#held.dense = this.#ahead;
      this.#ahead = undefined;
    } else {
      const values = network === 'dense' ? this.#compute(watched, []) : this.#compute([], watched);
      for await (const _ of this.#moving(network, to, values));
    }
    if (network === 'dense') this.path.push(watched);
  }

  /** Values on their way; with the last of them a frontier, or what is ahead of it, is where they have led. */
  async *#moving(which: Network | 'ahead', at: Live, values: AsyncIterable<Values>): AsyncGenerator<Values> {
    const tensors = new Activations(this.#bytes(at.values), this.#run);
    let [index, isThere] = [0, false];
    try {
      for await (const batch of values) {
        const own = batch[which === 'pruned' ? 'pruned' : 'dense'];
        await tensors.set(
          index++,
          at.values.map((name) => own[name]),
        );
        yield batch;
      }
      isThere = true;
    } finally {
      const before = which === 'ahead' ? this.#ahead : this.#held[which];
      await (isThere ? before?.tensors : tensors)?.close();
    }
    if (which === 'ahead') this.#ahead = { at, tensors };
    else this.#held[which] = { at, tensors };
  }

  async *#compute(
    dense: readonly string[],
    pruned: readonly string[],
    variant = this.#pruned(),
  ): AsyncGenerator<Values> {
    const known = await this.#known(dense);
    const sessions: (EngineSession | undefined)[] = [];
    let index = 0;
    try {
      sessions.push(known.isKnown ? undefined : await this.#load('dense', this.opened.model, dense));
      sessions.push(await this.#load('pruned', variant, pruned));
      const [denseSession, prunedSession] = sessions;
      for await (const { dense: before, pruned: other, ...along } of this.#current({ dense, pruned })) {
        await turn(this.#run.signal);
        const values = await known.at(index++, () => runFrom(denseSession, before, along));
        yield {
          dense: withHeld(values, dense, before),
          pruned: withHeld(await runFrom(prunedSession, other, along), pruned, other),
          ...along,
        };
      }
      await known.keep();
    } finally {
      for (const session of sessions) await session?.release();
    }
  }

  #known(dense: readonly string[]): Promise<DenseBatches<Tensors>> {
    const computed = this.#computed('dense', dense);
    if (computed.length === 0) return Promise.resolve(new DenseBatches());
    return this.#run.findings.dense([...this.path, computed], this.#bytes(computed) / 2);
  }

  #computed(network: Network, values: readonly string[]): string[] {
    return values.filter((value) => !this.#held[network].at.values.includes(value));
  }

  async #load(network: Network, model: Model, values: readonly string[]): Promise<EngineSession | undefined> {
    const computed = this.#computed(network, values);
    if (computed.length === 0) return undefined;
    const { info } = this.opened;
    return this.#run.chain.engine.load(
      subgraph(model, this.#held[network].at.values, computed, info, this.#inputs),
    );
  }

  async *#current(
    asked: Record<Network, readonly string[]>,
  ): AsyncGenerator<Record<Network, Tensors> & Along> {
    const { info, input: model } = this.opened;
    // Derivatives begin where no channels have gone yet, which may be the input.
    const isInputAsked = (network: Network) => asked[network].includes(model.name);
    const at = async (network: Network, index: number, input?: FloatTensor): Promise<Tensors> => {
      if (asked[network].length === 0) return {};
      const { at, tensors } = this.#held[network];
      const values = tensors ? await tensors.get(index) : [input!];
      const held = at.values.map((name, i) => [name, values[i]]);
      return Object.fromEntries(isInputAsked(network) ? [...held, [model.name, input!]] : held);
    };
    const both = async (index: number, input?: FloatTensor, pruned?: FloatTensor) => ({
      dense: await at('dense', index, input),
      pruned: await at('pruned', index, pruned),
    });
    const isHeld = (['dense', 'pruned'] as const).every(
      (it) => asked[it].length === 0 || (this.#held[it].tensors && !isInputAsked(it)),
    );
    if (isHeld && this.#along.length > 0) {
      for (const [i, along] of this.#along.entries()) yield { ...(await both(i)), ...along };
      return;
    }
    const all: Along[] = [];
    for await (const { input, pruned = input, sample, count, others } of this.#source.batches()) {
      // Where sizes differ, what is computed from them needs the samples themselves.
      const more = info.varies ? { ...others, [model.name]: sample } : others;
      const along = { batch: input.dims[0], count, others: more };
      const index = all.push(along) - 1;
      yield { ...(await both(index, input, pruned)), ...along };
    }
    this.#along = all;
  }

  /** Each network may hold half of what may be held. */
  #mayHold({ values }: Live): boolean {
    const { types } = this.opened.info;
    if (!values.every((value) => HELD_TYPES.has(types.get(value) ?? 'float32'))) return false;
    const bytes = this.#bytes(values);
    return bytes <= activationLimit(this.#run) || (this.#run.scratch !== undefined && Number.isFinite(bytes));
  }

  /** Bytes of the values' activations over all samples, for both networks. */
  #bytes(values: readonly string[]): number {
    const { info, input } = this.opened;
    // Shapes are those of one run on the smallest batch, whichever axis the samples are in.
    const probed = info.shapes.get(input.name)?.[0] || 1;
    const sizes = values.map((value) => {
      const dims = info.shapes.get(value);
      return dims ? elements(dims) / probed : Number.POSITIVE_INFINITY;
    });
    return pairBytes(sum(sizes) * this.#source.samples);
  }
}

/** Those that the engine's numbers hold exactly. */
const HELD_TYPES = new Set(['float32', 'float16', 'bool']);

async function runFrom(
  session: EngineSession | undefined,
  at: Tensors,
  { others = {} }: Along,
): Promise<Tensors> {
  if (!session) return {};
  const all = { ...others, ...at };
  return session.run(Object.fromEntries(session.inputs.map(({ name }) => [name, all[name]])));
}

/** The values, and those at the frontier, which no session gives. */
function withHeld(values: Tensors, names: readonly string[], at: Tensors): Tensors {
  return {
    ...values,
    ...Object.fromEntries(names.filter((name) => Object.hasOwn(at, name)).map((name) => [name, at[name]])),
  };
}
