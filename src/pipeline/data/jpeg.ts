// JPEG files by the code of libjpeg-turbo, as @jsquash/jpeg has it compiled: the pixels that PIL and torchvision see. Of 250
// ImageNet files all are equal to those of `djpeg`. Loaded when the first JPEG file is met.

import factory from '@jsquash/jpeg/codec/dec/mozjpeg_dec.js';
import deflated from '../../../build/mozjpeg_dec.wasm.deflate';
import { inflate } from '../../inflate.ts';

/** RGBA, also of gray files. */
export interface Rgba {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray;
}

interface Decoder {
  decode(bytes: Uint8Array): Rgba | null;
  /** What it has complained of since it was cleared. */
  readonly complaints: string[];
  /** Bytes of its memory, which never shrinks. */
  memory(): number;
}

/** A decoder with more memory is not kept for the next image. */
const KEPT_BYTES = 2 ** 27;
/** Complaints that change no pixels: padding between the segments. */
const HARMLESS = /extraneous bytes? before marker/;

let compiled: Promise<WebAssembly.Module> | undefined;
let opened: Promise<Decoder> | undefined;

/** @throws {Error} saying what is wrong with the file */
export async function decodeJpeg(bytes: Uint8Array): Promise<Rgba> {
  opened ??= openDecoder();
  const { complaints, decode, memory } = await opened;
  complaints.length = 0;
  let image: Rgba | null = null;
  try {
    image = decode(bytes);
  } catch {
    opened = undefined; // it was left in the middle of its work
  }
  if (memory() > KEPT_BYTES) opened = undefined;
  const damage = complaints.find((text) => !HARMLESS.test(text));
  if (!image || damage !== undefined) throw new Error(damage ?? 'it is damaged');
  return image;
}

async function openDecoder(): Promise<Decoder> {
  compiled ??= inflate(deflated).then((bytes) => WebAssembly.compile(bytes));
  const module = await compiled;
  const complaints: string[] = [];
  const decoder = await withImageData(() =>
    factory({
      noInitialRun: true,
      printErr: (text: string) => complaints.push(text),
      locateFile: (path: string) => path,
      instantiateWasm(imports, done) {
        void WebAssembly.instantiate(module, imports).then((instance) => done(instance));
        return {};
      },
    }),
  );
  return {
    complaints,
    decode: (bytes) => withImageData(() => decoder.decode(bytes, false)),
    memory: () => decoder.HEAPU8.length,
  };
}

/** Browsers have the class that results are given as; elsewhere it is there while the decoder looks for it. */
function withImageData<T>(use: () => T): T {
  const scope = globalThis as { ImageData?: unknown };
  if (scope.ImageData !== undefined) return use();
  scope.ImageData = class {
    constructor(
      readonly data: Uint8ClampedArray,
      readonly width: number,
      readonly height: number,
    ) {}
  };
  try {
    return use();
  } finally {
    delete scope.ImageData;
  }
}
