/** The build inlines each binary: no fetch, no path, no bundler plug-in on the user's side. */
declare module '*.deflate' {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}

/** package.json maps it to the build of onnxruntime-web that has the plain CPU binary, in Node and elsewhere. */
declare module '#onnxruntime' {
  export * from 'onnxruntime-web/wasm';
}
