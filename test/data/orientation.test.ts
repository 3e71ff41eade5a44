import { encode as encodePng } from 'fast-png';
import { encode } from 'jpeg-js';
import { describe, expect, test } from 'vitest';
import { decodeImage, imageSize } from '../../src/pipeline/index.ts';
import { avifWith, encodeAvif, encodeWebp, extendedWebp } from '../support/encoders.ts';

/** An EXIF segment with the orientation as its last entry, in either byte order. */
function exif(orientation: number, { little = false, type = 3, tag = 0x0112 } = {}): Uint8Array {
  const tiff = new DataView(new ArrayBuffer(8 + 2 + 2 * 12));
  tiff.setUint16(0, little ? 0x4949 : 0x4d4d);
  tiff.setUint16(2, 42, little);
  tiff.setUint32(4, 8, little);
  tiff.setUint16(8, 2, little);
  tiff.setUint16(10, 0x010f, little); // the maker's name, of no concern
  tiff.setUint16(22, tag, little);
  tiff.setUint16(24, type, little);
  tiff.setUint32(26, 1, little);
  tiff.setUint16(30, orientation, little);
  return Buffer.concat([Buffer.from('Exif\0\0'), new Uint8Array(tiff.buffer)]);
}

/** 16 × 8 pixels of four colours, one to a corner. */
function picture() {
  const data = new Uint8Array(16 * 8 * 4).fill(255);
  for (let y = 0; y < 8; y++) {
    for (let x = 0; x < 16; x++) data.set([x < 8 ? 230 : 20, y < 4 ? 230 : 20, 120], 4 * (16 * y + x));
  }
  return { width: 16, height: 8, data };
}

/** With a segment behind the start of the image. */
function photo(segment?: Uint8Array): Uint8Array {
  const bytes = encode(picture(), 100).data;
  if (!segment) return bytes;
  const length = segment.length + 2;
  const header = Uint8Array.of(0xff, 0xe1, length >> 8, length & 255);
  return Buffer.concat([bytes.subarray(0, 2), header, segment, bytes.subarray(2)]);
}

/** Which stored corner is seen at the top left, top right, bottom left and bottom right: A B over C D as they are stored. */
async function corners(bytes: Uint8Array): Promise<string> {
  const { width, height, data } = await decodeImage(bytes, 'photo.jpg');
  expect(imageSize(bytes, 'photo.jpg')).toEqual({ width, height });
  const name = (x: number, y: number) => {
    const [red, green] = data.subarray(3 * (y * width + x));
    return red > 128 ? (green > 128 ? 'A' : 'C') : green > 128 ? 'B' : 'D';
  };
  const [right, bottom] = [width - 1, height - 1];
  return `${name(0, 0)}${name(right, 0)}${name(0, bottom)}${name(right, bottom)} ${width}×${height}`;
}

// 0th row and 0th column by EXIF's own words: top left, top right, bottom right, bottom left; left top, right top, right
// bottom, left bottom.
const SEEN: readonly [number, string][] = [
  [1, 'ABCD 16×8'],
  [2, 'BADC 16×8'],
  [3, 'DCBA 16×8'],
  [4, 'CDAB 16×8'],
  [5, 'ACBD 8×16'],
  [6, 'CADB 8×16'],
  [7, 'DBCA 8×16'],
  [8, 'BDAC 8×16'],
];

describe('the EXIF orientation of a JPEG', () => {
  test.each(SEEN)('%d turns the picture', async (orientation, seen) => {
    expect(await corners(photo(exif(orientation)))).toBe(seen);
    expect(await corners(photo(exif(orientation, { little: true })))).toBe(seen);
  });

  test('is upright where there is none, or it makes no sense', async () => {
    const upright = 'ABCD 16×8';
    expect(await corners(photo())).toBe(upright);
    for (const orientation of [0, 9, 6000]) expect(await corners(photo(exif(orientation)))).toBe(upright);
    expect(await corners(photo(exif(6, { type: 4 })))).toBe(upright);
    expect(await corners(photo(exif(6, { tag: 0x0113 })))).toBe(upright);
    const whole = exif(6);
    for (let length = 0; length < whole.length - 2; length++) {
      expect(await corners(photo(whole.subarray(0, length))), `${length} bytes`).toBe(upright);
    }
  });
});

describe('the EXIF orientation of a WebP', () => {
  test.each(SEEN)('%d turns the picture, named as in JPEG files or not', async (orientation, seen) => {
    const plain = await encodeWebp(picture(), { lossless: 1 });
    const EXIF = 8;
    for (const block of [exif(orientation), exif(orientation, { little: true }).subarray(6)]) {
      const bytes = extendedWebp(plain, { flags: EXIF, canvas: [16, 8], chunks: { EXIF: block } });
      expect(await corners(bytes)).toBe(seen);
    }
  });
});

describe('the EXIF orientation of a PNG', () => {
  const END_BYTES = 12;
  test.each(SEEN)('%d turns the picture, before its pixels or behind them', async (orientation, seen) => {
    const png = encodePng({ ...picture(), channels: 4 });
    const block = exif(orientation).subarray(6);
    const chunk = Buffer.concat([new Uint8Array(4), Buffer.from('eXIf'), block, new Uint8Array(4)]);
    chunk.writeUInt32BE(block.length);
    for (const at of [Buffer.from(png).indexOf('IDAT') - 4, png.length - END_BYTES])
      expect(await corners(Buffer.concat([png.subarray(0, at), chunk, png.subarray(at)]))).toBe(seen);
  });
});

describe('the turn of an AVIF', () => {
  // By quarters anticlockwise, then mirrored: upside down (0) or left to right (1).
  test.each([
    ['nothing', {}, 'ABCD 16×8'],
    ['a quarter', { irot: [1] }, 'BDAC 8×16'],
    ['a half', { irot: [2] }, 'DCBA 16×8'],
    ['three quarters', { irot: [3] }, 'CADB 8×16'],
    ['upside down', { imir: [0] }, 'CDAB 16×8'],
    ['left to right', { imir: [1] }, 'BADC 16×8'],
    ['a quarter, upside down', { irot: [1], imir: [0] }, 'ACBD 8×16'],
    ['a quarter, left to right', { irot: [1], imir: [1] }, 'DBCA 8×16'],
    ['a half, upside down', { irot: [2], imir: [0] }, 'BADC 16×8'],
    ['a half, left to right', { irot: [2], imir: [1] }, 'CDAB 16×8'],
    ['three quarters, upside down', { irot: [3], imir: [0] }, 'DBCA 8×16'],
    ['three quarters, left to right', { irot: [3], imir: [1] }, 'ACBD 8×16'],
  ])('%s is what its boxes say', async (_, boxes, seen) => {
    const bytes = await encodeAvif(picture(), { quality: 90, subsample: 3 });
    expect(await corners(avifWith(bytes, boxes))).toBe(seen);
  });
});
