import { availableParallelism } from 'node:os';
import * as ort from 'onnxruntime-web';
import { expect, test } from 'vitest';
import { disk } from '../../src/disk/host.ts';
import type { EngineSession } from '../../src/engine/index.ts';
import { engineFor, relieving } from '../../src/run/engine.ts';
import { setHost } from '../../src/run/host.ts';

test('onnxruntime-web has all cores where there is a disk, or as many as are asked for', async () => {
  setHost(disk);
  const cores = availableParallelism();
  await engineFor({ engine: 'web', threads: cores + 1 });
  expect(ort.env.wasm.numThreads).toBe(cores + 1);
  await engineFor({ engine: 'web' });
  expect(ort.env.wasm.numThreads).toBe(cores);
});

test('a guard stays until the engine after it has its first session', async () => {
  const order: string[] = [];
  const session = {} as EngineSession;
  const close = async () => void order.push('closed');
  const load = async (model: Uint8Array) => {
    order.push(`loaded ${model[0]}`);
    return session;
  };
  const engine = relieving({ close }, { name: 'an engine', load });
  expect(engine.name).toBe('an engine');
  expect(order).toEqual([]);
  expect(await engine.load(Uint8Array.of(1))).toBe(session);
  expect(order).toEqual(['loaded 1', 'closed']);
});
