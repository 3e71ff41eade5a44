import { expect, onTestFinished, test } from 'vitest';
import { FormatError } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import { decodeNpz } from '../../src/pipeline/index.ts';
import { npy } from '../cli/models.ts';
import { writeZip } from '../support/zip.ts';

const ids = npy([2, 3], Float32Array.of(1, 2, 3, 4, 5, 6));
const mask = npy([2], Float32Array.of(1, 0));

test.each([false, true])('arrays come by their names, deflated: %s', async (deflate) => {
  const bytes = writeZip([
    { name: 'input_ids.npy', bytes: ids, deflate },
    { name: 'a/b.npy', bytes: mask, deflate },
  ]);
  const arrays = await decodeNpz(bytes, 'folder/data.npz');
  expect([...arrays.keys()]).toEqual(['input_ids', 'a/b']);
  expect(arrays.get('input_ids')).toEqual({ shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) });
  expect(arrays.get('a/b')!.shape).toEqual([2]);
});

test('what macOS puts beside files that it zips is passed over', async () => {
  const names = ['__MACOSX/._ids.npy', '.DS_Store', 'a/.DS_Store', 'a/._ids.npy', '__MACOSX/a/._ids.npy'];
  const others = names.map((name) => ({ name, bytes: Uint8Array.of(0, 5, 22, 7) }));
  const arrays = await decodeNpz(writeZip([{ name: 'ids.npy', bytes: ids }, ...others]), 'data.npz');
  expect([...arrays.keys()]).toEqual(['ids']);
});

test('what is no archive, or holds something else, is refused by name', async () => {
  const other = writeZip([{ name: 'readme.txt', bytes: mask }]);
  const broken = writeZip([{ name: 'x.npy', bytes: Uint8Array.of(1, 2, 3) }]);
  for (const [bytes, message] of [
    [ids, /data\.npz/],
    [other, '"data.npz": "readme.txt" is no .npy file'],
    [broken, 'data.npz: x.npy'],
  ] as const) {
    const refused = decodeNpz(bytes, 'data.npz');
    await expect(refused).rejects.toBeInstanceOf(FormatError);
    await expect(refused).rejects.toThrow(message);
  }
});

test('an archive of more arrays than models have inputs is refused before any is read', async () => {
  const { npzArrays } = limits;
  onTestFinished(() => {
    limits.npzArrays = npzArrays;
  });
  limits.npzArrays = 2;
  const archive = (names: readonly string[]) =>
    decodeNpz(writeZip(names.map((name) => ({ name, bytes: npy([1], new Float32Array(1)) }))), 'data.npz');
  expect((await archive(['a.npy', 'b.npy'])).size).toBe(2);
  await expect(archive(['no array', 'a.npy', 'b.npy'])).rejects.toThrow(
    /data\.npz": more than 2 entries \(limits\.npzArrays\)$/,
  );
});

test('what inflates beyond the limit is refused before it does, and what is stored takes what it has', async () => {
  const { npzBytes } = limits;
  onTestFinished(() => {
    limits.npzBytes = npzBytes;
  });
  limits.npzBytes = 400;
  const packed = (deflate: boolean) =>
    decodeNpz(writeZip([{ name: 'x.npy', bytes: npy([100], new Float32Array(100)), deflate }]), 'data.npz');
  await expect(packed(true)).rejects.toThrow(
    /"data\.npz": inflates to more than 400 bytes \(limits\.npzBytes\)$/,
  );
  expect((await packed(false)).size).toBe(1);
  const zeros = { name: 'y.npy', bytes: npy([1000], new Float32Array(1000)), deflate: true };
  const second = decodeNpz(writeZip([{ name: 'x.npy', bytes: mask.subarray(3) }, zeros]), 'data.npz');
  await expect(second).rejects.toThrow('inflates to more than'); // nothing of the first is looked at
});
