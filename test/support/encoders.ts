// WebP and AVIF files, by the encoders beside the decoders that the library carries, and what a camera writes into them.

import { readFileSync } from 'node:fs';
import avif from '@jsquash/avif/codec/enc/avif_enc.js';
import { defaultOptions as avifDefaults } from '@jsquash/avif/meta.js';
import webp from '@jsquash/webp/codec/enc/webp_enc.js';
import { defaultOptions as webpDefaults } from '@jsquash/webp/meta.js';

/** RGBA. */
interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

interface Encoder {
  encode(data: Uint8Array, width: number, height: number, options: object): Uint8Array | null;
}

/** By a package's glue, which fetches the binary beside itself; Node does not. */
async function encode(
  factory: unknown,
  binary: string,
  { data, width, height }: Picture,
  options: object,
): Promise<Uint8Array> {
  const url = new URL(`../../node_modules/@jsquash/${binary}`, import.meta.url);
  const module = await WebAssembly.compile(readFileSync(url));
  const encoder = await (factory as (options: object) => Promise<Encoder>)({
    noInitialRun: true,
    locateFile: (file: string) => file,
    instantiateWasm(imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance) => void) {
      void WebAssembly.instantiate(module, imports).then(done);
      return {};
    },
  });
  return encoder.encode(data, width, height, options)!.slice();
}

export const encodeWebp = (picture: Picture, options = {}) =>
  encode(webp, 'webp/codec/enc/webp_enc.wasm', picture, { ...webpDefaults, ...options });

export const encodeAvif = (picture: Picture, options = {}) =>
  encode(avif, 'avif/codec/enc/avif_enc.wasm', picture, { ...avifDefaults, bitDepth: 8, ...options });

const chunk = (type: string, data: Uint8Array) => {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(data.length);
  return Buffer.concat([Buffer.from(type), size, data, Buffer.alloc(data.length % 2)]);
};
const riff = (...chunks: Uint8Array[]) => chunk('RIFF', Buffer.concat([Buffer.from('WEBP'), ...chunks]));

/** In the extended form, with chunks behind the image. */
export function extendedWebp(
  webp: Uint8Array,
  {
    flags,
    canvas,
    chunks = {},
  }: { flags: number; canvas: readonly number[]; chunks?: Record<string, Uint8Array> },
): Uint8Array {
  const head = Buffer.alloc(10);
  head[0] = flags;
  canvas.forEach((side, i) => {
    head.writeUIntLE(side - 1, 4 + 3 * i, 3);
  });
  const behind = Object.entries(chunks).map(([type, data]) => chunk(type, data));
  return riff(chunk('VP8X', head), webp.subarray(12), ...behind);
}

/** Boxes that say something of the only item of an AVIF file; the data behind them move. */
export function avifWith(avif: Uint8Array, boxes: Readonly<Record<string, readonly number[]>>): Uint8Array {
  const bytes = Buffer.from(avif);
  const added = Buffer.concat(
    Object.entries(boxes).map(([type, data]) => {
      const head = Buffer.alloc(4);
      head.writeUInt32BE(8 + data.length);
      return Buffer.concat([head, Buffer.from(type), Buffer.from(data)]);
    }),
  );
  const count = Object.keys(boxes).length;
  const grow = (name: string, by: number) => {
    const at = bytes.indexOf(name) - 4;
    bytes.writeUInt32BE(bytes.readUInt32BE(at) + by, at);
    return at + bytes.readUInt32BE(at);
  };
  const behindProperties = grow('ipco', added.length) - added.length;
  const behindAssociations = grow('ipma', count) - count;
  grow('iprp', added.length + count);
  grow('meta', added.length + count);
  const indices = bytes.indexOf('ipma') + 14; // how many, then each
  const first = bytes[indices] + 1;
  bytes[indices] += count;
  const data = bytes.indexOf('iloc') + 18; // where its only extent lies
  bytes.writeUInt32BE(bytes.readUInt32BE(data) + added.length + count, data);
  return Buffer.concat([
    bytes.subarray(0, behindProperties),
    added,
    bytes.subarray(behindProperties, behindAssociations),
    Buffer.from(Object.keys(boxes).map((_, i) => first + i)),
    bytes.subarray(behindAssociations),
  ]);
}
