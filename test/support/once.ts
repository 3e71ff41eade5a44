/** What several tests look at: made for the first of them, whichever runs. */
export function once<T>(run: () => Promise<T>): () => Promise<T> {
  let found: Promise<T> | undefined;
  return () => (found ??= run());
}
