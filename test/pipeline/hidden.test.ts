import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { scratchFile } from '../../src/cli/scratch.ts';
import { OutOfMemoryError } from '../../src/errors.ts';
import { HiddenStates, hiddenBytes } from '../../src/pipeline/language/hidden.ts';
import { randomArray } from '../support/random.ts';

const folder = mkdtempSync(join(tmpdir(), 'osscar-'));
afterAll(() => rmSync(folder, { recursive: true }));

const dims = [3, 5] as const;
const windows = 7;
const dense = (i: number) => Float32Array.from(randomArray(15, 2 * i));
const pruned = (i: number) => Float32Array.from(randomArray(15, 2 * i + 1));

describe.each([
  ['in memory', () => new HiddenStates(windows, dims, hiddenBytes(windows, ...dims))],
  [
    'in a file',
    () => new HiddenStates(windows, dims, hiddenBytes(windows, ...dims) - 1, () => scratchFile(folder)),
  ],
])('hidden states %s', (where, open) => {
  test('come back as they were set, window by window', async () => {
    const states = open();
    for (const i of [3, 0, 6, 1, 2, 5, 4]) await states.set(i, dense(i), pruned(i));
    await states.set(2, dense(9), dense(9));
    for (let i = 0; i < windows; i++) {
      const [a, b] = i === 2 ? [dense(9), dense(9)] : [dense(i), pruned(i)];
      expect(await states.get(i)).toEqual({ dense: a, pruned: b });
    }
    if (where === 'in a file') expect(readdirSync(folder)).toHaveLength(1);
    await states.close();
    expect(readdirSync(folder)).toHaveLength(0);
  });

  test('are batched in the order asked for, for both networks', async () => {
    const states = open();
    for (let i = 0; i < windows; i++) await states.set(i, dense(i), pruned(i));
    const seen: number[][] = [];
    for await (const batch of states.source([5, 1, 6], 2, true).batches()) {
      expect(batch.input.dims).toEqual([batch.count, 3, 5]);
      seen.push([...batch.input.data], [...batch.pruned!.data]);
    }
    expect(seen).toEqual([
      [...dense(5), ...dense(1)],
      [...pruned(5), ...pruned(1)],
      [...dense(6)],
      [...pruned(6)],
    ]);
    await states.close();
  });

  test('do not share memory with what they were set from', async () => {
    const states = open();
    const values = dense(0);
    await states.set(0, values, values);
    values.fill(0);
    expect((await states.get(0)).dense).toEqual(dense(0));
    await states.close();
  });
});

test('without a file, hidden states beyond the limit are refused with their bytes', () => {
  const bytes = hiddenBytes(windows, ...dims);
  let error: unknown;
  try {
    new HiddenStates(windows, dims, bytes - 1);
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(OutOfMemoryError);
  expect((error as OutOfMemoryError).bytes).toBe(2 * 4 * 7 * 15);
});

test('a scratch file that was never written to leaves nothing behind', async () => {
  await scratchFile(folder).close();
  expect(existsSync(folder)).toBe(true);
  expect(readdirSync(folder)).toHaveLength(0);
});
