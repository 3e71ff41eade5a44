// Networks of several sizes, pruned and compared with the dense one on samples that they were not fitted on.

import type { Model } from '../../graph/index.ts';
import { isBetter, quarterHeldOut } from '../data/split.ts';
import type { Sizes, Supports } from '../keep.ts';
import { lookedAt, passOver } from '../pass/pass.ts';
import { type PrunedPart, shrunk } from '../pass/pruned.ts';
import { fittingOf, type Pass, type Target, TRIAL } from '../recipe.ts';
import type { Run } from '../run.ts';
import { type Comparison, compare, distanceFor, lossOf, mean } from './score.ts';
import type { Way } from './settle.ts';

/** A network that was pruned and compared with the dense one. */
export interface Trial {
  /** How its sizes came about. */
  readonly name: string;
  /** Groups that stay, by structure. */
  readonly sizes: Readonly<Record<string, number>>;
  /**
   * Mean distance of its outputs from the dense network's on held-out samples: of text the divergence in nats, else the
   * relative squared error.
   */
  readonly loss: number;
  /** On the same samples: accuracy lost, growth of the perplexity, or the relative error of the outputs. */
  readonly lost: number;
}

/** The pruned model as in a trial. Its weights count: of dense ones the time differs (measured). */
export async function smallAt(run: Run, sizes: Sizes, target: Target): Promise<Model> {
  let small: Model;
  const onPart = async (_: number, pruned: PrunedPart) => {
    small = shrunk(pruned);
  };
  await (await passOver(run, trialPass(sizes, target, 'timing'), { onPart })).close();
  return small!;
}

function trialPass(sizes: Sizes, target: Target, name: string): Pass {
  return { label: `trying sizes: ${name}`, sizes, target, samples: 'fit', isThin: true, ...TRIAL };
}

/** A network that was pruned, compared with the dense one, as a run store keeps it. */
interface Pruned extends Comparison {
  readonly supports: readonly (readonly [string, readonly number[]])[];
}

/** What of it a search goes by. */
interface Measured extends Pick<Trial, 'lost'>, Pick<Comparison, 'distances'> {
  readonly supports: Supports;
}

/** Prunes networks and keeps the best. */
export class Search {
  readonly trials: Trial[] = [];
  best?: Measured & { readonly name: string; readonly way: Way; readonly sizes: Sizes };
  readonly #run: Run;
  readonly #target: Target;
  readonly #limit: number;
  readonly #most: number;
  readonly #seen = new Set<string>();

  constructor(run: Run, target: Target, limit: number, most: number) {
    this.#run = run;
    this.#target = target;
    this.#limit = limit;
    this.#most = most;
  }

  get isLeft(): boolean {
    return this.trials.length < this.#most;
  }

  /** @returns whether it is the best so far; not tried again where its sizes were tried before */
  async attempt(name: string, way: Way): Promise<boolean> {
    const sizes = way(this.#limit);
    const key = JSON.stringify([...sizes]);
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    const measured = await this.measure(name, sizes);
    if (this.best && !isBetter(measured.distances, this.best.distances)) return false;
    this.best = { name, way, sizes, ...measured };
    return true;
  }

  /** Prunes to sizes, and compares. */
  async measure(name: string, sizes: Sizes): Promise<Measured> {
    const { recipe, findings, chain } = this.#run;
    const about = { ...fittingOf(recipe), sizes: [...sizes], tried: this.#target };
    const found = await findings.once('trial', about, () => this.#prune(sizes, name));
    const { distances, supports } = found;
    const lost = lossOf(found, chain.predictsTokens);
    this.trials.push({ name, sizes: Object.fromEntries(sizes), loss: mean(distances), lost });
    return { distances, supports: new Map(supports), lost };
  }

  async #prune(sizes: Sizes, name: string): Promise<Pruned> {
    const run = this.#run;
    const { isHeldOut } = quarterHeldOut(run.calibration);
    const supports: [string, readonly number[]][] = [];
    const onPart = async (_: number, { layers }: PrunedPart) => {
      // Of few groups each decides much, while the layers that read them hardly tell two apart.
      for (const { name, kind, kept } of layers) if (kind === 'head') supports.push([name, kept]);
    };
    return lookedAt(await passOver(run, trialPass(sizes, this.#target, name), { onPart }), async (last) => ({
      ...(await compare(run, last, distanceFor(run), isHeldOut)),
      supports,
    }));
  }
}
