// From graphs back to checkpoints, and what the config of a pruned one says.

import { describe, expect, test } from 'vitest';
import type { LanguageModel } from '../../src/checkpoint/architectures/index.ts';
import { analyse, type Model, shrink, writeModel } from '../../src/graph/index.ts';
import { run, withAllValues } from '../graph/running.ts';
import { describe as describeModel } from '../support/describe.ts';
import { referenceLogits } from './reference.ts';
import { ids, maxDifference, runOnce, sizesOf, sourceOf, type Weights } from './source.ts';
import {
  BLOOM,
  GEMMA2,
  GPT2,
  LFM2,
  LLAMA,
  MIXTRAL,
  NEOX,
  OPENELM,
  OPT,
  PHI3,
  STACKED,
  tinyWeights,
  uniformSizes,
  VARIANTS,
} from './tiny.ts';

const LENGTH = 6;
/** What old checkpoints hold beside weights. */
const MASKS = /inv_freq$|causal_mask$|\.attn\.(attention\.)?bias$|relative_pe|transformer\.classifier/;
const TOKENS = [3, 14, 15, 9, 26, 5];

describe.each(Object.entries(VARIANTS))('%s', (_, variant) => {
  const { config } = variant;
  const sizes = variant.sizes ?? uniformSizes(config);
  const weights = tinyWeights(config, sizes);
  const record = variant.sizes && { blocks: variant.sizes };
  const model = describeModel(config, record, undefined, sourceOf(weights));

  test('tells every tensor that it uses, and its block', () => {
    const tensors = model.tensors(sourceOf(weights));
    const used = [...weights].filter(([name]) => !MASKS.test(name));
    expect([...tensors.keys()].sort()).toEqual(used.map(([name]) => name).sort());
    for (const [name, { shape }] of used) {
      expect(tensors.get(name)!.shape).toEqual(shape);
      const number = /\.(?:layers|h|blocks)\.(\d+)\./.exec(name)?.[1];
      expect(tensors.get(name)!.block).toBe(number && Number(number));
    }
  });

  test('an unpruned block gives the tensors of the checkpoint back, bit for bit', async () => {
    const source = sourceOf(weights);
    const expected = [...weights.keys()].filter(
      (name) => /\.(layers|h|blocks)\.1\./.test(name) && !MASKS.test(name),
    );
    const block = await model.block(source, 1, { length: LENGTH });
    const tensors = model.tensorsOf(1, block);
    expect(tensors.map(({ name }) => name).sort()).toEqual(expected.sort());
    for (const { name, shape, data } of tensors) {
      expect(shape).toEqual(weights.get(name)!.shape);
      expect(data).toEqual(weights.get(name)!.data);
      expect(source.reads.get(name)).toBe(1);
    }
    expect(sizesOf(block, model, sizes[1])).toEqual(sizes[1]);
  });
});

describe('a block whose MLP the graph analysis prunes', () => {
  test.each([
    ['opt', OPT, [0, 3, 4, 11, 19]],
    ['llama', LLAMA, [1, 2, 18]],
    ['gpt2', GPT2, [0, 19]],
    ['gpt-neox', NEOX, [5, 6, 7, 8]],
  ])('%s: is a checkpoint again, which computes what the graph does', async (_, config, kept) => {
    const weights = tinyWeights(config, uniformSizes(config));
    const source = sourceOf(weights);
    const model = describeModel(config);
    const small = await pruneMlp(model, await model.block(source, 0, { length: LENGTH }), kept);
    const sizes = [sizesOf(small, model), model.sizes[1]];
    expect(sizes[0]).toEqual({ ...model.sizes[0], ffn: kept.length });

    const pruned: Weights = new Map(weights);
    for (const { name, shape, data } of model.tensorsOf(0, small, sizes[0]))
      pruned.set(name, { shape, data });
    const { config: prunedConfig, record } = model.configOf(sizes);
    const reopened = describeModel(prunedConfig, record);
    reopened.check(sourceOf(pruned));
    const { logits } = await runOnce(await reopened.whole(sourceOf(pruned)), { input_ids: ids([TOKENS]) });
    const expected = referenceLogits(config, sizes, pruned, TOKENS).flat();
    expect(maxDifference(logits.data, expected)).toBeLessThan(1e-4);

    let { hidden } = await runOnce(await model.embedding(source, { length: LENGTH }), {
      input_ids: ids([TOKENS]),
    });
    for (const block of [small, await model.block(source, 1, { length: LENGTH })]) {
      hidden = (await runOnce(block, { hidden })).hidden_out;
    }
    const chained = await runOnce(await model.head(source), { hidden });
    expect(maxDifference(chained.logits.data, expected)).toBeLessThan(1e-4);
  });
});

describe('tensorsOf', () => {
  test.each(Object.entries(VARIANTS).filter(([name]) => name.includes('narrow ')))(
    '%s: a dense model has the tensors of a block cut to these sizes, and no others',
    async (_, { config, sizes }) => {
      const [dense, small] = [describeModel(config), describeModel(config, { blocks: sizes! })];
      const block = await small.block(sourceOf(tinyWeights(config, sizes!)), 0, { length: 2 });
      expect(dense.tensorsOf(0, block, sizes![0])).toEqual(small.tensorsOf(0, block));
      expect(() => dense.tensorsOf(0, block)).toThrow(/initialiser .* expected \[32/);
      expect(() => dense.tensorsOf(0, block, { ...sizes![0], valueDim: 4 })).toThrow(
        /initialiser .* expected/,
      );
      expect(() => dense.tensorsOf(0, block, { ...sizes![0], valueDim: 9 })).toThrow(
        'block 0: "valueDim" expected at most 8, as in config.json, got 9',
      );
    },
  );

  test('refuses a graph that lacks a weight', async () => {
    const model = describeModel(OPT);
    const block = await model.block(sourceOf(tinyWeights(OPT, model.sizes)), 0, { length: 2 });
    block.tensors.delete('model.decoder.layers.0.fc2.bias');
    expect(() => model.tensorsOf(0, block)).toThrow(
      '"model.decoder.layers.0.fc2.bias" expected [32], got none',
    );
  });

  test.each([
    ['a fused tensor', NEOX, 'gpt_neox.layers.0.attention.query_key_value.weight#v'],
    ['tensors of their own', OPT, 'model.decoder.layers.0.self_attn.v_proj.weight'],
  ])('refuses values that lost features which keys have, in %s', async (_, config, name) => {
    const model = describeModel(config);
    const block = await model.block(sourceOf(tinyWeights(config, model.sizes)), 0, { length: 2 });
    const v = block.tensors.get(name)!;
    block.tensors.set(name, { ...v, dims: [32, 24], bytes: v.bytes.subarray(0, 32 * 24 * 4) });
    expect(() => model.tensorsOf(0, block)).toThrow(`"${name}" expected [32,32], got [32,24]`);
  });

  test('refuses another model’s block', async () => {
    const block = await describeModel(OPT).block(sourceOf(tinyWeights(OPT, uniformSizes(OPT))), 0, {
      length: 2,
    });
    expect(() => describeModel(LLAMA).tensorsOf(0, block)).toThrow(
      'opt block 0: initialiser "model.layers.0.input_layernorm.weight" expected [32], got none',
    );
  });
});

describe('configOf', () => {
  const uniform = (model: LanguageModel, heads: number, kvHeads: number, ffn: number) =>
    model.sizes.map(() => ({ heads, kvHeads, ffn }));

  test.each([
    ['opt', OPT, 'ffn_dim'],
    ['llama', { ...LLAMA, num_key_value_heads: 4 }, 'intermediate_size'],
    ['gpt2', GPT2, 'n_inner'],
    ['gpt-neox', NEOX, 'intermediate_size'],
  ])('%s: says fewer neurons, and leaves the rest alone', (_, config, field) => {
    const model = describeModel(config);
    const { config: pruned, record, statement } = model.configOf(uniform(model, 4, 4, 7));
    expect(pruned).toEqual({ ...config, [field]: 7 });
    expect(record).toBeUndefined();
    expect(statement).toContain('stock transformers');
    expect(describeModel(pruned).sizes).toEqual(uniform(model, 4, 4, 7));
  });

  test.each([
    ['opt', OPT],
    ['gpt2', GPT2],
    ['gpt-neox', NEOX],
  ])('%s: needs osscar.json for fewer heads', (_, config) => {
    const model = describeModel(config);
    const sizes = uniform(model, 3, 3, 7);
    const { config: pruned, record, statement } = model.configOf(sizes);
    expect(pruned).toEqual(config);
    expect(record).toEqual({ blocks: sizes });
    expect(statement).toContain('no field for heads of 8 features');
    expect(describeModel(pruned, record).sizes).toEqual(sizes);
  });

  test('lfm2: says neurons as they are, where it has made them of another number', () => {
    const model = describeModel(LFM2);
    const { config, record } = model.configOf(model.sizes.map((size) => ({ ...size, ffn: 7 })));
    expect(config).toEqual({
      ...LFM2,
      ...{ intermediate_size: 7, block_ff_dim: 7, block_auto_adjust_ff_dim: false },
    });
    expect(record).toBeUndefined();
    expect(describeModel(config).sizes.map(({ heads, ffn }) => [heads, ffn])).toEqual([
      [0, 7],
      [4, 7],
    ]);
    expect(() => model.configOf(model.sizes.map((size) => ({ ...size, heads: 2, kvHeads: 1 })))).toThrow(
      'block 0: "heads" expected 0, as there is no attention, got 2',
    );
  });

  test('bloom: needs osscar.json for fewer neurons', () => {
    const bloom = describeModel(BLOOM);
    const fewer = bloom.configOf(uniform(bloom, 4, 4, 64));
    expect(fewer.record!.blocks![1].ffn).toBe(64);
    expect(fewer.statement).toContain('no field for the neurons of an MLP');
    expect(bloom.configOf(uniform(bloom, 4, 4, 128)).record).toBeUndefined();
  });

  test('openelm: has sizes by block, and needs osscar.json for others', () => {
    const model = describeModel(OPENELM);
    const whole = model.configOf(model.sizes);
    expect(whole.config).toEqual(OPENELM);
    expect(whole.record).toBeUndefined();
    const sizes = model.sizes.map((size) => ({ ...size, ffn: 7 }));
    const { config, record, statement } = model.configOf(sizes);
    expect(config).toEqual(OPENELM);
    expect(record).toEqual({ blocks: sizes });
    expect(statement).toContain('(it has no field for the neurons of an MLP)');
    expect([0, 1].map((i) => [3, 4, 6].map((heads) => model.saysHeads(i, heads)))).toEqual([
      [false, true, false],
      [false, false, true],
    ]);
    expect(() => describeModel({ ...OPENELM, num_query_heads: [4, 5] })).toThrow(
      'config.json: "num_query_heads" expected a multiple of the 3 of num_kv_heads, got 5 for block 1',
    );
  });

  test.each([
    'llama',
    'mistral',
    'qwen2',
    'qwen3',
    'smollm3',
    'granite',
    'phi3',
    'gemma',
    'gemma2',
    'gemma3_text',
    'olmo',
    'olmo2',
    'starcoder2',
    'cohere',
  ])('%s: says fewer heads with an explicit head_dim', (type) => {
    const config = { ...LLAMA, model_type: type, head_dim: 8 };
    const model = describeModel(config);
    const { config: pruned, record } = model.configOf(uniform(model, 2, 1, 5));
    expect(record).toBeUndefined();
    expect(pruned).toEqual({
      ...config,
      intermediate_size: 5,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      head_dim: 8,
    });
    expect(describeModel(pruned).headDim).toBe(8);
  });

  test('says which transformers refuse a llama whose heads do not divide hidden_size', () => {
    const config = { ...LLAMA, num_key_value_heads: 4 };
    const model = describeModel(config);
    expect(model.configOf(uniform(model, 3, 3, 5)).statement).toContain('5 refuses a llama');
    expect(model.configOf(uniform(model, 2, 2, 5)).statement).not.toContain('refuses');
    // Those of a folder that is refused already are, too.
    const refused = describeModel({ ...config, num_attention_heads: 3, num_key_value_heads: 3, head_dim: 8 });
    expect(refused.configOf(uniform(refused, 3, 3, 5)).statement).toContain('5 refuses a llama');
    const gemma = describeModel({ ...GEMMA2, num_key_value_heads: 4 });
    expect(gemma.configOf(uniform(gemma, 3, 3, 5)).statement).toContain('5 refuses a gemma2');
  });

  test.each([
    ['llama', {}, 'stock transformers (4.48 or later)'],
    ['qwen3', {}, 'stock transformers (4.51 or later)'],
    ['qwen3, seeing all', { model_type: 'qwen3', is_causal: false }, 'stock transformers (5 or later)'],
    [
      'gemma3_text',
      { ...VARIANTS.gemma3.config, use_bidirectional_attention: true },
      'stock transformers (4.57 or later)',
    ],
    ['qwen3_vl', { text_config: LLAMA }, 'stock transformers (4.57 or later)'],
    ['mistral3', { text_config: { ...LLAMA, model_type: 'ministral3' } }, 'stock transformers (5 or later)'],
    ['internlm2', {}, 'with the code that this model came with'],
  ])('says which transformers read it: %s', (model_type, more, readers) => {
    const model = describeModel({ ...LLAMA, model_type, ...more });
    expect(model.configOf(uniform(model, 4, 2, 5)).statement).toContain(readers);
  });

  test('says that stacked experts want transformers 5', () => {
    const { config } = VARIANTS['qwen3_moe, stacked'];
    const source = sourceOf(tinyWeights(config, uniformSizes(config)));
    const [stacked, apart] = [source, undefined].map((it) => describeModel(config, undefined, undefined, it));
    expect(stacked.configOf(stacked.sizes).statement).toContain('stock transformers (5 or later)');
    expect(apart.configOf(apart.sizes).statement).toContain('stock transformers (4.51 or later)');
    const later = { ...VARIANTS.mistral4.config, ...STACKED };
    const weights = sourceOf(tinyWeights(later, uniformSizes(later)));
    const mistral4 = describeModel(later, undefined, undefined, weights);
    expect(mistral4.configOf(mistral4.sizes).statement).toContain('stock transformers (5.4 or later)');
  });

  test('needs osscar.json for fewer heads where transformers counts factors by their number', () => {
    const rope_scaling = { type: 'longrope', short_factor: [1, 2, 3, 4], long_factor: [1, 2, 3, 4] };
    const model = describeModel({ ...PHI3, rope_scaling });
    expect(model.saysHeads(0, 2)).toBe(false);
    expect(model.configOf(uniform(model, 2, 1, 5)).record).toBeDefined();
    expect(model.configOf(uniform(model, 4, 2, 5)).record).toBeUndefined();
  });

  test('needs osscar.json for fewer heads where there are experts and no field for the features of a head', () => {
    const says = (name: string) => describeModel(VARIANTS[name].config).saysHeads(0, 2);
    expect(['olmoe', 'qwen2_moe', 'mixtral', 'qwen3_moe'].map(says)).toEqual([false, false, true, true]);
  });

  test('needs osscar.json where blocks differ', () => {
    const model = describeModel(LLAMA);
    const sizes = [
      { heads: 2, kvHeads: 1, ffn: 5 },
      { heads: 4, kvHeads: 2, ffn: 6 },
    ];
    const { config, record, statement } = model.configOf(sizes);
    expect(config).toEqual(LLAMA);
    expect(record).toEqual({ blocks: sizes });
    expect(statement).toMatch(
      /blocks differ in intermediate_size; blocks differ in their heads.*osscar\.json/,
    );
  });

  test.each([
    ['opt', OPT, { keyDim: 5, valueDim: 5 }],
    ['llama', LLAMA, { valueDim: 5 }],
    ['gpt2', GPT2, { keyDim: 3 }],
  ])('%s: needs osscar.json for narrow heads', (_, config, narrow) => {
    const model = describeModel(config);
    const sizes = model.sizes.map((size) => ({ ...size, ...narrow }));
    const { config: pruned, record, statement } = model.configOf(sizes);
    expect(pruned).toEqual(config);
    expect(JSON.parse(JSON.stringify(record))).toStrictEqual({ blocks: sizes });
    expect(statement).toContain('(it has no field for heads of fewer than 8 features)');
    expect(describeModel(pruned, record).sizes).toEqual(sizes);
  });

  test('says nothing of heads that have all of their features', () => {
    const model = describeModel(OPT);
    const all = model.sizes.map((size) => ({ ...size, keyDim: 8, valueDim: 8 }));
    expect(model.configOf(all).record).toBeUndefined();
    const { record } = model.configOf(model.sizes.map((size) => ({ ...size, heads: 3, kvHeads: 3 })));
    expect(JSON.stringify(record!.blocks![0])).toBe('{"heads":3,"kvHeads":3,"ffn":20}');
  });

  test('needs osscar.json where experts differ, and says the same of all in the field of each', () => {
    const model = describeModel(MIXTRAL);
    const block = { heads: 4, kvHeads: 2, ffn: 0 };
    const same = { ...block, experts: [3, 3, 3, 3] };
    const { config, record } = model.configOf([same, same]);
    expect(record).toBeUndefined();
    expect(config.intermediate_size).toBe(3);
    const differing = [same, { ...block, experts: [3, 3, 3, 4] }];
    const other = model.configOf(differing);
    expect(other.record).toEqual({ blocks: differing });
    expect(other.statement).toContain('experts differ in intermediate_size');
    expect(describeModel(other.config, other.record).sizes).toEqual(differing);
  });

  test('refuses sizes that no block with experts can have', () => {
    const model = describeModel(MIXTRAL);
    const block = { heads: 4, kvHeads: 2, ffn: 0, experts: [3, 3, 3, 3] };
    const refused = (size: object) => expect(() => model.configOf([block, { ...block, ...size }]));
    refused({ experts: [3, 3, 3] }).toThrow('block 1: "experts" expected the neurons of 4 experts');
    refused({ experts: undefined }).toThrow('"experts" expected the neurons of 4 experts');
    refused({ experts: [3, 3, 3, 0] }).toThrow('"experts[3]" expected a positive integer, got 0');
    refused({ ffn: 5 }).toThrow('"ffn" expected 0, as there is no MLP that all tokens pass, got 5');
    const llama = describeModel(LLAMA);
    expect(() => llama.configOf(llama.sizes.map((size) => ({ ...size, experts: [3] })))).toThrow(
      '"experts" expected the neurons of 0 experts',
    );
  });

  test('refuses sizes that no block can have', () => {
    const model = describeModel(LLAMA);
    expect(() => model.configOf(uniform(model, 3, 2, 5))).toThrow('3 heads cannot share 2 key-value heads');
    expect(() => model.configOf(uniform(model, 2, 1, -1))).toThrow(
      '"ffn" expected a positive integer, got -1',
    );
    expect(() => model.configOf([])).toThrow('sizes of 2 blocks expected, got 0');
  });
});

async function pruneMlp(model: LanguageModel, block: Model, kept: readonly number[]): Promise<Model> {
  const hidden = { dims: [1, LENGTH, model.hidden], data: new Float32Array(LENGTH * model.hidden).fill(0.5) };
  const values = await run(withAllValues(block), { hidden });
  const shapes = new Map(Object.entries(values).map(([name, { dims }]) => [name, dims]));
  const { structures } = analyse(block, shapes.set('hidden', hidden.dims));
  const mlp = structures.filter((structure) => structure.prunable && structure.groups === model.sizes[0].ffn);
  expect(mlp.length).toBe(1);
  const small = shrink(block, new Map([[mlp[0], kept]]));
  expect(writeModel(small).model.length).toBeLessThan(writeModel(block).model.length);
  return small;
}
