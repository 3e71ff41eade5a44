import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  blobFolder,
  CheckpointWriter,
  memoryOutput,
  openCheckpoint,
  planSafetensors,
  type SafetensorsPlan,
  type TensorSpec,
} from '../../src/checkpoint/index.ts';
import { InputError } from '../../src/errors.ts';
import { json, open, text } from './support.ts';

const spec = (name: string, shape: number[], dtype: TensorSpec['dtype'] = 'float32'): TensorSpec => ({
  name,
  dtype,
  shape,
});

describe('planning safetensors', () => {
  test('makes the bytes that the reference implementation makes', async () => {
    const path = join(import.meta.dirname, '../fixtures/checkpoint/model.safetensors');
    const reference = new Uint8Array(readFileSync(path));
    const checkpoint = await open({ 'model.safetensors': reference });
    const specs = [...checkpoint.tensors.values()].toReversed();
    const { output, writer } = begin(planSafetensors(specs));
    for (const { name } of specs) await writer.writeRaw(name, await checkpoint.readRaw(name));
    await writer.writeFile('config.json', config);
    await writer.finish();
    const written = await output.files().get('model.safetensors')!.arrayBuffer();
    expect(new Uint8Array(written)).toEqual(reference);
    expect(writer.plan.index).toBeUndefined();
  });

  test('starts a shard when the next tensor does not fit, and writes an index', () => {
    const sizes = { z: 4, a: 2, b: 1, c: 5, d: 1, e: 2 };
    const tensors = Object.entries(sizes).map(([name, size]) => spec(name, [size]));
    const plan = planSafetensors(tensors, { maxShardBytes: 12 });
    expect(Array.from(plan.tensors.values(), ({ name, file }) => [name, file])).toEqual([
      ['z', 'model-00001-of-00004.safetensors'], // larger than a shard: alone
      ['a', 'model-00002-of-00004.safetensors'],
      ['b', 'model-00002-of-00004.safetensors'],
      ['c', 'model-00003-of-00004.safetensors'],
      ['d', 'model-00004-of-00004.safetensors'],
      ['e', 'model-00004-of-00004.safetensors'],
    ]);
    expect(plan.index?.name).toBe('model.safetensors.index.json');
    const index = JSON.parse(new TextDecoder().decode(plan.index?.bytes));
    expect(index).toEqual({
      metadata: { total_size: 60 },
      weight_map: Object.fromEntries(Array.from(plan.tensors.values(), ({ name, file }) => [name, file])),
    });
    expect(Object.keys(index.weight_map).join('')).toBe('abcdez');
  });

  test('shards at 5 GB unless told otherwise', () => {
    const big = Array.from({ length: 3 }, (_, i) => spec(`w${i}`, [25_000, 25_000])); // 2.5 GB each
    expect(planSafetensors(big).files).toHaveLength(2);
  });

  test.each<[string, TensorSpec[], string]>([
    ['a name twice', [spec('a', [1]), spec('a', [1])], 'tensor "a" comes twice'],
    ['the name of the metadata', [spec('__metadata__', [1])], 'cannot be called "__metadata__"'],
    ['strings', [spec('a', [1], 'string')], 'tensor "a" has type string'],
    ['an impossible shape', [spec('a', [-1])], 'impossible shape [-1]'],
    ['a shape beyond 2^53', [spec('a', [2 ** 30, 2 ** 30])], 'impossible shape'],
  ])('refuses %s', (_, tensors, message) => {
    expect(() => planSafetensors(tensors)).toThrow(InputError);
    expect(() => planSafetensors(tensors)).toThrow(message);
  });

  test('refuses a shard size that is none', () => {
    for (const maxShardBytes of [0, -1, Number.NaN]) {
      expect(() => planSafetensors([], { maxShardBytes })).toThrow('"maxShardBytes" expected more than 0');
    }
  });
});

const plan = planSafetensors(
  [
    spec('a', [2, 2]),
    spec('h', [3], 'float16'),
    spec('b', [2], 'bfloat16'),
    spec('e', [0]),
    spec('ids', [1], 'int64'),
  ],
  { maxShardBytes: 20 },
);
const config = json({ model_type: 'test' });

/** Its lower half is an infinity of bfloat16. */
const LIKE_INFINITY = 1 + 0x7f80 * 2 ** -23;

async function writeAll(writer: CheckpointWriter): Promise<void> {
  await writer.write('b', Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8));
  await writer.write('a', Float32Array.of(1, LIKE_INFINITY), 0);
  await writer.writeFile('config.json', config);
  await writer.write('h', Float32Array.of(1 + 2 ** -11, 1 + 3 * 2 ** -11, -65504));
  await writer.write('a', Float32Array.of(3, 4), 1);
  await writer.writeRaw('ids', new Uint8Array(new BigInt64Array([-5n]).buffer));
}

function begin(thePlan: SafetensorsPlan = plan) {
  const output = memoryOutput('out');
  return { output, writer: new CheckpointWriter(output, thePlan) };
}

describe('writing a checkpoint', () => {
  test('in any order gives a folder that reads back, rounded to nearest even', async () => {
    const { output, writer } = begin();
    await writeAll(writer);
    await writer.finish();
    const checkpoint = await openCheckpoint(blobFolder(output.files()));
    expect(checkpoint.config).toEqual({ model_type: 'test' });
    expect(await checkpoint.read('a')).toEqual(Float32Array.of(1, LIKE_INFINITY, 3, 4));
    expect(await checkpoint.read('h')).toEqual(Float32Array.of(1, 1 + 2 ** -9, -65504));
    expect(await checkpoint.read('b')).toEqual(Float32Array.of(1, 1 + 2 ** -6));
    expect(await checkpoint.read('e')).toEqual(new Float32Array(0));
    expect(await checkpoint.readRaw('ids')).toEqual(new Uint8Array(new BigInt64Array([-5n]).buffer));
    expect([...output.files().keys()].sort()).toEqual([
      'config.json',
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      'model.safetensors.index.json',
    ]);
  });

  test('copies the tokenizer and the like, byte for byte, and no weights', async () => {
    const tokenizer = new Uint8Array(17 * 2 ** 20).map((_, i) => i % 251);
    const source = blobFolder([
      ['tokenizer.json', tokenizer],
      ['merges.txt', text('')],
      ['spm.model', text('pieces')],
      ['source.spm', text('pieces')],
      ['target.spm', text('pieces')],
      ['processor_config.json', text('pieces')],
      ['model.safetensors', text('no')],
      ['config.json', text('no')],
      ['README.md', text('no')],
    ]);
    const { output, writer } = begin();
    await writeAll(writer);
    await writer.copySideFiles(source);
    await writer.finish();
    const files = output.files();
    const copied = new Uint8Array(await files.get('tokenizer.json')!.arrayBuffer());
    expect(Buffer.compare(copied, tokenizer)).toBe(0);
    expect(files.get('merges.txt')?.size).toBe(0);
    for (const file of ['spm.model', 'source.spm', 'target.spm', 'processor_config.json'])
      expect(files.get(file)?.size).toBe(6);
    expect(files.has('README.md')).toBe(false);
    await expect(begin().writer.copyFile(source, 'vocab.json')).rejects.toThrow('vocab.json": no such file');
  });

  describe('of sentence-transformers', () => {
    const modules = (...paths: unknown[]) =>
      json(paths.map((path, idx) => ({ idx, path, type: 'some.Module' })));
    const copied = async (files: readonly (readonly [string, Uint8Array])[]) => {
      const { output, writer } = begin();
      await writeAll(writer);
      await writer.copySideFiles(blobFolder(files, 'm'));
      await writer.finish();
      return output.files();
    };

    test('copies what stands behind the model, in folders of its own, and no other folders', async () => {
      const map = new Uint8Array(100).map((_, i) => i);
      const files = await copied([
        ['modules.json', modules('', '1_Pooling', '2_Dense', '3_Normalize', '1_Pooling')],
        ['config_sentence_transformers.json', text('{}')],
        ['sentence_bert_config.json', text('{"max_seq_length": 256}')],
        ['1_Pooling/config.json', text('{"pooling_mode_mean_tokens": true}')],
        ['2_Dense/config.json', text('{}')],
        ['2_Dense/model.safetensors', map],
        ['1_Pooling/more/config.json', text('{}')],
        ['onnx/model.onnx', text('old')],
        ['adapter.zho-script_simplified.safetensors', map], // of MMS
        ['adapter.eng.bin', map],
      ]);
      const before = new Set(['config.json', 'model.safetensors.index.json']);
      expect(
        [...files.keys()].filter((name) => !before.has(name) && !name.startsWith('model-')).sort(),
      ).toEqual([
        '1_Pooling/config.json',
        '2_Dense/config.json',
        '2_Dense/model.safetensors',
        'adapter.zho-script_simplified.safetensors',
        'config_sentence_transformers.json',
        'modules.json',
        'sentence_bert_config.json',
      ]);
      expect(new Uint8Array(await files.get('2_Dense/model.safetensors')!.arrayBuffer())).toEqual(map);
      // Without a list of modules it is no folder of theirs.
      expect([...(await copied([['1_Pooling/config.json', text('{}')]])).keys()]).not.toContain(
        '1_Pooling/config.json',
      );
    });

    test.each<[string, Uint8Array, string]>([
      [
        'a folder above it',
        modules('../secret'),
        '"m/modules.json": expected the plain name of a file in the folder, got ".."',
      ],
      ['a path from the root', modules('/etc'), 'got ""'],
      [
        'a module without a path',
        modules(undefined),
        '"m/modules.json": expected a list of modules, each with a "path"',
      ],
      ['no list', json({ path: '' }), 'expected a list of modules'],
      ['no JSON', text('['), '"m/modules.json": not valid JSON'],
    ])('refuses %s', async (_, content, message) => {
      await expect(copied([['modules.json', content]])).rejects.toThrow(message);
    });
  });

  test('shows the whole folder to a check, and nothing remains if that fails', async () => {
    const { output, writer } = begin();
    await writeAll(writer);
    let seen: Float32Array | undefined;
    const failing = writer.finish(async (written) => {
      seen = await (await openCheckpoint(written)).read('a');
      throw new Error('not as predicted');
    });
    await expect(failing).rejects.toThrow('not as predicted');
    expect(seen).toEqual(Float32Array.of(1, LIKE_INFINITY, 3, 4));
    expect(await output.list()).toEqual([]);
    expect(() => output.files()).toThrow('"out": it is not committed');
  });

  test('does not finish after a write that failed, whoever has caught that', async () => {
    const output = memoryOutput('out');
    const full = { ...output };
    const writer = new CheckpointWriter(full, planSafetensors([spec('a', [2])]));
    await writer.writeFile('config.json', config);
    full.writeAt = async () => {
      throw new InputError('"out": no space left');
    };
    await writer.write('a', Float32Array.of(1, 2)).catch(() => {});
    full.writeAt = output.writeAt;
    await expect(writer.finish()).rejects.toThrow('"out": no space left');
    expect(await output.list()).toEqual([]);
  });

  test('waits for writes that nobody has waited for', async () => {
    const output = memoryOutput('out');
    const slow = {
      ...output,
      writeAt: async (...args: Parameters<typeof output.writeAt>) => {
        // The tensor takes longer than all else together.
        if (args[1] > 0) for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
        await output.writeAt(...args);
      },
    };
    const writer = new CheckpointWriter(slow, planSafetensors([spec('a', [2])]));
    writer.writeFile('config.json', config);
    writer.write('a', Float32Array.of(1, 2));
    await writer.finish();
    const checkpoint = await openCheckpoint(blobFolder(output.files()));
    expect(await checkpoint.read('a')).toEqual(Float32Array.of(1, 2));
  });

  test('without one of the tensors, or the end of one, does not finish', async () => {
    for (const part of [false, true]) {
      const { output, writer } = begin(planSafetensors([spec('a', [2, 2])]));
      await writer.writeFile('config.json', config);
      if (part) await writer.write('a', Float32Array.of(1, 2), 0);
      await expect(writer.finish()).rejects.toThrow(
        `tensor "a": ${part ? 8 : 0} of its 16 bytes are written`,
      );
      expect(await output.list()).toEqual([]);
    }
  });

  test('without a config does not finish', async () => {
    const { writer } = begin(planSafetensors([]));
    await expect(writer.finish()).rejects.toThrow('"out": there is no config.json in it');
  });

  test('refuses a tensor twice, unplanned, of another size, or out of order', async () => {
    const { writer } = begin();
    const two = Float32Array.of(1, 2);
    await writer.write('b', two);
    await expect(writer.write('b', two)).rejects.toThrow(
      'writing tensor "b" of shape [2]: it is written already',
    );
    await expect(writer.write('x', two)).rejects.toThrow('writing tensor "x": it is not in the plan');
    await expect(writer.write('a', two)).rejects.toThrow('of shape [2,2]: expected 16 bytes, got 8');
    await expect(writer.write('a', two, 1)).rejects.toThrow(
      'expected the rows from byte 0, got those from 8',
    );
    await writer.write('a', two, 0);
    await expect(writer.write('a', two, 0)).rejects.toThrow(
      'expected the rows from byte 8, got those from 0',
    );
    await expect(writer.write('a', new Float32Array(4), 1)).rejects.toThrow('expected 8 bytes, got 16');
    await expect(writer.write('ids', two)).rejects.toThrow('its type int64 takes raw bytes only');
  });

  test('refuses files that are planned or written already, or named by a path', async () => {
    const { writer } = begin();
    await writer.writeFile('config.json', config);
    await expect(writer.writeFile('config.json', config)).rejects.toThrow(
      '"config.json": it is written or planned',
    );
    for (const file of ['model.safetensors.index.json', 'model-00002-of-00002.safetensors'])
      await expect(writer.writeFile(file, config)).rejects.toThrow('planned already');
    await expect(writer.writeFile('../config.json', config)).rejects.toThrow(InputError);
  });

  test.each<[string, string, number, string]>([
    ['NaN', 'a', Number.NaN, 'writing tensor "a" as float32: got NaN'],
    ['an infinity', 'b', Number.POSITIVE_INFINITY, 'writing tensor "b" as bfloat16: got Infinity'],
    ['more than float16 can hold', 'h', 65520, 'writing tensor "h" as float16: got values beyond its range'],
  ])('refuses %s, which would end up in the model unseen', async (_, name, value, message) => {
    const { writer } = begin();
    const size = plan.tensors.get(name)!.shape.reduce((a, b) => a * b);
    for (let at = 0; at < size; at++)
      await expect(writer.write(name, new Float32Array(size).fill(value, at, at + 1))).rejects.toThrow(
        message,
      );
  });
});

describe('a folder in memory', () => {
  test('takes no bytes when it is committed or aborted', async () => {
    const output = memoryOutput('out');
    await output.writeAt('a', 0, text('abc'));
    await output.commit();
    await output.abort();
    expect(await output.files().get('a')?.text()).toBe('abc');
    await expect(output.writeAt('a', 3, text('d'))).rejects.toThrow('"out": it is committed');
    const aborted = memoryOutput('out');
    await aborted.abort();
    await expect(aborted.writeAt('a', 0, text('d'))).rejects.toThrow('"out": it is aborted');
  });

  test('does not commit a file with a hole', async () => {
    const output = memoryOutput('out');
    await output.writeAt('a', 4, text('abc'));
    await expect(output.commit()).rejects.toThrow('"out/a": bytes 0 to 4 are missing');
    await output.writeAt('a', 0, text('abcd'));
    await output.commit();
    expect(await output.files().get('a')?.text()).toBe('abcdabc');
  });
});
