// Delta rules of texts that are longer than a chunk: as so many nodes in a block, one after the other in a whole model, and from what was kept of a first part.

import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { analyse, shrink, writeModel } from '../../src/graph/index.ts';
import { mask } from '../graph/masking.ts';
import { run, shapesOfFeeds } from '../graph/running.ts';
import { describe as describeModel } from '../support/describe.ts';
import { random } from '../support/random.ts';
import { emptyPast, pastFrom } from './generate.ts';
import { referenceLogits } from './reference.ts';
import { ids, maxDifference, open, runOnce, sourceOf } from './source.ts';
import {
  FALCON_H1,
  GRANITE_SPACE,
  MAMBA2,
  NEMOTRON_H,
  OLMO_HYBRID,
  QWEN3_5,
  statesOf,
  tinyWeights,
  uniformSizes,
  VARIANTS,
} from './tiny.ts';

const TOLERANCE = 1e-4; // of logits around 1

const sizes = uniformSizes(QWEN3_5);
const source = sourceOf(tinyWeights(QWEN3_5, sizes));
const model = describeModel(QWEN3_5, undefined, undefined, source);
const next = random(9);

// One whole chunk, two that are not, and two of which the last lacks a token; three.
describe.each([64, 66, 101, 150])('%d tokens', (length) => {
  const tokens = Array.from({ length }, () => Math.floor(next() * 40));
  const expected = referenceLogits(
    QWEN3_5,
    sizes,
    source.tensors as ReturnType<typeof tinyWeights>,
    tokens,
  ).flat();

  test('of a block', async () => {
    let { hidden } = await runOnce(await model.embedding(source, { length }), { input_ids: ids([tokens]) });
    for (let i = 0; i < model.blocks; i++)
      hidden = (await runOnce(await model.block(source, i, { length }), { hidden })).hidden_out;
    const { logits } = await runOnce(await model.head(source), { hidden });
    expect(maxDifference(logits.data, expected)).toBeLessThan(TOLERANCE);
  });

  test('of the whole model', async () => {
    const { logits } = await runOnce(await model.whole(source), { input_ids: ids([tokens]) });
    expect(maxDifference(logits.data, expected)).toBeLessThan(TOLERANCE);
  });

  test('of the whole model, behind the first ones', async () => {
    const session = await open(await model.whole(source, { past: true }));
    let past = emptyPast(model, 1, (i) => statesOf(QWEN3_5, i, sizes[i]));
    const found: number[] = [];
    const cuts = [0, 61, length - 1, length];
    for (const [at, to] of cuts.slice(1).entries()) {
      const from = cuts[at];
      const outputs = await session.run({
        input_ids: ids([tokens.slice(from, to)]),
        attention_mask: ids([new Array(to).fill(1)]),
        ...past,
      });
      found.push(...outputs.logits.data);
      past = pastFrom(outputs);
    }
    await session.release();
    expect(maxDifference(found, expected)).toBeLessThan(TOLERANCE);
  });
});

test('heads go of the file that is written, too', async () => {
  const length = 70; // more than a chunk
  const past = emptyPast(model, 1, (i) => statesOf(QWEN3_5, i, sizes[i]));
  const feeds = {
    input_ids: ids([Array.from({ length }, (_, i) => (7 * i) % 40)]),
    attention_mask: ids([new Array(length).fill(1)]),
    ...past,
  };
  const whole = await model.whole(source, { past: true });
  // transformers.js would give it those of images.
  expect(whole.inputs.map(({ name }) => name)).not.toContain('position_ids');
  const { structures } = analyse(whole, await shapesOfFeeds(whole, feeds));
  const heads = structures.filter(({ kind, prunable }) => kind === 'head' && prunable);
  expect(heads.map(({ layer, groups, groupSize }) => [layer, groups, groupSize])).toEqual([
    ['model.layers.0.linear_attn.out_proj', 2, 10],
    ['model.layers.1.self_attn.o_proj', 2, 16],
  ]);
  const cuts = new Map(heads.map((structure) => [structure, [1]]));
  const small = shrink(whole, cuts);
  const [delta, attention] = sizes.map((size) => ({ ...size, heads: 2, kvHeads: 1 }));
  const fewer = emptyPast(model, 1, (i) => statesOf(QWEN3_5, i, delta)); // of a model with as many blocks
  const cached = Object.entries(fewer).map(([name, value]) =>
    name.startsWith('past_key')
      ? [name, { ...value, dims: value.dims.with(1, attention.kvHeads) }]
      : [name, value],
  );
  const wanted = await run(writeModel(mask(whole, cuts)).model, feeds);
  const got = await run(writeModel(small).model, { ...feeds, ...Object.fromEntries(cached) });
  expect(maxDifference(got.logits.data, wanted.logits.data)).toBeLessThan(TOLERANCE);
  expect(got['present_recurrent.0'].dims).toEqual([1, 2, 3, 5]);
});

test('fewer heads of each kind are said by fields of their own', () => {
  const few = sizes.map((size) => ({ ...size, heads: 2, kvHeads: 1 }));
  const { config, record, statement } = model.configOf(few);
  expect(record).toBeUndefined();
  expect(config).toEqual({
    ...QWEN3_5,
    ...{ num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8 },
    ...{ linear_num_value_heads: 2, linear_num_key_heads: 1 },
  });
  expect(describeModel(config).sizes).toEqual(few);
  expect(statement).toContain('stock transformers (5.2 or later)');
  // It has a class for those without experts alone.
  const experts = describeModel(VARIANTS.qwen3_5_moe_text.config);
  expect([model.transformersJs, experts.transformersJs]).toEqual([undefined, expect.any(String)]);
  const [delta, attention] = sizes;
  const { config: one } = model.configOf([few[0], attention]);
  expect(one).toEqual({ ...QWEN3_5, linear_num_value_heads: 2, linear_num_key_heads: 1 });
  expect(model.configOf([delta, few[1]]).record).toBeUndefined();
});

test('heads of state spaces are said by how many features they have in all, in whole multiples of the stream', () => {
  const space = describeModel(GRANITE_SPACE);
  const [own, attention] = space.sizes;
  expect([4, 6].map((heads) => space.saysHeads(0, heads))).toEqual([true, false]);
  const { config } = space.configOf([{ ...own, heads: 4 }, attention]);
  expect(config).toEqual({ ...GRANITE_SPACE, mamba_n_heads: 4, mamba_expand: 1 });
  const { statement, record } = space.configOf([{ ...own, heads: 6 }, attention]);
  expect(statement).toContain('no other field goes with 6 for mamba_n_heads');
  expect(record!.blocks![0]).toMatchObject({ heads: 6, kvHeads: 1, keyDim: 3, valueDim: 8 });
});

test('heads of a state space beside attention are said by fields of their own, those of attention by the usual ones', () => {
  const both = describeModel(FALCON_H1);
  const [own] = both.sizes;
  expect(own.space).toEqual({ heads: 4, kvHeads: 1, keyDim: 3, valueDim: 10 });
  const space = { ...own.space!, heads: 3 };
  const few = { ...own, space };
  const { config, statement } = both.configOf([few, few]);
  expect(config).toEqual({ ...FALCON_H1, mamba_n_heads: 3, mamba_d_ssm: 30 });
  expect(describeModel(config).sizes).toEqual([few, few]);
  expect(statement).toContain('stock transformers (4.53 or later)');
  expect(both.transformersJs).toBeUndefined();
  const fewer = { ...few, heads: 2, kvHeads: 1 };
  expect(both.configOf([fewer, fewer]).config).toMatchObject({ mamba_n_heads: 3, num_attention_heads: 2 });
  const { record } = both.configOf([few, own]);
  expect(record!.blocks!.map((it) => it.space)).toEqual([space, own.space]);
  expect(describeModel(FALCON_H1, record).sizes).toEqual([few, own]);
});

test.each([
  [undefined, '"space.heads" expected a positive integer, got none'],
  [
    { heads: 5, kvHeads: 1, keyDim: 3, valueDim: 10 },
    '"space.heads" expected at most 4, as in config.json, got 5',
  ],
  [
    { heads: 2, kvHeads: 1, keyDim: 3, valueDim: 9 },
    '"space.valueDim" expected 10, as heads have a state, got 9',
  ],
])('a state space of %o beside attention is refused', (space, message) => {
  const both = describeModel(FALCON_H1);
  expect(() => both.configOf([{ ...both.sizes[0], space }, both.sizes[1]])).toThrow(message);
  expect(() => model.configOf([{ ...sizes[0], space: both.sizes[0].space }, sizes[1]])).toThrow(
    '"space" expected none, as there is no state space beside attention',
  );
});

test('blocks with a single half say the heads and neurons that they have, and transformers.js reads which these are by old names', () => {
  const layers_block_type = ['mamba', 'attention', 'mlp', 'moe'];
  const config = { ...NEMOTRON_H, layers_block_type };
  const all = describeModel(config);
  expect(all.sizes.map(({ heads, ffn, experts }) => [heads, ffn, experts?.length])).toEqual([
    [8, 0, undefined],
    [4, 0, undefined],
    [0, 20, undefined],
    [0, 10, 4],
  ]);
  expect(all.sizes.map((_, i) => all.mlps(i).length)).toEqual([0, 0, 1, 5]);
  const [space, attention, mlp, experts] = all.sizes;
  const few = [
    { ...space, heads: 4, kvHeads: 1 },
    { ...attention, heads: 2, kvHeads: 1 },
    { ...mlp, ffn: 12 },
    { ...experts, ffn: 5, experts: [3, 3, 3, 3] },
  ];
  const { config: fewer, record, statement } = all.configOf(few);
  expect(record).toBeUndefined();
  expect(fewer).toEqual({
    ...config,
    ...{ mamba_num_heads: 4, n_groups: 1, num_attention_heads: 2, num_key_value_heads: 1 },
    ...{ intermediate_size: 12, moe_intermediate_size: 3, moe_shared_expert_intermediate_size: 5 },
  });
  expect(describeModel(fewer).sizes).toEqual(few);
  expect(statement).toContain('stock transformers (5.3 or later)');
  expect(() => all.configOf([{ ...space, ffn: 1 }, ...all.sizes.slice(1)])).toThrow(
    '"ffn" expected 0, as there is no MLP that all tokens pass, got 1',
  );
  expect(all.transformersJs).toBeUndefined();
  const signs = { ...config, layers_block_type: undefined, hybrid_override_pattern: 'M*-E' };
  expect(describeModel(signs).transformersJs).toContain('"layers_block_type"');
});

test('fewer heads of OLMo Hybrid’s delta rules are said beside their features, those of its attention not at all', () => {
  const given = { ...OLMO_HYBRID, linear_key_head_dim: undefined, linear_value_head_dim: undefined };
  const olmo = describeModel(given);
  const [delta, attention] = olmo.sizes;
  expect(delta).toMatchObject({ heads: 4, kvHeads: 2, keyDim: 12, valueDim: 24 });
  const few = [{ ...delta, heads: 2, kvHeads: 1 }, attention];
  const { config, record, statement } = olmo.configOf(few);
  expect(record).toBeUndefined();
  expect(statement).toContain('stock transformers (5.3 or later)');
  expect(config).toEqual({
    ...given,
    ...{ linear_num_value_heads: 2, linear_num_key_heads: 1 },
    ...{ linear_key_head_dim: 12, linear_value_head_dim: 24 },
  });
  expect(describeModel(config).sizes).toEqual(few);
  expect(olmo.configOf([delta, { ...attention, heads: 2, kvHeads: 1 }]).record).toBeDefined();
  const unlisted = { ...given, layer_types: undefined };
  const five = describeModel({ ...unlisted, num_hidden_layers: 5 });
  expect(five.sizes.map(({ keyDim }) => keyDim)).toEqual([12, 12, 12, undefined, 12]);
  expect(describeModel(unlisted).sizes).toEqual(olmo.sizes);
  expect([olmo.transformersJs, five.transformersJs]).toEqual([
    undefined,
    expect.stringContaining('layer_types'),
  ]);
  expect(() => describeModel({ ...given, linear_num_value_heads: 5 })).toThrow(
    '"linear_num_value_heads" expected a multiple of the 2 of linear_num_key_heads, got 5',
  );
});

test('a model of state spaces alone says fewer heads where their features are whole multiples of the stream’s', () => {
  const pure = describeModel(MAMBA2);
  const [own] = pure.sizes;
  expect(own).toEqual({ heads: 8, kvHeads: 2, ffn: 0, keyDim: 3, valueDim: 8 });
  const few = { ...own, heads: 4, kvHeads: 1 };
  const { config, record } = pure.configOf([few, few]);
  expect(config).toEqual({ ...MAMBA2, num_heads: 4, n_groups: 1, expand: 1 });
  expect(record).toBeUndefined();
  expect(describeModel(config).sizes).toEqual([few, few]);
  expect(pure.configOf([few, own]).record!.blocks![0]).toMatchObject({ heads: 4, keyDim: 3, valueDim: 8 });
  expect(pure.transformersJs).toBeDefined();
  expect(() => describeModel({ ...MAMBA2, num_heads: 7 })).toThrow(
    '"num_heads" expected a multiple of the 2 of n_groups that shares out 64 features (expand), got 7',
  );
});

test('heads of delta rules and of attention with gates keep their features', () => {
  const [delta, attention] = sizes;
  expect([0, 1].map((i) => model.valuesCanNarrow(i))).toEqual([false, false]);
  expect(() => model.configOf([{ ...delta, valueDim: 4 }, attention])).toThrow(
    '"valueDim" expected 5, as heads have a state, got 4',
  );
  expect(() => model.configOf([delta, { ...attention, valueDim: 4 }])).toThrow(
    '"valueDim" expected 8, as there are gates of what heads give, got 4',
  );
});

test('a state space as transformers 5 writes it is the same', () => {
  const layer_types = ['linear_attention', 'full_attention'];
  for (const high of [{ __float__: 'Infinity' }, null]) {
    const space = describeModel({ ...GRANITE_SPACE, layer_types, time_step_limit: [0, high] });
    expect(space.sizes).toEqual(describeModel(GRANITE_SPACE).sizes);
    // transformers.js knows the names before.
    expect([describeModel(GRANITE_SPACE).transformersJs, space.transformersJs]).toEqual([
      undefined,
      expect.stringContaining('"layer_types"'),
    ]);
  }
});

test('fields of state spaces count where there are some', () => {
  const alone = { ...GRANITE_SPACE, layer_types: ['attention', 'attention'], mamba_expand: 0 };
  expect(describeModel(alone).sizes).toHaveLength(2);
});

test.each([
  [
    { mamba_n_heads: 7, mamba_d_head: 'auto' },
    '"mamba_n_heads" expected a multiple of the 1 of mamba_n_groups that shares out 64 features',
  ],
  [
    { mamba_n_heads: 7 },
    '"mamba_n_heads" expected a multiple of the 1 of mamba_n_groups that shares out 64 features',
  ],
  [
    { mamba_n_groups: 3 },
    '"mamba_n_heads" expected a multiple of the 3 of mamba_n_groups that shares out 64 features',
  ],
  [{ time_step_limit: [1, 0.5] }, '"time_step_limit" expected two numbers, the larger one last, got [1,0.5]'],
])('a state space with %o is refused', (fields, message) => {
  expect(() => describeModel({ ...GRANITE_SPACE, ...fields })).toThrow(message);
});

test('value heads that cannot be shared out to keys are refused', () => {
  expect(() => describeModel({ ...QWEN3_5, linear_num_value_heads: 5 })).toThrow(InputError);
  expect(() => describeModel({ ...QWEN3_5, linear_num_value_heads: 5 })).toThrow(
    '"linear_num_value_heads" expected a multiple of the 2 of linear_num_key_heads, got 5',
  );
});
