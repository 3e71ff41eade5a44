// Entries of a zip archive, read by range: what PyTorch's files are.
//
// zip.js reads the directory, zip64 included, and says where an entry lies; it is the one maintained library that
// does. Stored entries, all that torch.save writes, are then read in place; deflated ones are inflated from their
// beginning by the platform's DecompressionStream. No workers, no evaluated code.

import { type FileEntry, type Reader, ZipReader } from '@zip.js/zip.js/lib/zip-core-reader.js';
import { FormatError, InputError, OsscarError } from '../errors.ts';
import { type Folder, pathIn } from './folder.ts';

export interface ZipEntry {
  readonly size: number;
  /** Bytes of the content. @throws {FormatError} if the archive is broken here */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

const LOCAL_HEADER_BYTES = 30;
const LOCAL_HEADER = 0x04034b50;
const STORED = 0;
const DEFLATED = 8;
/** No deflate stream expands further. */
const MAX_DEFLATE_RATIO = 1032;
/** Inflated at once, into a thousand times as much in the worst case: browsers do not stop in the middle. */
const INFLATE_BYTES = 2 ** 16;
/** A directory takes some 100 bytes for a tensor; zip.js reads it in one piece. */
const MAX_READ_BYTES = 2 ** 28;

/** What zip.js asks of a custom reader; its `Reader` class is not among the exports of the reading half. */
function zipSource(folder: Folder, file: string, size: number): Reader<unknown> {
  const source = {
    size,
    init() {},
    readUint8Array(offset: number, length: number) {
      if (length > MAX_READ_BYTES)
        throw new FormatError(`"${pathIn(folder, file)}": its directory is too large`);
      // Like a Blob's slice(), as zip.js expects at the end of a file.
      const end = Math.min(offset + length, size);
      return folder.read(file, offset, Math.max(0, end - offset));
    },
  };
  return source as unknown as Reader<unknown>;
}

/**
 * The files in a zip archive, by name.
 *
 * @throws {FormatError} naming the archive if its directory is broken, or an entry is encrypted or doubled
 */
export async function openZip(folder: Folder, file: string): Promise<Map<string, ZipEntry>> {
  const path = pathIn(folder, file);
  const size = await folder.size(file);
  const broken = (cause: unknown) => {
    if (cause instanceof OsscarError) return cause;
    return new FormatError(`"${path}": broken zip archive: ${(cause as Error).message}`, { cause });
  };

  /** Where the content begins: the local header has its own extra field, by which torch aligns tensors. */
  async function dataStart(entry: FileEntry): Promise<number> {
    const { offset, filename, compressedSize } = entry;
    if (!(Number.isSafeInteger(offset) && offset >= 0 && offset + LOCAL_HEADER_BYTES <= size)) {
      throw new FormatError(`"${path}": "${filename}" is said to lie outside the archive`);
    }
    const header = new DataView((await folder.read(file, offset, LOCAL_HEADER_BYTES)).buffer);
    if (header.getUint32(0, true) !== LOCAL_HEADER) {
      throw new FormatError(`"${path}": "${filename}" is not where the directory says`);
    }
    const start = offset + LOCAL_HEADER_BYTES + header.getUint16(26, true) + header.getUint16(28, true);
    if (!(start + compressedSize <= size)) {
      throw new FormatError(`"${path}": "${filename}" reaches past the end (truncated?)`);
    }
    return start;
  }

  async function readStored(entry: FileEntry, offset: number, length: number) {
    return folder.read(file, (await dataStart(entry)) + offset, length);
  }

  async function readDeflated(entry: FileEntry, offset: number, length: number) {
    const start = await dataStart(entry);
    let at = start;
    const compressed = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        const chunk = Math.min(INFLATE_BYTES, start + entry.compressedSize - at);
        if (chunk === 0) return controller.close();
        controller.enqueue(await folder.read(file, at, chunk));
        at += chunk;
      },
    });
    const out = new Uint8Array(length);
    let position = 0;
    const reader = compressed.pipeThrough(new DecompressionStream('deflate-raw')).getReader();
    try {
      while (position < offset + length) {
        const { done, value } = await reader.read();
        if (done) throw new FormatError(`"${path}": "${entry.filename}" inflates to ${position} bytes only`);
        const from = Math.max(0, offset - position);
        const part = value.subarray(from, Math.max(from, offset + length - position));
        if (part.length > 0) out.set(part, position + from - offset);
        position += value.length;
      }
    } catch (cause) {
      throw broken(cause);
    } finally {
      await reader.cancel().catch(() => {});
    }
    return out;
  }

  function toEntry(entry: FileEntry): ZipEntry {
    const { filename, uncompressedSize, compressedSize, compressionMethod } = entry;
    const fail = (problem: string) => new FormatError(`"${path}": "${filename}" ${problem}`);
    if (entry.encrypted) throw fail('is encrypted');
    if (!Number.isSafeInteger(uncompressedSize) || !Number.isSafeInteger(compressedSize)) {
      throw fail('has an impossible size');
    }
    if (compressionMethod === STORED) {
      if (compressedSize !== uncompressedSize) throw fail('is stored in another size than its own');
    } else if (compressionMethod !== DEFLATED) throw fail(`has compression method ${compressionMethod}`);
    else if (uncompressedSize > compressedSize * MAX_DEFLATE_RATIO) throw fail('cannot inflate to its size');
    const read = compressionMethod === STORED ? readStored : readDeflated;
    return {
      size: uncompressedSize,
      read: (offset, length) => {
        if (!(offset >= 0 && length >= 0 && offset + length <= uncompressedSize)) {
          throw new InputError(`"${path}": "${filename}" has ${uncompressedSize} bytes`);
        }
        return read(entry, offset, length);
      },
    };
  }

  const entries = new Map<string, ZipEntry>();
  try {
    const reader = new ZipReader(zipSource(folder, file, size), { useWebWorkers: false });
    for await (const entry of reader.getEntriesGenerator()) {
      if (entry.directory) continue;
      if (entries.has(entry.filename)) throw new FormatError(`"${path}": "${entry.filename}" comes twice`);
      entries.set(entry.filename, toEntry(entry));
    }
  } catch (cause) {
    throw broken(cause);
  }
  return entries;
}
