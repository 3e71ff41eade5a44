/** The build inlines each binary: no fetch, no path, no bundler plug-in on the user's side. */
declare module '*.deflate' {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}

/** Glue of Emscripten, whose own types are global. */
interface GlueOptions {
  noInitialRun: boolean;
  printErr(text: string): void;
  locateFile(path: string): string;
  instantiateWasm(imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance) => void): object;
}
interface CompiledDecoder {
  HEAPU8: Uint8Array;
}
interface CompiledPixels {
  width: number;
  height: number;
  data: Uint8ClampedArray;
}
declare module '@jsquash/jpeg/codec/dec/mozjpeg_dec.js' {
  interface Jpeg extends CompiledDecoder {
    decode(bytes: Uint8Array, preserveOrientation: boolean): CompiledPixels | null;
  }
  export default function factory(options: GlueOptions): Promise<Jpeg>;
}
declare module '@jsquash/webp/codec/dec/webp_dec.js' {
  interface WebP extends CompiledDecoder {
    decode(bytes: Uint8Array): CompiledPixels | null;
  }
  export default function factory(options: GlueOptions): Promise<WebP>;
}
declare module '@jsquash/avif/codec/dec/avif_dec.js' {
  interface Avif extends CompiledDecoder {
    decode(bytes: Uint8Array, bitDepth: number): CompiledPixels | null;
  }
  export default function factory(options: GlueOptions): Promise<Avif>;
}

/** Types of AssemblyScript, for what both compilers read (src/solve/constants.ts). */
type f64 = number;
type i32 = number;

/** package.json maps it to the build of onnxruntime-web that has the plain CPU binary, in Node and elsewhere. */
declare module '#onnxruntime' {
  export * from 'onnxruntime-web/wasm';
}
