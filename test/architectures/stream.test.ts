// Whole models written weight by weight, and run again from cut to cut.

import { toBinary } from '@bufbuild/protobuf';
import { beforeAll, describe, expect, test } from 'vitest';
import type { LanguageModel, TensorSource } from '../../src/checkpoint/architectures/index.ts';
import { type Checkpoint, type MemoryOutput, memoryOutput } from '../../src/checkpoint/index.ts';
import { type Engine, type FloatTensor, openEngine } from '../../src/engine/index.ts';
import {
  loadStored,
  type Model,
  openStored,
  STORED_TYPES,
  streamModel,
  writeModel,
} from '../../src/graph/index.ts';
import { copyMessage } from '../../src/graph/node.ts';
import { ModelProtoSchema } from '../../src/graph/onnx_pb.ts';
import { encodeTensor } from '../../src/graph/wire.ts';
import { type Dataset, tokenWindows } from '../../src/pipeline/data/index.ts';
import { onnxOutputs, writeOnnx } from '../../src/pipeline/models/twin.ts';
import { describe as describeModel } from '../support/describe.ts';
import { referenceLogits } from './reference.ts';
import { maxDifference, sourceOf } from './source.ts';
import { GPT2, LLAMA, NEOX, OPT, tinyWeights, uniformSizes, VARIANTS } from './tiny.ts';

const LENGTH = 12;
const tokens = Int32Array.from({ length: 100 }, (_, i) => (7 * i + 3) % 40);
const windows: Dataset = tokenWindows(tokens, { samples: 2, seqlen: LENGTH });

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine({ threads: 1 });
});

const opened = (language: LanguageModel, source: TensorSource) => ({
  language,
  checkpoint: source as unknown as Checkpoint, // of which no more is asked for
  folder: memoryOutput(),
});

async function streamed(...args: Parameters<typeof streamModel>) {
  const output = memoryOutput();
  for await (const { external, offset, bytes } of streamModel(...args)) {
    await output.writeAt(external ? 'data' : 'model', offset, bytes);
  }
  const all = async (file: string) => output.read(file, 0, await output.size(file));
  return {
    model: await all('model'),
    external: (await output.list()).includes('data') && (await all('data')),
  };
}

const join = async (parts: Uint8Array[]) => new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());

describe.each<[string, typeof OPT]>([
  ['opt', OPT],
  ['llama', LLAMA],
  ['gpt2', GPT2],
  ['gpt-neox', NEOX],
])('%s, written weight by weight', (_, config) => {
  const language = describeModel(config);
  const source = () => sourceOf(tinyWeights(config, language.sizes));
  const whole = () => language.whole(source(), { past: true });
  const outline = () => language.outline(source(), { past: true });

  test('is the file that protobuf makes of it, byte for byte', async () => {
    expect(await streamed(outline())).toEqual({ model: byProtobuf(await whole()), external: false });
  });

  test('has the same data file as the model in memory', async () => {
    const options = { externalThreshold: 0, externalName: 'data' };
    const expected = writeModel(await whole(), options);
    const external = await join(expected.external!);
    expect(external.length).toBeGreaterThan(2 * 4096);
    expect(await streamed(outline(), options)).toEqual({ model: expected.model, external });
  });
});

function byProtobuf(model: Model): Uint8Array {
  const proto = copyMessage(model.proto);
  proto.graph = copyMessage(model.graph);
  proto.graph.initializer = Array.from(model.tensors.values(), (tensor) => encodeTensor(tensor));
  return toBinary(ModelProtoSchema, proto);
}

test('weights are read once, and each is written before the next is read', async () => {
  const language = describeModel(GPT2);
  const source = sourceOf(tinyWeights(GPT2, language.sizes));
  let unwritten = 0;
  const watched: TensorSource = {
    tensors: source.tensors,
    async read(name) {
      expect(unwritten, name).toBe(0);
      const data = await source.read(name);
      unwritten = data.byteLength;
      return data;
    },
  };
  const output = memoryOutput();
  const writeAt: MemoryOutput['writeAt'] = async (file, offset, bytes) => {
    unwritten = Math.max(0, unwritten - bytes.byteLength);
    await output.writeAt(file, offset, bytes);
  };
  await writeOnnx(
    opened(language, watched),
    { ...output, writeAt },
    { file: 'model.onnx' },
    { key: 'value' },
  );
  expect(source.reads.size).toBeGreaterThan(20);
  expect(new Set(source.reads.values())).toEqual(new Set([1]));
  expect(unwritten).toBe(0);
});

test('a model is not written where the checkpoint lacks a tensor, or a weight is not the model’s', async () => {
  const language = describeModel(OPT);
  const weights = tinyWeights(OPT, language.sizes);
  const name = 'model.decoder.layers.1.fc1.bias';
  weights.delete(name);
  await expect(streamed(language.outline(sourceOf(weights)))).rejects.toThrow(
    `"${name}" expected [20], got none`,
  );
  const { model } = language.outline(sourceOf(weights));
  async function* one(length: number) {
    yield { name, type: 'float32', dims: [20], bytes: new Uint8Array(length) } as const;
  }
  await expect(streamed({ model, weights: one(4) })).rejects.toThrow(`"${name}", 4 bytes, was not expected`);
  await expect(streamed({ model, weights: one(80) })).rejects.toThrow('embed_tokens.weight" never came');
});

describe.each(Object.entries(VARIANTS))('%s, read again', (_, variant) => {
  const { config } = variant;
  const sizes = variant.sizes ?? uniformSizes(config);
  const weights = tinyWeights(config, sizes);
  const record = variant.sizes && { blocks: variant.sizes };
  const language = describeModel(config, record, undefined, sourceOf(weights));

  test.each([
    { file: 'model.onnx', tolerance: 1e-4 },
    { file: 'onnx/model_fp16.onnx', weights: 'float16', tolerance: 3e-2 },
    { file: 'onnx/model_quantized.onnx', weights: 'int8', tolerance: 0.6 },
  ] as const)(
    'gives the reference’s logits, and no part has more weights than the largest of the model: $file',
    async (twin) => {
      const { file, tolerance } = twin;
      const output = memoryOutput();
      await writeOnnx(opened(language, sourceOf(weights)), output, twin, {});
      const stored = await openStored(file, await output.size(file), output.read);
      for (const type of STORED_TYPES) {
        const rounded = [...stored.tensors.values()].filter((it) => it.type === type).length;
        expect(rounded > 0).toBe('weights' in twin && twin.weights === type);
      }
      const loaded: number[] = [];
      const watched: Engine = {
        name: engine.name,
        load: (model, external) => {
          loaded.push(model.length);
          return engine.load(model, external);
        },
      };
      const logits: FloatTensor[] = [];
      for await (const it of onnxOutputs(output, file, windows, watched)) logits.push(it);
      for await (const { inputs } of windows.batches(1)) {
        const expected = referenceLogits(config, sizes, weights, [...inputs]).flat();
        expect(maxDifference(logits.shift()!.data, expected)).toBeLessThan(tolerance);
      }
      expect(logits).toEqual([]);
      expect(loaded.length).toBeGreaterThan(sizes.length);
      expect(Math.max(...loaded)).toBeLessThan(largestPart(language) + GRAPH_BYTES);
    },
  );
});

/** Nodes and names of a part. */
const GRAPH_BYTES = 12_000;

function largestPart(language: LanguageModel): number {
  const bytes = new Map<unknown, number>();
  for (const [name, { shape, block = name }] of language.tensors({ tensors: new Map() })) {
    bytes.set(block, (bytes.get(block) ?? 0) + 4 * shape.reduce((a, b) => a * b, 1));
  }
  return Math.max(...bytes.values());
}

describe('a stored model', () => {
  const write = async (options: { externalThreshold?: number }) => {
    const language = describeModel(LLAMA);
    const whole = await language.whole(sourceOf(tinyWeights(LLAMA, language.sizes)), { past: true });
    const { model, external } = writeModel(whole, { ...options, externalName: 'data' });
    const files = new Map([['model', model]]);
    if (external) files.set('data', await join(external));
    return { whole, files };
  };
  const reader = (files: Map<string, Uint8Array>) => (file: string, offset: number, length: number) =>
    files.get(file)!.subarray(offset, offset + length);

  test.each([
    ['in the file', {}],
    ['beside it', { externalThreshold: 0 }],
  ])('has its large weights %s until they are asked for', async (_, options) => {
    const { whole, files } = await write(options);
    const read = reader(files);
    const reads: number[] = [];
    const model = await openStored('model', files.get('model')!.length, (file, offset, length) => {
      reads.push(length);
      return read(file, offset, length);
    });
    expect(Math.max(...reads)).toBeLessThan(4096);
    // Many small fields come with one read.
    expect(reads.length).toBeLessThan(model.nodes.length / 4);
    const missing = [...model.tensors.values()].filter(({ dims, bytes }) => dims.length && !bytes.length);
    expect(missing.length).toBeGreaterThan(3);
    const [first, ...rest] = missing;
    const part = model.clone();
    for (const { name } of rest) part.tensors.delete(name);
    await loadStored(part, read);
    expect(part.tensors.get(first.name)!.bytes).toEqual(whole.tensors.get(first.name)!.bytes);
    expect(model.tensors.get(first.name)!.bytes.length).toBe(0);
    expect(writeModel(await loadStored(model, read)).model).toEqual(writeModel(whole).model);
  });

  test('is refused where the file is cut short', async () => {
    const { files } = await write({});
    const model = files.get('model')!;
    for (const bytes of [model.subarray(0, -1), model.subarray(0, 20_000)]) {
      const opening = openStored('model', bytes.length, reader(new Map([['model', bytes]])));
      await expect(opening).rejects.toThrow('model: no ONNX model: truncated at');
    }
  });
});
