import { closeSync, mkdtempSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { plan, tiledMemory } from '../../src/tiles/memory.ts';
import type * as Entry from '../../src/tiles.ts';
import { activations, normals } from '../support/problems.ts';

const { openTiles }: typeof Entry = await import(new URL('../../dist/tiles.js', import.meta.url).href);

const folder = mkdtempSync(join(tmpdir(), 'osscar-tiles-'));
const path = join(folder, 'scratch');
const descriptor = openSync(path, 'w+');
afterAll(() => {
  closeSync(descriptor);
  rmSync(folder, { recursive: true });
});
const scratch: Entry.ScratchFile = {
  read: (into, { at }) => readSync(descriptor, into, 0, into.length, at),
  write: (bytes, { at }) => writeSync(descriptor, bytes, 0, bytes.length, at),
};

const [n, p, m] = [900, 300, 80];
const shape = { p, m, groupSize: 1, keep: 150, edge: 64 };
const X = activations(n, p, 1);
const Y = normals(n * m, 2);
const W0 = normals(p * m, 3);

async function pruned(options: Entry.TilesOptions) {
  const tiles = await openTiles(options);
  try {
    const layer = tiles.layer(shape, true);
    layer.addRows(X, Y);
    const { kept, W, relativeError } = layer.prune(W0);
    const rows = Float64Array.from(kept.flatMap((_, i) => Array.from(W.row(i))));
    return { kept, bits: Buffer.from(rows.buffer).toString('base64'), relativeError, plan: layer.plan };
  } finally {
    await tiles.close();
  }
}

describe('a layer in tiles', () => {
  test('has the same bits for any number of threads', async () => {
    const [one, two] = [await pruned({ threads: 1 }), await pruned({ threads: 2 })];
    expect(two).toEqual(one);
    expect(one.kept).toHaveLength(150);
    expect(one.relativeError).toBeGreaterThan(0);
  });

  test('has the same bits with its sums in a scratch file', async () => {
    const { total } = tiledMemory(shape, 2 ** 32);
    const [whole, spilled] = [
      await pruned({ threads: 1 }),
      await pruned({ threads: 1, memory: total - 1, scratch }),
    ];
    expect(spilled.plan.spilled).toBeGreaterThan(8 * ((p * p) / 2 + p * m));
    expect(statSync(path).size).toBe(spilled.plan.spilled);
    expect(spilled.plan.memory.total).toBeLessThan(total);
    expect(spilled.bits).toBe(whole.bits);
    expect(spilled.kept).toEqual(whole.kept);
  });

  test('is refused with the numbers where it does not fit', async () => {
    const tiles = await openTiles({ threads: 1, memory: 2 ** 28 });
    expect(() => tiles.layer(shape, true)).toThrow(
      /^tiles: 300 inputs and 80 outputs take 0\.2\d GiB, 0\.2\d GiB with a scratch file for its sums; "memory" is 0\.25 GiB$/,
    );
    await tiles.close();
  });
});

test('fc2 of OPT-30B fits 13 GB, and 8 GiB with a scratch file', () => {
  const layer = { p: 28_672, m: 7_168, groupSize: 1, keep: 14_336 };
  expect(plan(layer, 2 ** 32, 13.5e9, false)).toMatchObject({ spilled: 0 });
  const spilled = plan(layer, 2 ** 32, 8 * 2 ** 30, true);
  expect(spilled.spilled).toBeGreaterThan(8 * ((28_672 * 28_673) / 2 + 28_672 * 7_168));
  expect(() => plan(layer, 2 ** 32, 8 * 2 ** 30, false)).toThrow('with a scratch file');
});
