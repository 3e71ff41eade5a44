import { expect, test } from 'vitest';
import type { EngineSession } from '../../src/engine/index.ts';
import { relieving } from '../../src/run/engine.ts';

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
