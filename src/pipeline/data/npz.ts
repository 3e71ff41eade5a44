// NumPy's .npz files: a zip archive of .npy files, stored or deflated.

import { blobFolder } from '../../checkpoint/index.ts';
import { openZip } from '../../checkpoint/zip.ts';
import { FormatError } from '../../errors.ts';
import { decodeNpy, type NpyArray } from './npy.ts';

// Of what the entries say they inflate to: calibration data, not a disk.
const MAX_BYTES = 2 ** 31;

/**
 * The arrays by their names.
 *
 * @throws {FormatError} naming the file, if it is no zip archive of .npy files, or inflates beyond 2 GiB
 */
export async function decodeNpz(bytes: Uint8Array, name: string): Promise<Map<string, NpyArray>> {
  const file = name.replace(/^.*[\\/]/, '');
  const entries = await openZip(blobFolder([[file, bytes]], name), file);
  const arrays = new Map<string, NpyArray>();
  let total = 0;
  for (const [entry, { size, read }] of entries) {
    total += size;
    if (total > MAX_BYTES) throw new FormatError(`"${name}": inflates to more than ${MAX_BYTES} bytes`);
    if (!entry.endsWith('.npy')) throw new FormatError(`"${name}": "${entry}" is no .npy file`);
    arrays.set(entry.slice(0, -'.npy'.length), decodeNpy(await read(0, size), `${name}: ${entry}`));
  }
  return arrays;
}
