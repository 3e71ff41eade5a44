// The ONNX file beside a language model's folder.

import type { Folder, OutputFolder } from '../checkpoint/index.ts';
import type { Engine, FloatTensor } from '../engine/index.ts';
import { writeModel } from '../graph/index.ts';
import type { Dataset } from './data/index.ts';
import { supplied } from './decoder.ts';
import type { OpenedLanguageModel } from './folder.ts';

const ONNX_FILE = 'model.onnx';
const ONNX_DATA_FILE = 'model.onnx_data';

/** The whole model in one ONNX file, with its weights beside it where they are too large for one. */
export async function writeOnnx(
  { checkpoint, language }: OpenedLanguageModel,
  output: OutputFolder,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const model = await language.whole(checkpoint, { past: true });
  for (const [key, value] of Object.entries(metadata)) model.setMetadata(key, value);
  const { model: bytes, external = [] } = writeModel(model, { externalName: ONNX_DATA_FILE });
  let at = 0;
  for (const part of external) {
    await output.writeAt(ONNX_DATA_FILE, at, part);
    at += part.byteLength;
  }
  await output.writeAt(ONNX_FILE, 0, bytes);
}

/** Logits of the ONNX file in a folder, window by window. */
export async function onnxOutputs(folder: Folder, windows: Dataset, engine: Engine): Promise<FloatTensor[]> {
  const bytes = await folder.read(ONNX_FILE, 0, await folder.size(ONNX_FILE));
  const hasData = (await folder.list()).includes(ONNX_DATA_FILE);
  const data = hasData ? await folder.read(ONNX_DATA_FILE, 0, await folder.size(ONNX_DATA_FILE)) : undefined;
  const session = await supplied(engine, 'input_ids', windows.shape[0]).load(
    bytes,
    data && [{ path: ONNX_DATA_FILE, data }],
  );
  try {
    const logits: FloatTensor[] = [];
    for await (const { inputs } of windows.batches(1)) {
      const { [session.outputs[0].name]: result } = await session.run({
        input_ids: { dims: [1, inputs.length], data: inputs },
      });
      logits.push(result);
    }
    return logits;
  } finally {
    await session.release();
  }
}
