// What a worker does as Prometheus text, by prom-client, an optional peer. Loaded only where it is asked for.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { InputError } from '../errors.ts';
import { inputError } from '../system.ts';
import type { WorkerOptions } from './bullmq.ts';
import { optional } from './optional.ts';

/** Seconds: from a small layer's job to an hour. */
const BUCKETS = [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600];

/**
 * Serves /metrics until it is closed.
 *
 * @param at  a port, of this machine alone, or host:port
 * @throws {InputError} where it cannot be listened at, or prom-client is not installed
 */
export async function openMetrics(
  at: string,
): Promise<Required<Pick<WorkerOptions, 'onJob'>> & { close(): void }> {
  const [, host = '127.0.0.1', port] = /^(?:(.+):)?(\d+)$/.exec(at) ?? [];
  if (port === undefined || Number(port) > 65535)
    throw new InputError(`\`metrics\`: expected a port, or host:port, got "${at}"`);
  const { Counter, collectDefaultMetrics, Histogram, Registry } =
    await optional<typeof import('prom-client')>('prom-client');
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const jobs = new Counter({
    name: 'osscar_jobs_total',
    help: 'Jobs that were ended, by kind and outcome',
    labelNames: ['kind', 'outcome'],
    registers,
  });
  const seconds = new Histogram({
    name: 'osscar_job_seconds',
    help: 'Time of a job, by kind',
    labelNames: ['kind'],
    buckets: BUCKETS,
    registers,
  });
  const bytes = new Counter({
    name: 'osscar_store_bytes_total',
    help: 'Bytes out of the store (read) and into it (written)',
    labelNames: ['direction'],
    registers,
  });
  const server = createServer(async (request, response) => {
    if (request.url !== '/metrics') return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': registry.contentType }).end(await registry.metrics());
  });
  server.listen(Number(port), host);
  await once(server, 'listening').catch((cause) => {
    throw inputError(at, cause);
  });
  return {
    onJob({ kind, failed, read, written, ...done }) {
      jobs.inc({ kind, outcome: failed ? 'failed' : 'done' });
      seconds.observe({ kind }, done.seconds);
      bytes.inc({ direction: 'read' }, read);
      bytes.inc({ direction: 'written' }, written);
    },
    close: () => void server.close(),
  };
}
