/** The build inlines each binary: no fetch, no path, no bundler plug-in on the user's side. */
declare module '*.wasm' {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
