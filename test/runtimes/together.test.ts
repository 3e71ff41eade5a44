import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');

test('a session has its threads after onnxruntime has made a Worker of its own global', async () => {
  const { openEngine, openSession } = await import(join(ROOT, 'dist/model.js'));
  const engine = await openEngine({ threads: 1 });
  const loaded = await engine.load(await readFile(join(ROOT, 'test/fixtures/fashion-mobilenet.onnx')));
  await loaded.release();
  const session = await openSession({ threads: 2 });
  try {
    expect([session.threads, session.reason]).toEqual([2, undefined]);
  } finally {
    await session.close();
  }
});
