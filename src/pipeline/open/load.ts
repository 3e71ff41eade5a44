// A model from memory into the engine, and out of it again.

import type { Engine, EngineSession, LoadOptions } from '../../engine/index.ts';
import { concat, type Model, writeModel } from '../../graph/index.ts';

/** Beyond, weights go to the engine beside the graph: onnxruntime keeps three copies of those within (measured). */
const INLINE_BYTES = 2 ** 26;

/** Name by which the engine gets external data; no file has it. */
const DATA_FILE = 'weights.data';

/** Loads a model as it stands into the engine; for timing `asUsed`, unless it reads an output of its own. */
export function loadModel(
  engine: Engine,
  model: Model,
  { asUsed = false }: LoadOptions = {},
): Promise<EngineSession> {
  const { model: bytes, external } = writeModel(model, {
    externalName: DATA_FILE,
    externalThreshold: INLINE_BYTES,
  });
  const data = external && [{ path: DATA_FILE, data: concat(external) }];
  const readsOwn = asUsed && model.outputs.some(({ name }) => model.uses(name).length > 0);
  return engine.load(bytes, data, { asUsed: asUsed && !readsOwn });
}

/** Sessions, loaded one after the other, for as long as they are used. */
export async function withSessions<R>(
  loads: readonly (() => Promise<EngineSession>)[],
  use: (...sessions: EngineSession[]) => Promise<R>,
): Promise<R> {
  const sessions: EngineSession[] = [];
  try {
    for (const load of loads) sessions.push(await load());
    return await use(...sessions);
  } finally {
    for (const session of sessions) await session.release();
  }
}
