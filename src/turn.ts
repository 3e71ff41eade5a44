// A pause between pieces of work. The engine's promises settle as microtasks, so without one a whole run would keep
// timers, signals such as Ctrl-C and, in a browser, the page waiting for its end.
// No timer, which takes a millisecond at least, in pages four, and in pages that are not looked at a second.

/** Where it resumes, oldest first. */
const waiting: (() => void)[] = [];
let channel: MessageChannel | undefined;

/**
 * Lets everything else have its turn.
 * @throws the signal's reason, where it is aborted
 */
export async function turn(signal?: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    if (typeof setImmediate === 'function') setImmediate(resolve);
    else byMessage(resolve);
  });
  signal?.throwIfAborted();
}

/** What browsers have in its place. */
function byMessage(resolve: () => void): void {
  if (!channel) {
    channel = new MessageChannel();
    channel.port1.onmessage = () => waiting.shift()!();
  }
  waiting.push(resolve);
  channel.port2.postMessage(undefined);
}
