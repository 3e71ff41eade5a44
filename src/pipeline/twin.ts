// The ONNX file in the folder of a language model or an encoder.

import type { Folder, OutputFolder } from '../checkpoint/index.ts';
import type { Engine, FloatTensor } from '../engine/index.ts';
import { describeValue, loadStored, openStored, part, segments, streamModel } from '../graph/index.ts';
import { feedsOf } from './batches.ts';
import type { Dataset } from './data/index.ts';
import type { OpenedLanguageModel } from './folder.ts';
import { modelInput, otherFeeds } from './inputs.ts';
import { loadModel } from './load.ts';

const ONNX_FILE = 'model.onnx';
const ONNX_DATA_FILE = 'model.onnx_data';

/** The whole model in one ONNX file, with its weights beside it where they are too large for one; weight by weight. */
export async function writeOnnx(
  { checkpoint, language }: OpenedLanguageModel,
  output: OutputFolder,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const outline = language.outline(checkpoint, { past: true });
  for (const [key, value] of Object.entries(metadata)) outline.model.setMetadata(key, value);
  for await (const { external, offset, bytes } of streamModel(outline, { externalName: ONNX_DATA_FILE })) {
    await output.writeAt(external ? ONNX_DATA_FILE : ONNX_FILE, offset, bytes);
  }
}

/** Logits by window: the file is read again and run from cut to cut, with the weights between two of them in memory. */
export async function* onnxOutputs(
  folder: Folder,
  windows: Dataset,
  engine: Engine,
): AsyncGenerator<FloatTensor> {
  const read = (file: string, offset: number, length: number) => folder.read(file, offset, length);
  const model = await openStored(ONNX_FILE, await folder.size(ONNX_FILE), read);
  const dims = [1, windows.shape[0]];
  const input = modelInput(model.inputs.map(describeValue), []);
  const { name: ids } = input;
  const others = input.others.map(({ name }) => name);
  const feeds = otherFeeds(input, dims);
  const types = new Map([ids, 'attention_mask'].map((name) => [name, 'int64']));
  const shapes = new Map<string, readonly number[]>(Array.from(types.keys(), (name) => [name, dims]));
  // Windows go through one at a time: no value has another batch.
  const batches = model.nodes.flatMap(({ output }) => output.map((name) => [name, [1]] as const));
  const cuts = segments(model, new Map([...shapes, ...batches]), ids);
  const states: FloatTensor[] = [];
  for await (const { inputs } of windows.batches(1)) states.push({ dims, data: inputs });
  let from = ids;
  const logits = model.outputs[0].name;
  for (const to of [...cuts.map(({ value }) => value), logits]) {
    const info = { types, shapes: new Map(shapes).set(from, states[0].dims) };
    const weights = await loadStored(part(model, [from], [to], info, others), read);
    const session = await loadModel(engine, weights);
    try {
      for (const [i, state] of states.entries()) {
        const { [to]: result } = await session.run(feedsOf(session, { others: feeds }, state), [to]);
        if (to === logits) yield result;
        else states[i] = result;
      }
    } finally {
      await session.release();
    }
    from = to;
  }
}

/** Outputs by sample of an encoder's file, which is read again and run whole: its samples may be of any length. */
export async function* encoderOutputs(
  folder: Folder,
  samples: Dataset,
  engine: Engine,
): AsyncGenerator<FloatTensor> {
  const read = (file: string, offset: number, length: number) => folder.read(file, offset, length);
  const model = await openStored(ONNX_FILE, await folder.size(ONNX_FILE), read);
  const input = modelInput(model.inputs.map(describeValue), []);
  const output = model.outputs[0].name;
  const session = await loadModel(engine, await loadStored(model, read));
  try {
    for await (const { inputs, dims = samples.shape, others } of samples.batches(1)) {
      const sample = { dims: [1, ...dims], data: inputs };
      const feeds = otherFeeds(input, sample.dims, others);
      yield (await session.run(feedsOf(session, { others: feeds }, sample), [output]))[output];
    }
  } finally {
    await session.release();
  }
}
