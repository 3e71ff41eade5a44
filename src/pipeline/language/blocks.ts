// Prunes a language model block by block: each is opened, pruned in sequence, handed over, and forgotten.

import type { Model, Structure } from '../../graph/index.ts';
import type { Session } from '../../pool/index.ts';
import type { Method, Search } from '../../solve/index.ts';
import type { Dataset } from '../data/index.ts';
import type { OpenedModel } from '../open.ts';
import { checkMemory, type PrunedLayer, pruneSequence, type Target } from '../sequence.ts';
import { advance, blockBatch, type Chain, type ChainOptions, openBlock, throughBlocks } from './chain.ts';
import type { HiddenStates } from './hidden.ts';

export interface BlockOptions extends ChainOptions {
  readonly session: Session;
  readonly method: Method;
  readonly target: Target;
  readonly damping?: number;
  readonly groupsPerStep?: number;
  readonly search?: Search;
  readonly correct: boolean;
  /** Windows that are fitted to; the others only go along. */
  readonly fit: readonly number[];
  /** Fraction of the groups of a structure of block i to keep. */
  keep(i: number, structure: Structure): number;
  /** Called with every pruned block, removed groups as zeros. */
  onBlock?(block: PrunedBlock): Promise<void>;
  /** Called after each block. */
  onStep?(done: number, total: number): void;
}

export interface PrunedBlock {
  readonly index: number;
  readonly opened: OpenedModel;
  readonly masked: Model;
  readonly layers: readonly PrunedLayer[];
  readonly seconds: number;
}

/** @returns the hidden states of both networks behind the last block */
export async function pruneBlocks(
  chain: Chain,
  windows: Dataset,
  options: BlockOptions,
): Promise<HiddenStates> {
  let diverged = false;
  return throughBlocks(chain, windows, options, async (index, states) => {
    diverged = await pruneBlock(chain, index, states, diverged, options);
    options.onStep?.(index + 1, chain.blocks);
  });
}

/** Prunes a block and moves the states behind it. @returns whether the networks' states differ from there on */
async function pruneBlock(
  chain: Chain,
  index: number,
  states: HiddenStates,
  diverged: boolean,
  options: BlockOptions,
): Promise<boolean> {
  const start = performance.now();
  const opened = await openBlock(chain, index, states.dims[0], options.engine);
  const structures = opened.analysis.structures.filter(({ prunable }) => prunable);
  const plan = { ...options, structures, diverged, keep: (it: Structure) => options.keep(index, it) };
  checkMemory(opened, plan);
  const { masked, layers } = await pruneSequence(opened, {
    ...plan,
    onStep: undefined, // ours counts blocks
    source: states.source(options.fit, blockBatch(opened), diverged),
  });
  const changed = layers.length > 0 || diverged;
  await advance(states, opened, changed ? masked : undefined, diverged, options);
  await options.onBlock?.({ index, opened, masked, layers, seconds: (performance.now() - start) / 1000 });
  return changed;
}
