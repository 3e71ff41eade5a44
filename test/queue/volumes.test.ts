import { expect, test } from 'vitest';
import { memoryStore } from '../../src/pipeline/index.ts';
import { readArtefact, removeArtefact, writeArtefact } from '../../src/pipeline/queue/volumes.ts';
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
