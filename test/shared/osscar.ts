// The built command, as a user would run it, but for its threads: two files of tests side by side, each on one core, take a
// quarter less time than one after the other on two (measured), as onnxruntime's threads wait for each other.

import { spawnSync } from 'node:child_process';

/** The one object that a command with `--json` writes. On one thread, unless the flags say otherwise. */
// biome-ignore lint/suspicious/noExplicitAny: what is in it is the tests' own question
export function osscar(command: string, ...flags: readonly string[]): any {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['dist/cli.js', command, '--threads', '1', ...flags, '--json'],
    { encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}
