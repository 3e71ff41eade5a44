import { afterEach, describe, expect, it, vi } from 'vitest';
import { turn } from '../src/turn.ts';

const { setImmediate } = globalThis;

/** Of Node's own: what has not ended after these waits for something else. */
async function manyTurns(): Promise<void> {
  for (let i = 0; i < 1000; i++) await new Promise((resolve) => setImmediate(resolve));
}

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe.each([
  ['with setImmediate', () => {}],
  ['as in browsers', () => vi.stubGlobal('setImmediate', undefined)],
])('a turn %s', (_, prepare) => {
  it('waits for no timer, which pages that are not looked at hold up', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] }); // time stands still
    prepare();
    const order: number[] = [];
    const turns = Promise.all([0, 1, 2].map((i) => turn().then(() => order.push(i))));
    await Promise.race([turns, manyTurns()]);
    expect(order).toEqual([0, 1, 2]);
  });

  it('lets timers and messages have theirs', async () => {
    prepare();
    const seen = new Set<string>();
    setTimeout(() => seen.add('timer'), 0);
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => seen.add('message');
    port2.postMessage(0);
    while (seen.size < 2) await turn();
    port1.close();
  });

  it('ends where the signal is aborted meanwhile', async () => {
    prepare();
    const controller = new AbortController();
    const ended = turn(controller.signal);
    controller.abort(new Error('enough'));
    await expect(ended).rejects.toThrow('enough');
  });
});
