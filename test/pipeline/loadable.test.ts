import { expect, test } from 'vitest';
import { sizeAt } from '../../src/graph/index.ts';
import { sizesOf } from '../../src/pipeline/keep.ts';
import { describedSubject, languageTerms, structuresOf } from '../../src/pipeline/models/described.ts';
import { loadableRecipe } from '../../src/pipeline/models/loadable.ts';
import { parseRecipe, type RecipeOptions } from '../../src/pipeline/recipe.ts';
import { describe as describeModel } from '../support/describe.ts';

const common = { num_hidden_layers: 2, num_attention_heads: 8, vocab_size: 32, hidden_size: 64 };
const llama = { ...common, model_type: 'llama', num_key_value_heads: 4, head_dim: 8, intermediate_size: 172 };
const LLAMA = describeModel({
  ...llama,
  hidden_act: 'silu',
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
});
const opt = { ...common, model_type: 'opt', ffn_dim: 256, word_embed_proj_dim: 64 };
const OPT = describeModel({ ...opt, max_position_embeddings: 64, activation_function: 'relu' });

const termsOf = (model: typeof OPT) => languageTerms({ language: model }, 'params', 16);
function sizes(model: typeof OPT, options: RecipeOptions) {
  const recipe = loadableRecipe(model, parseRecipe(options), () => termsOf(model));
  return { recipe, kept: [...sizesOf(recipe, structuresOf({ language: model })).values()] };
}

test('keeps heads that config.json has no field for, and neurons in multiples of eight', () => {
  expect(sizes(OPT, { keep: 0.52 }).kept).toEqual([8, 136, 8, 136]);
  // Of fewer than 64 in any number.
  const small = describeModel({
    ...opt,
    ffn_dim: 40,
    max_position_embeddings: 64,
    activation_function: 'relu',
  });
  expect(sizes(small, { keep: 0.52 }).kept).toEqual([8, 21, 8, 21]);
});

test('keeps heads whose number divides the features, as transformers 5 has it of a llama', () => {
  // 3 of 4 groups are 6 heads, which do not divide 64.
  expect(sizes(LLAMA, { keep: 0.75 }).kept).toEqual([2, 128, 2, 128]);
  expect(sizes(LLAMA, { keep: { heads: 1, channels: 0.5 } }).kept).toEqual([4, 88, 4, 88]);
});

test('keeps as many heads in all blocks of a kind, of attention and of delta rules', () => {
  const model = describeModel({
    ...llama,
    ...{ model_type: 'qwen3_5_text', hidden_act: 'silu', max_position_embeddings: 64 },
    layer_types: ['linear_attention', 'full_attention'],
    ...{ linear_num_key_heads: 6, linear_num_value_heads: 12 },
    ...{ linear_key_head_dim: 8, linear_value_head_dim: 8 },
  });
  const { recipe, kept } = sizes(model, { keep: 0.5 });
  expect(kept).toEqual([3, 88, 2, 88]);
  expect(recipe.keep).toMatchObject({ heads: 0.5, layers: { '0.heads': 0.5 } });
});

test('keeps as many heads of attention in all blocks, and as many of the state spaces beside it', () => {
  const model = describeModel({
    ...llama,
    ...{ model_type: 'falcon_h1', hidden_act: 'silu', max_position_embeddings: 64 },
    ...{ mamba_n_heads: 12, mamba_d_ssm: 96, mamba_d_head: 8, mamba_d_state: 4 },
  });
  const { recipe, kept } = sizes(model, { keep: 0.5 });
  expect(kept).toEqual([2, 6, 88, 2, 6, 88]);
  expect(recipe.keep).toMatchObject({ heads: 0.5, layers: { '0.space': 0.5, '1.space': 0.5 } });
});

test('keeps heads alone where there are no neurons', () => {
  const model = describeModel({
    ...{ model_type: 'mamba2', hidden_size: 32, num_hidden_layers: 2, vocab_size: 40 },
    ...{ num_heads: 8, head_dim: 8, n_groups: 1, state_size: 4 },
  });
  expect(sizes(model, { keep: 0.5 }).kept).toEqual([4, 4]);
  expect(() => sizes(model, { keep: { channels: 0.5 } })).toThrow('config.json of mamba2 can say no fewer');
});

test('leaves out whole blocks', () => {
  const layers = { '0.heads': 0, '0.mlp': 0 };
  expect(sizes(LLAMA, { keep: { all: 0.5, layers } }).kept).toEqual([0, 0, 2, 88]);
  expect(sizes(LLAMA, { keep: { all: 1, layers } }).kept).toEqual([0, 0, 4, 172]);
  // Of what has no other field, too.
  const bloom = describeModel({ ...common, model_type: 'bloom' });
  expect(sizes(bloom, { keep: { all: 1, layers } }).kept.slice(0, 2)).toEqual([0, 0]);
  const gemma = describeModel({
    ...{
      ...llama,
      model_type: 'gemma2',
      head_dim: 8,
      query_pre_attn_scalar: 8,
      sliding_window: 16,
      max_position_embeddings: 64,
    },
  });
  expect(() => sizes(gemma, { keep: { all: 0.5, layers } })).toThrow(
    '`loadable: true`: config.json of gemma2 cannot say blocks 1 alone; `loadable: false` takes sizes',
  );
});

test('spends a budget on the largest sizes that fit', () => {
  const terms = termsOf(LLAMA);
  const size = (heads: number, neurons: number) =>
    sizeAt(terms, (name) => (name.endsWith('heads') ? heads / 4 : neurons / 172)) / sizeAt(terms, () => 1);
  const { recipe, kept } = sizes(LLAMA, { params: 0.7 });
  expect(recipe.spend).toBeUndefined();
  expect(sizes(LLAMA, { params: 0.7 * sizeAt(terms, () => 1) }).kept).toEqual(kept);
  const [heads, neurons] = kept;
  expect(kept).toEqual([heads, neurons, heads, neurons]);
  expect(size(heads, neurons)).toBeLessThanOrEqual(0.7);
  expect(Math.min(size(4, neurons), size(heads, neurons + 8))).toBeGreaterThan(0.7);
});

test.each<[string, RecipeOptions, string]>([
  ['ratios of layers', { keep: { all: 0.5, layers: { '0.mlp': 0.3 } } }, 'the same ratio for every block'],
  ['half of a block that goes', { keep: { all: 0.5, layers: { '0.mlp': 0 } } }, 'or 0 for all of some'],
  ['widths that differ', { params: 0.7, pin: { '0.mlp': 0.25 } }, '`pin` is for sizes that differ'],
  ['a bound on the loss', { maxLoss: 0.1 }, 'expected `keep`, or a budget'],
  ['a bound on the loss, of a size', { maxLoss: 0.1, of: 'params' }, 'expected `keep`, or a budget'],
  ['a budget of time', { latency: 5 }, 'expected `keep`, or a budget'],
  ['a budget below everything', { params: 0.01 }, 'even the smallest model'],
])('refuses %s', (_, options, message) => {
  expect(() => sizes(LLAMA, options)).toThrow(message);
});

test('refuses heads and neurons that were asked for by name and config.json has no field for', () => {
  expect(() => sizes(OPT, { keep: { heads: 0.5 } })).toThrow(
    '`keep.heads`: config.json of opt can say no fewer; leave it out, or take sizes that it cannot say (`loadable: false`)',
  );
  expect(sizes(OPT, { keep: { all: 0.5, heads: 1 } }).kept).toEqual([8, 128, 8, 128]);
});

test('refuses a model of which config.json says neither heads nor neurons', () => {
  const bloom = describeModel({ ...common, model_type: 'bloom' });
  expect(() => sizes(bloom, { keep: 0.5 })).toThrow(
    '`loadable: true`: config.json of bloom can say neither fewer heads nor fewer neurons',
  );
});

test('keeps as many neurons of every expert, and of what all tokens pass by a field of its own', () => {
  const model = describeModel({
    ...llama,
    model_type: 'qwen2_moe',
    hidden_act: 'silu',
    max_position_embeddings: 64,
    num_experts: 3,
    num_experts_per_tok: 2,
    moe_intermediate_size: 70,
    shared_expert_intermediate_size: 172,
    mlp_only_layers: [1],
  });
  const keep = sizes(model, { keep: { heads: 1, channels: 0.5 } });
  expect(keep.kept).toEqual([4, 88, 32, 32, 32, 4, 88]);
  const { config, record } = model.configOf([
    { heads: 8, kvHeads: 4, ffn: 88, experts: [32, 32, 32] },
    { heads: 8, kvHeads: 4, ffn: 80 },
  ]);
  expect(record).toBeUndefined();
  expect(config).toMatchObject({
    moe_intermediate_size: 32,
    shared_expert_intermediate_size: 88,
    intermediate_size: 80,
  });
  const { recipe, kept } = sizes(model, { params: 0.7 });
  const ratios = sizesOf(recipe, structuresOf({ language: model }));
  const size = sizeAt(
    termsOf(model),
    (name) => ratios.get(name)! / structuresOf({ language: model }).find((it) => it.name === name)!.groups,
  );
  expect(size / sizeAt(termsOf(model), () => 1)).toBeLessThanOrEqual(0.7);
  expect(new Set(kept.slice(2, 5)).size).toBe(1);
});

test('counts the multiply-adds of as many experts as a token passes', () => {
  const config = { ...llama, model_type: 'mixtral', hidden_act: 'silu', max_position_embeddings: 64 };
  const model = describeModel({ ...config, num_local_experts: 4, num_experts_per_tok: 1 });
  const dense = describeModel({ ...config, model_type: 'llama', mlp_bias: false, rms_norm_eps: 1e-5 });
  const [length, router] = [16, 64 * 4];
  const macs = (of: typeof model) => sizeAt(languageTerms({ language: of }, 'macs', length), () => 1);
  expect(macs(model) - macs(dense)).toBe(2 * length * router);
  const ofExpert = languageTerms({ language: model }, 'macs', length).find(
    ({ of: [name] }) => name === '1.experts.3',
  )!;
  expect(ofExpert.value).toBe((length * 3 * 64 * 172) / 4);
});

test('plans sums over as many rows as tokens pass an expert', () => {
  const config = { ...llama, model_type: 'mixtral', hidden_act: 'silu', max_position_embeddings: 64 };
  const model = describeModel({ ...config, num_local_experts: 4, num_experts_per_tok: 1 });
  const recipe = parseRecipe({ keep: 0.5 });
  const { steps } = describedSubject({ language: model }).profile(
    recipe,
    sizesOf(recipe, structuresOf({ language: model })),
    [16],
  );
  const rowsOf = (step: string) => steps.find(({ name }) => name === step)!.maps[0].rows;
  expect(['1.heads', '1.experts.3'].map(rowsOf)).toEqual([16, 4]);
});

test.each([{ ffn: 128 }, { heads: 4, kvHeads: 4 }])('refuses blocks that differ already: %o', (other) => {
  const block = { heads: 8, kvHeads: 8, ffn: 256 };
  const uneven = describeModel(
    { ...opt, max_position_embeddings: 64, activation_function: 'relu' },
    { blocks: [block, { ...block, ...other }] },
  );
  expect(() => sizes(uneven, { keep: 0.5 })).toThrow(
    'its blocks differ in size already; `loadable: false` takes sizes that config.json cannot say',
  );
});
