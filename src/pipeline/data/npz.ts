// NumPy's .npz files: a zip archive of .npy files, stored or deflated.

import { blobFolder } from '../../checkpoint/index.ts';
import { openZip } from '../../checkpoint/zip.ts';
import { FormatError } from '../../errors.ts';
import { expectBytes, expectText } from '../../expect.ts';
import { otherArray } from '../../formats.ts';
import { sum } from '../../graph/index.ts';
import { limits } from '../../limits.ts';
import { decodeNpy, type NpyArray } from './npy.ts';

/**
 * The arrays by their names.
 *
 * @throws {FormatError} naming the file, if it is no zip archive of .npy files, or inflates beyond `limits.npzBytes`
 *
 * @example
 * const { shape } = (await decodeNpz(bytes, 'inputs.npz')).get('input_ids')!;
 */
export async function decodeNpz(bytes: Uint8Array, name: string): Promise<Map<string, NpyArray>> {
  expectBytes('decodeNpz', bytes);
  expectText('decodeNpz', 'name', name);
  if (!MAGIC.every((byte, i) => bytes[i] === byte))
    throw new FormatError(`"${name}": expected a .npz file, got ${otherArray(bytes) ?? 'something else'}`);
  const file = name.replace(/^.*[\\/]/, '');
  const folder = name.slice(0, -file.length - 1);
  const all = await openZip(blobFolder([[file, bytes]], folder || '.'), file, 'npzArrays');
  const entries = [...all].filter(([entry]) => !MACOS.test(entry));
  const arrays = new Map<string, NpyArray>();
  const most = Math.max(limits.npzBytes, bytes.length); // stored, it takes what it has
  // Before any of it is inflated: entries may share their bytes.
  if (sum(entries.map(([, { size }]) => size)) > most)
    throw new FormatError(`"${name}": inflates to more than ${most} bytes (limits.npzBytes)`);
  for (const [entry, { size, checksum, read }] of entries) {
    if (!entry.endsWith('.npy')) throw new FormatError(`"${name}": "${entry}" is no .npy file`);
    const content = await read(0, size);
    if (crc32(content) !== checksum)
      throw new FormatError(`"${name}": "${entry}" is damaged: it has another checksum than its own`);
    arrays.set(entry.slice(0, -'.npy'.length), decodeNpy(content, `${name}: ${entry}`));
  }
  return arrays;
}

/** As zip archives begin, empty ones too. */
const MAGIC = [0x50, 0x4b];

/** What macOS puts beside files that it zips. */
const MACOS = /(^|\/)(__MACOSX\/|\.DS_Store$|\._)/;

/** Of every byte, the remainder of x³² times it. */
const REMAINDERS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  return sum;
});

/** The checksum of zip archives (ISO 3309). */
function crc32(bytes: Uint8Array): number {
  let sum = ~0;
  for (let i = 0; i < bytes.length; i++) sum = (sum >>> 8) ^ REMAINDERS[(sum ^ bytes[i]) & 255];
  return ~sum >>> 0;
}
