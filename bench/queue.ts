// Whole runs over redis-server by worker processes, each with a folder of its own for all but the store that they share: whether
// they give the bytes of a run in one process, how long they take, and how many bytes go through the store. With `chaos`
// workers and Redis are killed (SIGKILL) all the while, and started again.
//   npm run bench -- queue [model] [chaos [kills] [restarts]]     model: a folder, or the number of blocks of OPT-1.3B's shapes

import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { random } from '../test/support/random.ts';
import { RedisServer } from '../test/support/redis.ts';
import { Command } from '../test/support/workers.ts';
import { writeShape } from './support/shape.ts';

const [model = 'test/fixtures/opt-kjv', mode, kills = 20, restarts = 5] = process.argv
  .slice(2)
  .map((it, i) => (i > 1 ? Number(it) : it)) as [string?, string?, number?, number?];
const TEXT = 'test/fixtures/text/kjv-train.txt';
const SHARDS = 4;
/** Seconds after which a worker counts as lost. */
const STALLED = 5;
/** Milliseconds from one kill to the next, about: enough for a worker to start and to be at a job. */
const LIFE_MS = 4000;
const NODE_FLAGS = ['--experimental-wasm-relaxed-simd'];

const root = mkdtempSync(join(tmpdir(), 'osscar-queue-'));
const isShape = /^\d+$/.test(model);
/** So that a run of one block takes minutes on one thread: the search by swaps, the refit of producers and the choice of a damping do not. */
const SHAPE = { samples: 4, seqlen: 256 };
const FAST = ['--search', 'greedy', '--no-producers', '--damping', '0.01'];
const shape = isShape
  ? await writeShape(join(root, 'model'), { blocks: Number(model), ...SHAPE })
  : undefined;
const ARGS = [
  // Several passes, where all of the kills have to come before the run's end.
  ...[
    shape?.model ?? model,
    '--keep',
    '0.5',
    '--target',
    mode === 'chaos' ? 'auto' : 'residual',
    '--shards',
    String(shape ? 2 : SHARDS),
  ],
  ...(shape
    ? [...['--calibrate', shape.tokens, '--samples', '4', '--seqlen', '256'], ...FAST]
    : ['--calibrate', TEXT, '--samples', mode === 'chaos' ? '128' : '32', '--seqlen', '128']),
  ...['--threads', '1', '--force', '--json'],
];

/** SHA-256 of a folder's weights. */
function hashOf(folder: string): string {
  const hash = createHash('sha256');
  for (const name of readdirSync(folder).sort())
    if (name.endsWith('.safetensors')) hash.update(readFileSync(join(folder, name)));
  return hash.digest('hex').slice(0, 16);
}

let folders = 0;
const folder = (name: string) => {
  const path = join(root, `${name}-${folders++}`);
  mkdirSync(path);
  return path;
};

class Machines {
  readonly redis: RedisServer;
  readonly store = folder('store');
  readonly #workers: Command[] = [];

  constructor(redis: RedisServer) {
    this.redis = redis;
  }

  start(count: number): void {
    while (this.#workers.length < count) this.#workers.push(this.#start());
  }

  #start(): Command {
    const own = ['--threads', '1', '--stalled', String(STALLED), '--scratch', folder('scratch')];
    return new Command(['worker', '--queue', this.redis.url, '--store', this.store, ...own], NODE_FLAGS);
  }

  /** Kills one, and starts another. */
  async replace(index: number): Promise<void> {
    await this.#workers[index].kill();
    this.#workers[index] = this.#start();
  }

  async status() {
    const command = new Command(['status', '--queue', this.redis.url, '--json']);
    await command.end();
    return JSON.parse(command.stdout);
  }

  async stop(): Promise<void> {
    for (const worker of this.#workers) await worker.kill();
    rmSync(this.store, { recursive: true });
  }
}

async function prune(more: readonly string[] = [], during?: (run: Command) => Promise<void>) {
  const output = join(root, `output-${folders++}`);
  const start = performance.now();
  const run = new Command(['prune', ...ARGS, '-o', output, ...more], NODE_FLAGS);
  await during?.(run);
  const code = await run.end();
  if (code !== 0)
    throw new Error(`osscar prune ended with ${code}: ${run.stderr.split('\n').slice(-3).join(' ')}`);
  const hash = hashOf(output);
  rmSync(output, { recursive: true });
  return { seconds: (performance.now() - start) / 1000, hash };
}

const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

console.log(
  `${cpus()[0].model}, ${cpus().length} cores, Node ${process.version}; ${ARGS.join(' ').replaceAll(root, '')}`,
);
try {
  const here = await prune();
  console.log(`in one process: ${here.seconds.toFixed(0)} s, ${here.hash}`);
  const check = (hash: string) => {
    if (hash === here.hash) return 'the same bytes';
    process.exitCode = 1;
    return `OTHER BYTES (${hash})`;
  };
  for (const count of mode === 'chaos' ? [] : [1, 2, 4]) {
    const redis = await RedisServer.start();
    const machines = new Machines(redis);
    machines.start(count);
    const { seconds, hash } = await prune(['--queue', redis.url, '--store', machines.store]);
    const { jobs, workers } = await machines.status();
    const total = (key: string) =>
      workers.reduce((sum: number, it: Record<string, number>) => sum + it[key], 0);
    console.log(
      `${count} workers: ${seconds.toFixed(0)} s, ${check(hash)}; ${jobs.done} jobs, ` +
        `${mib(total('read'))} read, ${mib(total('written'))} written`,
    );
    await machines.stop();
    await redis.stop();
  }
  if (mode === 'chaos') {
    const redis = await RedisServer.start();
    const machines = new Machines(redis);
    machines.start(2);
    const next = random(1);
    const done = { kills: 0, restarts: 0 };
    let isOver = false;
    const { seconds, hash } = await prune(['--queue', redis.url, '--store', machines.store], async (run) => {
      void run.end().then(() => {
        isOver = true;
      });
      await setTimeout(LIFE_MS);
      for (let event = 0; event < kills + restarts && !isOver; event++) {
        await setTimeout(LIFE_MS * (0.5 + next()));
        if (isOver) break;
        const isRestart = event % Math.ceil((kills + restarts) / restarts) === 2;
        if (isRestart) await redis.restart();
        else await machines.replace(event % 2);
        done[isRestart ? 'restarts' : 'kills']++;
      }
    });
    console.log(
      `2 workers, ${done.kills} of them killed, and ${done.restarts} restarts of Redis, which forgot everything: ` +
        `${seconds.toFixed(0)} s, ${check(hash)}`,
    );
    await machines.stop();
    await redis.stop();
  }
} finally {
  rmSync(root, { recursive: true, force: true });
}
