import { getEventListeners } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Session } from '../../src/layer.ts';
import {
  built,
  definite,
  goOn,
  hash,
  helping,
  isStopped,
  jobs,
  layerOf,
  STOPPING_WORKER,
  stopped,
  type Thread,
  until,
  workers,
} from './built.ts';

/** Two threads share this out. */
const ORDER = 1000;
const LARGE = definite(ORDER, 3);
/** And this not. */
const SMALL_ORDER = 200;
const SMALL = definite(SMALL_ORDER, 3);

async function open(options: Parameters<typeof built.openSession>[0]): Promise<Session> {
  const session = await built.openSession({ simd: 'baseline', ...options });
  onTestFinished(() => session.close());
  return session;
}

/** Two threads that can be stopped. Where they share a job, the first is given it and the second helps. */
async function openStopping() {
  const started = workers.length;
  const session = await open({ threads: 2, workerUrl: STOPPING_WORKER });
  return { session, started, pair: workers.slice(started) };
}

/** Lets a job go on to where each of the two computes a part of it. */
async function toItsMidst([lead, helper]: readonly Thread[]) {
  await stopped(lead);
  await helping(helper);
  for (const worker of [helper, lead]) goOn(worker, 'part');
  await Promise.all([lead, helper].map(stopped));
}

describe('a worker that dies', () => {
  test.each([
    ['with the job', 0],
    ['that helps', 1],
  ])('%s is replaced, and the job is done again', async (_, index) => {
    const expected = hash(await (await open({ threads: 1 })).inverse(LARGE, ORDER));
    const { session, started, pair } = await openStopping();
    goOn(pair[0], 'dpotrf');
    const running = session.inverse(LARGE, ORDER);
    await toItsMidst(pair);
    await pair[index].terminate();
    goOn(pair[1 - index]);
    expect(hash(await running)).toBe(expected);
    // The helper's death takes its lead along: what it was writing may be half done.
    expect(workers.length - started).toBe(index === 0 ? 3 : 4);
    expect(session.threads).toBe(2);
  });

  test('again and again is reported, and the session goes on', async () => {
    const sent = jobs.length;
    const { session } = await openStopping();
    goOn('every', 'dpotrf');
    onTestFinished(() => goOn('every'));
    const running = session.inverse(LARGE, ORDER).catch((error) => error);
    for (const at of [sent, sent + 1]) {
      await until(() => jobs.length > at);
      await stopped(jobs[at]);
      await jobs[at].terminate();
    }
    const error = await running;
    goOn('every');
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
    expect(await session.inverse(Float64Array.of(4), 1)).toEqual(Float64Array.of(0.25));
  });
});

test('a layer in tiles is not tried again, as its sums are gone with the worker', async () => {
  const { session, pair } = await openStopping();
  const [p, m] = [128, 8];
  const statistics = session.tiledStatistics(p, m, false);
  await statistics.addRows(Float32Array.from(definite(p, 1)));
  const layer = { W: new Float32Array(p * m).fill(1), groupSize: 1, fit: await statistics.finish() };
  for (const worker of pair) goOn(worker, 'createProblem');
  const running = session.solveTiled(layer, {}, 64).catch((error) => error);
  await until(() => pair.some(isStopped));
  const lead = pair.find(isStopped)!;
  await lead.terminate();
  const error = await running;
  expect(error).toBeInstanceOf(built.WorkerLostError);
  expect(error).toMatchObject({ operation: 'solveTiled', attempts: 1 });
  for (const worker of pair) if (worker !== lead) goOn(worker);
  expect(layer.fit.tiles[0]).toHaveLength(0);
  expect(await session.inverse(definite(4, 1), 4)).toHaveLength(16);
});

describe('an aborted signal', () => {
  const exits = (pair: readonly Thread[]) =>
    pair.map((worker) => new Promise((resolve) => worker.once('exit', resolve)));
  const reason = new Error('enough');

  test('stops a factorisation in the midst of it, whoever helps with it', async () => {
    const { session, pair } = await openStopping();
    const controller = new AbortController();
    goOn(pair[0], 'dpotrf');
    const running = session.inverse(LARGE, ORDER, controller).catch((error) => error);
    await toItsMidst(pair);
    const [exit] = exits(pair);
    controller.abort(reason);
    expect(await running).toBe(reason);
    await exit;
    goOn(pair[1]);
    expect(await session.inverse(definite(4, 1), 4)).toHaveLength(16);
    expect(session.threads).toBe(2);
  });

  test('stops two factorisations in the midst of them', async () => {
    const { session, pair } = await openStopping();
    const controller = new AbortController();
    for (const worker of pair) goOn(worker, 'dpotrf');
    const running = pair.map(() => session.inverse(SMALL, SMALL_ORDER, controller).catch((error) => error));
    await Promise.all(pair.map(stopped));
    const exit = exits(pair);
    controller.abort(reason);
    expect(await Promise.all(running)).toEqual([reason, reason]);
    await Promise.all(exit);
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

  test('is listened to by jobs that are under way alone', async () => {
    const session = await open({ threads: 2 });
    const { signal } = new AbortController();
    const running = [0, 1, 2].map(() => session.inverse(definite(4, 1), 4, { signal }));
    expect(getEventListeners(signal, 'abort')).toHaveLength(3);
    await Promise.all(running);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  test.each([1, 2])('before the start is enough, %i threads', async (threads) => {
    const session = await open({ threads });
    const signal = AbortSignal.abort(new Error('no'));
    await expect(session.inverse(definite(4, 1), 4, { signal })).rejects.toThrow('no');
    const problem = await layerOf(8, 2, 1, 1);
    await expect(session.pruneLayer(problem, { keep: 4 }, { signal })).rejects.toThrow('no');
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
    const { kept } = await session.pruneLayer(await layerOf(12, 3, 1, 1), { keep: 5 });
    expect(kept).toHaveLength(5);
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
    while (vi.getTimerCount() < 2) await new Promise(setImmediate);
    await vi.advanceTimersByTimeAsync(60_000);
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
