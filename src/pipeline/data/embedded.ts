// What makes a model's inputs of token ids, where that is a file of its own, as transformers.js has it of models that see images or hear: a row of a
// table for each token, and whatever else the model takes of it.

import type { Engine, EngineSession, FloatTensor } from '../../engine/index.ts';
import { UnsupportedModelError } from '../../errors.ts';
import type { Model } from '../../graph/index.ts';
import { type Feeds, type InputDims, type ModelInput, otherFeeds, takesTokens } from '../open/inputs.ts';
import { loadModel, withSessions } from '../open/load.ts';
import { declaredInput, named } from '../open/open.ts';
import { expectIds, rowsFor } from '../open/vocabulary.ts';
import type { Dataset } from './dataset.ts';

/** Token ids as the inputs of a model. */
export interface Embedding {
  readonly source: Model;
  readonly ids: ModelInput;
  /** The input of the model that samples go to. */
  readonly main: string;
  /** What it gives for one token, by the inputs of the model. */
  readonly dims: InputDims;
}

/**
 * Runs it on one token.
 *
 * @param input  of the model behind it
 * @throws {UnsupportedModelError} where it takes no token ids, or does not give what the model takes
 */
export async function openEmbedding(source: Model, engine: Engine, input: ModelInput): Promise<Embedding> {
  const ids = declaredInput(source);
  if (!takesTokens(ids))
    throw new UnsupportedModelError(`${source.name}: input "${ids.name}" takes no token ids`);
  const embedding = { source, ids, main: input.name, dims: {} };
  const dims = await withSessions([() => loadModel(engine, source)], async (session) =>
    Object.fromEntries(
      Object.entries(await embedded(session, embedding, { dims: [1, 1], data: new Float32Array(1) })).map(
        ([name, tensor]) => [name, tensor.dims.slice(2)],
      ),
    ),
  ).catch((error) => {
    throw named(source.name, error, source);
  });
  const width = input.shape[1];
  const found = dims[input.name] ?? [];
  if (found.length !== 1 || (width > 0 && found[0] !== width))
    throw new UnsupportedModelError(
      `${source.name}: it gives [${found.join(', ')}] for a token, and "${input.name}" takes ${width || 'one axis'}`,
    );
  return { ...embedding, dims };
}

/** What it gives, as inputs of the model. Where there is one output, that is the main one whatever it is called. */
async function embedded(
  session: EngineSession,
  { ids, main }: Embedding,
  batch: FloatTensor,
): Promise<Feeds> {
  const given = await session.run({ ...otherFeeds(ids, batch.dims), [ids.name]: batch });
  const all = Object.entries(given);
  return all.length === 1 ? { [main]: all[0][1] } : given;
}

/** Loaded when it is first needed, and until it is closed. */
export class Embedder {
  readonly #embedding: Embedding;
  readonly #engine: Engine;
  #session: Promise<EngineSession> | undefined;
  /** Runs wait for one another. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(embedding: Embedding, engine: Engine) {
    this.#embedding = embedding;
    this.#engine = engine;
  }

  /** Of each token, in the input that samples go to. */
  get features(): readonly number[] {
    const { dims, main } = this.#embedding;
    return dims[main];
  }

  /** Dims of a sample of so many tokens, by the inputs that it makes. */
  dimsOf(tokens: number): InputDims {
    return Object.fromEntries(
      Object.entries(this.#embedding.dims).map(([name, of]) => [name, [tokens, ...of]]),
    );
  }

  /**
   * Windows of token ids as samples of the model, made as they are read.
   *
   * @param areScored  whether the model gives scores of the tokens
   */
  of(windows: Dataset, areScored: boolean): Dataset {
    const { source, ids, main } = this.#embedding;
    const run = (batch: FloatTensor) => this.#run(batch);
    const rows = rowsFor(source, ids.name);
    return {
      ...windows,
      shape: [...windows.shape, ...this.features],
      ...(areScored && { tokens: ids.name }),
      slice: windows.slice && ((range) => this.of(windows.slice!(range), areScored)),
      async *batches(batchSize) {
        for await (const { inputs, ...batch } of windows.batches(batchSize)) {
          expectIds(inputs, rows, 0, windows.name);
          const tokens = { dims: [batch.count, ...windows.shape], data: inputs };
          const { [main]: made, ...others } = await run(tokens);
          yield { ...batch, inputs: made.data, others: { ...others, [ids.name]: tokens } };
        }
      },
    };
  }

  #run(batch: FloatTensor): Promise<Feeds> {
    this.#session ??= loadModel(this.#engine, this.#embedding.source);
    const session = this.#session;
    const next = this.#last.then(async () => embedded(await session, this.#embedding, batch));
    this.#last = next.catch(() => {});
    return next;
  }

  async close(): Promise<void> {
    await (await this.#session)?.release();
  }
}
