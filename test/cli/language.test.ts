// The commands on a language model: its folder, and the ONNX file written beside the weights.

import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { describeValue, readModel } from '../../src/graph/index.ts';
import { openTokenizer } from '../../src/pipeline/data/index.ts';
import { OPT_30B_CONFIG } from '../support/opt-30b.ts';
import {
  fixture,
  listing,
  osscar,
  osscarJson,
  osscarUnder,
  PROGRESS,
  refused,
  temporaryFolder,
} from './osscar.ts';

const MODEL = fixture('opt-kjv');
const TRAIN = fixture('text/kjv-train.txt');
const FAST = ['--samples', '8', '--seqlen', '32', '--target', 'residual', '--search', 'greedy'];
const FASTEST = ['--samples', '2', '--seqlen', '16', '--method', 'magnitude'];

const folder = temporaryFolder();
const path = (...names: string[]) => join(folder, ...names);
const newFolder = (name: string) => mkdtempSync(path(`${name}-`));
const readJson = (file: string) => JSON.parse(readFileSync(file, 'utf8'));

/** A file in a folder of its own. */
function file(name: string, content: string | Uint8Array): string {
  const it = join(newFolder('in'), name);
  writeFileSync(it, content);
  return it;
}

// What the tests read: a short text to be scored on, and the model pruned once.
const TEST = file('test.txt', readFileSync(fixture('text/kjv-test.txt'), 'utf8').slice(0, 12_000));
const SMALL = join(newFolder('pruned'), 'small');
// biome-ignore lint/suspicious/noExplicitAny: what is in it is the tests' own question
let report: any;

beforeAll(async () => {
  const { stdout, stderr } = await osscarUnder(
    [],
    ...['prune', MODEL, '--calibrate', TRAIN, '--data', TEST, '--keep', '0.5', ...FAST],
    ...['--format', 'onnx', '-o', SMALL, '--json'],
  );
  expect(stdout, stderr).toMatch(/^\{.*\}\n$/);
  report = JSON.parse(stdout);
});

describe.concurrent('osscar prune of a folder', () => {
  test('writes a folder that eval scores as the report says', async () => {
    expect(listing(join(SMALL, '..'))).toEqual(['small']);
    expect(listing(SMALL)).toEqual(
      ['README.md', 'model.onnx', 'osscar.json', ...listing(MODEL)].sort((a, b) => (a < b ? -1 : 1)),
    );
    expect(report).toMatchObject({ samples: 8, sample: [32], recipe: { keep: 0.5 } });
    expect(report.metric).toMatchObject({ data: 'evaluation' });
    expect(report.calibration).toEqual({ path: TRAIN, samples: 8, seqlen: 32, seed: 0, sampling: 'even' });
    expect(report.parameters.after).toBeLessThan(0.6 * report.parameters.before);

    const whole = await osscarJson('eval', MODEL, '--data', TEST, '--seqlen', '32');
    const small = await osscarJson('eval', SMALL, '--data', TEST, '--seqlen', '32');
    expect(whole).toMatchObject({ metric: 'perplexity', samples: report.metric.samples, seqlen: 32 });
    expect(whole.value / report.metric.before).toBeCloseTo(1, 6);
    expect(small.value / report.metric.after).toBeCloseTo(1, 6);
    expect(small.value).toBeGreaterThan(whole.value);
  });

  test('writes an ONNX file that eval scores the same, with the tokenizer of a folder', async () => {
    const onnx = join(SMALL, 'model.onnx');
    const flags = ['--data', TEST, '--tokenizer', MODEL, '--seqlen', '32'];
    const { value, samples } = await osscarJson('eval', onnx, ...flags);
    expect(samples).toBe(report.metric.samples);
    expect(value / report.metric.after).toBeCloseTo(1, 4);
  });

  test('takes ratios for heads, for neurons and for one structure', async () => {
    const { sizes, recipe } = await osscarJson(
      ...['prune', MODEL, '--calibrate', TRAIN, ...FASTEST, '-o', path('ratios')],
      ...['--keep-heads', '0.5', '--keep-mlp', '0.75', '--keep-layer', '2.mlp=0.25'],
      ...['--keep-layer', '1.heads=1'],
    );
    expect(recipe.keep).toEqual({ heads: 0.5, channels: 0.75, layers: { '2.mlp': 0.25, '1.heads': 1 } });
    expect(sizes).toEqual([
      { heads: 4, kvHeads: 4, ffn: 384 },
      { heads: 8, kvHeads: 8, ffn: 384 },
      { heads: 4, kvHeads: 4, ffn: 128 },
      { heads: 4, kvHeads: 4, ffn: 384 },
    ]);
    const inspected = await osscarJson('inspect', path('ratios'));
    expect(inspected.sizes).toEqual(sizes);
  });

  test('prints a table of before and after, and who can read what was written', async () => {
    const { code, stdout, stderr } = await osscar(
      ...['prune', MODEL, '--calibrate', TRAIN, ...FASTEST, '--keep', '0.5', '-o', path('text')],
      ...['--threads', '1', '--format', 'onnx', '--weights', 'int4'],
    );
    expect([code, stderr.replace(PROGRESS, '')]).toEqual([0, '']);
    expect(stdout).toMatch(/^magnitude, keep 0\.5, 8 structures, weights as int4, 2 windows of 16 tokens/);
    expect(stdout).toMatch(/parameters +957,440 +562,432 +58\.7 %/);
    expect(stdout).toMatch(/perplexity \(2 calibration windows\) +[\d.]+ +[\d.]+ +[\d.]+ %\n/);
    const { length } = readFileSync(join(path('text'), 'model.onnx'));
    const stored = `with weights as int4 \\(model\\.onnx, ${length.toLocaleString('en')} bytes\\)`;
    expect(stdout).toMatch(new RegExp(`${stored} +[\\d.]+ +[\\d.]+ +[\\d.]+ %\n`));
    expect(readFileSync(join(path('text'), 'README.md'), 'utf8')).toMatch(
      /\| the same of model\.onnx \(int4\) \| [\d.]+ \| [\d.]+ \|/,
    );
    expect(stdout).toMatch(/block 3 +4 heads +256 neurons/);
    expect(stdout).toContain('osscar.json');
  });

  test('writes sizes for transformers.js that config.json cannot say, where these are asked for', async () => {
    const output = path('any');
    const told = ['prune', MODEL, '--calibrate', TRAIN, '--keep', '0.5', '--format', 'transformers.js'];
    const narrow = [...told, '--heads', 'narrow', '--samples', '2', '--seqlen', '16', '-o', output];
    await refused(
      narrow,
      /--heads narrow does not go with sizes as --format transformers.js has them: .*; --no-loadable is for transformers.js 4.2 or later\n/,
    );
    const fast = ['--target', 'self', '--search', 'greedy', '--threads', '1'];
    const { code, stdout } = await osscar(...narrow, ...fast, '--no-loadable');
    expect(code).toBe(0);
    expect(stdout).toContain('not stock transformers. transformers.js loads that from 4.2 on.\n');
    expect(readJson(join(output, 'osscar.json')).blocks[0]).toMatchObject({
      heads: 8,
      keyDim: 8,
      valueDim: 8,
    });
    expect(listing(join(output, 'onnx'))).toEqual(['model.onnx', 'model_fp16.onnx']);
    const { inputs } = await readModel(readFileSync(join(output, 'onnx', 'model.onnx')));
    const caches = inputs.map(describeValue).filter(({ name }) => name.startsWith('past'));
    expect(caches.map(({ dims }) => dims.slice(1))).toEqual(
      Array.from({ length: 8 }, () => [8, 'past_sequence_length', 8]),
    );
  });

  test('keeps a folder that is there, unless --overwrite says otherwise', async () => {
    const output = join(newFolder('output'), 'there');
    mkdirSync(output);
    writeFileSync(join(output, 'config.json'), '{}');
    const args = ['prune', MODEL, '--calibrate', TRAIN, ...FASTEST, '--keep', '0.5', '-o', output];
    await refused(args, /there": exists already; .*--overwrite/);
    expect(listing(output)).toEqual(['config.json']);
    await osscarJson(...args, '--overwrite');
    expect(readJson(join(output, 'config.json'))).toMatchObject({ model_type: 'opt' });
    expect(listing(join(output, '..'))).toEqual(['there']);

    const mine = newFolder('mine');
    writeFileSync(join(mine, 'thesis.txt'), 'years of work');
    await refused([...args.slice(0, -1), mine, '--overwrite'], /mine-\w+": is not a model's folder/);
    expect(listing(mine)).toEqual(['thesis.txt']);
  });

  test('calibrates on a .jsonl of documents and on a .npy of token ids as on the text itself', async () => {
    const text = readFileSync(TRAIN, 'utf8').slice(0, 5000);
    const tokens = openTokenizer(
      readJson(join(MODEL, 'tokenizer.json')),
      readJson(join(MODEL, 'tokenizer_config.json')),
    )(text);
    const json = JSON.stringify({ text, source: 'KJV' });
    const [plain, documents, ids] = await Promise.all(
      [file('a.txt', text), file('a.jsonl', `${json}\n\n`), file('a.npy', int64Npy(tokens))].map((data, i) =>
        osscarJson('prune', MODEL, '--calibrate', data, ...FAST, '--keep', '0.75', '-o', path(`data-${i}`)),
      ),
    );
    const result = ({ layers, metric }: typeof report) => [metric, layers];
    expect(result(documents)).toEqual(result(plain));
    expect(result(ids)).toEqual(result(plain));
  });
});

describe.concurrent('osscar prune of an ONNX file that takes tokens', () => {
  test('prunes what a folder was written as', async () => {
    const output = join(newFolder('onnx'), 'smaller.onnx');
    const small = join(SMALL, 'model.onnx');
    const args = ['prune', small, '--calibrate', TRAIN, ...FAST, '--keep', '0.5', '-o', output];
    // The tokenizer is the one beside it.
    const pruned = await osscarJson(...args, '--data', TEST);
    expect(listing(join(output, '..'))).toEqual(['smaller.onnx']);
    expect(pruned.layers).toHaveLength(8);
    expect(pruned.metric).toMatchObject({ name: 'perplexity', data: 'evaluation' });
    expect(pruned.metric.before / report.metric.after).toBeCloseTo(1, 4);
    const flags = ['--data', TEST, '--tokenizer', MODEL, '--seqlen', '32'];
    const { value } = await osscarJson('eval', output, ...flags);
    expect(value / pruned.metric.after).toBeCloseTo(1, 5);
  });

  test('asks for the length of windows, and refuses ids outside the vocabulary', async () => {
    // Alone: beside it config.json would say how many positions there are.
    const small = file('alone.onnx', readFileSync(join(SMALL, 'model.onnx')));
    await refused(['eval', small, '--data', TEST, '--seqlen', '32'], /text needs a tokenizer; .*--tokenizer/);
    await refused(['eval', small, '--data', TEST, '--tokenizer', MODEL], /alone\.onnx: .*--seqlen/);
    const ids = file('ids.npy', int64Npy(Int32Array.from({ length: 64 }, (_, i) => 990 + i)));
    await refused(
      ['eval', small, '--data', ids, '--seqlen', '32'],
      /ids\.npy": token 1024 is outside the model's vocabulary of 1024: .*; see --tokenizer/,
    );
  });
});

describe.concurrent('osscar prune --dry-run', () => {
  test('says what a run takes, from config.json alone, and writes nothing', async () => {
    const it = newFolder('plan');
    cpSync(join(MODEL, 'config.json'), join(it, 'config.json'));
    const plan = await osscarJson('prune', it, '--dry-run', '--keep', '0.5', '-o', `${it}-out`);
    expect(existsSync(`${it}-out`)).toBe(false);
    expect(plan.parameters).toEqual(report.parameters);
    expect(plan).toMatchObject({ model: 'opt', fits: true });
    const { total, ...parts } = plan.bytes;
    expect(Object.values<number>(parts).reduce((sum, bytes) => sum + bytes)).toBe(total);
    expect(plan.seconds).toBeGreaterThan(0);
    const text = await osscar('prune', it, '--dry-run', '--keep', '0.5');
    expect([text.code, text.stderr]).toEqual([0, '']);
    expect(text.stdout).toMatch(/peak memory: [\d,]+ MiB .*\ntime: about [\d.]+ (s|min|h) on this machine/);
    expect(text.stdout).not.toContain('fit');
    expect(listing(it)).toEqual(['config.json']);
  });

  test('says what there may be at most, where the run alone finds the sizes', async () => {
    const bounded = await osscar('prune', MODEL, '--dry-run', '--max-loss', '1%');
    expect(bounded.stdout).toMatch(/ neurons -> at most .* neurons\nparameters: [\d,]+ -> at most [\d,]+\n/);
    const { stdout } = await osscar('prune', MODEL, '--dry-run', '--params', '0.5');
    expect(stdout).toMatch(/^parameters: [\d,]+ -> [\d,]+$/m);
  });

  test('says what would take less time, where it is long', async () => {
    const it = newFolder('large');
    writeFileSync(join(it, 'config.json'), JSON.stringify(OPT_30B_CONFIG));
    const { stdout } = await osscar('prune', it, '--dry-run', '--keep', '0.5');
    const slow =
      /^time: about \S+ h on this machine, in onnxruntime-web [\d.]+; less with onnxruntime-node \(npm i/m;
    expect(stdout).toMatch(slow);
  });

  test('says what it takes on several machines', async () => {
    const flags = ['prune', MODEL, '--keep', '0.5', '--machines', '8'];
    const { onMachines } = await osscarJson(...flags, '--network', '1', '--dry-run');
    expect(onMachines).toMatchObject({ machines: 8, shards: 8 });
    expect(onMachines.seconds.network).toBeCloseTo((8 * onMachines.networkBytes) / 1e9, 9);
    const { code, stdout } = await osscar(...flags, '--dry-run');
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^on 8 machines like this one: about \S+ \S+ \(running the model .*\n {2}assumed: 8 shards/m,
    );
    const out = join(newFolder('machines'), 'out');
    const real = await osscar(...flags, '--calibrate', MODEL, '-o', out);
    expect(real).toMatchObject({ code: 2, stderr: 'osscar: --machines is for --dry-run; leave it out\n' });
  });

  test('has OPT-30B in tiles, and says what its files cost, or that memory does not do', async () => {
    const large = { hidden_size: 7168, word_embed_proj_dim: 7168, ffn_dim: 28672, num_hidden_layers: 48 };
    const more = { num_attention_heads: 56, vocab_size: 50272, max_position_embeddings: 2048 };
    const config = { ...readJson(join(MODEL, 'config.json')), ...large, ...more };
    const it = join(file('config.json', JSON.stringify(config)), '..');
    const { code, stdout, stderr } = await osscar('prune', it, '--dry-run', '--keep', '0.5');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^opt, 48 blocks: 56 heads \(56 key-value\), 28672 neurons -> 28 heads/);
    expect(stdout).toMatch(/parameters: 29,9\d\d,\d{3},\d{3} -> /);
    expect(stdout).toMatch(/files: at most [\d,]+ MiB at once, .* at 500 MB\/s\)/);
    expect(stdout).not.toContain('It does not fit');
    const within = ['--keep', '0.5', '--memory'];
    const bound = await osscarJson('prune', it, '--dry-run', ...within, '26GiB');
    expect(bound.fits).toBe(true);
    expect(bound.bytes.total).toBeLessThanOrEqual(26 * 2 ** 30);
    const small = await osscar('prune', it, '--dry-run', ...within, '8GiB');
    expect(small.stdout).toMatch(/^It does not fit --memory, with all in files that can be/m);
    // Tiles have no baselines.
    const baseline = await osscar('prune', it, '--dry-run', '--keep', '0.5', '--method', 'ziplm');
    expect(baseline.stdout).toMatch(/It does not fit: .* bytes of WebAssembly memory, .*--keep-mlp 1/);
  });
});

test('osscar inspect lists the structures of every block of a folder', async () => {
  const { code, stdout, stderr } = await osscar('inspect', MODEL);
  expect([code, stderr]).toEqual([0, '']);
  const [title, ...lines] = stdout.trimEnd().split('\n');
  expect(title).toMatch(
    RegExp(`^${MODEL}: opt, 4 blocks, 128 features, vocabulary 1024, [\\d,]+ parameters$`),
  );
  // All of a block's matrices hang on heads and neurons, and so do the biases but those of 2 · 128 outputs.
  const { parameters, kinds } = await osscarJson('inspect', MODEL);
  expect(kinds.head.parameters).toBe(4 * (4 * 128 * 128 + 3 * 128));
  expect(kinds.channel.parameters).toBe(4 * (2 * 128 * 512 + 512));
  expect(lines[0]).toBe(
    `attention heads: ${((100 * kinds.head.parameters) / parameters).toFixed(1)} % of the parameters and ${/[\d.]+ % of the multiply-adds/.exec(lines[0])?.[0]} hang on them`,
  );
  expect(lines[2]).toContain('(--heads narrow)');
  const rows = lines.slice(4);
  expect(rows[0]).toMatch(/^structure +groups +parameters +multiply-adds$/);
  expect(rows.slice(1).map((line) => line.split(/ +/)[0])).toEqual(
    [0, 1, 2, 3].flatMap((i) => [`${i}.heads`, `${i}.mlp`]),
  );
  expect(rows[1]).toMatch(/^0\.heads +8 groups of 1 head of 16 +65,920 +[\d,]+$/);
});

/** Token ids as numpy saves them. */
function int64Npy(tokens: Int32Array): Uint8Array {
  const header = `{'descr': '<i8', 'fortran_order': False, 'shape': (${tokens.length},), }`.padEnd(117);
  const start = [0x93, ...Buffer.from('NUMPY'), 1, 0, header.length + 1, 0, ...Buffer.from(`${header}\n`)];
  return Buffer.concat([Uint8Array.from(start), new Uint8Array(BigInt64Array.from(tokens, BigInt).buffer)]);
}
