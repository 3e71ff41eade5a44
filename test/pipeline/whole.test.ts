// Halves of blocks and convolutions beside shortcuts that go whole, in whole runs.

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { blobFolder, memoryOutput } from '../../src/checkpoint/index.ts';
import { openFolder } from '../../src/disk/folder.ts';
import { readModel } from '../../src/graph/index.ts';
import { openLanguageModel, openModel, parseRecipe, prune } from '../../src/pipeline/index.ts';
import { stepsOf } from '../../src/pipeline/pass/steps.ts';
import { ENCODERS, encoderWeights } from '../architectures/encoders.ts';
import { tinyWeights, uniformSizes, VARIANTS } from '../architectures/tiny.ts';
import { engine, fashion, fixtureBytes, folderOf, session, texts } from './fixtures.ts';

/** Of a tiny model: what is left of it, and the report. */
async function pruned(name: string, keep: object, more: object = {}) {
  const config = VARIANTS[name]?.config ?? ENCODERS[name];
  const weights = VARIANTS[name] ? tinyWeights(config, uniformSizes(config)) : encoderWeights(config);
  const { folder } = await folderOf(config, weights);
  const isNarrow = name === 'gpt2' && !('loadable' in more);
  const opened = await openLanguageModel(folder, { heads: isNarrow ? 'narrow' : 'fewer' });
  const output = memoryOutput('whole');
  const how = { engine, session, keep, search: 'greedy', onnx: 'beside', ...more } as const;
  const { report } = await prune(opened, { ...how, calibration: texts(40, 1), output });
  const { language, checkpoint } = await openLanguageModel(blobFolder(output.files()));
  return { report, language, checkpoint };
}

test.each([
  ['opt', 'heads'],
  ['opt', 'mlp'],
  ['llama of one key-value head', 'heads'],
  ['llama', 'mlp'],
  ['gemma2', 'heads'],
  ['falcon, groups', 'mlp'],
  ['falcon, groups', 'heads'],
  ['gpt2', 'mlp'],
  ['olmo2', 'heads'],
  ['mixtral', 'heads'],
  ['bert', 'heads'],
  ['bert', 'mlp'],
  ['t5', 'heads'],
])(
  '%s: %s of a block go whole, and the folder and the ONNX file give what the masked network does',
  async (name, half) => {
    const { report, language, checkpoint } = await pruned(name, { all: 0.75, layers: { [`1.${half}`]: 0 } });
    expect(report.maxDifference).toBeLessThan(1e-4);
    expect(language.sizes[1]).toMatchObject(half === 'mlp' ? { ffn: 0 } : { heads: 0, kvHeads: 0 });
    expect(report.layers.find((layer) => layer.name === `1.${half}`)).toMatchObject({
      kept: [],
      relativeError: 1,
    });
    expect(report.parameters.after).toBe(
      [...checkpoint.tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
    );
    // What is left is pruned as any model.
    expect(language.canGo(1, half === 'mlp' ? 'mlp' : 'attention')).toBe(false);
  },
);

test.each(['magnitude', 'ziplm', 'magnitude-refit'] as const)(
  '%s does without a block, too',
  async (method) => {
    const layers = { '0.heads': 0, '0.mlp': 0 };
    const { report, language } = await pruned('llama', { all: 0.75, layers }, { method });
    expect(report.maxDifference).toBeLessThan(1e-4);
    expect(language.blocks).toBe(1);
  },
);

test.each([
  ['llama', 'transformers.js'],
  ['opt', 'beside'],
  ['gpt2', undefined],
  ['qwen3, layer_types', 'beside'],
  ['falcon', 'transformers.js'],
] as const)(
  '%s: a block that is gone is one fewer, with others numbered anew, in safetensors and ONNX (%s)',
  async (name, onnx) => {
    const layers = { '0.heads': 0, '0.mlp': 0 };
    const { report, language, checkpoint } = await pruned(name, { all: 1, layers }, { onnx, loadable: true });
    expect(report.maxDifference).toBeLessThan(onnx === 'transformers.js' ? 1e-3 : 1e-4); // float16
    expect(report.isLoadable).toBe(true);
    expect(report.statement).toContain('Blocks 1 are left, numbered anew.');
    expect(language.blocks).toBe(1);
    expect([...checkpoint.tensors.keys()].filter((tensor) => /\.1\.(self_)?att/.test(tensor))).toEqual([]);
  },
);

test('int4 is of the blocks that are left', async () => {
  const layers = { '0.heads': 0, '0.mlp': 0 };
  const { report } = await pruned('llama', { all: 0.75, layers }, { weights: 'int4' });
  expect(report.weights).toBe('int4');
});

test('experts cannot go whole', async () => {
  await expect(pruned('mixtral', { all: 0.75, layers: { '1.experts.2': 0 } })).rejects.toThrow(
    '`keep.layers` of "1.experts.2" must be in (0, 1]: the model does not do without it',
  );
});

test('a budget that no widths are small enough for takes halves whole, and one that says what stays at least does not', async () => {
  const budget = (more: object = {}) =>
    pruned('opt', undefined as never, { params: 0.25, effort: 'low', ...more });
  const { report, language } = await budget();
  const gone = report.layers.filter(({ kept }) => kept.length === 0);
  expect(gone.length).toBeGreaterThan(0);
  expect(language.sizes.some(({ heads, ffn }) => heads === 0 || ffn === 0)).toBe(true);
  expect(report.parameters.after / report.parameters.before).toBeLessThanOrEqual(0.25);
  await expect(budget({ min: { '*': 0.05 } })).rejects.toThrow(/cannot be reached/);
});

describe('of a network of images', () => {
  const BLOCKS = ['/3/c2/c2.0/Conv', '/6/c2/c2.0/Conv'];
  const calibration = fashion('calib', 64);
  const smaller = async (options: object) => {
    const model = await openModel(fixtureBytes('fashion-resnet'), { engine });
    const how = { engine, session, target: 'residual', producers: false } as const;
    return prune(model, { ...how, calibration: await calibration, ...options });
  };

  test('blocks go whole, with all that led to them', async () => {
    const keep = { all: 0.75, layers: Object.fromEntries(BLOCKS.map((name) => [name, 0])) };
    const { report, written } = await smaller({ keep });
    expect(report.maxDifference).toBeLessThan(1e-5);
    const names = (await readModel(written.model)).nodes.map(({ name }) => name);
    expect(names.filter((name) => /^\/(3|6)\/.*(Conv|Add)/.test(name))).toEqual([]);
    // A name is of the structure that has it, though another one is read by the layer of that name.
    expect(report.layers.filter(({ kept }) => kept.length === 0).map(({ name }) => name)).toEqual(BLOCKS);
    expect(report.metric!.after).toBeGreaterThan(0.85);
    const small = await openModel(written.model, { engine });
    expect(small.macs).toBe(report.macs!.after);
  });

  test('nothing that makes or reads what goes is fitted to anything', async () => {
    const model = await openModel(fixtureBytes('fashion-resnet'), { engine });
    const kept = ({ name, groups }: { name: string; groups: number }) => (name === BLOCKS[0] ? 0 : groups);
    const target = { kind: 'residual', blend: 1 } as const;
    const steps = stepsOf(model, kept, parseRecipe({ keep: 0.5 }), target, true);
    const nodes = steps.flatMap(({ maps }) => maps.map(({ node }) => node));
    expect(nodes).toContain('/4/c2/c2.0/Conv');
    expect(nodes).not.toContain(BLOCKS[0]);
    expect(nodes.filter((node) => node === '/3/c3/c3.0/Conv')).toHaveLength(1); // where its channels are chosen
  });

  test('a budget says so for some by a pattern', async () => {
    const pin = { '/3/c2/*': 0, '/3/c1/*': 0.5 };
    const { report } = await smaller({ macs: 0.7, pin, effort: 'low' });
    expect(report.layers.find(({ name }) => name === BLOCKS[0])!.kept).toEqual([]);
    expect(report.macs!.after / report.macs!.before).toBeLessThanOrEqual(0.7);
    await expect(smaller({ macs: 0.7, pin: { '/3/c1/*': 0 } })).rejects.toThrow(
      '`pin` of "/3/c1/c1.0/Conv" must be in (0, 1]',
    );
  });

  test('weights of fewer bytes are of what is left', async () => {
    const keep = { all: 1, layers: { [BLOCKS[0]]: 0 } };
    const { report } = await smaller({ keep, weights: 'int4' });
    expect(report.metric!.after).toBeGreaterThan(0.85);
  });
});

test('an encoder of images does without half of a block', async () => {
  const folder = await openFolder(join(import.meta.dirname, '../fixtures/fashion-vit'));
  const opened = await openLanguageModel(folder);
  const [calibration, evaluation] = [await fashion('calib', 64), await fashion('test', 100)];
  const keep = { all: 1, layers: { '1.heads': 0, '3.mlp': 0 } };
  const how = { engine, session, calibration, evaluation, keep, target: 'residual', onnx: 'beside' } as const;
  const { report } = await prune(opened, { ...how, output: memoryOutput('vit') });
  await folder.close();
  expect(report.metric!.after).toBeGreaterThan(report.metric!.before - 0.15);
});
