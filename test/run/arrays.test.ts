// Folders of arrays by the names of a model's inputs.

import { expect, test } from 'vitest';
import { feedsDataset, type ModelInput } from '../../src/pipeline/index.ts';
import { extremeDims, readFeeds } from '../../src/run/arrays.ts';
import { placeOf } from '../../src/run/source.ts';
import { npy } from '../cli/models.ts';
import { writeZip } from '../support/zip.ts';

const input = { name: 'ids', shape: [3], open: [false], others: [] } as Partial<ModelInput> as ModelInput;
const two = npy([2, 3], Float32Array.of(1, 2, 3, 4, 5, 6));
const one = npy([1, 3], Float32Array.of(7, 8, 9));
const packed = (ids: Uint8Array) => writeZip([{ name: 'ids.npy', bytes: ids }]);

async function valuesIn(files: Readonly<Record<string, Uint8Array>>) {
  const samples = await readFeeds(await placeOf(Object.entries(files), 'data'), input);
  return samples?.map(({ name, inputs: { ids } }) => [name, ...ids.data]);
}

test('of .npz files all samples are read, of .npy files an array for each input', async () => {
  expect(await valuesIn({ 'a.npz': packed(two), 'b.npz': packed(one) })).toEqual([
    ['data/a.npz[0]', 1, 2, 3],
    ['data/a.npz[1]', 4, 5, 6],
    ['data/b.npz[0]', 7, 8, 9],
  ]);
  expect(await valuesIn({ 'ids.npy': two })).toEqual([
    ['data[0]', 1, 2, 3],
    ['data[1]', 4, 5, 6],
  ]);
  expect(await valuesIn({ 'ids.npy': one, '._ids.npy': Uint8Array.of(0, 5, 22, 7) })).toEqual([
    ['data[0]', 7, 8, 9],
  ]);
  expect(await valuesIn({ 'a.npz': packed(one), '._a.npz': Uint8Array.of(0, 5, 22, 7) })).toHaveLength(1);
  expect(await valuesIn({ 'photo.png': one })).toBeUndefined();
});

test('lines of JSON may have empty ones between them, and a first one of text is none of arrays', async () => {
  const read = async (lines: readonly string[], end = '\n') =>
    readFeeds(await placeOf(new File([lines.join(end)], 'all.jsonl'), 'data'), input);
  for (const end of ['\n', '\r\n', '\r']) {
    const samples = await read(['{"ids": [1, 2, 3]}', '', '  ', '{"ids": [4, 5, 6]}'], end);
    expect(samples?.map(({ name, inputs: { ids } }) => [name, ...ids.data])).toEqual([
      ['all.jsonl line 1', 1, 2, 3],
      ['all.jsonl line 4', 4, 5, 6],
    ]);
  }
  expect(await read(['{"text": "none"}'])).toBeUndefined();
  await expect(read(['{"ids": [1, 2, 3]}', '{"text": "none"}'])).rejects.toThrow('line 2');
});

test('samples of one rank have largest and smallest extents', () => {
  const sample = (...dims: number[]) => ({ name: '', inputs: { ids: { dims, data: new Float32Array(0) } } });
  expect(extremeDims([sample(3, 5), sample(4, 2)], 'ids', Math.max)).toEqual([4, 5]);
  expect(extremeDims([sample(3, 5), sample(4, 2)], 'ids', Math.min)).toEqual([3, 2]);
  expect(extremeDims([sample(3), sample(4, 2)], 'ids', Math.max)).toBeUndefined();
  expect(extremeDims([sample(3)], 'mask', Math.max)).toBeUndefined();
  expect(extremeDims([], 'ids', Math.max)).toBeUndefined();
});

test('there may be more samples than a call has arguments', async () => {
  const [rows, columns] = [200_000, 3];
  const many = packed(npy([rows, columns], new Float32Array(rows * columns)));
  const samples = await readFeeds(await placeOf([['a.npz', many]], 'data'), input);
  expect(samples).toHaveLength(rows);
  expect(extremeDims(samples!, 'ids', Math.max)).toEqual([columns]);
  expect(await feedsDataset(samples!, input)).toMatchObject({ size: rows, shape: [columns] });
});
