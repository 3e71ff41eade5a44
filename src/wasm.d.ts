/** The build inlines each binary: no fetch, no path, no bundler plug-in on the user's side. */
declare module '*.deflate' {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}

/** Types of AssemblyScript, for what both compilers read (src/solve/constants.ts). */
type f64 = number;
type i32 = number;

/** package.json maps it to the build of onnxruntime-web that has the plain CPU binary, in Node and elsewhere. */
declare module '#onnxruntime' {
  export * from 'onnxruntime-web/wasm';
}
