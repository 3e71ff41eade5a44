import { expect, test } from 'vitest';
import { WorkerLostError } from '../../src/errors.ts';
import { openGuard } from '../../src/guard/index.ts';

test.each([
  ['is not there', 'file:///nowhere/guard.js'],
  ['a host does not run', 'https://example.com/guard.js'],
])('a thread whose script %s is an error that says what goes without one', async (_, workerUrl) => {
  const engine = async () => openGuard({ workerUrl }).engine();
  const error: unknown = await engine().catch((thrown) => thrown);
  expect(error).toBeInstanceOf(WorkerLostError);
  expect(String(error)).toMatch(
    /^WorkerLostError: guard: its thread does not start: .*[^.]; where there are no workers, the library takes "engine"/,
  );
});
