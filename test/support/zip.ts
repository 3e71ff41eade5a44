// Writes zip archives as torch's writer (miniz) does: content aligned to 64 bytes by an extra field "FB" of the local
// header, sizes in a data descriptor behind the content, and zip64 records at the end, needed or not.

import { constants, crc32, deflateRawSync } from 'node:zlib';

export interface ZipFile {
  name: string;
  bytes: Uint8Array;
  deflate?: boolean;
}

/** A zlib stream that inflates to so many MiB of zeros; 1 kB for each. Its checksum is none. */
export function deflatedZeros(mebibytes: number): Buffer {
  const block = deflateRawSync(Buffer.alloc(2 ** 20), { finishFlush: constants.Z_FULL_FLUSH });
  const [header, last] = [
    [0x78, 0x9c],
    [0x03, 0x00],
  ];
  return Buffer.concat([
    Buffer.from(header),
    ...new Array<Buffer>(mebibytes).fill(block),
    Buffer.from(last),
    Buffer.alloc(4),
  ]);
}

const ALIGNMENT = 64;

/** Little-endian fields, as [bytes, value] pairs. */
function record(...fields: [number, number][]): Buffer {
  const out = Buffer.alloc(fields.reduce((sum, [bytes]) => sum + bytes, 0));
  let at = 0;
  for (const [bytes, value] of fields) {
    if (bytes === 8) out.writeBigUInt64LE(BigInt(value), at);
    else out.writeUIntLE(value, at, bytes);
    at += bytes;
  }
  return out;
}

const ALL_ONES = 0xffffffff;

/** With `zip64`, every size and offset of the directory is in a zip64 extra field. */
export function writeZip(files: readonly ZipFile[], { zip64 = false } = {}): Uint8Array {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  const push = (...buffers: Buffer[]) => {
    parts.push(...buffers);
    for (const { length } of buffers) at += length;
  };
  for (const { name, bytes, deflate } of files) {
    const offset = at;
    const title = Buffer.from(name);
    const content = Buffer.from(deflate ? deflateRawSync(bytes) : bytes);
    const padding = ALIGNMENT - ((at + 30 + title.length + 4) % ALIGNMENT);
    const method = deflate ? 8 : 0;
    const crc = crc32(bytes);
    // version, flags (a descriptor follows), method, time, date
    const common: [number, number][] = [
      [2, zip64 ? 45 : 20],
      [2, 8],
      [2, method],
      [2, 0],
      [2, 0x21],
    ];
    push(
      record([4, 0x04034b50], ...common, [4, 0], [4, 0], [4, 0], [2, title.length], [2, 4 + padding]),
      title,
      record([2, 0x4246], [2, padding]),
      Buffer.alloc(padding, 'Z'),
      content,
    );
    const size = zip64 ? 8 : 4;
    push(record([4, 0x08074b50], [4, crc], [size, content.length], [size, bytes.length]));
    const extra = zip64
      ? record([2, 1], [2, 24], [8, bytes.length], [8, content.length], [8, offset])
      : Buffer.alloc(0);
    const small = (value: number): [number, number] => [4, zip64 ? ALL_ONES : value];
    directory.push(
      record(
        [4, 0x02014b50],
        [2, 45],
        ...common,
        [4, crc],
        small(content.length),
        small(bytes.length),
        [2, title.length],
        [2, extra.length],
        [2, 0],
        [2, 0],
        [2, 0],
        [4, 0],
        small(offset),
      ),
      title,
      extra,
    );
  }
  const start = at;
  push(Buffer.concat(directory));
  const size = at - start;
  const end = at;
  const count = files.length;
  push(
    record(
      [4, 0x06064b50],
      [8, 44],
      [2, 45],
      [2, 45],
      [4, 0],
      [4, 0],
      [8, count],
      [8, count],
      [8, size],
      [8, start],
    ),
  );
  push(record([4, 0x07064b50], [4, 0], [8, end], [4, 1]));
  const last: [number, number][] = zip64
    ? [
        [2, 0xffff],
        [2, 0xffff],
        [4, ALL_ONES],
        [4, ALL_ONES],
      ]
    : [
        [2, Math.min(count, 0xffff)],
        [2, Math.min(count, 0xffff)],
        [4, size],
        [4, start],
      ];
  push(record([4, 0x06054b50], [2, 0], [2, 0], ...last, [2, 0]));
  return new Uint8Array(Buffer.concat(parts));
}
