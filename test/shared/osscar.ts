// The built command, as a user would run it, but for its threads: two files of tests side by side, each on one core, take a
// quarter less time than one after the other on two (measured), as onnxruntime's threads wait for each other.

import { run } from '../support/children.ts';

/** Of the suite's limit for a test, an hour. */
const LIMIT_MS = 3_300_000;

/** The one object that a command with `--json` writes. On one thread, unless the flags say otherwise. */
// biome-ignore lint/suspicious/noExplicitAny: what is in it is the tests' own question
export async function osscar(command: string, ...flags: readonly string[]): Promise<any> {
  const args = ['dist/cli.js', command, '--threads', '1', ...flags, '--json'];
  const { code, stdout, stderr } = await run(process.execPath, args, { limit: LIMIT_MS });
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}
