// NumPy's .npz files: a zip archive of .npy files, stored or deflated.

import { blobFolder } from '../../checkpoint/index.ts';
import { openZip } from '../../checkpoint/zip.ts';
import { FormatError } from '../../errors.ts';
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
  const file = name.replace(/^.*[\\/]/, '');
  const entries = await openZip(blobFolder([[file, bytes]], name), file);
  const arrays = new Map<string, NpyArray>();
  const most = Math.max(limits.npzBytes, bytes.length); // stored, it takes what it has
  let total = 0;
  for (const [entry, { size, read }] of entries) {
    total += size;
    if (total > most) {
      throw new FormatError(`"${name}": inflates to more than ${most} bytes (limits.npzBytes)`);
    }
    if (!entry.endsWith('.npy')) throw new FormatError(`"${name}": "${entry}" is no .npy file`);
    arrays.set(entry.slice(0, -'.npy'.length), decodeNpy(await read(0, size), `${name}: ${entry}`));
  }
  return arrays;
}
