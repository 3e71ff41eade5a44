/** The build inlines each binary: no fetch, no path, no bundler plug-in on the user's side. */
declare module '*.deflate' {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}

/** Glue of Emscripten, whose own types are global. */
declare module '@jsquash/jpeg/codec/dec/mozjpeg_dec.js' {
  export default function factory(options: {
    noInitialRun: boolean;
    printErr(text: string): void;
    locateFile(path: string): string;
    instantiateWasm(imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance) => void): object;
  }): Promise<{
    HEAPU8: Uint8Array;
    decode(
      bytes: Uint8Array,
      preserveOrientation: boolean,
    ): { width: number; height: number; data: Uint8ClampedArray } | null;
  }>;
}

/** Types of AssemblyScript, for what both compilers read (src/solve/constants.ts). */
type f64 = number;
type i32 = number;

/** package.json maps it to the build of onnxruntime-web that has the plain CPU binary, in Node and elsewhere. */
declare module '#onnxruntime' {
  export * from 'onnxruntime-web/wasm';
}
