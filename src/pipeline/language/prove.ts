// Runs a written language model before it gets its name, and compares it with what was computed.

import type { Checkpoint, Folder, OutputFolder } from '../../checkpoint/index.ts';
import type { Engine, FloatTensor } from '../../engine/index.ts';
import { OsscarError } from '../../errors.ts';
import { loadStored, openStored, part, segments, streamModel } from '../../graph/index.ts';
import type { Dataset } from '../data/index.ts';
import { firstWindows } from '../data/text.ts';
import { supplied } from '../decoder.ts';
import { loadModel } from '../open.ts';
import { largestDifference } from '../prune.ts';
import { behindBlocks, type Chain, type ChainOptions, chainPerplexity, openHead } from './chain.ts';
import type { HiddenStates } from './hidden.ts';
import { chainOf, type OpenedLanguageModel } from './open.ts';

export const ONNX_FILE = 'model.onnx';
const ONNX_DATA_FILE = 'model.onnx_data';

/** Windows on which the written model is compared with the masked one. */
export const VERIFIED_WINDOWS = 4;
/** The bound on `maxDifference`, by the type that weights are written in. */
const TOLERANCE: Record<string, number> = { float32: 1e-3, float16: 2e-2, bfloat16: 1e-1 };

export interface Proof {
  readonly maxDifference: number;
  /** Perplexity. */
  readonly after: number;
  readonly parameters: number;
  readonly bytes: number;
}

/** Runs what was written, before it gets its name, and compares it with what was computed. */
export async function prove(
  chain: Chain,
  masked: HiddenStates,
  written: OpenedLanguageModel,
  options: ChainOptions & {
    readonly calibration: Dataset;
    readonly evaluation: Dataset;
    readonly onnx?: boolean;
  },
): Promise<Proof> {
  const { checkpoint, folder } = written;
  const again = chainOf(written);
  const windows = firstWindows(options.calibration, VERIFIED_WINDOWS);
  const expected = await logitsOf(chain, masked, windows.size, options);
  const found = [await logitsOf(again, await behindBlocks(again, windows, options), windows.size, options)];
  if (options.onnx) found.push(await onnxLogits(folder, windows, options.engine));
  const differences = found.flatMap((logits) =>
    logits.map((data, window) => largestDifference(chain.name, 'logits', expected[window], data)),
  );
  const maxDifference = Math.max(...differences);
  const tolerance = Math.max(
    ...Array.from(checkpoint.tensors.values(), ({ dtype }) => TOLERANCE[dtype] ?? 0),
  );
  if (!(maxDifference <= tolerance)) {
    throw new OsscarError(
      'ERR_OSSCAR_VERIFY',
      `the written model differs from the masked one by ${maxDifference} of its logits' range, more than ${tolerance}`,
    );
  }
  const { value: after } = await chainPerplexity(again, options.evaluation, options);
  return { maxDifference, after, parameters: parametersOf(checkpoint), bytes: bytesOf(checkpoint) };
}

/** Logits of the pruned network on the first windows; the states are done with then. */
async function logitsOf(
  chain: Chain,
  states: HiddenStates,
  windows: number,
  { engine }: ChainOptions,
): Promise<Float32Array[]> {
  const head = await openHead(chain, states.dims, engine);
  try {
    const logits: Float32Array[] = [];
    for (let i = 0; i < windows; i++) logits.push((await head.logits((await states.get(i)).pruned)).data);
    return logits;
  } finally {
    await head.release();
    await states.close();
  }
}

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

/** The ONNX file is read again and run from cut to cut, with the weights between two of them in memory. */
export async function onnxLogits(folder: Folder, windows: Dataset, engine: Engine): Promise<Float32Array[]> {
  const read = (file: string, offset: number, length: number) => folder.read(file, offset, length);
  const model = await openStored(ONNX_FILE, await folder.size(ONNX_FILE), read);
  const dims = [1, windows.shape[0]];
  const [ids, ...others] = model.inputs.map(({ name }) => name);
  const types = new Map([ids, 'attention_mask'].map((name) => [name, 'int64']));
  const shapes = new Map<string, readonly number[]>(Array.from(types.keys(), (name) => [name, dims]));
  // Windows go through one at a time: no value has another batch.
  const batches = model.nodes.flatMap(({ output }) => output.map((name) => [name, [1]] as const));
  const cuts = segments(model, new Map([...shapes, ...batches]), ids);
  const states: FloatTensor[] = [];
  for await (const { inputs } of windows.batches(1)) states.push({ dims, data: inputs });
  let from = ids;
  for (const to of [...cuts.map(({ value }) => value), model.outputs[0].name]) {
    const info = { types, shapes: new Map(shapes).set(from, states[0].dims) };
    const weights = await loadStored(part(model, [from], [to], info, others), read);
    const session = await loadModel(supplied(engine, ids, windows.shape[0]), weights);
    try {
      for (const [i, state] of states.entries()) {
        states[i] = (await session.run({ [from]: state }, [to]))[to];
      }
    } finally {
      await session.release();
    }
    from = to;
  }
  return states.map(({ data }) => data);
}

export function parametersOf({ tensors }: Checkpoint): number {
  let total = 0;
  for (const { shape } of tensors.values()) total += shape.reduce((product, dim) => product * dim, 1);
  return total;
}

export function bytesOf({ tensors }: Checkpoint): number {
  let total = 0;
  for (const { bytes } of tensors.values()) total += bytes;
  return total;
}
