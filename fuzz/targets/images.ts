// Images: files that are edited anywhere, and PNG files of sound chunks that belong to no image.

import { crc32, deflateSync } from 'node:zlib';
import fc from 'fast-check';
import { encode as encodePng } from 'fast-png';
import { encode as encodeJpeg } from 'jpeg-js';
import { decodeImage } from '../../src/pipeline/index.ts';
import { damaged } from '../mutate.ts';
import { encoder, type Targets } from './target.ts';

const PNGS = [1, 2, 3, 4].flatMap((channels) =>
  ([8, 16] as const).map((depth) => {
    const length = 5 * 3 * channels;
    const data = depth === 8 ? new Uint8Array(length).fill(77) : new Uint16Array(length).fill(7777);
    return encodePng({ width: 5, height: 3, channels: channels as 1, depth, data });
  }),
);
function chunk(type: string, data: Uint8Array): Uint8Array {
  const body = Uint8Array.from([...encoder.encode(type), ...data]);
  const number = (value: number) => [value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255];
  return Uint8Array.from([...number(data.length), ...body, ...number(crc32(body))]);
}
const chunkData = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.uint8Array({ maxLength: 200 }).map((data) => new Uint8Array(deflateSync(data))),
  fc.nat(2 ** 18).map((length) => new Uint8Array(deflateSync(new Uint8Array(length)))),
);
/** Sound chunks with sound checksums, in any order. */
const chunks = fc
  .tuple(
    fc.tuple(fc.nat(40), fc.nat(40), fc.constantFrom(1, 2, 4, 8, 16, 3), fc.nat(7), fc.nat(2)),
    fc.array(
      fc.tuple(fc.constantFrom('IDAT', 'PLTE', 'tRNS', 'iCCP', 'zTXt', 'IHDR', 'acTL', 'fdAT'), chunkData),
      { maxLength: 4 },
    ),
  )
  .map(([[width, height, depth, color, interlace], parts]) => {
    const header = Uint8Array.from([0, 0, 0, width, 0, 0, 0, height, depth, color, 0, 0, interlace]);
    const all = [
      chunk('IHDR', header),
      ...parts.map(([type, data]) => chunk(type, data)),
      chunk('IEND', new Uint8Array()),
    ];
    return Uint8Array.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, ...all.flatMap((it) => [...it])]);
  });
const JPEGS = [30, 90].map((quality) => {
  const data = Uint8Array.from({ length: 16 * 16 * 4 }, (_, i) => (i * 37) & 255);
  return new Uint8Array(encodeJpeg({ width: 16, height: 16, data }, quality).data);
});
/** 16 × 8 pixels in four rectangles, lossless and lossy, by the encoders of the same packages. */
const WEBPS = [
  'UklGRjoAAABXRUJQVlA4TC0AAAAvD8ABAB8gECBE6PDfoU4gkASxP9REgzf/YQ8mgDDbaJKTnOT9jiGi/1H6N/gA',
  'UklGRlAAAABXRUJQVlA4IEQAAADwAgCdASoQAAgAAgA0JagCdGuA/gFx/3YB+gAL4wzv9gD++yytVF95Zo+gT9Dgm+F4r6nP/mcqj///hdJfX//c3CQAAA==',
].map((text) => new Uint8Array(Buffer.from(text, 'base64')));
const AVIFS = [
  'AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAADybWV0YQAAAAAAAAAoaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAAAGxpYmF2aWYAAAAADnBpdG0AAAAAAAEAAAAeaWxvYwAAAABEAAABAAEAAAABAAABGgAAACoAAAAoaWluZgAAAAAAAQAAABppbmZlAgAAAAABAABhdjAxQ29sb3IAAAAAamlwcnAAAABLaXBjbwAAABRpc3BlAAAAAAAAABAAAAAIAAAAEHBpeGkAAAAAAwgICAAAAAxhdjFDgSAAAAAAABNjb2xybmNseAACAAIAAIAAAAAXaXBtYQAAAAAAAAABAAEEAQKDBAAAADJtZGF0EgAKCDgMv7CBAQBIMhwQAADe0t+MpCNPp3jsoCClUlg0xP+ZwHEGD3BY',
].map((text) => new Uint8Array(Buffer.from(text, 'base64')));

export const images: Targets = {
  png: { inputs: fc.oneof(damaged(PNGS), chunks), parse: (bytes) => decodeImage(bytes, 'a.png') },
  jpeg: { inputs: damaged(JPEGS), parse: (bytes) => decodeImage(bytes, 'a.jpg') },
  webp: { inputs: damaged(WEBPS), parse: (bytes) => decodeImage(bytes, 'a.webp') },
  avif: { inputs: damaged(AVIFS), parse: (bytes) => decodeImage(bytes, 'a.avif') },
};
