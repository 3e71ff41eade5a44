// Entries of a zip archive, read by range: what PyTorch's files are.
//
// zip.js reads the directory, zip64 included, and says where an entry lies; it is the one maintained library that
// does. Stored entries, all that torch.save writes, are then read in place; deflated ones are inflated from their
// beginning by the platform's DecompressionStream. No workers, no evaluated code.

import type { FileEntry, Reader } from '@zip.js/zip.js/lib/zip-core-reader.js';
import { FormatError, OsscarError } from '../errors.ts';
import { limits } from '../limits.ts';
import { unloaded } from '../unloaded.ts';
import { type Folder, pathIn } from './folder.ts';

export interface ZipEntry {
  readonly size: number;
  /** The CRC-32 that the directory gives. Not checked here: torch may be told to leave it out. */
  readonly checksum: number;
  /** Whether it is inflated from its beginning at every read. */
  readonly isDeflated: boolean;
  /** Bytes of the content. @throws {FormatError} if the archive is broken here */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** What is kept of an entry: zip.js makes 8 kB of each. */
type Place = Pick<FileEntry, 'filename' | 'offset' | 'compressedSize'>;

const LOCAL_HEADER_BYTES = 30;
const LOCAL_HEADER = 0x04034b50;
const STORED = 0;
const DEFLATED = 8;
/** No deflate stream expands further. */
const MAX_DEFLATE_RATIO = 1032;
/** Inflated at once, into a thousand times as much in the worst case: browsers do not stop in the middle. */
const INFLATE_BYTES = 2 ** 16;

/**
 * The files in a zip archive, by name.
 *
 * @param most  the limit of how many there may be
 * @throws {FormatError} naming the archive if its directory is broken, or an entry is encrypted or doubled
 */
export async function openZip(
  folder: Folder,
  file: string,
  most: 'zipEntries' | 'npzArrays' = 'zipEntries',
): Promise<Map<string, ZipEntry>> {
  const read = (offset: number, length: number) => folder.read(file, offset, length);
  const archive = new Archive(pathIn(folder, file), await folder.size(file), read);
  const entries = new Map<string, ZipEntry>();
  let count = 0;
  // Only where there is an archive does anybody wait for its modules.
  const { ZipReader } = await import('@zip.js/zip.js/lib/zip-core-reader.js').catch(
    unloaded('what reads archives'),
  );
  try {
    const reader = new ZipReader(archive.source(), { useWebWorkers: false });
    for await (const entry of reader.getEntriesGenerator()) {
      if (++count > limits[most]) {
        throw new FormatError(`"${archive.path}": more than ${limits[most]} entries (limits.${most})`);
      }
      if (entry.directory) continue;
      if (entries.has(entry.filename)) throw archive.fail(entry, 'comes twice');
      entries.set(entry.filename, archive.entry(entry));
    }
  } catch (cause) {
    throw archive.broken(cause);
  }
  return entries;
}

/** What is wrong with what the directory says of an entry. */
function problemOf({ encrypted, uncompressedSize, compressedSize, compressionMethod }: FileEntry) {
  if (encrypted) return 'is encrypted';
  if (!Number.isSafeInteger(uncompressedSize) || !Number.isSafeInteger(compressedSize)) {
    return 'has an impossible size';
  }
  if (compressionMethod === STORED) {
    return compressedSize === uncompressedSize ? undefined : 'is stored in another size than its own';
  }
  if (compressionMethod !== DEFLATED) return `has compression method ${compressionMethod}`;
  return uncompressedSize > compressedSize * MAX_DEFLATE_RATIO ? 'cannot inflate to its size' : undefined;
}

class Archive {
  constructor(
    readonly path: string,
    readonly size: number,
    readonly read: (offset: number, length: number) => Promise<Uint8Array<ArrayBuffer>>,
  ) {}

  /** What zip.js asks of a custom reader; its `Reader` class is not among the exports of the reading half. */
  source(): Reader<unknown> {
    const source = {
      size: this.size,
      init() {},
      readUint8Array: (offset: number, length: number) => {
        if (length > limits.directoryBytes) {
          throw new FormatError(`"${this.path}": its directory has ${length} bytes`);
        }
        // Like a Blob's slice(), as zip.js expects at the end of a file.
        return this.read(offset, Math.max(0, Math.min(length, this.size - offset)));
      },
    };
    return source as unknown as Reader<unknown>;
  }

  fail({ filename }: Pick<Place, 'filename'>, problem: string): FormatError {
    return new FormatError(`"${this.path}": "${filename}" ${problem}`);
  }

  broken(cause: unknown): OsscarError {
    if (cause instanceof OsscarError) return cause;
    const { message } = cause as Error;
    // That directory ends every archive.
    const hint = /central directory not found/i.test(message)
      ? '; it is cut off: copy or download it again'
      : '';
    return new FormatError(`"${this.path}": broken zip archive: ${message}${hint}`, { cause });
  }

  entry(entry: FileEntry): ZipEntry {
    const { uncompressedSize: size, compressionMethod, signature = 0 } = entry;
    const problem = problemOf(entry);
    if (problem) throw this.fail(entry, problem);
    const { filename, offset: at, compressedSize } = entry;
    const place = { filename, offset: at, compressedSize };
    return {
      size,
      checksum: signature >>> 0,
      isDeflated: compressionMethod === DEFLATED,
      read: async (offset, length) => {
        const start = await this.#dataStart(place);
        if (compressionMethod === STORED) return this.read(start + offset, length);
        return this.#inflate(place, start, offset, length);
      },
    };
  }

  /** Where the content begins: the local header has its own extra field, by which torch aligns tensors. */
  async #dataStart(entry: Place): Promise<number> {
    const { offset, compressedSize } = entry;
    if (!(Number.isSafeInteger(offset) && offset >= 0 && offset + LOCAL_HEADER_BYTES <= this.size)) {
      throw this.fail(entry, 'is said to lie outside the archive');
    }
    const header = new DataView((await this.read(offset, LOCAL_HEADER_BYTES)).buffer);
    if (header.getUint32(0, true) !== LOCAL_HEADER) {
      throw this.fail(entry, 'is not where the directory says');
    }
    const start = offset + LOCAL_HEADER_BYTES + header.getUint16(26, true) + header.getUint16(28, true);
    if (!(start + compressedSize <= this.size)) throw this.fail(entry, 'reaches past the end (truncated?)');
    return start;
  }

  async #inflate(entry: Place, start: number, offset: number, length: number) {
    const deflated = this.#chunks(start, entry.compressedSize);
    const reader = deflated.pipeThrough(new DecompressionStream('deflate-raw')).getReader();
    const out = new Uint8Array(length);
    let position = 0;
    try {
      while (position < offset + length) {
        const { done, value } = await reader.read();
        if (done) throw this.fail(entry, `inflates to ${position} bytes only`);
        const part = value.subarray(Math.max(0, offset - position), offset + length - position);
        out.set(part, Math.max(0, position - offset));
        position += value.length;
      }
    } catch (cause) {
      throw this.broken(cause);
    } finally {
      await reader.cancel().catch(() => {});
    }
    return out;
  }

  /** Bytes of the archive, read as they are asked for. */
  #chunks(start: number, length: number): ReadableStream<Uint8Array<ArrayBuffer>> {
    let at = start;
    return new ReadableStream({
      pull: async (controller) => {
        const chunk = Math.min(INFLATE_BYTES, start + length - at);
        if (chunk === 0) return controller.close();
        controller.enqueue(await this.read(at, chunk));
        at += chunk;
      },
    });
  }
}
