import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blobFolder, type Folder, memoryOutput, openCheckpoint } from '../../src/checkpoint/index.ts';
import { openFolder } from '../../src/disk/folder.ts';
import { scratchFile } from '../../src/disk/scratch.ts';
import { type Engine, openEngine } from '../../src/engine/index.ts';
import { InputError } from '../../src/errors.ts';
import { subgraph, toFloat32, writeModel } from '../../src/graph/index.ts';
import {
  compareMethods,
  type Dataset,
  evaluate,
  memoryStore,
  type OpenedLanguageModel,
  openLanguageModel,
  openModel,
  openTokenizer,
  type PruneOptions,
  type PruneReport,
  plan,
  prune as pruneOpened,
  tokenWindows,
} from '../../src/pipeline/index.ts';
import { decode, encode } from '../../src/pipeline/store/artefact.ts';
import { openSession, type Session } from '../../src/pool/index.ts';
import { OPT, tinyWeights, uniformSizes } from '../architectures/tiny.ts';
import { once } from '../support/once.ts';
import { folderOf } from './fixtures.ts';

const FIXTURES = join(import.meta.dirname, '../fixtures');
const LENGTH = 64;

let engine: Engine;
let session: Session;
let folder: Awaited<ReturnType<typeof openFolder>>;
let opened: OpenedLanguageModel;
let windowsOf: (file: string, samples: number) => Dataset;
let calibration: Dataset;
let evaluation: Dataset;

beforeAll(async () => {
  engine = await openEngine({ threads: 1 });
  session = await openSession({ threads: 1, simd: 'baseline' });
  folder = await openFolder(join(FIXTURES, 'opt-kjv'));
  opened = await openLanguageModel(folder);
  const encode = openTokenizer(JSON.parse(readFileSync(join(FIXTURES, 'opt-kjv/tokenizer.json'), 'utf8')));
  windowsOf = (file: string, samples: number) =>
    tokenWindows(encode(readFileSync(join(FIXTURES, 'text', file), 'utf8').slice(0, 60_000)), {
      samples,
      seqlen: LENGTH,
    });
  calibration = windowsOf('kjv-train.txt', 16);
  evaluation = windowsOf('kjv-test.txt', 16);
});

afterAll(() => folder.close());

const TARGET = { kind: 'residual', blend: 1 } as const;

async function prune(options: Partial<PruneOptions>) {
  const output = memoryOutput('pruned');
  const { report } = await pruneOpened(opened, {
    ...{ engine, session, calibration, evaluation, keep: 0.5, target: TARGET, search: 'greedy' },
    ...options,
    output,
  });
  return { report: report as PruneReport & Required<Pick<PruneReport, 'metric'>>, files: output.files() };
}

const toThird = once(() => prune({ keep: 0.3 }));
const selfToThird = once(() => prune({ keep: 0.3, target: 'self' }));
const halves = once(() => prune({ onnx: 'beside', weights: 'float16' }));

const bytesOf = async (file: Blob) => new Uint8Array(await file.arrayBuffer());

/** All of a folder's weights. */
async function weightsOf(files: Map<string, Blob>): Promise<string> {
  const names = [...files.keys()].filter((name) => name.endsWith('.safetensors')).sort();
  const bytes = await Promise.all(names.map((name) => files.get(name)!.arrayBuffer()));
  return bytes.map((it) => Buffer.from(it).toString('base64')).join();
}

/** A session of which something is otherwise. */
function seenThrough(session: Session, otherwise: object): Session {
  return new Proxy(session, {
    get(target, key) {
      const value = Reflect.get(key in otherwise ? otherwise : target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Names of pruned structures and how many of their groups stay. */
const sizes = ({ layers }: PruneReport) => layers.map(({ name, kept }) => [name, kept.length]);

const reopen = (files: Map<string, Blob>): Promise<OpenedLanguageModel> =>
  openLanguageModel(blobFolder(files));

describe('a folder', () => {
  test('is fitted as a whole to what the dense model gives, in every block, and keeps more of the perplexity', async () => {
    const { report, files } = await toThird();
    const store = memoryStore();
    const options = { keep: 0.3, distill: 4, store };
    const distilled = await prune(options);
    expect(distilled.report.distilled!.left).toBeLessThan(0.98);
    expect(distilled.report.metric.after).toBeLessThan(0.98 * report.metric.after);
    expect(distilled.report.maxDifference).toBeLessThan(2e-2);
    expect(sizes(distilled.report)).toEqual(sizes(report));
    const [before, after] = [await reopen(files), await reopen(distilled.files)];
    for (const name of before.checkpoint.tensors.keys()) {
      const [a, b] = [await before.checkpoint.read(name), await after.checkpoint.read(name)];
      // The table of tokens is the head, too; what scales channels stays.
      const isLayer = /layers.*(proj|fc\d)\.weight/.test(name);
      expect(String(a) === String(b), name).toBe(!isLayer && !/(proj|fc\d)\.bias/.test(name));
    }
    expect(await store.list('distilled/')).toHaveLength(1);
    expect(await weightsOf((await prune(options)).files)).toBe(await weightsOf(distilled.files));
  });

  test('writes a smaller folder that keeps more of the perplexity than magnitude pruning', async () => {
    const { report, files } = await halves();
    const magnitude = await prune({ method: 'magnitude' });
    expect(report.metric.before).toBeLessThan(report.metric.after);
    expect(report.metric.after).toBeLessThan(0.5 * magnitude.report.metric.after);
    expect(report.maxDifference).toBeLessThan(2e-2);

    const { language, checkpoint } = await reopen(files);
    expect(language.sizes).toEqual(Array(4).fill({ heads: 4, kvHeads: 4, ffn: 256 }));
    expect(checkpoint.tensors.get('model.decoder.layers.0.self_attn.q_proj.weight')?.shape).toEqual([
      64, 128,
    ]);
    // tied embeddings stay tied, in the type that they had
    expect([...checkpoint.tensors.keys()].sort()).toEqual([...opened.checkpoint.tensors.keys()].sort());
    expect(new Set(Array.from(checkpoint.tensors.values(), ({ dtype }) => dtype))).toEqual(
      new Set(['float16']),
    );
    for (const file of ['config.json', 'osscar.json', 'tokenizer.json', 'model.onnx'])
      expect(files.has(file)).toBe(true);
    expect(sizes(report)).toEqual(
      [0, 1, 2, 3].flatMap((i) => [
        [`${i}.heads`, 4],
        [`${i}.mlp`, 256],
      ]),
    );
    expect(report.sizes).toEqual(language.sizes);
  });

  test.each([
    ['int8', 0.6, 1.02],
    ['q4', 0.45, 1.05],
  ] as const)('has %s in its ONNX files where these are asked for', async (weights, share, loss) => {
    const plain = await halves();
    const { report, files } = await prune({ onnx: 'beside', weights });
    const { size } = files.get('model.onnx')!;
    expect(size / plain.files.get('model.onnx')!.size).toBeLessThan(share);
    expect(report.metric).toEqual(plain.report.metric); // of the folder
    expect(await weightsOf(files)).toBe(await weightsOf(plain.files));
    const graph = await openModel(await bytesOf(files.get('model.onnx')!), { engine, size: [LENGTH] });
    expect(graph.quantized).toEqual([]);
    const products = graph.source.nodes.filter(({ opType }) => opType === 'MatMulNBits');
    const inBlocks = products.filter(({ input }) => graph.source.tensors.has(input[2]));
    expect(inBlocks).toHaveLength(weights === 'q4' ? 6 * opened.language.blocks : 0);
    expect(products.length - inBlocks.length).toBe(weights === 'q4' ? 1 : 0); // what makes scores with the embedding
    // Blocks of an output have scales of their own: on those of one scale they would be multiples of it, 7 at most.
    const ratios = inBlocks.map(({ input }) => {
      const [first, second] = toFloat32(graph.source.tensors.get(input[2])!);
      return second / first;
    });
    const isMultiple = (ratio: number) =>
      [1, 2, 3, 4, 5, 6, 7].some((b) => Math.abs(ratio * b - Math.round(ratio * b)) < 1e-3);
    expect(ratios.filter((ratio) => !isMultiple(ratio)).length).toBeGreaterThanOrEqual(inBlocks.length / 2);
    const perplexity = await evaluate(graph, evaluation, { engine });
    expect(perplexity!.value / report.metric.after).toBeLessThan(loss);
    expect(report.stored).toMatchObject({ weights, file: 'model.onnx', bytes: size });
    expect(report.stored!.metric! / perplexity!.value).toBeCloseTo(1, 5);
    // Biases are fitted along with weights that are put on steps.
    const bias = 'model.decoder.layers.0.fc2.bias';
    const { checkpoint } = await reopen(files);
    const [own, fitted] = [await checkpoint.read(bias), toFloat32(graph.source.tensors.get(bias)!)];
    expect(own.every((value, i) => value === fitted[i])).toBe(weights === 'int8');
    await expect(prune({ weights })).rejects.toThrow(
      "opt-kjv: `weights` is of ONNX files, and safetensors are written; `format: 'onnx'` adds one",
    );
  });

  test.each([
    [undefined, 'fp32', ['model.onnx', 'model_fp16.onnx']],
    ['float16', 'fp16', ['model.onnx', 'model_fp16.onnx']],
    ['int8', 'q8', ['model.onnx', 'model_fp16.onnx', 'model_quantized.onnx']],
    ['int4', 'q4', ['model.onnx', 'model_fp16.onnx', 'model_q4.onnx']],
    ['q8', 'q8', ['model.onnx', 'model_fp16.onnx', 'model_quantized.onnx']],
  ] as const)(
    'of transformers.js with weights as %s says which file is loaded',
    async (weights, dtype, names) => {
      const { files, report } = await prune({
        ...{ onnx: 'transformers.js', loadable: true, weights, method: 'magnitude', target: 'self' },
      });
      const written = [...files.keys()].filter((file) => file.startsWith('onnx/'));
      expect(written.sort()).toEqual(names.map((file) => `onnx/${file}`));
      const config = JSON.parse(await files.get('config.json')!.text());
      expect(config['transformers.js_config']).toEqual({ dtype });
      const file = written.find((it) =>
        it.endsWith({ fp16: '_fp16.onnx', q8: '_quantized.onnx', q4: '_q4.onnx' }[dtype as never] ?? '-'),
      );
      expect(report.stored?.file).toBe(file);
      // Whatever runs the others runs these.
      const { source } = await openModel(await bytesOf(files.get(file ?? written[0])!), {
        engine,
        size: [LENGTH],
      });
      const others = source.nodes.filter(({ domain }) => domain !== '');
      expect(others.length > 0).toBe(weights === 'q8');
      expect(report.stored?.bytes).toBe(file && files.get(file)!.size);
    },
  );

  test('with sizes that loaders read is compared with other methods at these', async () => {
    const options = { engine, session, calibration, keep: 0.5, loadable: true, target: TARGET } as const;
    const output = memoryOutput('pruned');
    const { report } = await pruneOpened(opened, { ...options, output });
    const [magnitude] = await compareMethods(opened, report, ['magnitude'], options);
    const same = await prune({ ...options, evaluation: undefined, method: 'magnitude' });
    expect(magnitude.metric).toEqual(same.report.metric);
  });

  test('keeps the same heads and neurons as pruning the whole graph does', async () => {
    const options = { keep: { heads: 0.5, channels: 0.3 }, target: TARGET, damping: 1e-2 } as const;
    const { report } = await prune(options);
    const whole = writeModel(await opened.language.whole(opened.checkpoint)).model;
    const graph = await openModel(whole, { engine, size: [LENGTH] });
    const result = await pruneOpened(graph, { engine, session, calibration, search: 'greedy', ...options });
    expect(result.report.layers.map(({ kept }) => kept)).toEqual(report.layers.map(({ kept }) => kept));
  });

  test('within a budget keeps the heads that were kept when its sizes were measured', async () => {
    const store = memoryStore();
    // Nothing but the names and sizes of what is found matters: of a model that is small and not trained.
    const tiny = await folderOf(OPT, tinyWeights(OPT, uniformSizes(OPT)));
    const tokens = Int32Array.from({ length: 480 }, (_, i) => (i * i) % 40);
    const calibration = tokenWindows(tokens, { samples: 40, seqlen: 12 });
    const heads = async () => {
      const options = { engine, session, calibration, params: 0.7, effort: 'low', target: TARGET } as const;
      const { report } = await pruneOpened(tiny, { ...options, store, output: memoryOutput('pruned') });
      const layers = report.layers.filter(({ kind }) => kind === 'head');
      return new Map(layers.map(({ name, kept }) => [name, kept]));
    };
    const first = await heads();
    expect(first.size).toBeGreaterThan(0);
    // A run that finds other heads in the store than it would choose takes those.
    const others = new Map([...first].map(([name, kept]) => [name, kept.map((_, i) => i)]));
    expect(others).not.toEqual(first);
    for (const name of await store.list('trial/')) {
      const kept = (await decode<{ found: { supports: [string, number[]][] } }>((await store.read(name))!))!;
      const trial = kept.found;
      const same = ([name, kept]: [string, number[]]) => kept.length === others.get(name)?.length;
      const supports = trial.supports.map((it) => (same(it) ? [it[0], others.get(it[0])] : it));
      await store.write(name, await encode({ ...kept, found: { ...trial, supports } }));
    }
    expect(await heads()).toEqual(others);
  });

  test('writes sizes that stock loaders read where config.json can say them', async () => {
    const { report, files } = await prune({ keep: { channels: 0.5 }, method: 'magnitude' });
    const config = JSON.parse(await files.get('config.json')!.text());
    expect(config).toEqual({ ...opened.checkpoint.config, ffn_dim: 256 });
    expect(files.has('osscar.json')).toBe(false);
    expect(report.statement).toMatch(/stock transformers/);
  });

  test('takes a ratio for a single structure', async () => {
    const { report } = await prune({ keep: { all: 1, layers: { '2.mlp': 0.25 } }, method: 'magnitude' });
    expect(sizes(report)).toEqual([['2.mlp', 128]]);
    await expect(prune({ keep: { all: 1, layers: { '4.mlp': 0.25 } } })).rejects.toThrow(
      'no prunable structure "4.mlp"',
    );
  });

  test('refits the norm before the scores: what is left to the dense features is at right angles to them', async () => {
    const norm = 'model.decoder.final_layer_norm';
    const features = async ({ language, checkpoint }: OpenedLanguageModel) => {
      const whole = await language.whole(checkpoint);
      const session = await engine.load(
        subgraph(whole, ['input_ids'], [norm], { shapes: new Map(), types: new Map() }),
      );
      const rows: number[] = [];
      for await (const { inputs, count } of calibration.batches(8)) {
        const { [norm]: out } = await session.run({ input_ids: { dims: [count, LENGTH], data: inputs } });
        rows.push(...out.data);
      }
      await session.release();
      return rows;
    };
    const { files } = await toThird();
    const [y, z] = [await features(opened), await features(await reopen(files))];
    const left = {
      sum: new Float64Array(128),
      product: new Float64Array(128),
      square: new Float64Array(128),
    };
    z.forEach((value, at) => {
      left.sum[at % 128] += y[at] - value;
      left.product[at % 128] += (y[at] - value) * value;
      left.square[at % 128] += value * value;
    });
    const rows = z.length / 128;
    left.square.forEach((square, j) => {
      expect(Math.abs(left.product[j]) / square).toBeLessThan(5e-3); // weights are float16
      expect(Math.abs(left.sum[j]) / rows).toBeLessThan(5e-3 * Math.sqrt(square / rows));
    });
    // And not where nothing is corrected.
    const weight = async ({ files }: Awaited<ReturnType<typeof prune>>) =>
      (await reopen(files)).checkpoint.read(`${norm}.weight`);
    const dense = await opened.checkpoint.read(`${norm}.weight`);
    for (const options of [{ correct: false }, { method: 'magnitude' }] as const)
      expect(await weight(await prune({ keep: 0.3, ...options }))).toEqual(dense);
    expect(await weight(await selfToThird())).toEqual(dense);
  });

  test('gives the same model where hidden states go through a file', async () => {
    const kept = await toThird();
    let opens = 0;
    const open = new Set<object>();
    const scratch = () => {
      opens++;
      const file = scratchFile();
      open.add(file);
      const close = async () => {
        open.delete(file);
        await file.close();
      };
      return { ...file, close };
    };
    const spilled = await prune({ keep: 0.3, activationBytes: 0, scratch });
    expect(opens).toBeGreaterThan(1);
    expect(open.size).toBe(0);
    expect(spilled.report.layers).toEqual(kept.report.layers);
    expect(await spilled.files.get('model.safetensors')!.arrayBuffer()).toEqual(
      await kept.files.get('model.safetensors')!.arrayBuffer(),
    );
    await expect(prune({ activationBytes: 0 })).rejects.toMatchObject({
      code: 'ERR_OSSCAR_OUT_OF_MEMORY',
      bytes: 2 * 4 * 16 * 64 * 128,
    });
  });

  test('leaves nothing behind when it is aborted', async () => {
    const abort = new AbortController();
    const output = memoryOutput('pruned');
    const running = pruneOpened(opened, {
      ...{ engine, session, calibration, output, keep: 0.5, target: TARGET, signal: abort.signal },
      onProgress: ({ done }) => done === 2 && abort.abort(new Error('enough')),
    });
    await expect(running).rejects.toThrow('enough');
    expect(await output.list()).toEqual([]);
  });

  test('auto takes the target with the least loss on windows held out from its fit', async () => {
    const { report } = await prune({ target: 'auto', keep: 0.3 });
    const { chosen, candidates = [] } = report.target;
    const errors = candidates.map(({ error }) => error);
    expect(candidates.length).toBeGreaterThan(2);
    expect(errors).toEqual([...errors].sort((a, b) => a - b));
    expect(candidates[0]).toMatchObject(chosen);
    const self = await selfToThird();
    expect(report.metric.after).toBeLessThan(self.report.metric.after);
  });

  test('says before any work that a layer does not fit, with its bytes', async () => {
    const small = await openSession({ threads: 1, maximumBytes: 2 ** 20 });
    const idle: Engine = { name: 'idle', load: () => Promise.reject(new Error('loaded a model')) };
    const { bytes } = plan(opened.language, {
      ...{ keep: 0.5, target: 'self', search: 'greedy', samples: 16, sample: [LENGTH] },
      maximumBytes: 2 ** 20,
    });
    await expect(prune({ session: small, engine: idle })).rejects.toMatchObject({
      ...{ code: 'ERR_OSSCAR_OUT_OF_MEMORY', bytes: bytes.wasm },
      message: expect.stringContaining('more than the 1048576 there are'),
    });
  });

  test('has layers that are larger than one memory solved in tiles, with the same bits', async () => {
    // Of four or more some would be summed apart.
    const few = { calibration: windowsOf('kjv-train.txt', 3), damping: 0.01 };
    const whole = await prune(few);
    const bytes = plan(opened.language, { keep: 0.5, search: 'greedy', samples: 3, sample: [LENGTH] }).bytes
      .wasm;
    const tiled: string[] = [];
    const tight = seenThrough(session, {
      maximumBytes: bytes - 1,
      solveTiled: (...args: Parameters<Session['solveTiled']>) => {
        tiled.push(`${args[0].fit.p} inputs to ${args[2]}`);
        return session.solveTiled(...args);
      },
    });
    const { files } = await prune({ ...few, session: tight });
    expect(tiled).toEqual(Array(4).fill('512 inputs to 256'));
    expect((await weightsOf(files)) === (await weightsOf(whole.files))).toBe(true);
  });

  test('is refused before any work where it does not fit the memory that it may take', async () => {
    const idle: Engine = { name: 'idle', load: () => Promise.reject(new Error('loaded a model')) };
    await expect(prune({ memory: '100MB', engine: idle })).rejects.toMatchObject({
      ...{ code: 'ERR_OSSCAR_OUT_OF_MEMORY' },
      message: expect.stringMatching(/takes \d+ bytes at its peak, more than the 100000000 of `memory`/),
    });
    await expect(prune({ memory: 'much' })).rejects.toThrow(
      '`memory`: expected bytes such as 8GiB, at least 1MiB, got "much"',
    );
    const { report } = await prune({ memory: '1GiB' });
    expect(report.memory.plannedBytes).toBeLessThanOrEqual(2 ** 30);
  });

  test('refuses windows that do not go with the model', async () => {
    const windows = (seqlen: number, id: number) =>
      tokenWindows(new Int32Array(1000).fill(id), { samples: 2, seqlen });
    await expect(prune({ calibration: windows(300, 1) })).rejects.toThrow('windows of 2 to 256 tokens');
    await expect(prune({ calibration: windows(64, 5000) })).rejects.toThrow('token 5000 is outside');
    await expect(prune({ keep: 0 })).rejects.toThrow(InputError);
  });
});

describe('openLanguageModel', () => {
  const changed = async (change: (config: Record<string, unknown>) => void): Promise<Folder> => {
    const folder = opened.folder;
    const files: [string, Uint8Array][] = [];
    for (const file of await folder.list())
      files.push([file, await folder.read(file, 0, await folder.size(file))]);
    const { config } = await openCheckpoint(blobFolder(files));
    const copy = { ...config };
    change(copy);
    const json = new TextEncoder().encode(JSON.stringify(copy));
    return blobFolder(files.map(([name, bytes]) => (name === 'config.json' ? [name, json] : [name, bytes])));
  };

  test('names the tensor where config.json contradicts it', async () => {
    const folder = await changed((config) => {
      config.ffn_dim = 500;
    });
    await expect(openLanguageModel(folder)).rejects.toThrow(
      /layers\.0\.fc1\.weight" expected \[500,128\], got \[512,128\]/,
    );
  });

  test('names the model type that it does not know', async () => {
    const folder = await changed((config) => {
      config.model_type = 'mamba';
    });
    await expect(openLanguageModel(folder)).rejects.toMatchObject({ code: 'ERR_OSSCAR_UNSUPPORTED_MODEL' });
  });
});
