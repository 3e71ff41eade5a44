import { describe, expect, test } from 'vitest';
import { blobFolder, openCheckpoint } from '../../src/checkpoint/index.ts';
import { FormatError, InputError } from '../../src/errors.ts';
import { pickleTensors, torchFile } from '../support/torch.ts';
import { bytesOf, json, open, safetensors, text } from './support.ts';

/** A safetensors file with one value for each name. */
const tensorsFile = (values: Record<string, number>) => {
  const entries = Object.keys(values).map((name, i) => [
    name,
    { dtype: 'F32', shape: [1], data_offsets: [4 * i, 4 * i + 4] },
  ]);
  return safetensors(Object.fromEntries(entries), bytesOf(Object.values(values)));
};
const binFile = (name: string, value: number) =>
  torchFile(pickleTensors([{ name, kind: 'Float', storage: '0', length: 1, shape: [1], strides: [1] }]), {
    0: bytesOf([value]),
  });
const index = (weight_map: unknown) => json({ metadata: { total_size: 8 }, weight_map });

describe('opening a folder', () => {
  test('gives its name and config', async () => {
    const files = { 'config.json': json({ model_type: 'opt' }), 'model.safetensors': tensorsFile({ a: 1 }) };
    const checkpoint = await openCheckpoint(blobFolder(Object.entries(files), 'opt-test'));
    expect(checkpoint.name).toBe('opt-test');
    expect(checkpoint.config).toEqual({ model_type: 'opt' });
  });

  test('prefers safetensors, and a whole file to shards', async () => {
    const files = {
      'model.safetensors': tensorsFile({ a: 1 }),
      'model.safetensors.index.json': index({ a: 'missing' }),
      'pytorch_model.bin': binFile('a', 2),
    };
    expect(await (await open(files)).read('a')).toEqual(Float32Array.of(1));
  });

  test('reads the shards of safetensors', async () => {
    const checkpoint = await open({
      'model.safetensors.index.json': index({ a: 'one.safetensors', b: 'two.safetensors' }),
      'one.safetensors': tensorsFile({ a: 1 }),
      'two.safetensors': tensorsFile({ b: 2 }),
      'pytorch_model.bin': binFile('a', 3),
    });
    expect(checkpoint.tensors.get('b')?.file).toBe('two.safetensors');
    expect(await checkpoint.read('a')).toEqual(Float32Array.of(1));
    expect(await checkpoint.read('b')).toEqual(Float32Array.of(2));
  });

  test('reads the shards of torch', async () => {
    const checkpoint = await open({
      'pytorch_model.bin.index.json': index({ a: 'one.bin', b: 'two.bin' }),
      'one.bin': binFile('a', 1),
      'two.bin': binFile('b', 2),
    });
    expect(await checkpoint.read('b')).toEqual(Float32Array.of(2));
  });

  test('calls the weights and biases of norms so, whatever name they have in old files', async () => {
    const [gamma, beta] = ['a.LayerNorm.gamma', 'a.LayerNorm.beta'];
    const checkpoint = await open({
      'model.safetensors': tensorsFile({ [gamma]: 2, [beta]: 3, 'b.beta': 4 }),
    });
    expect([...checkpoint.tensors.keys()]).toEqual(['a.LayerNorm.weight', 'a.LayerNorm.bias', 'b.beta']);
    expect(await checkpoint.read('a.LayerNorm.bias')).toEqual(Float32Array.of(3));
  });

  test('calls directions and lengths of weights so, in whichever way torch has made them', async () => {
    const [length, direction] = [0, 1].map((i) => `a.conv.parametrizations.weight.original${i}`);
    const checkpoint = await open({ 'model.safetensors': tensorsFile({ [length]: 2, [direction]: 3 }) });
    expect([...checkpoint.tensors.keys()]).toEqual(['a.conv.weight_g', 'a.conv.weight_v']);
    expect(await checkpoint.read('a.conv.weight_v')).toEqual(Float32Array.of(3));
  });

  test.each([
    [
      'adapter_model.safetensors',
      'it is an adapter (LoRA): merge it into its model first (merge_and_unload)',
    ],
    ['model-00001-of-00002.safetensors', 'there are shards, but not the index that says what is in which'],
    ['model.fp16.safetensors', 'there is a variant; call it as the others are'],
    ['tf_model.h5', 'there are those of TensorFlow, which transformers reads, and writes as these'],
    ['flax_model.msgpack', 'there are those of Flax, which transformers reads'],
    ['model-Q4_K_M.gguf', 'there is a GGUF file; give the folder that it was made of'],
    ['consolidated.00.pth', 'there are those of the code that it came with'],
    ['onnx/model.onnx', 'there is an ONNX file; give that'],
  ])('says what to do with weights of another kind: %s', async (file, hint) => {
    await expect(open({ [file]: new Uint8Array(8) })).rejects.toThrow(
      `pytorch_model.bin.index.json; ${hint}`,
    );
  });

  test.each<[string, Record<string, Uint8Array>, typeof InputError | typeof FormatError, string]>([
    ['no weights', {}, InputError, '"m": no weights in it; expected one of model.safetensors,'],
    [
      'a config that is no JSON',
      { 'config.json': text('{'), 'model.safetensors': tensorsFile({}) },
      FormatError,
      '"m/config.json": not valid JSON',
    ],
    [
      'a config as Python writes it',
      { 'config.json': text('{"a": [0, -Infinity]}'), 'model.safetensors': tensorsFile({}) },
      FormatError,
      '(there is no -Infinity in JSON; write a number, or null)',
    ],
    [
      'a config that is no object',
      { 'config.json': text('[]'), 'model.safetensors': tensorsFile({}) },
      FormatError,
      '"m/config.json": expected a JSON object',
    ],
    [
      'one tensor under two names',
      { 'model.safetensors': tensorsFile({ 'LayerNorm.weight': 1, 'LayerNorm.gamma': 2 }) },
      FormatError,
      '"m/model.safetensors": tensor "LayerNorm.weight" is there twice, once as "LayerNorm.gamma"',
    ],
    [
      'a missing shard',
      { 'model.safetensors.index.json': index({ a: 'one', b: 'two' }), one: tensorsFile({ a: 1 }) },
      InputError,
      '"m/model.safetensors.index.json": shard "two" is missing from the folder',
    ],
    [
      'a shard outside the folder',
      { 'model.safetensors.index.json': index({ a: '../one' }) },
      InputError,
      'shard "../one" is missing from the folder',
    ],
    [
      'an index that names an absent tensor',
      { 'model.safetensors.index.json': index({ a: 'one', b: 'one' }), one: tensorsFile({ a: 1 }) },
      FormatError,
      '"m/model.safetensors.index.json": tensor "b" is not in "one"',
    ],
    [
      'an index that names the wrong shard',
      {
        'model.safetensors.index.json': index({ a: 'two', b: 'one' }),
        one: tensorsFile({ a: 1 }),
        two: tensorsFile({ b: 1 }),
      },
      FormatError,
      'tensor "a" is not in "two"',
    ],
    [
      'a tensor in two shards',
      {
        'model.safetensors.index.json': index({ a: 'one', b: 'two' }),
        one: tensorsFile({ a: 1 }),
        two: tensorsFile({ a: 1, b: 1 }),
      },
      FormatError,
      'tensor "a" is in both "one" and "two"',
    ],
    [
      'an index without a map',
      { 'model.safetensors.index.json': json({}) },
      FormatError,
      'expected "weight_map"',
    ],
    [
      'an index with numbers for files',
      { 'model.safetensors.index.json': index({ a: 1 }) },
      FormatError,
      'expected "weight_map"',
    ],
    [
      'an index that names a tensor twice',
      { 'model.safetensors.index.json': text('{"weight_map":{"a":"one","a":"two"}}') },
      FormatError,
      '"a" comes twice',
    ],
  ])('with %s is an error that says so', async (_, files, type, message) => {
    const error = await open(files).catch((it) => it);
    expect(error).toBeInstanceOf(type);
    expect(error.message).toContain(message);
  });

  test('without config.json is an error', async () => {
    const folder = blobFolder([['model.safetensors', tensorsFile({ a: 1 })]], 'm');
    await expect(openCheckpoint(folder)).rejects.toThrow(
      '"m": there is no config.json in it; expected an ONNX file, or the folder of a Hugging Face model',
    );
  });

  test('reads headers only, and of a tensor its own bytes only', async () => {
    const weights = tensorsFile({ a: 1, b: 2, c: 3 });
    const inner = blobFolder([
      ['config.json', json({})],
      ['model.safetensors', weights],
    ]);
    const reads: [number, number][] = [];
    const checkpoint = await openCheckpoint({
      ...inner,
      read: (file, offset, length) => {
        if (file === 'model.safetensors') reads.push([offset, offset + length]);
        return inner.read(file, offset, length);
      },
    });
    const data = weights.length - 12;
    expect(Math.max(...reads.map(([, end]) => end))).toBe(data);
    reads.length = 0;
    await checkpoint.read('b');
    expect(reads).toEqual([[data + 4, data + 8]]);
  });

  test('reads a large tensor in parts', async () => {
    const values = Float32Array.from({ length: 5_000_000 }, (_, i) => i % 1000);
    const header = { w: { dtype: 'F32', shape: [1000, 5000], data_offsets: [0, values.byteLength] } };
    const file = safetensors(header, new Uint8Array(values.buffer));
    const inner = blobFolder([
      ['config.json', json({})],
      ['model.safetensors', file],
    ]);
    let largest = 0;
    const checkpoint = await openCheckpoint({
      ...inner,
      read: (name, offset, length) => {
        largest = Math.max(largest, length);
        return inner.read(name, offset, length);
      },
    });
    const read = await checkpoint.read('w');
    expect(Buffer.compare(Buffer.from(read.buffer), Buffer.from(values.buffer))).toBe(0);
    expect(largest).toBe(16 * 2 ** 20);
  });
});

describe('a folder of blobs', () => {
  test('takes files as a browser gives them, and bytes by name', async () => {
    const folder = blobFolder([new File(['hello'], 'b.txt'), ['a.txt', text('abc')]]);
    expect(await folder.list()).toEqual(['a.txt', 'b.txt']);
    expect(await folder.size('b.txt')).toBe(5);
    expect(await folder.read('b.txt', 1, 3)).toEqual(text('ell'));
  });

  test('has files in folders of it, as those of one that was picked', async () => {
    const picked = (name: string, webkitRelativePath: string) =>
      Object.assign(new File([webkitRelativePath], name), { webkitRelativePath });
    const folder = blobFolder([
      picked('config.json', 'minilm/config.json'),
      picked('config.json', 'minilm/1_Pooling/config.json'),
      picked('a', 'minilm/1_Pooling/more/a'),
    ]);
    expect(await folder.list()).toEqual(['config.json']);
    expect(await folder.list('1_Pooling')).toEqual(['config.json']);
    expect(await folder.list('2_Normalize')).toEqual([]);
    expect(await folder.size('1_Pooling/config.json')).toBe('minilm/1_Pooling/config.json'.length);
  });

  test('refuses ranges outside a file, absent files, names that lead out of it and names that come twice', async () => {
    const folder = blobFolder([['a', text('abc')]], 'm');
    await expect(folder.read('a', 1, 3)).rejects.toThrow('"m/a": expected bytes 1 to 4, the file has 3');
    await expect(folder.size('b')).rejects.toThrow('"m/b": no such file');
    for (const name of ['', '.', '..', 'a/../b', '/a', 'a\\b', 'a\0']) {
      expect(() => blobFolder([[name, text('')]]), name).toThrow(InputError);
    }
    expect(() =>
      blobFolder([
        ['a', text('')],
        ['a', text('')],
      ]),
    ).toThrow('two files are called "a"');
  });
});
