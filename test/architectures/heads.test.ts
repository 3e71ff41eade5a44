// Blocks as the graph analysis sees them: heads, or key-value groups with their query heads, and neurons.

import { expect, test } from 'vitest';
import {
  featuresOf,
  headGroups,
  headsOf,
  type LanguageModel,
  type TensorSource,
} from '../../src/checkpoint/architectures/index.ts';
import { analyse, linearMaps, shrink } from '../../src/graph/index.ts';
import { run, withAllValues } from '../graph/running.ts';
import { describe as describeModel } from '../support/describe.ts';
import { referenceLogits } from './reference.ts';
import { ids, maxDifference, runOnce, sizesOf, sourceOf, type Weights } from './source.ts';
import { MIXTRAL, tinyWeights, uniformSizes, VARIANTS } from './tiny.ts';

const TOKENS = [3, 14, 15, 9, 26, 5];
const LENGTH = TOKENS.length;

// pruned variants have blocks of a single head, of which none can go
const dense = Object.entries(VARIANTS).filter(
  ([, { config, sizes }]) => !sizes && uniformSizes(config)[1].heads > 0,
);

/** A block and the shapes of all its values. */
async function blockOf(model: LanguageModel, source: TensorSource) {
  const block = await model.block(source, 1, { length: LENGTH });
  const data = Float32Array.from({ length: LENGTH * model.hidden }, (_, i) => Math.sin(i));
  const hidden = { dims: [1, LENGTH, model.hidden], data };
  const values = await run(withAllValues(block), { hidden });
  const shapes = new Map(Object.entries({ ...values, hidden }).map(([name, { dims }]) => [name, dims]));
  return { block, shapes };
}

test('experts are added to the residual stream one after the other: each can make up for those before it', async () => {
  const model = describeModel(MIXTRAL);
  const { block, shapes } = await blockOf(model, sourceOf(tinyWeights(MIXTRAL, model.sizes)));
  const experts = linearMaps(block, shapes).filter(({ node }) => /experts\.\d+\.w2$/.test(node));
  expect(experts).toHaveLength(4);
  for (const [e, { residual }] of experts.entries())
    if (e > 0) expect(residual!.shortcut).toBe(experts[e - 1].residual!.sum);
  expect(experts[3].residual!.sum).toBe('hidden_out');
});

test.each(dense)('%s: heads and neurons of a block are prunable, and nothing else', async (_, { config }) => {
  const weights = tinyWeights(config, uniformSizes(config));
  const source = sourceOf(weights);
  const model = describeModel(config, undefined, undefined, source);
  const [, size] = model.sizes;
  const { heads, kvHeads, space } = size;
  const { block, shapes } = await blockOf(model, source);

  const all = analyse(block, shapes).structures.filter((structure) => structure.prunable);
  // What DeepSeek's queries and keys are made of stays in the pipeline, as all blocks have the same number.
  const prunable = all.filter(({ layer }) => !/\.(q|kv)_b_proj/.test(layer));
  // query heads where all share one key-value head
  const [groups, each] = kvHeads === 1 ? [heads, 1] : [kvHeads, heads / kvHeads];
  const ofSpace = space && headGroups(space);
  expect(prunable.map(({ kind, groups, groupSize }) => [kind, groups, groupSize])).toEqual([
    ...(space ? [['head', ofSpace, (space.heads / ofSpace!) * space.valueDim]] : []),
    ['head', groups, each * featuresOf(size, model).valueDim],
    ...model.mlps(1).map(({ neurons }) => ['channel', neurons, 1]),
  ]);
  const layers = prunable.slice(space ? 2 : 1).map(({ layer }) => layer);
  expect(layers).toEqual(model.mlps(1).map(({ layer }) => expect.stringMatching(`\\.${layer}$`)));

  // all but the first of each
  const kept = (groups: number) => Array.from({ length: groups - 1 }, (_, i) => i + 1);
  const small = shrink(block, new Map(prunable.map((structure) => [structure, kept(structure.groups)])));
  const sizes = [model.sizes[0], sizesOf(small, model, size)];
  const neurons = {
    ...{ keyDim: size.keyDim, valueDim: size.valueDim },
    ffn: Math.max(0, size.ffn - 1),
    ...(size.experts && { experts: size.experts.map((neurons) => neurons - 1) }),
    ...(space && { space: { ...space, ...headsOf(space, headGroups(space) - 1) } }),
  };
  expect(sizes[1]).toEqual({
    heads: each * (groups - 1),
    kvHeads: kvHeads === 1 ? 1 : kvHeads - 1,
    ...neurons,
  });
  expect(sizes[1]).toEqual({ ...headsOf(size, groups - 1), ...neurons });
  expect(sizes[1].space?.heads).toBe(space && headsOf(space, ofSpace! - 1).heads);

  const own = model.blockTensors(source, 1);
  const pruned: Weights = new Map([...weights].filter(([name]) => !own.has(name)));
  for (const { name, shape, data } of model.tensorsOf(1, small, sizes[1])) pruned.set(name, { shape, data });
  const { config: prunedConfig, record } = model.configOf(sizes);
  const reopened = describeModel(prunedConfig, record, undefined, sourceOf(pruned));
  reopened.check(sourceOf(pruned));
  const expected = referenceLogits(config, sizes, pruned, TOKENS).flat();
  const { logits } = await runOnce(await reopened.whole(sourceOf(pruned)), { input_ids: ids([TOKENS]) });
  expect(maxDifference(logits.data, expected)).toBeLessThan(1e-4);

  let x = (await runOnce(await model.embedding(source, { length: LENGTH }), { input_ids: ids([TOKENS]) }))
    .hidden;
  for (const part of [await model.block(source, 0, { length: LENGTH }), small]) {
    x = (await runOnce(part, { hidden: x })).hidden_out;
  }
  const chained = await runOnce(await model.head(source), { hidden: x });
  expect(maxDifference(chained.logits.data, expected)).toBeLessThan(1e-4);
});
