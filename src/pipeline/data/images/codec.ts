// What makes pixels of a file. Each format's codec is a chunk of its own (codecs/), which the first such file loads. Most are
// in C and C++, as the @jsquash packages have them compiled by Emscripten: the pixels that PIL and torchvision see.
//
// A file has nothing but the decoder's WebAssembly memory, and of that as much as its header makes likely: a bitstream may
// have other sizes than the container around it says.

import { inflate } from '../../../inflate.ts';

/** Pixels row by row, channels interleaved; more of these than the file's frame has are left out. */
export interface Decoded {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  /** Bits per value, 8 or 16. */
  readonly depth: number;
  readonly data: ArrayLike<number>;
}

/** RGBA, also of gray files. */
interface Rgba {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray;
}

/** @throws {Error} saying what is wrong with a file whose header promises so many pixels */
export type Decode = (bytes: Uint8Array, pixels: number) => Promise<Decoded>;

/** What a compiled decoder is made of, and how it is called. */
interface Codec<Glue extends CompiledDecoder> {
  readonly factory: (options: GlueOptions) => Promise<Glue>;
  readonly deflated: Uint8Array<ArrayBuffer>;
  call(decoder: Glue, bytes: Uint8Array): Rgba | null;
  /** Complaints that change no pixels. */
  readonly harmless?: RegExp;
}

interface Instance {
  decode(bytes: Uint8Array, most: number): Rgba | null;
  /** What it has complained of since it was cleared. */
  readonly complaints: string[];
  /** Bytes of its memory, which never shrinks. */
  size(): number;
}

/** A decoder with more memory is not kept for the next image. */
const KEPT_BYTES = 2 ** 27;
/** Memory of a decoder without an image, and for each pixel: measured 17 MB, and 5 (WebP) to 52 (AVIF of 12 bits with alpha). */
const BASE_BYTES = 2 ** 26;
const PIXEL_BYTES = 64;
const PAGE_BYTES = 65536;

export function decoderOf<Glue extends CompiledDecoder>(codec: Codec<Glue>): Decode {
  let compiled: Promise<WebAssembly.Module> | undefined;
  let opened: Promise<Instance> | undefined;
  return async (bytes, pixels) => {
    compiled ??= inflate(codec.deflated).then((binary) => WebAssembly.compile(binary));
    opened ??= compiled.then((module) => open(codec, module));
    const { complaints, decode, size } = await opened;
    complaints.length = 0;
    let image: Rgba | null = null;
    try {
      image = decode(bytes, BASE_BYTES + 2 * bytes.length + PIXEL_BYTES * pixels);
    } catch {
      // It was left in the middle of its work.
    }
    if (!image || size() > KEPT_BYTES) opened = undefined;
    const damage = complaints.find((text) => !codec.harmless?.test(text));
    if (!image || damage !== undefined) throw new Error(damage ?? 'it is damaged');
    return { width: image.width, height: image.height, channels: 4, depth: 8, data: image.data };
  };
}

async function open<Glue extends CompiledDecoder>(
  codec: Codec<Glue>,
  module: WebAssembly.Module,
): Promise<Instance> {
  const complaints: string[] = [];
  let most = BASE_BYTES;
  const decoder = await withImageData(() =>
    codec.factory({
      noInitialRun: true,
      printErr: (text) => complaints.push(text),
      locateFile: (path) => path,
      instantiateWasm(imports, done) {
        void WebAssembly.instantiate(module, imports).then((instance) => {
          holdMemory(instance, (bytes) => {
            if (bytes <= most) return;
            complaints.push('its pixels take more memory than those that its header promises');
            throw new RangeError(); // the glue takes it for a memory that cannot grow
          });
          done(instance);
        });
        return {};
      },
    }),
  );
  return {
    complaints,
    decode(bytes, bound) {
      most = bound;
      return withImageData(() => codec.call(decoder, bytes));
    },
    size: () => decoder.HEAPU8.length,
  };
}

/** Asks before memory grows. */
function holdMemory({ exports }: WebAssembly.Instance, check: (bytes: number) => void): void {
  for (const memory of Object.values(exports)) {
    if (!(memory instanceof WebAssembly.Memory)) continue;
    const grow = memory.grow.bind(memory);
    memory.grow = (pages) => {
      check(memory.buffer.byteLength + pages * PAGE_BYTES);
      return grow(pages);
    };
  }
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
