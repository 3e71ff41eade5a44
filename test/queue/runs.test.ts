// Whole runs of the built command over redis-server: the bytes are those of one process, whatever the number of workers and
// whatever is killed on the way.

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fixture, MOBILENET, PREPROCESSING, temporaryFolder } from '../cli/osscar.ts';
import { RedisServer } from '../support/redis.ts';
import { Command } from '../support/workers.ts';

const FLAGS = ['--liftoff-only'];
const RECIPE = [
  '--keep',
  '0.5',
  '--target',
  'residual',
  '--search',
  'greedy',
  '--threads',
  '1',
  '--shards',
  '3',
];
const KINDS = {
  folder: [
    ...[
      fixture('opt-kjv'),
      '--calibrate',
      fixture('text/kjv-train.txt'),
      '--samples',
      '12',
      '--seqlen',
      '16',
    ],
    ...RECIPE,
  ],
  file: [MOBILENET, '--calibrate', fixture('calib'), '--samples', '24', ...PREPROCESSING, ...RECIPE],
};
type Kind = keyof typeof KINDS;

const root = temporaryFolder();
const store = join(root, 'store');
let outputs = 0;

const solved = () =>
  existsSync(store) ? readdirSync(store).filter((name) => name.startsWith('solved~')) : [];

/** What is written, as one hash. */
async function prune(
  kind: Kind,
  more: readonly string[] = [],
  during: () => Promise<void> = async () => {},
): Promise<string> {
  const output = join(root, `${kind}-${outputs++}`);
  const run = new Command(['prune', ...KINDS[kind], '--force', '-o', output, ...more], FLAGS);
  await Promise.race([during(), run.end()]);
  expect(await run.end(), run.stderr).toBe(0);
  const files = kind === 'file' ? [output] : [join(output, 'model.safetensors')];
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(file));
  return hash.digest('hex');
}

let redis: RedisServer;
let shared: readonly string[];
const workers: Command[] = [];
/** Has so many workers there, those that are there already among them. */
async function haveWorkers(count: number): Promise<void> {
  while (workers.length < count) {
    const worker = new Command(['worker', ...shared, '--threads', '1', '--stalled', '1'], FLAGS);
    workers.push(worker);
    await worker.says('working for');
  }
}
const expected = new Map<Kind, string>();

async function startRedis(options?: { readonly isKept: boolean }): Promise<void> {
  redis = await RedisServer.start(options);
  shared = ['--queue', redis.url, '--store', store];
}

beforeAll(async () => {
  await startRedis();
  for (const kind of ['folder', 'file'] as const) expected.set(kind, await prune(kind));
});
afterAll(async () => {
  for (const worker of workers) await worker.kill();
  await redis.stop();
});

// One worker is below: beside a lost one for a file, for a folder in a run that was stopped.
describe.each([
  [2, 'file'],
  [3, 'folder'],
] as const)('%d workers', (count, kind) => {
  test(`give the bytes of one process for a ${kind}`, async () => {
    rmSync(store, { recursive: true, force: true });
    await haveWorkers(count);
    expect(await prune(kind, shared)).toBe(expected.get(kind));
    // What was made on the way is gone.
    const kinds = new Set(readdirSync(store).map((name) => name.split('~')[0]));
    expect([...kinds].sort()).toEqual([
      'chunks',
      'manifest.json',
      'metric',
      'passes',
      'report.json',
      'runs',
      'samples',
      'solved',
    ]);
  });
});

test.each([
  ['forgets everything', false],
  ['comes back with what it knew', true],
])('workers that are killed and a Redis that %s change nothing', async (_, isKept) => {
  for (const worker of workers.splice(0)) await worker.kill();
  await redis.stop();
  await startRedis({ isKept });
  rmSync(store, { recursive: true, force: true });
  await haveWorkers(2);
  const hash = await prune('folder', shared, async () => {
    while (solved().length < 3) await setTimeout(10);
    await workers.pop()!.kill();
    await redis.restart();
    await workers.pop()!.kill();
    await haveWorkers(2);
  });
  expect(hash).toBe(expected.get('folder'));
});

test('a worker that is given another folder says so, and ends', async () => {
  for (const worker of workers.splice(0)) await worker.kill();
  rmSync(store, { recursive: true, force: true });
  const other = join(root, 'other');
  const args = ['worker', '--queue', redis.url, '--store', other, '--threads', '1'];
  const lost = new Command(args, FLAGS);
  const hash = prune('file', shared);
  expect(await lost.end()).toBe(2);
  expect(lost.stderr).toContain(`"${other}" is not the folder of the run that the queue has jobs of`);
  await haveWorkers(1);
  expect(await hash).toBe(expected.get('file'));
});

test.runIf(existsSync('/proc/self'))('a worker with a store where none can be made says so', async () => {
  const lost = new Command(['worker', '--queue', redis.url, '--store', '/proc'], FLAGS);
  expect(await lost.end()).toBe(2);
  expect(lost.stderr).toContain('osscar: "/proc": no file can be made in this folder');
});

test('a worker that reaches no Redis makes no store', async () => {
  const nowhere = join(root, 'nowhere');
  const lost = new Command(['worker', '--queue', 'redis://127.0.0.1:1', '--store', nowhere], FLAGS);
  expect(await lost.end()).toBe(2);
  expect(lost.stderr).toContain('osscar: --queue: redis://127.0.0.1:1 cannot be used');
  expect(existsSync(nowhere)).toBe(false);
});

test('a run that is stopped goes on where it was', async () => {
  rmSync(store, { recursive: true, force: true });
  const run = new Command(
    ['prune', ...KINDS.folder, '--force', '-o', join(root, 'stopped'), ...shared],
    FLAGS,
  );
  await haveWorkers(1);
  await run.says(/block 0/);
  expect(await run.kill('SIGTERM')).toBe(143);
  expect(run.stderr).toContain('the same command goes on from here');
  const before = solved();
  expect(before.length).toBeGreaterThan(0);
  expect(await prune('folder', shared)).toBe(expected.get('folder'));
  expect(readdirSync(store)).toEqual(expect.arrayContaining(before));
});

test('a worker ends when it is told to, also while Redis is away', async () => {
  const away = await RedisServer.start();
  const worker = new Command(['worker', '--queue', away.url, '--store', join(root, 'away')], FLAGS);
  await worker.says('working for');
  await away.stop();
  await worker.says('the connection is lost');
  expect(await worker.kill('SIGTERM')).toBe(0);
});
