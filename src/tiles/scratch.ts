// Blocks in a file that is read and written as they are needed.

import { InputError } from '../errors.ts';
import { type ElementType, elementBytes } from '../kernel/index.ts';
import { arrayOf, type Floats, type Place } from './storage.ts';

/**
 * A file that is open for synchronous access: in a browser's worker a FileSystemSyncAccessHandle, in Node
 * `readSync` and `writeSync` of a descriptor.
 */
export interface ScratchFile {
  read(into: Uint8Array, options: { readonly at: number }): number;
  write(bytes: Uint8Array, options: { readonly at: number }): number;
}

/** Places blocks one behind the other in the file. They hold nothing before they are saved. */
export function inFile(file: ScratchFile): Place {
  let end = 0;
  return (type, length) => {
    const at = end;
    end += length * elementBytes(type);
    return {
      load(to) {
        const values = to.length === length && sameType(to, type) ? to : arrayOf(type, length);
        expectAll(file.read(bytesOf(values), { at }), values);
        if (values !== to) to.set(values);
      },
      save(from) {
        const values = sameType(from, type) ? from : arrayOf(type, length);
        if (values !== from) values.set(from);
        expectAll(file.write(bytesOf(values), { at }), values);
      },
    };
  };
}

function sameType(values: Floats, type: ElementType): boolean {
  return values instanceof (type === 'f32' ? Float32Array : Float64Array);
}

function bytesOf({ buffer, byteOffset, byteLength }: Floats): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function expectAll(done: number, { byteLength }: Floats): void {
  if (done !== byteLength)
    throw new InputError(`tiles: the scratch file took ${done} of ${byteLength} bytes`);
}
