// The real language models beside the project against logits that torch computed.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { generate, generateWithPast } from '../architectures/generate.ts';
import { ids, maxDifference, runOnce, sourceOf, type Weights } from '../architectures/source.ts';
import { describe as describeModel } from '../support/describe.ts';
import { readSafetensors } from '../support/safetensors.ts';
import { shared } from './shared.ts';

const TOLERANCE = 1e-3; // of logits up to about 20, in float32 on both sides

describe.each(['opt-kjv', 'stories260k'])('%s', (name) => {
  const config = JSON.parse(readFileSync(shared(`models/${name}/config.json`), 'utf8'));
  const source = sourceOf(readSafetensors(readFileSync(shared(`models/${name}/model.safetensors`))));
  const golden = readSafetensors(readFileSync(shared(`golden/${name}-logits.safetensors`)));
  const tokens = Array.from(golden.get('tokens')!.data);
  const logits = golden.get('logits')!;
  const model = describeModel(config);
  const length = tokens.length;

  test('has the tensors that its config describes', () => {
    model.check(source);
    expect(model.blocks).toBe(config.num_hidden_layers);
    expect(model.sizes[0].ffn).toBe(config.ffn_dim ?? config.intermediate_size);
  });

  test('embedding, blocks and head give the golden logits', async () => {
    const embedding = await model.embedding(source, { length });
    let { hidden } = await runOnce(embedding, { input_ids: ids([tokens]) });
    for (let i = 0; i < model.blocks; i++) {
      const block = await model.block(source, i, { length });
      hidden = (await runOnce(block, { hidden })).hidden_out;
    }
    const result = await runOnce(await model.head(source), { hidden });
    expect(result.logits.dims).toEqual([1, ...logits.shape]);
    expect(maxDifference(result.logits.data, logits.data)).toBeLessThan(TOLERANCE);
  });

  test('the whole model gives the golden logits, for every text of a batch', async () => {
    const result = await runOnce(await model.whole(source), { input_ids: ids([tokens, tokens]) });
    const batch = [...logits.data, ...logits.data];
    expect(maxDifference(result.logits.data, batch)).toBeLessThan(TOLERANCE);
  });

  test('generates the same 50 tokens with past key values as without', async () => {
    const prompt = tokens.slice(0, 8);
    const expected = await generate(model, source, prompt, 50);
    expect(await generateWithPast(model, source, prompt, 50)).toEqual(expected);
    expect(new Set(expected).size).toBeGreaterThan(5); // not stuck on one token
  });
});

// Llama's weights, put as models that compute the same have them.
describe('stories260k as', () => {
  const read = (file: string) => readSafetensors(readFileSync(shared(file)));
  const config = JSON.parse(readFileSync(shared('models/stories260k/config.json'), 'utf8'));
  const golden = read('golden/stories260k-logits.safetensors');
  const tokens = Array.from(golden.get('tokens')!.data);

  /** Rows of several matrices as one. */
  const stacked = (weights: Weights, names: readonly string[]) => {
    const all = names.map((name) => weights.get(name)!);
    for (const name of names) weights.delete(name);
    const data = Float32Array.from(all.flatMap((it) => Array.from(it.data)));
    return { shape: [all.reduce((sum, { shape }) => sum + shape[0], 0), all[0].shape[1]], data };
  };
  const asPhi3 = (weights: Weights) => {
    for (let i = 0; i < config.num_hidden_layers; i++) {
      const [attention, mlp] = [`model.layers.${i}.self_attn`, `model.layers.${i}.mlp`];
      const named = (module: string, labels: string[]) => labels.map((it) => `${module}.${it}_proj.weight`);
      weights.set(`${attention}.qkv_proj.weight`, stacked(weights, named(attention, ['q', 'k', 'v'])));
      weights.set(`${mlp}.gate_up_proj.weight`, stacked(weights, named(mlp, ['gate', 'up'])));
    }
  };
  const asGemma = (weights: Weights) => {
    const factor = Math.sqrt(config.hidden_size);
    const change = (name: string, to: (value: number) => number) => {
      const { shape, data } = weights.get(name)!;
      weights.set(name, { shape, data: data.map(to) });
    };
    for (const name of weights.keys()) {
      if (name === 'model.embed_tokens.weight') change(name, (value) => value / factor);
      else if (name === 'model.norm.weight') change(name, (value) => factor * value - 1);
      else if (/norm\.weight$/.test(name)) change(name, (value) => value - 1);
    }
  };

  test.each([
    ['phi3', { model_type: 'phi3' }, asPhi3],
    ['gemma', { model_type: 'gemma', head_dim: 8, hidden_activation: 'silu' }, asGemma],
  ])('%s gives the golden logits', async (_, fields, convert) => {
    const weights: Weights = new Map(read('models/stories260k/model.safetensors'));
    convert(weights);
    const model = describeModel({ ...config, ...fields });
    model.check(sourceOf(weights));
    const result = await runOnce(await model.whole(sourceOf(weights)), { input_ids: ids([tokens]) });
    expect(maxDifference(result.logits.data, golden.get('logits')!.data)).toBeLessThan(TOLERANCE);
  });
});
