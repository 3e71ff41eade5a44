// Content hashes: of a model's bytes, its data, a recipe.

import { InputError } from '../../errors.ts';

/** What can be hashed, one after the other; where a part ends makes a difference. */
export type Hashable = string | number | ArrayBufferView;

// crypto.subtle wants its input whole, and in Node less than 2 GiB of it.
const CHUNK_BYTES = 2 ** 24;
const TAGS = { string: 1, number: 2, object: 3 };

/** Browsers have no SHA-256 on pages that are not secure. */
export const canHash = (): boolean => globalThis.crypto?.subtle !== undefined;

/**
 * SHA-256 of the parts' digests, in hexadecimal. Parts may come as they are read, as from `readChunks`.
 *
 * @throws {InputError} on a page that is not secure, where browsers have no SHA-256
 */
export async function contentHash(parts: readonly Hashable[] | AsyncIterable<Hashable>): Promise<string> {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) throw new InputError('run store: expected a secure page (https or localhost)');
  const digests: BlobPart[] = [];
  for await (const part of parts) {
    const bytes = bytesOf(part);
    digests.push(Float64Array.of(TAGS[typeof part as keyof typeof TAGS], bytes.length));
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      const chunk = bytes.subarray(at, at + CHUNK_BYTES);
      // Shared memory is not taken.
      digests.push(await subtle.digest('SHA-256', isShared(bytes) ? chunk.slice() : chunk));
    }
  }
  const hash = await subtle.digest('SHA-256', await new Blob(digests).arrayBuffer());
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function isShared({ buffer }: Uint8Array): boolean {
  return Object.prototype.toString.call(buffer) === '[object SharedArrayBuffer]';
}

/** The bytes of a part; a view of them where it has some. */
export function bytesOf(part: Hashable): Uint8Array<ArrayBuffer> {
  if (typeof part === 'string') return new TextEncoder().encode(part);
  const { buffer, byteOffset, byteLength } = typeof part === 'number' ? Float64Array.of(part) : part;
  return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
}
