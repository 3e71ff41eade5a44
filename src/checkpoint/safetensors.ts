// The header of a safetensors file: 8 bytes of length, JSON, then the tensors' bytes back to back.
// https://github.com/huggingface/safetensors#format; as strict as the reference implementation.

import { FormatError } from '../errors.ts';
import { isObject } from '../expect.ts';
import { placeholder, TELLING } from '../formats.ts';
import { parseJsonObject } from '../json.ts';
import { limits } from '../limits.ts';
import { type Folder, pathIn } from './folder.ts';
import { byteCount, SAFETENSORS_TYPES, type StoredTensor } from './tensor.ts';

type Entry = StoredTensor & { readonly begin: number };

/** The bytes must be used once, from the first to the last. */
function checkLayout(entries: readonly Entry[], dataBytes: number, path: string): void {
  const sorted = [...entries].sort((a, b) => a.begin - b.begin || a.bytes - b.bytes);
  let end = 0;
  for (const [i, { name, begin, bytes }] of sorted.entries()) {
    if (begin < end)
      throw new FormatError(`"${path}": tensors "${sorted[i - 1].name}" and "${name}" overlap`);
    if (begin > end) {
      throw new FormatError(`"${path}": tensor "${name}" begins at ${begin}, after a hole from ${end}`);
    }
    end = begin + bytes;
  }
  if (end !== dataBytes) {
    throw new FormatError(`"${path}": its tensors end at byte ${end} of the data, which has ${dataBytes}`);
  }
}

/**
 * The tensors of a safetensors file, from its header alone.
 *
 * @throws {FormatError} naming the file and the tensor if the header contradicts itself or the file
 */
export async function readSafetensors(folder: Folder, file: string): Promise<StoredTensor[]> {
  const path = pathIn(folder, file);
  const size = await folder.size(file);
  if (size < 8) throw new FormatError(`"${path}": too short for a safetensors file: ${size} bytes`);
  const prefix = await folder.read(file, 0, 8);
  const headerBytes = new DataView(prefix.buffer).getBigUint64(0, true);
  if (headerBytes > BigInt(Math.min(size - 8, limits.headerBytes))) {
    const other = placeholder(await folder.read(file, 0, Math.min(size, TELLING)));
    throw new FormatError(
      other
        ? `"${path}": it is ${other}`
        : `"${path}": its header claims ${headerBytes} bytes; the file has ${size} (truncated, or not safetensors?)`,
    );
  }
  const dataStart = 8 + Number(headerBytes);
  const header = await folder.read(file, 8, dataStart - 8);
  if (header[0] !== 0x7b) throw new FormatError(`"${path}": its header does not begin with {`);
  const { __metadata__: metadata = {}, ...tensors } = parseJsonObject(header, path);
  if (!isObject(metadata) || !Object.values(metadata).every((value) => typeof value === 'string')) {
    throw new FormatError(`"${path}": expected "__metadata__" to be an object of strings`);
  }
  const count = Object.keys(tensors).length;
  if (count > limits.headerTensors)
    throw new FormatError(
      `"${path}": its header has ${count} tensors, at most ${limits.headerTensors} are read (limits.headerTensors)`,
    );

  const entries = Object.entries(tensors).map(([name, entry]) => {
    const fail = (problem: string) => new FormatError(`"${path}": tensor "${name}" ${problem}`);
    if (!isObject(entry)) throw fail('is not described by an object');
    const { dtype: typeName, shape, data_offsets: offsets } = entry;
    const dtype = SAFETENSORS_TYPES.get(typeName);
    if (!dtype) throw fail(`has the unknown type ${JSON.stringify(typeName)}`);
    const bytes = Array.isArray(shape) ? byteCount(shape, dtype) : undefined;
    if (bytes === undefined) throw fail(`has the impossible shape ${JSON.stringify(shape)}`);
    if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(Number.isSafeInteger)) {
      throw fail('has no pair of offsets');
    }
    const [begin, end] = offsets as [number, number];
    if (!(begin >= 0 && begin <= end && dataStart + end <= size)) {
      const isCut = begin >= 0 && begin <= end ? '; the file is not whole: download it again' : '';
      throw fail(`lies at ${begin} to ${end} of ${size - dataStart} bytes of data${isCut}`);
    }
    if (end - begin !== bytes) {
      throw fail(`has ${end - begin} bytes; its type ${typeName} and shape [${shape}] need ${bytes}`);
    }
    // Of hundreds of thousands of empty ones each read would take as long as of one with a number.
    const readBytes = async (from: number, to: number) =>
      to === from ? new Uint8Array(0) : folder.read(file, dataStart + begin + from, to - from);
    return { name, dtype, shape: shape as number[], bytes, file, begin, readBytes };
  });
  checkLayout(entries, size - dataStart, path);
  return entries;
}
