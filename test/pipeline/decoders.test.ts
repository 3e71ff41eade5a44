// Folders of language models of every form that blocks have, pruned part by part and written again.

import { expect, test } from 'vitest';
import { mapNeurons } from '../../src/checkpoint/architectures/index.ts';
import { blobFolder, memoryOutput } from '../../src/checkpoint/index.ts';
import {
  type OpenedLanguageModel,
  openLanguageModel,
  prune,
  tokenWindows,
} from '../../src/pipeline/index.ts';
import { folderSubject } from '../../src/pipeline/models/folder.ts';
import { parseRecipe } from '../../src/pipeline/recipe.ts';
import { referenceLogits } from '../architectures/reference.ts';
import { ids, maxDifference, runOnce, sourceOf } from '../architectures/source.ts';
import { tinyWeights, uniformSizes, VARIANTS } from '../architectures/tiny.ts';
import { describe as describeModel } from '../support/describe.ts';
import { random } from '../support/random.ts';
import { engine, folderOf, session, weightsOf } from './fixtures.ts';

const LENGTH = 12;

/** Windows of tokens of which some come more often than others. */
function windows(samples: number, seed: number) {
  const next = random(seed);
  const tokens = Int32Array.from({ length: samples * LENGTH }, () => Math.floor(next() ** 2 * 40));
  return tokenWindows(tokens, { samples, seqlen: LENGTH });
}

const TEXTS = [2, 3, 4].map((seed) => {
  const next = random(seed);
  return Array.from({ length: LENGTH }, () => Math.floor(next() ** 2 * 40));
});

/** What the loops give of a folder for all texts. */
async function loops({ checkpoint, language }: OpenedLanguageModel): Promise<number[]> {
  const weights = await weightsOf(checkpoint);
  return TEXTS.flatMap((text) => referenceLogits(checkpoint.config, language.sizes, weights, text).flat());
}

test.each([
  ['internlm2', 'has no class for this model type (internlm2)'],
  [
    'lfm2',
    'reads from "layer_types" what blocks there are, which this config.json has not: write it there, a list of "full_attention" and "conv" (lfm2)',
  ],
  ['llava', 'takes apart what is of texts and images into several files (llava)'],
])('%s is not written for transformers.js', async (name, why) => {
  const own = VARIANTS[name === 'llava' ? 'llama' : name].config;
  const config = name === 'llava' ? { model_type: name, text_config: own } : own;
  const opened = await folderOf(config, tinyWeights(own, uniformSizes(own)));
  const options = { engine, session, keep: 0.5, calibration: windows(8, 1), output: memoryOutput('pruned') };
  await expect(prune(opened, { ...options, onnx: 'transformers.js' })).rejects.toThrow(
    `transformers.js ${why}; the format "onnx"`,
  );
});

test('narrow heads are not written as what config.json says', async () => {
  const { config } = VARIANTS.opt;
  const { folder } = await folderOf(config, tinyWeights(config, uniformSizes(config)));
  const narrow = await openLanguageModel(folder, { heads: 'narrow' });
  const options = { engine, session, keep: 0.5, calibration: windows(8, 1), output: memoryOutput('pruned') };
  await expect(prune(narrow, { ...options, onnx: 'transformers.js', loadable: true })).rejects.toThrow(
    'model: config.json has no field for narrower heads; `loadable: false` takes sizes that it cannot say',
  );
});

test.each([
  ['opt', { keyDim: 3, valueDim: 3 }],
  ['gpt2', { keyDim: 3, valueDim: 3 }],
  ['llama', { valueDim: 3 }],
  ['gpt-neox', { valueDim: 3 }],
])('%s: blocks whose heads have lost features are written as a folder', async (name, features) => {
  const { config } = VARIANTS[name];
  const dense = uniformSizes(config);
  const { folder } = await folderOf(config, tinyWeights(config, dense));
  const opened = await openLanguageModel(folder, { heads: 'narrow' });
  const output = memoryOutput('narrow');
  const subject = folderSubject(opened, { output, onnx: 'beside' });
  const kept = new Map(
    subject.structures.map(({ name, kind, groups }) => [name, kind === 'head' ? 3 : groups]),
  );
  const writer = await subject.writer(parseRecipe({ keep: 0.5 }), kept, engine);

  const sizes = dense.map((size) => ({ ...size, ...features }));
  const weights = tinyWeights(config, sizes);
  const small = describeModel(config, { blocks: sizes });
  for (const [i] of sizes.entries()) {
    const weighted = await small.block(sourceOf(weights), i, { length: LENGTH });
    await writer.part(i + 1, { weighted, layers: [] });
  }
  const how = { target: { kind: 'self', blend: 0 }, samples: 1 } as const;
  const { copies, isLoadable } = await writer.finish(how, {
    round: async () => {},
    prove: async (written) => written,
  });
  expect(isLoadable).toBe(false);

  const again = await openLanguageModel(blobFolder(output.files()));
  expect(again.language.sizes).toEqual(sizes);
  const written = await weightsOf(again.checkpoint);
  for (const [name, { shape, data }] of weights)
    if (/\.(layers|h)\.\d/.test(name) && !/inv_freq$|attn\.bias$/.test(name))
      expect(written.get(name), name).toEqual({ shape, data });
  const expected = await loops(again);
  for (const [i, text] of TEXTS.entries()) {
    const samples = tokenWindows(Int32Array.of(...text, 0), { samples: 1, seqlen: LENGTH });
    for await (const { data } of copies[0].outputs(samples))
      expect(maxDifference(data, expected.slice(i * data.length, (i + 1) * data.length))).toBeLessThan(1e-4);
  }
});

test.each(['opt, narrow heads', 'bloom, narrow heads', 'llama, narrow values', 'gpt_bigcode, narrow heads'])(
  '%s: whole heads go, and those that stay have the features that they had',
  async (name) => {
    const { config, sizes } = VARIANTS[name];
    const opened = await folderOf(config, tinyWeights(config, sizes!), { blocks: sizes! });
    const output = memoryOutput('pruned');
    const how = { engine, session, keep: 0.5, search: 'greedy', onnx: 'beside' } as const;
    const { report } = await prune(opened, { ...how, calibration: windows(24, 1), output });
    // The masked network, the written folder and model.onnx give the same.
    expect(report.maxDifference).toBeLessThan(1e-4);
    const again = await openLanguageModel(blobFolder(output.files()));
    const [{ heads, keyDim, valueDim }] = again.language.sizes;
    expect(heads).toBe(2);
    expect({ keyDim, valueDim }).toEqual({ keyDim: sizes![0].keyDim, valueDim: sizes![0].valueDim });
    const found = await runOnce(await again.language.whole(again.checkpoint), { input_ids: ids(TEXTS) });
    expect(maxDifference(found.logits.data, await loops(again))).toBeLessThan(1e-4);
  },
);

test.each([
  ['llama', 1],
  ['lfm2', 1],
  ['lfm2_moe', 1],
  ['qwen3_5_text', 1],
  ['qwen3_next', 1],
  ['granitemoehybrid, state spaces', 1],
  ['falcon_h1', 1],
  ['mamba2', 1],
  ['olmo_hybrid', 1],
  ['bamba', 1],
  ['nemotron_h', 1],
  ['llama of one key-value head', 1],
  ['smollm3', 1],
  ['granite', 1],
  ['phi3, window', 1],
  ['phi3, partly rotary, longrope, short', 1],
  ['gemma', 1],
  ['gemma2', 1],
  ['gemma3', 1],
  ['phi', 2],
  ['glm4', 1],
  ['arcee', 1],
  ['exaone4', 1],
  ['nemotron', 1],
  ['gpt_bigcode', 1],
  ['falcon, groups', 1],
  ['bloom', 2],
  ['mpt', 2],
  ['mixtral', 1],
  ['olmoe', 1],
  ['qwen2_moe', 1],
  ['qwen3_moe, experts in every second block', 1],
  ['deepseek_v3', 2],
  ['granitemoeshared', 1],
  ['gpt_oss', 1],
  ['baichuan, 13B of the second: ALiBi, scores by directions', 2],
  ['apertus', 1],
  ['nanochat', 1],
  ['llama4_text', 1],
  ['mistral4', 2],
  ['jais', 2],
  ['modernbert-decoder', 2],
])('%s: half of the heads and neurons go, and less is lost than by magnitude', async (name, kvHeads) => {
  const { config } = VARIANTS[name];
  const opened = await folderOf(config, tinyWeights(config, uniformSizes(config)));
  const dense = await loops(opened);
  const pruned = async (method: 'osscar' | 'magnitude') => {
    const output = memoryOutput('pruned');
    const target = { kind: 'residual', blend: 1 } as const;
    const how = { engine, session, keep: 0.5, search: 'greedy', onnx: 'beside' } as const;
    const { report } = await prune(opened, { ...how, calibration: windows(24, 1), target, method, output });
    // The masked network, the written folder and model.onnx give the same.
    expect(report.maxDifference).toBeLessThan(1e-4);
    const again = await openLanguageModel(blobFolder(output.files()));
    const logits = await loops(again);
    return { again, logits, error: Math.hypot(...logits.map((value, i) => value - dense[i])) };
  };
  const { again, logits, error } = await pruned('osscar');
  const half = uniformSizes(config).map((size) => ({
    ...mapNeurons(size, (_, neurons) => neurons / 2),
    ...(size.heads > 0 && { heads: size.heads / 2, kvHeads }),
    ...(size.space && { space: { ...size.space, heads: size.space.heads / 2 } }),
  }));
  expect(again.language.sizes).toEqual(half);
  const found = await runOnce(await again.language.whole(again.checkpoint), { input_ids: ids(TEXTS) });
  expect(maxDifference(found.logits.data, logits)).toBeLessThan(1e-4);
  expect(error).toBeLessThan(0.9 * (await pruned('magnitude')).error);
});

test.each(['phimoe, stacked', 'stablelm, norms of each head', 'afmoe'])(
  '%s: half of the heads and neurons go, and the folder opens again',
  async (name) => {
    const { config } = VARIANTS[name];
    const opened = await folderOf(config, tinyWeights(config, uniformSizes(config)));
    const output = memoryOutput('pruned');
    const how = { engine, session, keep: 0.5, search: 'greedy', onnx: 'beside' } as const;
    const { report } = await prune(opened, { ...how, calibration: windows(12, 1), output });
    expect(report.maxDifference).toBeLessThan(1e-4);
    const again = await openLanguageModel(blobFolder(output.files()));
    expect(again.language.sizes.map(({ heads, kvHeads }) => [heads, kvHeads])).toEqual([
      [2, 1],
      [2, 1],
    ]);
    const found = await runOnce(await again.language.whole(again.checkpoint), { input_ids: ids(TEXTS) });
    expect(maxDifference(found.logits.data, await loops(again))).toBeLessThan(1e-4);
  },
);

test.each([
  ['granitemoe', 'block_sparse_moe', 'input_linear'],
  ['mixtral, stacked', 'mlp', 'gate_up_proj'],
])(
  '%s: experts of one tensor that lose different numbers of neurons have tensors of their own',
  async (name, module, map) => {
    const { config } = VARIANTS[name];
    const opened = await folderOf(config, tinyWeights(config, uniformSizes(config)));
    const output = memoryOutput('pruned');
    const keep = { all: 0.5, layers: { '1.experts.2': 1 } };
    const how = { engine, session, keep, search: 'greedy', onnx: 'beside' } as const;
    const { report } = await prune(opened, { ...how, calibration: windows(24, 1), output });
    expect(report.maxDifference).toBeLessThan(1e-4);
    const again = await openLanguageModel(blobFolder(output.files()));
    expect(again.language.sizes.map(({ experts }) => experts)).toEqual([
      [3, 3, 3, 3],
      [3, 3, 6, 3],
    ]);
    const ofInput = [...again.checkpoint.tensors].filter(([tensor]) => tensor.includes(map));
    expect(ofInput.map(([tensor, { shape }]) => [tensor, shape])).toEqual([
      [`model.layers.0.${module}.${name === 'granitemoe' ? `${map}.weight` : `experts.${map}`}`, [4, 6, 32]],
      ...[3, 3, 6, 3].map((neurons, e) => [
        `model.layers.1.${module}.experts.${e}.${map}.weight`,
        [2 * neurons, 32],
      ]),
    ]);
    const found = await runOnce(await again.language.whole(again.checkpoint), { input_ids: ids(TEXTS) });
    expect(maxDifference(found.logits.data, await loops(again))).toBeLessThan(1e-4);
  },
);
