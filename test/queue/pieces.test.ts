// Runs whose pieces are made by workers in this process, over a queue that is a list: who makes what, and that it is the same.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { memoryOutput } from '../../src/checkpoint/index.ts';
import { openFolder } from '../../src/disk/folder.ts';
import { disk } from '../../src/disk/host.ts';
import { InputError } from '../../src/errors.ts';
import {
  type Dataset,
  feedsDataset,
  inputOf,
  type Job,
  memoryStore,
  type OpenedLanguageModel,
  openLanguageModel,
  openModel,
  openTokenizer,
  type PruneOptions,
  prune,
  type Queue,
  type RunStore,
  type Server,
  tokenWindows,
} from '../../src/pipeline/index.ts';
import { folderSubject } from '../../src/pipeline/models/folder.ts';
import { ship } from '../../src/pipeline/queue/snapshot.ts';
import { contentHash } from '../../src/pipeline/store/hash.ts';
import { host } from '../../src/run/host.ts';
import { prune as pruneIn, serving, setHost } from '../../src/run/index.ts';
import { BART, decoderWeights } from '../architectures/decoders.ts';
import { DINOV2, encoderWeights } from '../architectures/encoders.ts';
import { OPT as SMALL, tinyWeights, uniformSizes } from '../architectures/tiny.ts';
import { engine, fashion, fixtureBytes, folderOf, noise } from '../pipeline/fixtures.ts';

const OPTIONS = { target: 'residual', search: 'greedy', keep: 0.5 } as const;

/** Hands jobs to whichever server is free. */
class ListQueue implements Queue {
  readonly jobs: Job[] = [];
  readonly #free: Server[];
  readonly #waiting: (() => void)[] = [];

  constructor(servers: readonly Server[]) {
    this.#free = [...servers];
  }

  async run(_: string, job: Job): Promise<void> {
    this.jobs.push(job);
    while (this.#free.length === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const server = this.#free.pop()!;
    try {
      await server.do(job);
    } finally {
      this.#free.unshift(server);
      this.#waiting.shift()?.();
    }
  }
}

async function withServers<R>(
  store: RunStore,
  count: number,
  run: (servers: Server[]) => Promise<R>,
): Promise<R> {
  const settings = { threads: 1, engine };
  const servers: Server[] = [];
  const more = async (): Promise<R> =>
    servers.length === count
      ? run(servers)
      : serving(store, settings, (server) => {
          servers.push(server);
          return more();
        });
  return more();
}

const file = await openModel(fixtureBytes('fashion-mobilenet'), { engine, name: 'fashion-mobilenet' });
const images = await fashion('calib', 24);
const OPT = join(import.meta.dirname, '../fixtures/opt-kjv');
const folder = await openFolder(OPT);
afterAll(() => folder.close());
const language = await openLanguageModel(folder);
const read = (name: string) => JSON.parse(readFileSync(join(OPT, name), 'utf8'));
const tokenizer = openTokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
const text = readFileSync(join(OPT, '../text/kjv-train.txt'), 'utf8').slice(0, 40000);
const windows = tokenWindows(tokenizer(text), { samples: 12, seqlen: 16 });

async function bytesOfFile(options: Partial<PruneOptions>): Promise<Uint8Array> {
  const { written } = await prune(file, {
    engine,
    calibration: images,
    ...OPTIONS,
    ...options,
  } as PruneOptions);
  return written.model;
}
const small = await folderOf(SMALL, tinyWeights(SMALL, uniformSizes(SMALL)));
const ids = Int32Array.from({ length: 480 }, (_, i) => (i * i) % 40);
const texts = tokenWindows(ids, { samples: 40, seqlen: 12 });
const bytesOfFolder = (options: Partial<PruneOptions>) => bytesOfLanguage(options, small, texts);
const bytesOfNarrow = async (options: Partial<PruneOptions>) =>
  bytesOfLanguage(options, await openLanguageModel(small.folder, { heads: 'narrow' }), texts);
const wide = { ...DINOV2, image_size: 27 };
const wideFolder = (await folderOf(wide, encoderWeights(wide))).folder;
const bytesOfImages = async (options: Partial<PruneOptions>) =>
  bytesOfLanguage(options, await openLanguageModel(wideFolder, { image: 15 }), await noise(24, [2, 15, 15]));
const behind = await folderOf(BART, decoderWeights(BART), undefined, 'decoder');
const states = (i: number) => ({
  dims: [3 + (i % 4), 32],
  data: Float32Array.from({ length: (3 + (i % 4)) * 32 }, (_, at) => Math.sin(i + at)),
});
const said = await feedsDataset(
  Array.from({ length: 24 }, (_, i) => ({
    inputs: {
      input_ids: {
        dims: [5 + (i % 6 > 2 ? 1 : 0)],
        data: Float32Array.from({ length: 5 + (i % 6 > 2 ? 1 : 0) }, (_, at) => (7 * i + at) % 40),
      },
      encoder_hidden_states: states(i),
    },
  })),
  inputOf(behind),
);
const bytesOfDecoder = (options: Partial<PruneOptions>) => bytesOfLanguage(options, behind, said);
async function bytesOfLanguage(
  options: Partial<PruneOptions>,
  model: OpenedLanguageModel,
  calibration: Dataset,
): Promise<Uint8Array> {
  const output = memoryOutput();
  await prune(model, { engine, calibration, ...OPTIONS, ...options, output } as PruneOptions & {
    output: typeof output;
  });
  return new Uint8Array(await output.files().get('model.safetensors')!.arrayBuffer());
}

test.each([
  ['a file', bytesOfFile],
  ['a folder', bytesOfFolder],
  ['a folder whose heads become narrow', bytesOfNarrow],
  ['a folder of images that are smaller than it says', bytesOfImages],
  ['a decoder, whose parts all read what an encoder gives', bytesOfDecoder],
])('%s has the bytes of a run here, whoever makes which pieces', async (_, bytesOf) => {
  const expected = await bytesOf({ shards: 3 });
  const store = memoryStore();
  await withServers(store, 2, async (servers) => {
    const queue = new ListQueue(servers);
    expect(await bytesOf({ shards: 3, queue, store })).toEqual(expected);
    expect(new Set(queue.jobs.map(({ shard }) => shard))).toEqual(new Set([undefined, 0, 1, 2]));
  });
});

test('workers are told that it is the decoder of a folder, and how large what it reads of the encoder is', async () => {
  const shipment = await folderSubject(behind).shipment();
  const { model, samples } = await ship(memoryStore(), shipment, said, 2);
  expect(model).toMatchObject({ kind: 'folder', part: 'decoder' });
  expect(samples.beside).toEqual({ encoder_hidden_states: [6, 32] });
  const both = await openFolder(join(import.meta.dirname, '../fixtures/bart-kjv'));
  onTestFinished(() => both.close());
  const [encoder, decoder] = await Promise.all(
    (['encoder', 'decoder'] as const).map(async (part) =>
      contentHash(folderSubject(await openLanguageModel(both, { part })).contents()),
    ),
  );
  expect(encoder).not.toBe(decoder);
});

test('of a queue a report has no address, in which may be a password', async () => {
  const store = memoryStore();
  await withServers(store, 1, async (servers) => {
    const queue = new ListQueue(servers);
    const before = host;
    onTestFinished(() => setHost(before)); // of all files that this process runs
    setHost({ ...disk, queue: async () => Object.assign(queue, { close() {} }) });
    const { report } = await pruneIn(join(OPT, '../fashion-mobilenet.onnx'), {
      ...{ ...OPTIONS, engine, calibration: images, shards: 2 },
      ...{ work: store, queue: 'redis://me:secret@127.0.0.1' },
    });
    expect(queue.jobs.length).toBeGreaterThan(0);
    expect(report.settings).toMatchObject({ shards: 2, search: 'greedy' });
    expect(JSON.stringify(report)).not.toContain('secret');
  });
});

test('of a folder the store gets the model alone, and other files there make no other run of it', async () => {
  const store = memoryStore();
  const others = ['pytorch_model.bin', 'model.gguf', 'README.md'];
  const refuse = (file: string) => {
    if (others.includes(file)) throw new InputError(`"${file}": nobody needs it`);
    return file;
  };
  const crowded = await openLanguageModel({
    ...folder,
    list: async () => [...(await folder.list()), ...others],
    size: (file) => folder.size(refuse(file)),
    read: (file, offset, length) => folder.read(refuse(file), offset, length),
  });
  for (const model of [language, crowded])
    await withServers(store, 1, (servers) =>
      prune(model, {
        ...{ engine, calibration: windows, ...OPTIONS, shards: 2, output: memoryOutput() },
        ...{ store, queue: new ListQueue(servers) },
      }),
    );
  expect(await store.list('runs/')).toHaveLength(1);
  const files = await Promise.all(
    (await folder.list()).map((file) => contentHash([readFileSync(join(OPT, file))])),
  );
  expect(await store.list('chunks/')).toEqual(files.map((hash) => `chunks/${hash}`).sort());
});

test('a run ends in the words of a store that is full, and goes on once there is room', async () => {
  const expected = await bytesOfFile({ shards: 2 });
  const store = memoryStore();
  let room = 12;
  const small: RunStore = {
    ...store,
    async write(key, bytes) {
      if (room-- <= 0) throw new InputError('"store": no space left');
      await store.write(key, bytes);
    },
  };
  const runOver = (to: RunStore) =>
    withServers(to, 1, (servers) => bytesOfFile({ shards: 2, queue: new ListQueue(servers), store: to }));
  await expect(runOver(small)).rejects.toThrow('no space left');
  const before = await store.list('solved/');
  expect(await runOver(store)).toEqual(expected);
  expect(await store.list('solved/')).toEqual(expect.arrayContaining(before));
});

test('shards are refused where samples are too few for them, and a queue without a store', async () => {
  await expect(bytesOfFile({ shards: 13 })).rejects.toThrow('expected a whole number up to 12');
  await expect(bytesOfFile({ queue: new ListQueue([]) })).rejects.toThrow('expected a `store`');
});
