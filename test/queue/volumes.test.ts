import { expect, test } from 'vitest';
import { memoryStore, npyDataset } from '../../src/pipeline/index.ts';
import { ship, storedFile, storedSamples, writeDescription } from '../../src/pipeline/queue/snapshot.ts';
import {
  readArtefact,
  readContent,
  readDescription,
  removeArtefact,
  writeArtefact,
} from '../../src/pipeline/queue/volumes.ts';
import { randomArray } from '../support/random.ts';

const BYTES = 2 ** 17;
const large = (seed: number) => Float64Array.from(randomArray(BYTES / 8, seed));
const RECORD = {
  packed: [
    { p: 3, n: -0, tiles: [large(1), large(2), large(3)], sumX: Float64Array.of(1, 2), missing: null },
    { p: Number.POSITIVE_INFINITY, tiles: [Float32Array.from(large(4))], name: 'fc2' },
  ],
};

test('a record that is too large for one artefact is written as several, and is whole again', async () => {
  const store = memoryStore();
  await writeArtefact(store, 'sums/a-0', RECORD, 2 * BYTES);
  expect(await store.list()).toEqual(['sums/a-0', 'sums/a-0.0', 'sums/a-0.1']);
  expect(await readArtefact(store, 'sums/a-0')).toEqual(RECORD);
  await writeArtefact(store, 'sums/a-01', RECORD, 2 * BYTES);
  await removeArtefact(store, 'sums/a-0');
  expect(await store.list()).toEqual(['sums/a-01', 'sums/a-01.0', 'sums/a-01.1']);
});

test('one that is not is one artefact', async () => {
  const store = memoryStore();
  await writeArtefact(store, 'sums/a-0', RECORD);
  expect(await store.list()).toEqual(['sums/a-0']);
  expect(await readArtefact(store, 'sums/a-0')).toEqual(RECORD);
});

test('what is missing or damaged is named', async () => {
  const store = memoryStore();
  await writeArtefact(store, 'sums/a-0', RECORD, BYTES);
  const bytes = (await store.read('sums/a-0.2'))!;
  bytes[bytes.length - 9] ^= 1;
  await store.write('sums/a-0.2', bytes);
  await expect(readArtefact(store, 'sums/a-0')).rejects.toThrow('"memory": "sums/a-0.2" is damaged');
  await store.remove('sums/a-0.2');
  await expect(readArtefact(store, 'sums/a-0')).rejects.toThrow('there is no "sums/a-0.2"');
});

test('a record that was renamed is not taken for another, whole or in volumes', async () => {
  const store = memoryStore();
  for (const most of [undefined, BYTES]) {
    await writeArtefact(store, 'sums/a-0', RECORD, most);
    await writeArtefact(store, 'sums/a-1', RECORD, most);
    await store.write('sums/a-1', (await store.read('sums/a-0'))!);
    await expect(readArtefact(store, 'sums/a-1')).rejects.toThrow(
      '"memory": "sums/a-1" is damaged in this store; remove it ("sums~a-1"), and the same command makes it again',
    );
  }
  await store.write('sums/a-0.1', (await store.read('sums/a-0.0'))!);
  await expect(readArtefact(store, 'sums/a-0')).rejects.toThrow('"sums/a-0.1" is damaged');
});

test('what lies under its hash is what was put there, or named', async () => {
  const store = memoryStore();
  const [one, other] = [
    await writeDescription(store, 'runs', { n: 1 }),
    await writeDescription(store, 'runs', { n: 2 }),
  ];
  expect(await readDescription(store, `runs/${one}`)).toEqual({ n: 1 });
  await store.write(`runs/${other}`, await readContent(store, `runs/${one}`));
  await expect(readDescription(store, `runs/${other}`)).rejects.toThrow(`"runs/${other}" is damaged`);
  await store.remove(`runs/${one}`);
  await expect(readContent(store, `runs/${one}`)).rejects.toThrow(`there is no "runs/${one}"`);
});

test('chunks and samples that were cut, altered or swapped are named', async () => {
  const store = memoryStore();
  const content = new Uint8Array(100).fill(7);
  const read = async (at: number, length: number) => content.subarray(at, at + length);
  const files = [{ name: '0', size: content.length, read }];
  const rows = npyDataset({ shape: [4, 1], data: Float32Array.of(1, 2, 3, 4) }, [1], 'rows');
  const shipment = { kind: 'file', name: 'm.onnx', files, how: {} } as const;
  const { model, samples } = await ship(store, shipment, { ...rows, tokens: 'ids' }, 2);
  expect(storedSamples(store, samples).tokens).toBe('ids');
  const [chunk] = model.files[0].chunks;
  await store.write(chunk.key, content.subarray(0, 50));
  await expect(storedFile(store, model.files)).rejects.toThrow(`"${chunk.key}" is damaged`);
  await store.write(chunk.key, content.with(50, 8));
  await expect(storedFile(store, model.files)).rejects.toThrow(`"${chunk.key}" is damaged`);
  const [first, second] = samples.shards;
  await store.write(first, (await store.read(second))!);
  const readAll = async () => {
    for await (const _ of storedSamples(store, samples).batches(4));
  };
  await expect(readAll()).rejects.toThrow(`"${first}" is damaged`);
});
