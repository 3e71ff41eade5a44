import { expect, test } from 'vitest';
import { WorkerLostError } from '../../src/errors.ts';
import { openGuard } from '../../src/guard/index.ts';
import { run } from '../support/children.ts';

test.each([
  ['is not there', 'file:///nowhere/guard.js'],
  ['a host does not run', 'https://example.com/guard.js'],
])('a thread whose script %s is an error that says what goes without one', async (_, workerUrl) => {
  const engine = async () => openGuard({ workerUrl }).engine();
  const error: unknown = await engine().catch((thrown) => thrown);
  expect(error).toBeInstanceOf(WorkerLostError);
  expect(String(error)).toMatch(
    /^WorkerLostError: guard: its thread does not start: .*[^.]; bundlers take guard\.js as an entry \(docs\/runtimes\.md\); where there are no workers, the library takes "engine"/,
  );
});

test('a process ends by itself where one was opened, and nothing more', async () => {
  const library = new URL('../../dist/model.js', import.meta.url).href;
  const source = `import { openGuard } from ${JSON.stringify(library)}; openGuard();`;
  expect(await run(process.execPath, ['--input-type=module', '-e', source])).toMatchObject({ code: 0 });
});

test('options that are none are named', async () => {
  const seconds = { seconds: '5' } as unknown as { seconds: number };
  expect(() => openGuard(seconds)).toThrow('openGuard: "seconds" expected a number, got "5"');
  const guard = openGuard();
  const slip = { thread: 2 } as object;
  await expect(guard.engine(slip)).rejects.toThrow(
    'guard.engine: there is no option "thread"; is "threads" meant?',
  );
  await guard.close();
});
