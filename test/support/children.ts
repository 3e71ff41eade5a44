// Processes that end with the one that has started them, however that ends: Vitest ends a file's process by SIGTERM, also
// where a test has given up on what it has started.

import { type ChildProcess, spawn as start } from 'node:child_process';

const children = new Set<ChildProcess>();

/** With all that they have started. */
function endAll(): void {
  for (const { pid } of children) {
    try {
      process.kill(-pid!, 'SIGKILL');
    } catch {} // it has just ended
  }
  children.clear();
}

process.once('exit', endAll);
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
  process.once(signal, () => {
    endAll();
    process.kill(process.pid, signal);
  });

/** As Node's. Each child leads a group of processes of its own. */
export const spawn = ((command: string, args: readonly string[], options: object) => {
  const child = start(command, args, { ...options, detached: true });
  if (child.pid !== undefined) children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}) as typeof start;
