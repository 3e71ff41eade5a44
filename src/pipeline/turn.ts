// A pause between batches. The engine's promises settle as microtasks, so without one a whole run would keep
// timers, signals such as Ctrl-C and, in a browser, the page waiting for its end.

/**
 * Lets everything else have its turn.
 * @throws the signal's reason, where it is aborted
 */
export async function turn(signal?: AbortSignal): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
  signal?.throwIfAborted();
}
