// Queues of jobs on BullMQ (Redis or Valkey), which knows how to hand a job to one worker, to notice that a worker is lost, and
// to try again. All that is added here is what a run store gives: what is there already is done, and what Redis has forgotten
// is asked for again. Loaded only where a queue is named: bullmq and ioredis are optional peers.

import { hostname } from 'node:os';
import type { Job as Entry, Queue as Jobs } from 'bullmq';
import type { Redis } from 'ioredis';
import * as v from 'valibot';
import { InputError, OsscarError } from '../errors.ts';
import { isObject } from '../expect.ts';
import { parseJson } from '../json.ts';
import { type Job, KINDS, type Progress, type Queue, UnfitError } from '../pipeline/index.ts';
import { version } from '../version.ts';
import { optional } from './optional.ts';

const bullmq = () => optional<typeof import('bullmq')>('bullmq');
const ioredis = () => optional<typeof import('ioredis')>('ioredis');

/** Of all queues of ours in a Redis: runs that are to be apart have databases of their own. */
const NAME = 'osscar';
/** How often is looked after what was asked for, in case Redis has forgotten it. Milliseconds. */
const SWEEP_MS = 2000;
/** Of a job that failed for no reason that would come again. */
const ATTEMPTS = 3;
const BACKOFF_MS = 500;
/** A job's workers may be lost as often as that. */
const MOST_STALLED = 1000;
/** Jobs that are remembered, for `osscar status`. */
const REMEMBERED = 10_000;
const CONNECT_MS = 10_000;
/** A run that does not say for so long that it is there has left its queue. */
const LEASE_MS = 15_000;

/** How queues are reached and watched. */
export interface ConnectOptions {
  /** Told when Redis is lost, and when it is back. */
  readonly onNote?: (text: string) => void;
}

/** How a worker is told from a lost one. */
export interface WorkerOptions extends ConnectOptions {
  /** Seconds without a sign of life after which its job is given to another. Default 30. */
  readonly stalled?: number;
  readonly signal?: AbortSignal;
  /** Told once Redis is there. */
  readonly onReady?: () => void;
  /** Told of every job. */
  readonly onJob?: (done: Done & { readonly kind: string; readonly failed: boolean }) => void;
}

/** What a job took. */
export interface Done {
  readonly seconds: number;
  /** Bytes out of the store and into it. */
  readonly read: number;
  readonly written: number;
}

/** The address without user and password. @throws {InputError} where it is none */
function shown(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const isRedis = parsed && ['redis:', 'rediss:'].includes(parsed.protocol) && parsed.hostname !== '';
  if (!(isRedis && /^(\/\d*)?$/.test(parsed.pathname)))
    throw new InputError('`queue`: expected an address such as redis://host:6379/0');
  return `${parsed.protocol}//${parsed.host}${parsed.pathname === '/' ? '' : parsed.pathname}`;
}

/**
 * A connection that comes back whenever it is lost.
 * @throws {InputError} where there is nothing at first, or who asks is not let in
 */
async function connect(url: string, { onNote = () => {} }: ConnectOptions): Promise<Redis> {
  const name = shown(url);
  const { Redis } = await ioredis();
  const redis = new Redis(url, {
    lazyConnect: true,
    maxRetriesPerRequest: null,
    connectTimeout: CONNECT_MS,
    retryStrategy: (times) => (isThere ? Math.min(100 * times, 2000) : null),
  });
  let isThere = false;
  let reason: Error | undefined;
  redis.on('error', (error) => {
    reason = error;
  });
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    const silent = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer in ${CONNECT_MS / 1000} s`)), CONNECT_MS);
    });
    await Promise.race([reach(redis), silent]);
    isThere = true;
  } catch (cause) {
    redis.disconnect();
    const { message, code } = (reason ?? cause) as NodeJS.ErrnoException;
    throw new InputError(`\`queue\`: ${name} cannot be used (${code ?? message})`, { cause });
  } finally {
    clearTimeout(timer);
  }
  let isLost = false;
  redis.on('close', () => {
    if (!isLost && redis.status !== 'end') onNote(`${name}: the connection is lost; waiting for it`);
    isLost = true;
  });
  redis.on('ready', () => {
    if (isLost) onNote(`${name}: the connection is back`);
    isLost = false;
  });
  return redis;
}

async function reach(redis: Redis): Promise<void> {
  await redis.connect();
  await redis.ping();
  // Of a number that it has not, the client stays in the first one without a word.
  if (redis.options.db) await redis.select(redis.options.db);
}

/** @throws {InputError} where there is no such Redis, or it does not let in who asks */
export async function checkReached(url: string): Promise<void> {
  (await connect(url, {})).disconnect();
}

/** Ends what goes through a connection, and that: in peace, or by force where Redis is away and nobody can be told. */
async function hangUp(
  connection: Redis,
  ...users: { close(force?: boolean): Promise<void>; disconnect(): Promise<void> }[]
): Promise<void> {
  const away = new Promise((resolve) => connection.once('close', resolve));
  if (connection.status === 'ready')
    await Promise.race([Promise.all(users.map((it) => it.close().catch(() => {}))), away]);
  for (const it of users) {
    it.close(true).catch(() => {});
    it.disconnect().catch(() => {});
  }
  connection.disconnect();
}

const hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const index = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1e6));
/** Anybody who reaches the Redis can write jobs: nothing of one may lead out of the store. */
const JOB = v.strictObject({
  version: v.pipe(v.string(), v.maxLength(100)),
  run: hash,
  pass: hash,
  part: index,
  before: hash,
  isDense: v.boolean(),
  piece: v.pipe(v.string(), v.regex(new RegExp(`^(${KINDS.join('|')})/[0-9a-f]{64}$`))),
  shard: v.optional(index),
});

/** @throws {InputError} saying what is wrong */
function jobOf(data: unknown): Job {
  const parsed = v.safeParse(JOB, data);
  if (parsed.success) return parsed.output;
  const [{ message, path }] = parsed.issues;
  throw new InputError(`no job of osscar: ${path?.map(({ key }) => String(key)).join('.')}: ${message}`);
}

/** Somebody waits for a job. */
interface Waiting {
  readonly key: string;
  readonly job: Job;
  isDone(): Promise<boolean>;
  done(): void;
  failed(error: Error): void;
}

/** Where a run is, as `osscar status` shows it. */
interface Told extends Progress {
  readonly version: string;
  readonly host: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

const progressKey = (jobs: Jobs) => jobs.toKey('progress');

/** What Redis answers that it will not do, as where keys of ours hold something else. Other errors stay as they are. */
function refusal(url: string, cause: Error): Error {
  if (cause.name !== 'ReplyError') return cause;
  const why = cause.message.replace(/( script: |\n).*/s, '').slice(0, 200);
  // Others say of what state it is in: full, a replica, without the right to write.
  const hint = /^(WRONGTYPE|ERR)\b/.test(why)
    ? `; if its keys bull:${NAME}:* are damaged, remove them`
    : '; once it takes that, the same command goes on';
  return new InputError(`\`queue\`: ${shown(url)} refuses what is asked of it (${why})${hint}`, { cause });
}

/**
 * Takes the queue for one run: workers are of its store, and end where they get jobs of another's. What a killed run has left is waited
 * for.
 *
 * @returns what keeps it, and what gives it back
 * @throws {InputError} where another run says that it is there
 */
async function lease(connection: Redis, key: string, url: string) {
  const own = `${hostname()}, process ${process.pid}, ${crypto.randomUUID()}`;
  for (let left = LEASE_MS; (await connection.set(key, own, 'PX', LEASE_MS, 'NX')) === null; ) {
    const now = await connection.pttl(key);
    // It has been renewed, or is none of ours.
    if (now > left || now === -1) {
      const [host, by] = ((await connection.get(key)) ?? '').split(', ');
      throw new InputError(
        `\`queue\`: ${shown(url)} is used by another run (${host}, ${by}); runs at the same time have a database each, as redis://host:6379/1`,
      );
    }
    if (now >= 0) left = now;
    await new Promise((resolve) => setTimeout(resolve, SWEEP_MS / 4));
  }
  const isOurs = async () => [own, null].includes(await connection.get(key));
  return {
    async renew() {
      if (await isOurs()) await connection.set(key, own, 'PX', LEASE_MS);
    },
    async end() {
      if (await isOurs()) await connection.del(key);
    },
  };
}

/** @throws {InputError} where there is no such Redis, or another run uses it */
export async function openQueue(
  url: string,
  options: ConnectOptions = {},
): Promise<Queue & { close(): Promise<void> }> {
  const { Queue, QueueEvents } = await bullmq();
  const connection = await connect(url, options);
  const jobs = new Queue(NAME, { connection });
  // Of the connection, which has said it.
  jobs.on('error', () => {});
  const taken = await lease(connection, jobs.toKey('run'), url).catch(async (cause) => {
    await hangUp(connection, jobs);
    throw refusal(url, cause);
  });
  const events = new QueueEvents(NAME, { connection });
  events.on('error', () => {});
  const waiting = new Set<Waiting>();

  async function submit(key: string, job: Job): Promise<void> {
    const before = await jobs.getJob(key);
    const state = await before?.getState();
    if (state === 'completed' || state === 'failed') await before!.remove();
    await jobs.add(job.piece.split('/')[0], job, {
      jobId: key,
      attempts: ATTEMPTS,
      backoff: { type: 'fixed', delay: BACKOFF_MS },
      removeOnComplete: { count: REMEMBERED },
      removeOnFail: { count: REMEMBERED },
    });
  }

  /** What has become of a job. Redis may have lost it, or the event that told of its end. */
  async function look({ key, job, isDone, done, failed }: Waiting): Promise<void> {
    const isMade = await isDone();
    const entry = await jobs.getJob(key);
    const state = (await entry?.getState()) ?? 'unknown';
    if (isMade) {
      // Asked for a second time by mistake: nobody need take it.
      if (state === 'waiting' || state === 'delayed') await entry!.remove().catch(() => {});
      done();
    } else if (state === 'failed') failed(failureOf(entry!.failedReason));
    else if (state === 'unknown' || state === 'completed') await submit(key, job);
  }

  const lookAt = async (which: (key: string) => boolean) => {
    for (const it of waiting)
      if (which(it.key)) await look(it).catch((cause) => it.failed(refusal(url, cause)));
  };
  for (const event of ['completed', 'failed'] as const)
    events.on(event, ({ jobId }: { jobId: string }) => void lookAt((key) => key === jobId));
  let isSweeping = false;
  const sweep = setInterval(async () => {
    if (connection.status === 'ready') taken.renew().catch(() => {});
    if (isSweeping || connection.status !== 'ready') return;
    isSweeping = true;
    await lookAt(() => true);
    isSweeping = false;
  }, SWEEP_MS);

  return {
    async run(key, job, isDone, signal) {
      signal?.throwIfAborted();
      let end = () => {};
      try {
        await new Promise<void>((done, failed) => {
          const it: Waiting = { key, job, isDone, done, failed };
          const abort = () => failed(signal!.reason);
          waiting.add(it);
          signal?.addEventListener('abort', abort);
          end = () => {
            waiting.delete(it);
            signal?.removeEventListener('abort', abort);
          };
          submit(key, job).catch((cause) => failed(refusal(url, cause)));
        });
      } finally {
        end();
        // What nobody waits for any more need not be begun.
        if (signal?.aborted && connection.status === 'ready') await jobs.remove(key).catch(() => {});
      }
    },
    tell(progress) {
      if (connection.status !== 'ready') return;
      const told: Told = { ...progress, version, host: hostname(), at: Date.now() };
      connection.set(progressKey(jobs), JSON.stringify(told)).catch(() => {});
    },
    async close() {
      clearInterval(sweep);
      if (connection.status === 'ready') await taken.end().catch(() => {});
      await hangUp(connection, jobs, events);
    },
  };
}

/** What a worker's words are here. Those that are ours stand behind their code. */
function failureOf(reason: string): OsscarError {
  const [, code, message] = /^\[(ERR_OSSCAR_\w+)\] (.*)$/s.exec(reason) ?? [];
  return new OsscarError(code ?? 'ERR_OSSCAR_QUEUE', `a worker has failed: ${message ?? reason}`);
}

/**
 * Does jobs until it is told to stop, and then ends the one that it is at.
 *
 * @param make  does a job, and says what that took
 * @throws {UnfitError} where a job is for other workers, as for those of another version
 * @throws {InputError} where Redis refuses what is asked of it, which BullMQ would ask again and again, as fast as it can
 */
export async function runWorker(
  url: string,
  make: (job: Job) => Promise<Done>,
  { stalled = 30, signal, onReady, onJob = () => {}, ...options }: WorkerOptions = {},
): Promise<void> {
  const { UnrecoverableError, WaitingError, Worker: Taker } = await bullmq();
  const connection = await connect(url, options);
  let ended: Error | undefined;
  let current: Promise<unknown> = Promise.resolve();
  let stop = () => {};
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  async function process(entry: Entry, token?: string): Promise<Done> {
    const start = performance.now();
    const kind = entry.name;
    try {
      const job = jobOf(entry.data);
      if (job.version !== version)
        throw new UnfitError(`this is osscar ${version}, and the run is of ${job.version}`);
      const making = make(job);
      current = making.catch(() => {});
      const done = await making;
      onJob({ ...done, kind, failed: false });
      return done;
    } catch (error) {
      if (error instanceof UnfitError) {
        ended = error;
        stop();
        await entry.moveToWait(token);
        throw new WaitingError();
      }
      onJob({ seconds: (performance.now() - start) / 1000, read: 0, written: 0, kind, failed: true });
      // The same input fails in the same way.
      if (error instanceof OsscarError) throw new UnrecoverableError(`[${error.code}] ${error.message}`);
      throw error;
    }
  }
  const worker = new Taker(NAME, process, {
    connection,
    name: `${hostname()}-${globalThis.process.pid}`,
    lockDuration: 1000 * stalled,
    stalledInterval: 500 * stalled,
    maxStalledCount: MOST_STALLED,
    runRetryDelay: 1000,
  });
  worker.on('error', (error) => {
    // Others are of the connection, which has said it, and of jobs that Redis has forgotten.
    if (error.name !== 'ReplyError') return;
    ended ??= refusal(url, error);
    stop();
  });
  signal?.addEventListener('abort', stop);
  onReady?.();
  await stopped;
  await hangUp(connection, worker);
  await current; // where it was not waited for
  if (ended) throw ended;
}

/** A worker, as far as the queue knows it. */
export interface WorkerStatus {
  readonly name: string;
  /** Whether it is connected. */
  readonly isThere: boolean;
  /** Kind of the piece that it makes. */
  readonly doing?: string;
  readonly done: number;
  readonly seconds: number;
  readonly read: number;
  readonly written: number;
}

/** Where a run is, and who works on it. */
export interface Status {
  readonly queue: string;
  readonly run?: Told;
  readonly jobs: {
    readonly waiting: number;
    readonly active: number;
    readonly done: number;
    readonly failed: number;
  };
  readonly workers: readonly WorkerStatus[];
  readonly failures: readonly { readonly job: string; readonly reason: string }[];
}

/** @throws {InputError} where there is no such Redis */
export async function readStatus(url: string): Promise<Status> {
  const { Queue } = await bullmq();
  const connection = await connect(url, {});
  const jobs = new Queue(NAME, { connection });
  try {
    const {
      waiting = 0,
      delayed = 0,
      active = 0,
      completed: done = 0,
      failed = 0,
    } = await jobs.getJobCounts();
    const told = await connection.get(progressKey(jobs));
    const workers = new Map<string, { -readonly [key in keyof WorkerStatus]: WorkerStatus[key] }>();
    const worker = (name: string) => {
      const known = workers.get(name) ?? { name, isThere: false, done: 0, seconds: 0, read: 0, written: 0 };
      workers.set(name, known);
      return known;
    };
    for (const { rawname = '' } of await jobs.getWorkers()) {
      const [, name] = /:w:(.+)$/.exec(rawname) ?? []; // BullMQ's name of a connection
      if (name !== undefined) worker(name).isThere = true;
    }
    for (const { processedBy, name } of await jobs.getActive())
      if (processedBy) worker(processedBy).doing = name;
    for (const { processedBy, returnvalue } of await jobs.getCompleted(0, REMEMBERED)) {
      if (!processedBy) continue;
      const own = worker(processedBy);
      own.done++;
      for (const key of ['seconds', 'read', 'written'] as const) own[key] += Number(returnvalue?.[key]) || 0;
    }
    const failures = (await jobs.getFailed(0, 9)).map(({ id = '', failedReason: reason }) => ({
      job: id,
      reason,
    }));
    return {
      queue: shown(url),
      ...(told !== null && { run: toldIn(told, url) }),
      jobs: { waiting: waiting + delayed, active, done, failed },
      workers: [...workers.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
      failures,
    };
  } catch (cause) {
    throw refusal(url, cause as Error);
  } finally {
    await hangUp(connection, jobs);
  }
}

/** What the run has told. @throws {InputError} where it is no run's */
function toldIn(text: string, url: string): Told {
  const told = parseJson(text, `\`queue\`: ${shown(url)}: what its run has told`);
  if (!isObject(told))
    throw new InputError(`\`queue\`: ${shown(url)}: expected an object as what its run has told`);
  return told as unknown as Told;
}
