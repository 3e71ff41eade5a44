// `osscar worker`: a store, a queue, and what does the jobs.

import type { RunStore } from '../pipeline/index.ts';
import { closing, type Opened, type ServeSettings, serving } from '../run/index.ts';
import type { Status, WorkerOptions } from './bullmq.ts';
import { folderStore } from './store.ts';

/** What a worker is told. */
export interface WorkerSettings extends ServeSettings, Pick<WorkerOptions, 'stalled' | 'onNote' | 'onReady'> {
  /** Folder that all workers of a run share. */
  readonly store: string;
  /** Where metrics are served: a port, or host:port. */
  readonly metrics?: string;
}

const bullmq = () => import('./bullmq.ts');

/** @throws {InputError} where there is no such Redis, or what speaks with it is not installed */
export async function openQueue(url: string, options: Pick<WorkerOptions, 'onNote'> = {}) {
  return (await bullmq()).openQueue(url, options);
}

export async function readStatus(url: string): Promise<Status> {
  return (await bullmq()).readStatus(url);
}

/**
 * Works for a queue until its signal is aborted.
 * @throws {UnfitError} where it cannot work on the run that the queue has jobs of
 */
export async function work(
  url: string,
  { store: path, metrics, signal, ...settings }: WorkerSettings,
): Promise<void> {
  const { checkReached, runWorker } = await bullmq();
  await checkReached(url); // before the store is made
  await closing(async (opened: Opened) => {
    const store = opened(await folderStore(path, { isShared: true }));
    const served =
      metrics === undefined ? undefined : opened(await (await import('./metrics.ts')).openMetrics(metrics));
    const { store: counting, bytes } = counted(store);
    await serving(counting, settings, (server) =>
      runWorker(
        url,
        async (job) => {
          const [start, before] = [performance.now(), { ...bytes }];
          await server.do(job);
          return {
            seconds: (performance.now() - start) / 1000,
            read: bytes.read - before.read,
            written: bytes.written - before.written,
          };
        },
        { ...settings, signal, onJob: served?.onJob },
      ),
    );
  });
}

/** A store, and how many bytes went through it. */
function counted(store: RunStore) {
  const bytes = { read: 0, written: 0 };
  const counting: RunStore = {
    ...store,
    async read(key) {
      const found = await store.read(key);
      bytes.read += found?.length ?? 0;
      return found;
    },
    async write(key, content) {
      await store.write(key, content);
      bytes.written += content.length;
    },
  };
  return { store: counting, bytes };
}
