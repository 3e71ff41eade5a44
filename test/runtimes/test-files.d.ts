/** The test files of the core by name, filled in by scripts/runtimes.mjs. */
declare module 'virtual:test-files' {
  const files: Record<string, () => Promise<unknown>>;
  export default files;
}
