// The ONNX files in the folder of a language model or an encoder.

import type { LanguageModel, ModelPart } from '../../checkpoint/architectures/index.ts';
import type { Checkpoint, Folder, OutputFolder } from '../../checkpoint/index.ts';
import type { Engine, FloatTensor } from '../../engine/index.ts';
import { isObject } from '../../expect.ts';
import {
  byteLength,
  type DataType,
  describeValue,
  elements,
  type HeadsMode,
  isFitted,
  LARGEST_FILE,
  loadStored,
  type ModelOutline,
  type OnSteps,
  openStored,
  part,
  type ReadExternal,
  type StoredType,
  segments,
  storeOutline,
  streamModel,
  sum,
  type Tensor,
} from '../../graph/index.ts';
import { feedsOf } from '../data/batches.ts';
import type { Dataset } from '../data/index.ts';
import { modelInput, otherFeeds } from '../open/inputs.ts';
import { loadModel } from '../open/load.ts';
import type { Copy, StoredCopy } from '../subject.ts';

/** A folder in Hugging Face's layout that is ready to be pruned or evaluated. */
export interface OpenedLanguageModel {
  readonly folder: Folder;
  readonly checkpoint: Checkpoint;
  readonly language: LanguageModel;
  /** How attention loses. Default: `fewer`. */
  readonly heads?: HeadsMode;
  /** Side of images, where that is another than config.json says. */
  readonly image?: number;
  /** Of a model that has two: the other one is not looked at. Default: the encoder. */
  readonly part?: ModelPart;
}

/** An ONNX file of a folder's model. */
interface Twin {
  readonly file: string;
  /** What weights are stored as, where that is not float32. */
  readonly weights?: StoredType;
}

/** Where transformers.js looks for them. */
export const ONNX_FOLDER = 'onnx';

/** Where ONNX files lie in a folder. */
export type OnnxLayout = 'beside' | 'transformers.js';

/** Beside the safetensors; or where transformers.js looks for them, once for each of its types that is written. */
function twinsOf(
  { onnxName, states, hasDecoder }: Pick<LanguageModel, 'onnxName' | 'states' | 'hasDecoder'>,
  layout: OnnxLayout,
  weights?: StoredType,
): readonly Twin[] {
  const isOneOfTwo = states !== undefined || hasDecoder;
  if (layout === 'beside') return [{ file: `${isOneOfTwo ? onnxName : 'model'}.onnx`, weights }];
  const file = `${ONNX_FOLDER}/${onnxName}`;
  const types = new Set(['float16', weights ?? 'float16'] as const);
  const smaller = Array.from(types, (weights) => ({
    file: `${file}_${NAMES[weights].suffix}.onnx`,
    weights,
  }));
  return [{ file: `${file}.onnx` }, ...smaller];
}

/** What transformers.js calls them, what their files end in, and a type whose numbers take no fewer bytes than these and their scales. */
const NAMES: Readonly<
  Record<StoredType, { readonly dtype: string; readonly suffix: string; readonly most: DataType }>
> = {
  float16: { dtype: 'fp16', suffix: 'fp16', most: 'float16' },
  int8: { dtype: 'q8', suffix: 'quantized', most: 'int8' },
  int4: { dtype: 'q4', suffix: 'q4', most: 'int8' },
  q8: { dtype: 'q8', suffix: 'quantized', most: 'float16' },
  q4: { dtype: 'q4', suffix: 'q4', most: 'int8' },
};

/** Beside the ONNX file, where its weights do not fit into one. */
const dataFile = (file: string) => `${file}_data`;
/** Without the folder that it is in. */
const nameOf = (file: string) => file.slice(file.lastIndexOf('/') + 1);

interface TwinOptions {
  readonly layout?: OnnxLayout;
  readonly weights?: StoredType;
  /** For int4. */
  readonly rounded?: RoundedWeights;
}

/** Weights on whole steps, and what was fitted along with them. */
export interface RoundedWeights {
  readonly onSteps: OnSteps;
  readonly others: ReadonlyMap<string, Tensor>;
}

/** Writes the ONNX files of a folder's model. @returns what they give */
export async function writeTwins(
  opened: OpenedLanguageModel,
  output: OutputFolder,
  { layout, weights, rounded }: TwinOptions,
  metadata: Readonly<Record<string, string>>,
  engine: Engine,
): Promise<{ copies: Copy[]; stored?: StoredCopy }> {
  const twins = layout ? twinsOf(opened.language, layout, weights) : [];
  const sizes: number[] = [];
  for (const twin of twins) sizes.push(await writeOnnx(opened, output, twin, metadata, rounded));
  const { isEncoder, states } = opened.language;
  const outputs = isEncoder || states ? encoderOutputs : onnxOutputs;
  const copies = twins.map(({ file, weights: rounding }) => ({
    outputs: (samples: Dataset) => outputs(output, file, samples, engine),
    rounding,
    file,
  }));
  const asked = copies.findIndex(({ rounding }) => weights && rounding === weights);
  if (!weights || asked < 0) return { copies };
  return { copies, stored: { ...copies[asked], rounding: weights, bytes: sizes[asked] } };
}

/** The whole model in one ONNX file, with its weights beside it where they are too large for one; weight by weight. @returns bytes of both */
export async function writeOnnx(
  { checkpoint, language }: OpenedLanguageModel,
  output: OutputFolder,
  twin: Twin,
  metadata: Readonly<Record<string, string>>,
  rounded?: RoundedWeights,
): Promise<number> {
  const { file, weights } = twin;
  const whole = language.outline(checkpoint, { past: true });
  for (const [key, value] of Object.entries(metadata)) whole.model.setMetadata(key, value);
  const parameters = sum(Array.from(whole.model.tensors.values(), ({ dims }) => elements(dims)));
  const outline = weights ? storedOutline(whole, weights, rounded) : whole;
  const options = {
    externalName: dataFile(nameOf(file)),
    externalThreshold: isLarge(twin, parameters) ? 0 : Number.POSITIVE_INFINITY,
  };
  let size = 0;
  for await (const { external, offset, bytes } of streamModel(outline, options)) {
    await output.writeAt(external ? dataFile(file) : file, offset, bytes);
    size += bytes.length;
  }
  return size;
}

function storedOutline(whole: ModelOutline, type: StoredType, rounded?: RoundedWeights): ModelOutline {
  if (!isFitted(type) || !rounded) return storeOutline(whole, type);
  const { model, weights } = whole;
  return storeOutline({ model, weights: replacing(weights, rounded.others) }, type, rounded.onSteps);
}

async function* replacing(
  weights: AsyncIterable<Tensor>,
  others: ReadonlyMap<string, Tensor>,
): AsyncGenerator<Tensor> {
  for await (const tensor of weights) yield others.get(tensor.name) ?? tensor;
}

/** Whether weights lie beside the ONNX file: readers refuse more than 2 GiB in one. Which of them int4 is for is not known to all who ask. */
const isLarge = ({ weights }: Twin, parameters: number) =>
  byteLength(weights ? NAMES[weights].most : 'float32', parameters) > LARGEST_FILE;

/** What transformers.js asks config.json for. @param told.encoder  the same of the encoder that a decoder is behind */
export function transformersJsConfig(
  language: LanguageModel,
  parameters: number,
  { weights, encoder }: { readonly weights?: StoredType; readonly encoder?: unknown },
): object {
  const twins = twinsOf(language, 'transformers.js', weights);
  const large = twins.filter((twin) => isLarge(twin, parameters)).map(({ file }) => [nameOf(file), 1]);
  const { [EXTERNAL]: before } = isObject(encoder) ? encoder : {};
  const external = { ...(isObject(before) && before), ...Object.fromEntries(large) };
  return {
    dtype: weights ? NAMES[weights].dtype : 'fp32', // in pages it would look for a quantised one
    ...(Object.keys(external).length > 0 && { [EXTERNAL]: external }),
  };
}

const EXTERNAL = 'use_external_data_format';

/** An ONNX file as it is stored, and what reads its weights, those that it names beside itself too. */
async function openTwin(folder: Folder, file: string) {
  const inside = file.slice(0, -nameOf(file).length);
  const read: ReadExternal = (name, offset, length) =>
    folder.read(name === file ? file : inside + name, offset, length);
  const model = await openStored(file, await folder.size(file), read);
  return { model, read, input: modelInput(model.inputs.map(describeValue), []) };
}

/** Logits by window: a file is read again and run from cut to cut, with the weights between two of them in memory. */
export async function* onnxOutputs(
  folder: Folder,
  file: string,
  windows: Dataset,
  engine: Engine,
): AsyncGenerator<FloatTensor> {
  const { model, read, input } = await openTwin(folder, file);
  const dims = [1, windows.shape[0]];
  const { name: ids } = input;
  const others = input.others.map(({ name }) => name);
  const feeds = otherFeeds(input, dims);
  const types = new Map([ids, 'attention_mask'].map((name) => [name, 'int64']));
  const shapes = new Map<string, readonly number[]>(Array.from(types.keys(), (name) => [name, dims]));
  const cuts = segments(model, { types, shapes, isSingle: true }, ids);
  const states: FloatTensor[] = [];
  for await (const { inputs } of windows.batches(1)) states.push({ dims, data: inputs });
  let from = ids;
  const logits = model.outputs[0].name;
  for (const to of [...cuts.map(({ value }) => value), logits]) {
    const info = { types, shapes: new Map(shapes).set(from, states[0].dims), isSingle: true };
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

/** Outputs by sample of the file of an encoder, or of what is behind it, which is read again and run whole: its samples may be of any length. */
async function* encoderOutputs(
  folder: Folder,
  file: string,
  samples: Dataset,
  engine: Engine,
): AsyncGenerator<FloatTensor> {
  const { model, read, input } = await openTwin(folder, file);
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
