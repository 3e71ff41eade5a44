// A language model as parts that hand one activation on: embedding, blocks, head. Only one part is in memory at a time.

import type { Engine, FloatTensor } from '../../engine/index.ts';
import type { Model } from '../../graph/index.ts';
import { batchSource } from '../batches.ts';
import type { Dataset } from '../data/index.ts';
import { type Metric, windowsLoss } from '../evaluate.ts';
import { loadModel, type OpenedModel, openParsed } from '../open.ts';
import { turn } from '../turn.ts';
import { HiddenStates, type Scratch } from './hidden.ts';

/** A language model in parts that run one after the other, one in memory at a time. */
export interface Chain {
  /** For messages. */
  readonly name: string;
  readonly blocks: number;
  /** Features of a token between blocks. */
  readonly hidden: number;
  readonly vocabulary: number;
  /** Token ids n × length → hidden states n × length × hidden. */
  embedding(length: number): Promise<Model>;
  /** Hidden states → hidden states. */
  block(i: number, length: number): Promise<Model>;
  /** Hidden states → logits. */
  head(): Promise<Model>;
}

/** Where the parts run, and where the hidden states between them go. */
export interface ChainOptions {
  readonly engine: Engine;
  /** Bytes of hidden states kept in memory. */
  readonly activationBytes: number;
  /** Makes files for those beyond. */
  readonly scratch?: () => Scratch;
  readonly signal?: AbortSignal;
}

/** Values of a block's largest activation in a batch: scores of all heads are the largest where windows are long. */
const VALUES_PER_BATCH = 2 ** 22;

/** Sets the states to those behind the embedding, the same for both networks. */
async function embed(
  chain: Chain,
  windows: Dataset,
  states: HiddenStates,
  options: ChainOptions,
): Promise<void> {
  const [length] = windows.shape;
  const { hidden } = chain;
  const session = await loadModel(options.engine, await chain.embedding(length));
  try {
    const [input] = session.inputs;
    const source = batchSource(windows, {
      ...{ name: input.name, type: input.type, shape: [length], fixedBatch: 0 },
      outputs: length * hidden,
    });
    let window = 0;
    for await (const { input: ids, count } of source.batches()) {
      await turn(options.signal);
      const { data } = Object.values(await session.run({ [input.name]: ids }))[0];
      for (let i = 0; i < count; i++) {
        const part = data.subarray(i * length * hidden, (i + 1) * length * hidden);
        await states.set(window++, part, part);
      }
    }
  } finally {
    await session.release();
  }
}

/** A block, run once to learn its shapes. */
export async function openBlock(
  chain: Chain,
  i: number,
  length: number,
  engine: Engine,
): Promise<OpenedModel> {
  return openParsed(await chain.block(i, length), { engine, name: `${chain.name}: block ${i}` });
}

/** Windows that go through a block at a time. */
export function blockBatch({ info }: OpenedModel): number {
  let largest = 1;
  for (const dims of info.shapes.values())
    largest = Math.max(
      largest,
      dims.reduce((a, b) => a * b, 1),
    );
  return Math.max(1, Math.min(64, Math.round(VALUES_PER_BATCH / largest)));
}

/**
 * Moves all hidden states behind a block.
 *
 * @param pruned  the block of the pruned network; the dense one, where it is left out
 * @param diverged  whether the pruned network's states differ from the dense ones' before it
 */
export async function advance(
  states: HiddenStates,
  dense: OpenedModel,
  pruned: Model | undefined,
  diverged: boolean,
  { engine, signal }: ChainOptions,
): Promise<void> {
  const sessions = [await loadModel(engine, dense.model)];
  try {
    if (pruned) sessions.push(await loadModel(engine, pruned));
    const all = Array.from({ length: states.windows }, (_, i) => i);
    const size = states.dims[0] * states.dims[1];
    const { name } = dense.input;
    let window = 0;
    for await (const batch of states.source(all, blockBatch(dense), diverged).batches()) {
      await turn(signal);
      const run = async (session: (typeof sessions)[number], input = batch.input) =>
        Object.values(await session.run({ [name]: input }))[0].data;
      const before = await run(sessions[0]);
      const apart = pruned !== undefined || diverged;
      const after = apart ? await run(sessions[1] ?? sessions[0], batch.pruned) : before;
      for (let i = 0; i < batch.count; i++) {
        const part = before.subarray(i * size, (i + 1) * size);
        await states.set(window++, part, apart ? after.subarray(i * size, (i + 1) * size) : part);
      }
    }
  } finally {
    for (const session of sessions) await session.release();
  }
}

/**
 * Mean loss in nats, from the hidden states behind the last block.
 *
 * @param windows  those that count
 */
export async function headLoss(
  chain: Chain,
  states: HiddenStates,
  ids: Dataset,
  windows: readonly number[],
  network: 'dense' | 'pruned',
  { engine, signal }: ChainOptions,
): Promise<number> {
  const counted = new Set(windows);
  const [length] = ids.shape;
  let total = 0;
  const head = await openHead(chain, states.dims, engine);
  try {
    let window = 0;
    for await (const { inputs, count } of ids.batches(64)) {
      for (let i = 0; i < count; i++, window++) {
        if (!counted.has(window)) continue;
        await turn(signal);
        const tokens = { dims: [1, length], data: inputs.subarray(i * length, (i + 1) * length) };
        total += windowsLoss(await head.logits((await states.get(window))[network]), tokens, 1);
      }
    }
  } finally {
    await head.release();
  }
  return total / (windows.length * (length - 1));
}

/** The head, for one window at a time: scores over the vocabulary outnumber everything else. */
export async function openHead(chain: Chain, dims: readonly number[], engine: Engine) {
  const session = await loadModel(engine, await chain.head());
  const [{ name }] = session.inputs;
  return {
    logits: async (hidden: Float32Array): Promise<FloatTensor> =>
      Object.values(await session.run({ [name]: { dims: [1, ...dims], data: hidden } }))[0],
    release: () => session.release(),
  };
}

/** Perplexity over windows, part by part. */
export async function chainPerplexity(
  chain: Chain,
  windows: Dataset,
  options: ChainOptions,
): Promise<Metric> {
  const states = await behindBlocks(chain, windows, options);
  try {
    const all = Array.from({ length: windows.size }, (_, i) => i);
    const loss = await headLoss(chain, states, windows, all, 'dense', options);
    return { name: 'perplexity', value: Math.exp(loss), samples: windows.size };
  } finally {
    await states.close();
  }
}

/** Hidden states behind the last block, the same for both networks. */
export async function behindBlocks(
  chain: Chain,
  windows: Dataset,
  options: ChainOptions,
): Promise<HiddenStates> {
  return throughBlocks(chain, windows, options, async (i, states) => {
    const block = await openBlock(chain, i, windows.shape[0], options.engine);
    await advance(states, block, undefined, false, options);
  });
}

/** Embeds the windows and lets `step` move the states behind one block after the other. */
export async function throughBlocks(
  chain: Chain,
  windows: Dataset,
  options: ChainOptions,
  step: (block: number, states: HiddenStates) => Promise<void>,
): Promise<HiddenStates> {
  const [length] = windows.shape;
  const { activationBytes, scratch } = options;
  const states = new HiddenStates(windows.size, [length, chain.hidden], activationBytes, scratch);
  try {
    await embed(chain, windows, states, options);
    for (let i = 0; i < chain.blocks; i++) await step(i, states);
    return states;
  } catch (error) {
    await states.close();
    throw error;
  }
}
