// A model from memory into the engine.

import type { Engine, EngineSession } from '../engine/index.ts';
import { concat, type Model, writeModel } from '../graph/index.ts';

/** Beyond, weights go to the engine beside the graph: onnxruntime keeps three copies of those within (measured). */
const INLINE_BYTES = 2 ** 26;

/** Name by which the engine gets external data; no file has it. */
const DATA_FILE = 'weights.data';

/** Loads a model as it stands into the engine. */
export function loadModel(engine: Engine, model: Model): Promise<EngineSession> {
  const { model: bytes, external } = writeModel(model, {
    externalName: DATA_FILE,
    externalThreshold: INLINE_BYTES,
  });
  return engine.load(bytes, external && [{ path: DATA_FILE, data: concat(external) }]);
}
