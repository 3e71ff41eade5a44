// Blocks of which attention or MLP has gone whole: what is left gives what the block gave where nothing came of that half.

import { expect, test } from 'vitest';
import type { BlockSizes, LanguageModel } from '../../src/checkpoint/architectures/index.ts';
import { analyse, type Model, readWeights, writeWeights } from '../../src/graph/index.ts';
import { run, withAllValues } from '../graph/running.ts';
import { describe as describeModel } from '../support/describe.ts';
import { ENCODERS, encoderWeights } from './encoders.ts';
import { emptyPast, pastFrom } from './generate.ts';
import { ids, maxDifference, open, runOnce, sourceOf, type Weights } from './source.ts';
import { LLAMA, MIXTRAL, OPT, tinyWeights, uniformSizes, VARIANTS } from './tiny.ts';

const HALVES = ['attention', 'mlp'] as const;
type Half = (typeof HALVES)[number];
const NOTHING: Readonly<Record<Half, Partial<BlockSizes>>> = {
  attention: { heads: 0, kvHeads: 0 },
  mlp: { ffn: 0 },
};
const LENGTH = 6;

const decoders = Object.entries(VARIANTS).filter(([, { sizes }]) => !sizes);
const all = [
  ...decoders.map(([name, { config }]) => [name, config, tinyWeights(config, uniformSizes(config))] as const),
  ...Object.entries(ENCODERS).map(([name, config]) => [name, config, encoderWeights(config)] as const),
];

/** The model without halves of block 1, and nothing but its weights. */
function without(dense: LanguageModel, weights: Weights, config: object, halves: readonly Half[]) {
  const [first, size, ...others] = dense.sizes;
  const blocks = [first, Object.assign({}, size, ...halves.map((half) => NOTHING[half])), ...others];
  const source = sourceOf(weights);
  const model = describeModel(config as typeof LLAMA, { blocks }, undefined, source);
  const gone = [...dense.tensors(source).keys()].filter((name) => !model.tensors(source).has(name));
  const own = sourceOf(new Map([...weights].filter(([name]) => !gone.includes(name))));
  return { model, own, gone };
}

/** The block with nothing in the place of what its halves give. */
async function silenced(
  block: Model,
  hidden: { dims: number[]; data: Float32Array },
  halves: readonly Half[],
  mlps: ReturnType<LanguageModel['mlps']>,
) {
  const values = await run(withAllValues(block), { hidden });
  const shapes = new Map(Object.entries({ ...values, hidden }).map(([name, { dims }]) => [name, dims]));
  const silent = block.clone();
  for (const { kind, layer, prunable, consumers } of analyse(block, shapes).structures) {
    // Queries and keys are channels too, of what DeepSeek's are made of.
    const half =
      kind === 'head' ? 'attention' : mlps.some((mlp) => layer.endsWith(mlp.layer)) ? 'mlp' : undefined;
    if (!prunable || !halves.some((it) => it === half)) continue;
    for (const reader of consumers) {
      const { W, bias } = readWeights(silent, reader);
      writeWeights(silent, reader, new Float64Array(W.length), bias && new Float64Array(bias.length));
    }
  }
  return silent;
}

test.each(all)('%s', async (_, config, weights) => {
  const source = sourceOf(weights);
  const dense = describeModel(config, undefined, undefined, source);
  const going = HALVES.filter((half) => dense.canGo(1, half));
  const length = /^(beit|data2vec|dinov3)/.test(dense.architecture) ? dense.maxPositions : LENGTH;
  const hidden = {
    dims: [1, length, dense.hidden],
    data: Float32Array.from({ length: length * dense.hidden }, (_, i) => Math.sin(i)),
  };
  const block = await dense.block(source, 1, { length });
  for (const halves of [...going.map((half) => [half]), ...(going.length > 1 ? [going] : [])]) {
    const { model, own, gone } = without(dense, weights, config, halves);
    model.check(own);
    expect(gone.length).toBeGreaterThan(0);
    const silent = await silenced(block, hidden, halves, dense.mlps(1));
    const [small, expected] = await Promise.all(
      [await model.block(own, 1, { length }), silent].map((it) => runOnce(it, { hidden })),
    );
    expect([halves, maxDifference(small.hidden_out.data, expected.hidden_out.data)]).toEqual([
      halves,
      expect.closeTo(0, 4),
    ]);
    // The way back: of what is left.
    const tensors = model.tensorsOf(1, await model.block(own, 1, { length }));
    expect(tensors.every(({ name }) => !gone.includes(name))).toBe(true);
    const { record, statement, left } = dense.configOf(model.sizes);
    if (left) continue;
    expect(record!.blocks![1]).toMatchObject(Object.assign({}, ...halves.map((half) => NOTHING[half])));
    expect(statement).toContain('blocks differ in what they have');
  }
});

const whole = all.filter(([, config, weights]) => {
  const dense = describeModel(config, undefined, undefined, sourceOf(weights));
  return dense.blocks === 2 && HALVES.every((half) => dense.canGo(1, half));
});

test.each(whole)(
  '%s: a block that has neither half is none, where config.json can say so',
  async (_, config, weights) => {
    const dense = describeModel(config, undefined, undefined, sourceOf(weights));
    for (const gone of [1, 0]) {
      const left = [1 - gone];
      if (!HALVES.every((half) => dense.canGo(gone, half))) continue;
      const blocks = dense.sizes.with(gone, { ...dense.sizes[gone], heads: 0, kvHeads: 0, ffn: 0 });
      const said = dense.configOf(blocks);
      if (!said.left) {
        // Norms behind the halves stay, or a block is told by its number.
        expect(said.record!.blocks!).toHaveLength(2);
        continue;
      }
      expect(said.left).toEqual(left);
      const source = sourceOf(weights);
      const renamed: Weights = new Map();
      for (const [tensor, value] of weights) {
        const to = dense.nameWith(left, tensor, source);
        if (to !== undefined) renamed.set(to, value);
      }
      const own = sourceOf(renamed);
      const shorter = describeModel(said.config, said.record, undefined, own);
      shorter.check(own);
      expect(shorter.sizes).toEqual(left.map((i) => dense.sizes[i]));
      // Of an encoder of any kind what it takes is its embedding's to say.
      const feeds = {
        hidden: { dims: [1, LENGTH, dense.hidden], data: new Float32Array(LENGTH * dense.hidden).fill(0.5) },
      };
      if (/^(beit|data2vec|dinov3)/.test(dense.architecture)) continue;
      const [expected, found] = await Promise.all([
        runOnce(await dense.block(source, left[0], { length: LENGTH }), feeds),
        runOnce(await shorter.block(own, 0, { length: LENGTH }), feeds),
      ]);
      expect(found.hidden_out.data).toEqual(expected.hidden_out.data);
    }
  },
);

test('what a block is may hang on its number: then config.json cannot leave out those before it', () => {
  const cannot = whole.flatMap(([name, config, weights]) => {
    const dense = describeModel(config, undefined, undefined, sourceOf(weights));
    return dense.withBlocks([1]) ? [] : [name];
  });
  // Windows in every second block; factors by depth; a table of the first one; lists in other words.
  for (const name of [
    'gemma2',
    'cohere2',
    'minicpm, tied',
    't5',
    'gpt_neo',
    'gpt2, scores scaled by layer, default n_inner',
  ])
    expect(cannot).toContain(name);
  for (const name of [
    'opt',
    'llama',
    'qwen3',
    'bloom',
    'mpt',
    'gpt2',
    'qwen3, layer_types',
    'gpt_neox',
    'phi',
    'vit',
  ])
    expect(cannot).not.toContain(name);
  expect(cannot.length).toBeLessThan(whole.length / 3);
});

test('most kinds can do without either half, and none without experts or what is in the place of attention', () => {
  const going = all.map(([name, config, weights]) => {
    const model = describeModel(config, undefined, undefined, sourceOf(weights));
    return { name, halves: HALVES.filter((half) => model.canGo(1, half)) };
  });
  expect(going.filter(({ halves }) => halves.length === 2).length).toBeGreaterThan(100);
  const mixtral = describeModel(MIXTRAL);
  expect(HALVES.filter((half) => mixtral.canGo(1, half))).toEqual(['attention']);
});

test.each([
  ['llama', LLAMA],
  ['opt', OPT],
])('%s: caches are of the blocks that have attention', async (_, config) => {
  const weights = tinyWeights(config, uniformSizes(config));
  const dense = describeModel(config);
  const { model, own } = without(dense, weights, config, ['attention']);
  const text = [3, 14, 15, 9, 26, 5];
  const session = await open(await model.whole(own, { past: true }));
  expect(session.inputs.filter((name) => name.startsWith('past_'))).toEqual([
    'past_key_values.0.key',
    'past_key_values.0.value',
  ]);
  const first = emptyPast(model, 1);
  let past = Object.fromEntries(Object.entries(first).filter(([name]) => session.inputs.includes(name)));
  const found: number[] = [];
  for (const [from, to] of [
    [0, 4],
    [4, text.length],
  ]) {
    const outputs = await session.run({
      input_ids: ids([text.slice(from, to)]),
      attention_mask: ids([text.slice(0, to).map(() => 1)]),
      position_ids: ids([text.slice(from, to).map((_, i) => from + i)]),
      ...past,
    });
    found.push(...outputs.logits.data);
    past = pastFrom(outputs) as typeof past;
  }
  await session.release();
  const whole = await runOnce(await model.whole(own), { input_ids: ids([text]) });
  expect(maxDifference(found, whole.logits.data)).toBeLessThan(1e-4);
});

test.each([
  ['heads without key-value heads', { heads: 0 }],
  ['key-value heads without heads', { kvHeads: 0 }],
  ['an MLP of a mixture', { ffn: 0 }, MIXTRAL],
])('osscar.json: refuses %s', (_, change, config = LLAMA) => {
  const { sizes } = describeModel(config);
  const blocks = sizes.map((size) => ({ ...size, ...change }));
  if (config === MIXTRAL) blocks[0] = { ...sizes[0], experts: sizes[0].experts!.map(() => 0) };
  expect(() => describeModel(config, { blocks })).toThrow(
    /osscar.json: block 0: "(heads|kvHeads|experts\[0\])" expected/,
  );
});
