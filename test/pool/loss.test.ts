import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Session } from '../../src/layer.ts';
import { built, definite, hash, jobs, layerOf, pause, workers } from './built.ts';

const ORDER = 2000;
const LARGE = definite(ORDER, 3);

async function open(options: Parameters<typeof built.openSession>[0]): Promise<Session> {
  const session = await built.openSession({ simd: 'baseline', ...options });
  onTestFinished(() => session.close());
  return session;
}

/** Ends one of the workers started since, once it has been at work for a moment. */
async function killOne(started: number, index: number) {
  await pause(60);
  await workers[started + index].terminate();
}

describe('a worker that dies', () => {
  // With two threads the first is given the job, the second helps.
  test.each([
    ['with the job', 0],
    ['that helps', 1],
  ])('%s is replaced, and the job is done again', async (_, index) => {
    const expected = hash(await (await open({ threads: 1 })).inverse(LARGE, ORDER));
    const started = workers.length;
    const session = await open({ threads: 2 });
    const running = session.inverse(LARGE, ORDER);
    await killOne(started, index);
    expect(hash(await running)).toBe(expected);
    // The helper's death takes its lead along: what it was writing may be half done.
    expect(workers.length - started).toBe(index === 0 ? 3 : 4);
    expect(session.threads).toBe(2);
  });

  test('again and again is reported, and the session goes on', async () => {
    const sent = jobs.length;
    const session = await open({ threads: 2 });
    const running = session.inverse(LARGE, ORDER).catch((error) => error);
    let settled = false;
    running.finally(() => {
      settled = true;
    });
    for (let killed = sent; !settled; await pause(10)) {
      for (; killed < jobs.length; killed++) {
        await pause(40);
        await jobs[killed].terminate();
      }
    }
    const error = await running;
    expect(error).toBeInstanceOf(built.WorkerLostError);
    expect(error).toMatchObject({ code: 'ERR_OSSCAR_WORKER_LOST', operation: 'inverse', attempts: 2 });
    expect(jobs.length - sent).toBe(2);
    expect(await session.inverse(definite(4, 1), 4)).toHaveLength(16);
  });

  test('loses the statistics that it held, which says so', async () => {
    const started = workers.length;
    const session = await open({ threads: 2 });
    const statistics = session.statistics(512, 0, false);
    await statistics.addRows(new Float32Array(512).fill(1));
    await workers[started + 1].terminate();
    await expect(statistics.addRows(new Float32Array(512))).rejects.toThrow(built.WorkerLostError);
    await expect(statistics.finish()).rejects.toThrow(built.WorkerLostError);
    await statistics.dispose();
    expect(await session.gram(Float32Array.of(1, 2), 2)).toEqual(Float64Array.of(1, 2, 2, 4));
  });
});

describe('an aborted signal', () => {
  test.each([1, 2])('stops a factorisation in its midst, %i of 2 threads at work', async (count) => {
    const started = workers.length;
    const session = await open({ threads: 2 });
    const ended = workers.slice(started).map((worker) => new Promise((done) => worker.once('exit', done)));
    const controller = new AbortController();
    const running = Array.from({ length: count }, () =>
      session.inverse(LARGE, ORDER, { signal: controller.signal }).catch((error) => error),
    );
    await pause(80);
    const reason = new Error('enough');
    const before = performance.now();
    controller.abort(reason);
    for (const error of await Promise.all(running)) expect(error).toBe(reason);
    await (count === 2 ? Promise.all(ended) : ended[0]);
    expect(performance.now() - before).toBeLessThan(200);
    expect(await session.inverse(definite(4, 1), 4)).toHaveLength(16);
    expect(session.threads).toBe(2);
  });

  test('takes a waiting job out of the queue and leaves the others alone', async () => {
    const started = workers.length;
    const session = await open({ threads: 2 });
    const controller = new AbortController();
    const { signal } = controller;
    const problem = await layerOf(300, 40, 1, 1);
    const others = [0, 1].map(() => session.pruneLayer(problem, { keep: 100 }));
    const waiting = session.pruneLayer(problem, { keep: 100 }, { signal }).catch((error) => error);
    controller.abort();
    expect(await waiting).toBe(signal.reason);
    const [a, b] = await Promise.all(others);
    expect(a.kept).toEqual(b.kept);
    expect(workers.length - started).toBe(2);
  });

  test.each([1, 2])('before the start is enough, %i threads', async (threads) => {
    const session = await open({ threads });
    const signal = AbortSignal.abort(new Error('no'));
    await expect(session.inverse(definite(4, 1), 4, { signal })).rejects.toThrow('no');
    await expect(
      session.pruneLayers([{ problem: await layerOf(8, 2, 1, 1), options: { keep: 4 } }], { signal }),
    ).rejects.toThrow('no');
  });

  test('on one thread stops between layers', async () => {
    const session = await open({ threads: 1 });
    const controller = new AbortController();
    const problem = await layerOf(120, 16, 1, 1);
    let done = 0;
    const layers = Array.from({ length: 40 }, () => ({ problem, options: { keep: 50 } }));
    const each = layers.map(({ problem, options }) =>
      session.pruneLayer(problem, options, controller).then(
        () => {
          done++;
          if (done === 3) controller.abort(new Error('enough'));
        },
        (error) => error,
      ),
    );
    const results = await Promise.all(each);
    expect(done).toBeLessThan(10);
    expect(results.at(-1)).toMatchObject({ message: 'enough' });
  });

  test('calls off the other layers where one fails', async () => {
    const session = await open({ threads: 2 });
    const good = await layerOf(700, 200, 1, 1);
    const bad = { ...good, H: good.H.map((value) => -value) };
    const before = performance.now();
    const layers = [bad, ...Array(40).fill(good)].map((problem) => ({ problem, options: { keep: 300 } }));
    await expect(session.pruneLayers(layers)).rejects.toThrow(built.NotPositiveDefiniteError);
    const took = performance.now() - before;
    const single = performance.now();
    await session.pruneLayer(good, { keep: 300 });
    expect(took).toBeLessThan(8 * (performance.now() - single) + 500);
  });
});

describe('where workers are refused, one thread does the work and says why', () => {
  const folder = mkdtempSync(join(tmpdir(), 'osscar-worker-'));
  const script = (name: string, source: string) => {
    writeFileSync(join(folder, name), source);
    return pathToFileURL(join(folder, name));
  };

  async function expectFallback(options: Parameters<typeof built.openSession>[0], reason: RegExp) {
    const session = await open({ threads: 2, ...options });
    expect(session).toMatchObject({ threads: 1, shared: false });
    expect(session.reason).toMatch(reason);
    const [one] = await session.pruneLayers([{ problem: await layerOf(12, 3, 1, 1), options: { keep: 5 } }]);
    expect(one.kept).toHaveLength(5);
  }

  test('the script is not there', async () => {
    await expectFallback({ workerUrl: pathToFileURL(join(folder, 'missing.mjs')) }, /missing\.mjs/);
    await expectFallback({ workerUrl: pathToFileURL(join(folder, 'missing.mjs')).href }, /missing\.mjs/);
  });

  test('the script fails', async () => {
    await expectFallback({ workerUrl: script('fails.mjs', 'throw new Error("broken");') }, /broken/);
  });

  test('the script ends at once', async () => {
    await expectFallback({ workerUrl: script('ends.mjs', '') }, /exited/);
  });

  test('the script never answers', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const workerUrl = script('silent.mjs', 'setInterval(() => {}, 1000);');
    const opening = built.openSession({ threads: 2, simd: 'baseline', workerUrl });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await opening).toMatchObject({ threads: 1, reason: expect.stringMatching(/no answer within/) });
  });
});

describe('web workers', () => {
  const { getBuiltinModule } = process;
  beforeEach(() => {
    Object.assign(process, { getBuiltinModule: undefined }); // or Node's own would be taken
  });
  afterEach(() => {
    Object.assign(process, { getBuiltinModule });
    Reflect.deleteProperty(globalThis, 'Worker');
  });

  test('that a security policy refuses leave one thread', async () => {
    const refusals = [
      class {
        constructor() {
          throw new DOMException('refused by policy', 'SecurityError');
        }
      },
      class extends EventTarget {
        constructor() {
          super();
          setTimeout(() => this.dispatchEvent(new Event('error', { cancelable: true })));
        }
        postMessage() {}
        terminate() {}
      },
    ];
    for (const [i, Worker] of refusals.entries()) {
      Object.assign(globalThis, { Worker });
      const session = await open({ threads: 2 });
      expect(session.threads).toBe(1);
      expect(session.reason).toMatch([/refused by policy/, /the script did not load/][i]);
      expect(await session.inverse(Float64Array.of(4), 1)).toEqual(Float64Array.of(0.25));
    }
  });
});
