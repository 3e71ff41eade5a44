import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { scratchFile } from '../../src/disk/scratch.ts';
import { OutOfMemoryError } from '../../src/errors.ts';
import { openModel, prune, type Scratch } from '../../src/pipeline/index.ts';
import { Activations, pairBytes } from '../../src/pipeline/store/activations.ts';
import { randomArray } from '../support/random.ts';
import { engine, fashion, fixtureBytes, session } from './fixtures.ts';

const folder = mkdtempSync(join(tmpdir(), 'osscar-'));
afterAll(() => rmSync(folder, { recursive: true }));

const COUNT = 7;
const tensor = (seed: number, rows = 3) => ({
  dims: [rows, 5],
  data: Float32Array.from(randomArray(5 * rows, seed)),
});
const bytes = pairBytes(COUNT * 15);

describe.each([
  ['in memory', () => new Activations(bytes, { activationBytes: bytes })],
  [
    'in a file',
    () => new Activations(bytes, { activationBytes: bytes - 1, scratch: () => scratchFile(folder) }),
  ],
])('activations %s', (where, open) => {
  test('come back as they were set, whatever the order, the last one shorter', async () => {
    const activations = open();
    const all = Array.from({ length: COUNT }, (_, i) => [
      tensor(2 * i, i === 6 ? 2 : 3),
      tensor(2 * i + 1, i === 6 ? 1 : 2),
    ]);
    for (const i of [3, 0, 1, 2, 5, 4, 6]) await activations.set(i, all[i]);
    all[2] = [tensor(90), tensor(91, 2)];
    await activations.set(2, all[2]);
    for (const [i, tensors] of all.entries()) expect(await activations.get(i)).toEqual(tensors);
    expect(readdirSync(folder)).toHaveLength(where === 'in a file' ? 1 : 0);
    await activations.close();
    expect(readdirSync(folder)).toHaveLength(0);
  });
});

test('without a file, activations beyond the limit are refused with their bytes', () => {
  const open = () => new Activations(bytes, { activationBytes: bytes - 1 });
  expect(open).toThrow(OutOfMemoryError);
  expect(open).toThrow(`need ${2 * 4 * 7 * 15} bytes`);
});

test('a scratch file that was never written to leaves nothing behind', async () => {
  await scratchFile(folder).close();
  expect(existsSync(folder)).toBe(true);
  expect(readdirSync(folder)).toHaveLength(0);
});

test('an ONNX model whose activations exceed the limit goes on from files, to the same bytes', async () => {
  const model = await openModel(fixtureBytes('fashion-mobilenet'), { engine });
  const calibration = await fashion('calib', 24);
  const options = { engine, session, calibration, keep: 0.5, target: 'residual', search: 'greedy' } as const;
  const inMemory = await prune(model, options);
  const files: { written: number; closed: boolean }[] = [];
  const scratch = (): Scratch => {
    const file = scratchFile(folder);
    const seen = { written: 0, closed: false };
    files.push(seen);
    return {
      read: file.read,
      write: (at, values) => {
        seen.written = Math.max(seen.written, 4 * (at + values.length));
        return file.write(at, values);
      },
      close: () => {
        seen.closed = true;
        return file.close();
      },
    };
  };
  const spilled = await prune(model, { ...options, activationBytes: 2 ** 16, scratch });
  expect(spilled.written.model).toEqual(inMemory.written.model);
  expect(files.length).toBeGreaterThan(3);
  for (const { written, closed } of files) {
    expect(written).toBeGreaterThan(2 ** 16);
    expect(closed).toBe(true);
  }
  expect(readdirSync(folder)).toHaveLength(0);
});
