// The queue on BullMQ against a redis-server of its own: what becomes of jobs, whoever does them and whatever is lost.

import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Done, openQueue, readStatus, runWorker, type WorkerOptions } from '../../src/disk/bullmq.ts';
import { openMetrics } from '../../src/disk/metrics.ts';
import { InputError } from '../../src/errors.ts';
import { type Job, keyOf, type Queue, UnfitError } from '../../src/pipeline/index.ts';
import { version } from '../../src/version.ts';
import { freePort, RedisServer } from '../support/redis.ts';

const DONE: Done = { seconds: 1, read: 2, written: 3 };
let redis: RedisServer;
let queue: Queue & { close(): Promise<void> };
beforeAll(async () => {
  redis = await RedisServer.start();
  queue = await openQueue(redis.url);
});
afterAll(async () => {
  await queue.close();
  await redis.stop();
});

let jobs = 0;
function newJob(other: Partial<Job> = {}): Job {
  const hash = (jobs++).toString(16).padStart(64, '0');
  return {
    ...{
      version,
      run: hash,
      pass: hash,
      part: 0,
      before: hash,
      isDense: true,
      piece: `sums/${hash}`,
      shard: 0,
    },
    ...other,
  };
}

/** What has been made, as a store would know it. */
const made = new Set<string>();
const ask = (job: Job, signal?: AbortSignal) =>
  queue.run(keyOf(job), job, async () => made.has(keyOf(job)), signal);

/** While workers of this kind are there. */
async function withWorker<R>(
  make: (job: Job) => Promise<Done>,
  run: () => Promise<R>,
  options: WorkerOptions = {},
): Promise<R> {
  const stop = new AbortController();
  const working = runWorker(redis.url, make, { ...options, signal: stop.signal });
  try {
    return await run();
  } finally {
    stop.abort();
    await working;
  }
}

const making = async (job: Job) => {
  made.add(keyOf(job));
  return DONE;
};

describe('a job', () => {
  test('is done by a worker, and once for all who ask for it', async () => {
    const seen: string[] = [];
    const job = newJob();
    const make = async (it: Job) => {
      seen.push(keyOf(it));
      return making(it);
    };
    await withWorker(make, () => Promise.all([ask(job), ask(job), ask(newJob())]));
    expect(seen.filter((key) => key === keyOf(job))).toHaveLength(1);
    expect(seen).toHaveLength(2);
  });

  test('that Redis has forgotten is asked for again', async () => {
    const job = newJob();
    const asked = ask(job);
    await redis.restart();
    await withWorker(making, () => asked);
    expect(made).toContain(keyOf(job));
  });

  test('whose end Redis has forgotten is done where the store has it', async () => {
    const job = newJob();
    const asked = ask(job);
    await redis.restart();
    made.add(keyOf(job));
    await asked;
  });

  test('that fails by what it was given fails once, in the words of the worker', async () => {
    let tries = 0;
    const make = async () => {
      tries++;
      throw new InputError('"store": no space left');
    };
    const job = newJob();
    await withWorker(make, () =>
      expect(ask(job)).rejects.toThrow('a worker has failed: "store": no space left'),
    );
    expect(tries).toBe(1);
    // Once there is room again, it is another attempt.
    await withWorker(making, () => ask(job));
  });

  test('that fails by chance is tried again', async () => {
    let tries = 0;
    const make = async (job: Job) => {
      if (++tries === 1) throw new Error('by chance');
      return making(job);
    };
    await withWorker(make, () => ask(newJob()));
    expect(tries).toBe(2);
  });

  test('of another version is left to other workers, and ends this one', async () => {
    const { failed: before } = (await readStatus(redis.url)).jobs;
    const job = newJob({ version: '0.0.0' });
    const asked = ask(job);
    await expect(runWorker(redis.url, making)).rejects.toThrow(UnfitError);
    await expect(runWorker(redis.url, making)).rejects.toThrow(
      `this is osscar ${version}, and the run is of 0.0.0`,
    );
    const { waiting, failed } = (await readStatus(redis.url)).jobs;
    expect({ waiting, failed }).toEqual({ waiting: 1, failed: before });
    made.add(keyOf(job));
    await asked;
    expect((await readStatus(redis.url)).jobs.waiting).toBe(0);
  });

  test('that leads out of the store is refused before anything is done', async () => {
    const seen: Job[] = [];
    const make = async (job: Job) => {
      seen.push(job);
      return DONE;
    };
    await withWorker(make, async () => {
      for (const other of [
        { piece: '../../etc/passwd' },
        { run: '../secret' },
        { shard: -1 },
        { path: '/etc/passwd' } as object,
      ])
        await expect(ask(newJob(other))).rejects.toThrow('no job of osscar');
    });
    expect(seen).toEqual([]);
  });

  test('is waited for no longer than its signal says', async () => {
    const stop = new AbortController();
    const asked = ask(newJob(), stop.signal);
    stop.abort(new Error('called off'));
    await expect(asked).rejects.toThrow('called off');
  });
});

test('workers and queues end when they are told to, also while Redis is away', async () => {
  const away = await RedisServer.start();
  const stop = new AbortController();
  const told = (start: (onNote: (text: string) => void, onReady: () => void) => void) => {
    return new Promise<{ lost: Promise<void> }>((resolve) => {
      let lost = () => {};
      const isLost = new Promise<void>((done) => {
        lost = done;
      });
      start(lost, () => resolve({ lost: isLost }));
    });
  };
  let working: Promise<void> | undefined;
  const worker = await told((onNote, onReady) => {
    working = runWorker(away.url, making, { signal: stop.signal, onNote, onReady });
  });
  let opened: Awaited<ReturnType<typeof openQueue>> | undefined;
  const asking = await told((onNote, onReady) => {
    void openQueue(away.url, { onNote }).then((it) => {
      opened = it;
      onReady();
    });
  });
  await away.stop();
  await Promise.all([worker.lost, asking.lost]);
  stop.abort();
  await Promise.all([working, opened!.close()]);
});

test('status says what workers do and have done, and where the run is', async () => {
  queue.tell!({ stage: 'pruning', label: 'pruning', layer: 'block 3', done: 4, total: 8, overall: 0.5 });
  await withWorker(making, () => Promise.all([ask(newJob()), ask(newJob())]));
  const { run, workers } = await readStatus(redis.url);
  expect(run).toMatchObject({ stage: 'pruning', layer: 'block 3', overall: 0.5, version });
  expect(workers).toHaveLength(1); // all of them this process
  const [{ done, read }] = workers;
  expect(done).toBeGreaterThanOrEqual(2);
  expect(read).toBe(2 * done);
});

test('metrics count jobs and bytes as Prometheus text', async () => {
  const port = await freePort();
  const { onJob, close } = await openMetrics(String(port));
  onJob({ ...DONE, kind: 'sums', failed: false });
  onJob({ ...DONE, kind: 'solve', failed: true });
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  expect(text).toContain('osscar_jobs_total{kind="sums",outcome="done"} 1');
  expect(text).toContain('osscar_jobs_total{kind="solve",outcome="failed"} 1');
  expect(text).toContain('osscar_store_bytes_total{direction="written"} 6');
  expect((await fetch(`http://127.0.0.1:${port}/other`)).status).toBe(404);
  close();
  await expect(openMetrics('here')).rejects.toThrow('expected a port, or host:port, got "here"');
});

describe('an address', () => {
  test.each(['localhost:6379', 'http://localhost', 'redis://', 'redis://localhost/jobs'])(
    'that is none, as %s, is refused',
    async (url) => {
      await expect(openQueue(url)).rejects.toThrow('expected an address such as redis://host:6379/0');
    },
  );

  test('with nothing behind it is named without its password', async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const error = await openQueue(`redis://me:secret@${address}/0`).catch((it: Error) => it);
    expect(error).toBeInstanceOf(InputError);
    expect((error as Error).message).toBe(`\`queue\`: redis://${address}/0 cannot be used (ECONNREFUSED)`);
  });

  test('with no such database behind it is refused: the client would go on in the first one', async () => {
    const error = await readStatus(`${redis.url}/99`).catch((it: Error) => it);
    expect(error).toBeInstanceOf(InputError);
    expect((error as Error).message).toBe(
      `\`queue\`: ${redis.url}/99 cannot be used (ERR DB index is out of range)`,
    );
  });

  test('where nothing answers is given up', async () => {
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const asked = readStatus(`redis://127.0.0.1:${port}`).catch((it: Error) => it);
      await once(silent, 'connection');
      vi.advanceTimersByTime(10_000);
      expect(String(await asked)).toContain(`127.0.0.1:${port} cannot be used (no answer in 10 s)`);
    } finally {
      vi.useRealTimers();
      silent.close();
    }
  });

  test('that takes nothing ends workers and runs, in its own words', async () => {
    const full = await RedisServer.start();
    const client = new Redis(full.url);
    try {
      await client.config('SET', 'maxmemory', '1');
      const refused = `\`queue\`: ${full.url} refuses what is asked of it (OOM command not allowed when used memory > 'maxmemory'.); once it takes that, the same command goes on`;
      for (const ask of [() => runWorker(full.url, making), () => openQueue(full.url)]) {
        const error = await ask().catch((it: Error) => it);
        expect(error).toBeInstanceOf(InputError);
        expect((error as Error).message).toBe(refused);
      }
    } finally {
      client.disconnect();
      await full.stop();
    }
  });

  test('whose keys hold something else is named, with what to do', async () => {
    const other = await RedisServer.start();
    const client = new Redis(other.url);
    try {
      await client.set('bull:osscar:progress', '[]');
      await expect(readStatus(other.url)).rejects.toThrow('expected an object as what its run has told');
      await client.set('bull:osscar:wait', 'junk');
      const damaged =
        /^`queue`: redis:\/\/\S+ refuses what is asked of it \(.*; if its keys bull:osscar:\* are damaged, remove them$/;
      for (const asked of [
        readStatus(other.url),
        openQueue(other.url).then(async (it) => {
          const job = newJob();
          await it.run(keyOf(job), job, async () => false).finally(() => it.close());
        }),
      ]) {
        const error = await asked.catch((it: Error) => it);
        expect(error).toBeInstanceOf(InputError);
        expect((error as Error).message).toMatch(damaged);
      }
    } finally {
      client.disconnect();
      await other.stop();
    }
  });

  test('that another run uses is refused while that is there, and taken once it has gone', async () => {
    const error = await openQueue(redis.url).catch((it: Error) => it);
    expect(error).toBeInstanceOf(InputError);
    expect((error as Error).message).toMatch(
      /is used by another run \(.+, process \d+\); runs at the same time have a database each, as redis:\/\/host:6379\/1$/,
    );
    const beside = await openQueue(`${redis.url}/1`);
    await beside.close();
    const client = new Redis(`${redis.url}/1`);
    try {
      expect(await client.get('bull:osscar:run')).toBeNull();
      // Of a run that was killed.
      await client.set('bull:osscar:run', 'elsewhere, process 1, x', 'PX', 700);
      await (await openQueue(`${redis.url}/1`)).close();
      await client.set('bull:osscar:run', 'for ever');
      await expect(openQueue(`${redis.url}/1`)).rejects.toThrow('is used by another run');
    } finally {
      client.disconnect();
    }
  });

  test('that does not let us in is named without its password', async () => {
    const { host } = new URL(redis.url);
    const error = await openQueue(`redis://me:secret@${host}`).catch((it: Error) => it);
    expect((error as Error).message).toContain(`${host} cannot be used`);
    expect(String((error as Error).stack)).not.toContain('secret');
  });
});
