// Narrow heads as config.json and osscar.json alone tell them: what can go, what stays, what it counts.

import { expect, test } from 'vitest';
import {
  type BlockSizes,
  type Config,
  featuresOf,
  type LanguageModel,
} from '../../src/checkpoint/architectures/index.ts';
import { blobFolder } from '../../src/checkpoint/index.ts';
import { type HeadsMode, sizeAt } from '../../src/graph/index.ts';
import { limits } from '../../src/limits.ts';
import { openLanguageModel, prunableOf, tokenWindows } from '../../src/pipeline/index.ts';
import { sizesOf } from '../../src/pipeline/keep.ts';
import {
  allSizesAfter,
  describedSubject,
  languageTerms,
  structuresOf,
  widestOf,
} from '../../src/pipeline/models/described.ts';
import { folderSubject } from '../../src/pipeline/models/folder.ts';
import { parseRecipe } from '../../src/pipeline/recipe.ts';
import { contentHash } from '../../src/pipeline/store/hash.ts';
import { WHISPER } from '../architectures/decoders.ts';
import { ENCODERS, encoderWeights } from '../architectures/encoders.ts';
import { BLOOM, LLAMA, MPT, OLMO, OPT, tinyWeights, uniformSizes, VARIANTS } from '../architectures/tiny.ts';
import { describe as describeModel } from '../support/describe.ts';
import { engine, folderOf } from './fixtures.ts';

const BOUNDED = { ...MPT, attn_config: { clip_qkv: 2 } };
const SMOLLM3 = { ...LLAMA, model_type: 'smollm3', no_rope_layer_interval: 2 };

/** A model whose first block is narrow. */
function narrowed(config: Config, narrow: Partial<BlockSizes>): LanguageModel {
  const [first, ...others] = describeModel(config).sizes;
  return describeModel(config, { blocks: [{ ...first, ...narrow }, ...others] });
}

/** So many of the groups of each kind stay. */
const keeping = (model: LanguageModel, heads: HeadsMode, features: number, neurons: number) =>
  new Map(
    structuresOf({ language: model, heads }).map(
      ({ name, kind }) => [name, kind === 'head' ? features : neurons] as const,
    ),
  );

const ALL = { keys: 8, values: 8 };

test.each<[string, LanguageModel, [object, object]]>([
  ['all', describeModel(OPT), [ALL, ALL]],
  ['what a narrow model has', narrowed(OPT, { keyDim: 3, valueDim: 5 }), [{ keys: 3, values: 5 }, ALL]],
  ['of values where positions are rotary', describeModel(LLAMA), [{ values: 8 }, { values: 8 }]],
  ['of values where keys have a single one', narrowed(OPT, { keyDim: 1, valueDim: 5 }), [{ values: 5 }, ALL]],
  ['whole heads where they are bounded', describeModel(BOUNDED), [{ heads: 4 }, { heads: 4 }]],
  [
    'whole heads where values have a single one',
    narrowed(OPT, { keyDim: 3, valueDim: 1 }),
    [{ heads: 4 }, ALL],
  ],
])('features of heads can go, if heads are to be narrow: %s', (_, model, expected) => {
  const found = structuresOf({ language: model, heads: 'narrow' });
  expect(found.filter(({ kind }) => kind === 'head').map(({ name, groups }) => [name, groups])).toEqual(
    expected.flatMap((all, i) => Object.entries(all).map(([of, groups]) => [`${i}.${of}`, groups])),
  );
  expect(found.filter(({ kind }) => kind === 'channel')).toEqual(
    structuresOf({ language: model }).filter(({ kind }) => kind === 'channel'),
  );
});

test.each<[string, LanguageModel, number, Partial<BlockSizes>, Partial<BlockSizes>]>([
  ['opt', describeModel(OPT), 6, { keyDim: 6, valueDim: 6 }, { keyDim: 6, valueDim: 6 }],
  ['opt, all of them', describeModel(OPT), 8, {}, {}],
  ['rotary positions: values alone', describeModel(LLAMA), 6, { valueDim: 6 }, { valueDim: 6 }],
  ['where a block has no positions', describeModel(SMOLLM3), 6, { valueDim: 6 }, { keyDim: 6, valueDim: 6 }],
  [
    'narrow already, as many of keys',
    narrowed(OPT, { keyDim: 5, valueDim: 5 }),
    2,
    { keyDim: 2, valueDim: 2 },
    { keyDim: 2, valueDim: 2 },
  ],
  [
    'narrow already, others of keys',
    narrowed(OPT, { keyDim: 3, valueDim: 5 }),
    3,
    { keyDim: 3, valueDim: 3 },
    { keyDim: 3, valueDim: 3 },
  ],
  ['bounds: whole heads', describeModel(BOUNDED), 2, { heads: 2, kvHeads: 2 }, { heads: 2, kvHeads: 2 }],
])('features that stay: %s', (_, model, features, first, second) => {
  const after = allSizesAfter({ language: model, heads: 'narrow' }, keeping(model, 'narrow', features, 7));
  const { keyDim, valueDim, ...rest } = model.sizes[0];
  expect(after).toStrictEqual([first, second].map((narrow) => ({ ...rest, ffn: 7, ...narrow })));
  expect(describeModel({ ...model.configOf(after).config }, model.configOf(after).record).sizes).toEqual(
    after,
  );
});

test('whole heads of a narrow model keep their features', () => {
  const model = narrowed(OPT, { keyDim: 3, valueDim: 5 });
  expect(allSizesAfter({ language: model }, keeping(model, 'fewer', 2, 7))).toStrictEqual([
    { heads: 2, kvHeads: 2, ffn: 7, keyDim: 3, valueDim: 5 },
    { heads: 2, kvHeads: 2, ffn: 7 },
  ]);
});

test.each<[string, LanguageModel, HeadsMode]>([
  ['opt', describeModel(OPT), 'narrow'],
  ['llama', describeModel(LLAMA), 'narrow'],
  ['bloom', describeModel(BLOOM), 'narrow'],
  ['bounds', describeModel({ ...OLMO, clip_qkv: 2 }), 'narrow'],
  ['opt, a narrow block', narrowed(OPT, { keyDim: 5, valueDim: 5 }), 'narrow'],
  ['opt, other keys than values', narrowed(OPT, { keyDim: 3, valueDim: 5 }), 'narrow'],
  [
    'opt, a single feature',
    narrowed({ ...OPT, num_attention_heads: 16 }, { keyDim: 1, valueDim: 1 }),
    'narrow',
  ],
  ['opt, heads of a narrow block', narrowed(OPT, { keyDim: 3, valueDim: 5 }), 'fewer'],
])('%s: terms give the size of what comes of it', (_, model, heads) => {
  const structures = structuresOf({ language: model, heads });
  const kept = new Map(structures.map(({ name, groups }) => [name, Math.ceil(groups / 2)]));
  const { config, record } = model.configOf(allSizesAfter({ language: model, heads }, kept));
  const small = describeModel(config, record);
  const groups = new Map(structures.map((it) => [it.name, it.groups]));
  for (const of of ['params', 'macs'] as const) {
    const size = sizeAt(
      languageTerms({ language: model, heads }, of, 9),
      (name) => kept.get(name)! / groups.get(name)!,
    );
    expect(size).toBeCloseTo(
      sizeAt(languageTerms({ language: small }, of, 9), () => 1),
      6,
    );
    expect(size).toBeLessThan(sizeAt(languageTerms({ language: model }, of, 9), () => 1));
  }
});

test('multiply-adds of scores are by features of keys, those of what is mixed by features of values', () => {
  const macs = (language: LanguageModel, length: number) =>
    sizeAt(languageTerms({ language }, 'macs', length), () => 1);
  // What grows with the square of the length.
  const squared = (model: LanguageModel) => (macs(model, 4) - 2 * macs(model, 2)) / 8;
  expect(squared(describeModel(OPT))).toBe(2 * 4 * (8 + 8));
  expect(squared(narrowed(OPT, { keyDim: 3, valueDim: 5 }))).toBe(4 * (8 + 8) + 4 * (3 + 5));
});

test('a plan takes the features of all heads for the groups of the layer behind them', () => {
  const model = narrowed(OPT, { keyDim: 6, valueDim: 4 });
  const subject = describedSubject({ language: model, heads: 'narrow' });
  const recipe = parseRecipe({ keep: 0.5, correct: true });
  const kept = sizesOf(recipe, subject.structures);
  const { steps, sizes, parameters } = subject.profile(recipe, kept, [9]);
  const step = (name: string) => steps.find((it) => it.name === name)!;
  expect(step('0.values')).toMatchObject({
    maps: [{ p: 4 * 4, m: 32, groupSize: 4 }],
    cuts: [{ keep: 2, groupSizes: [4] }],
  });
  expect(step('1.values').maps).toMatchObject([{ p: 4 * 8, groupSize: 4 }]);
  expect(step('0.attention').maps.map(({ m }) => m)).toEqual([4 * 6, 4 * 6, 4 * 4]);
  expect(sizes!.after.map((size) => featuresOf(size, { headDim: 8 }))).toEqual([
    { keyDim: 3, valueDim: 2 },
    { keyDim: 4, valueDim: 4 },
  ]);
  expect(parameters.after).toBe(
    sizeAt(languageTerms({ language: describeModel(OPT, { blocks: sizes!.after }) }, 'params', 9), () => 1),
  );
  expect(widestOf({ heads: 4, kvHeads: 4, ffn: 3, keyDim: 6, valueDim: 4 }, { headDim: 8 })).toBe(24);

  // What comes of fewer keys is fitted to, and all values stay.
  const ofKeys = parseRecipe({ keep: { all: 1, layers: { '1.keys': 0.5 } }, correct: false });
  const { steps: few } = subject.profile(ofKeys, sizesOf(ofKeys, subject.structures), [9]);
  expect(few.map(({ name }) => name)).toEqual(['1.values']);

  const bounded = describedSubject({ language: describeModel(BOUNDED), heads: 'narrow' });
  const all = bounded.profile(recipe, sizesOf(recipe, bounded.structures), [9]).steps;
  expect(all.find(({ name }) => name === '0.heads')).toMatchObject({ cuts: [{ keep: 2, groupSizes: [8] }] });
});

test('a folder is opened for narrow heads: its structures, and who works on it elsewhere, are told', async () => {
  const { folder } = await folderOf(LLAMA, tinyWeights(LLAMA, describeModel(LLAMA).sizes));
  const [fewer, narrow] = await Promise.all([
    openLanguageModel(folder),
    openLanguageModel(folder, { heads: 'narrow' }),
  ]);
  const subjects = [fewer, narrow].map((opened) => folderSubject(opened));
  expect(subjects.map(({ structures: [heads] }) => heads.groups)).toEqual([2, 8]);
  // Of the first block: weights of all maps but the norm's, of those of values and behind them; for each pair of tokens, too.
  const all = { parameters: 2 * 32 * 32 + 2 * 16 * 32, pairs: 2 * 32 };
  const ofValues = { parameters: 32 * 32 + 16 * 32, pairs: 32 };
  for (const [i, { parameters, pairs }] of [all, ofValues].entries()) {
    const macs = subjects[i].terms('macs', [9]).find(({ of }) => of[0] === ['0.heads', '0.values'][i])!;
    expect(macs.value).toBe(9 * parameters + 9 * 9 * pairs);
  }
  const contents = await Promise.all(subjects.map((it) => contentHash(it.contents())));
  expect(contents[0]).not.toBe(contents[1]);
  const shipments = await Promise.all(subjects.map((it) => it.shipment()));
  expect(shipments.map((it) => 'heads' in it && it.heads)).toEqual([undefined, 'narrow']);
  await expect(openLanguageModel(blobFolder(new Map()), { heads: 'thin' as never })).rejects.toThrow(
    'openLanguageModel: "heads" expected one of fewer, narrow, got "thin"',
  );
});

test('a folder may have as many tensors as a header may, of which the model uses few', async () => {
  const { folder } = await folderOf(LLAMA, tinyWeights(LLAMA, describeModel(LLAMA).sizes));
  const opened = await openLanguageModel(folder);
  const [first] = opened.checkpoint.tensors.values();
  const others = Array.from({ length: limits.headerTensors }, (_, i) => [`${i}`, first] as const);
  const tensors = new Map([...opened.checkpoint.tensors, ...others]);
  const { tolerance } = folderSubject({ ...opened, checkpoint: { ...opened.checkpoint, tensors } });
  expect(tolerance).toBe(folderSubject(opened).tolerance);
});

test.each([...Object.keys(VARIANTS), ...Object.keys(ENCODERS)])(
  'blocks lose of their heads what was described, if these are to be narrow: %s',
  async (name) => {
    const { config, sizes } = VARIANTS[name] ?? { config: ENCODERS[name] };
    const weights = VARIANTS[name]
      ? tinyWeights(config, sizes ?? uniformSizes(config))
      : encoderWeights(config);
    const { folder } = await folderOf(config, weights, sizes && { blocks: sizes });
    const opened = await openLanguageModel(folder, { heads: 'narrow' });
    const { structures, chain } = folderSubject(opened);
    const seqlen = opened.language.lengthOf(9);
    const { open } = chain(engine, tokenWindows(new Int32Array(2 * seqlen), { samples: 2, seqlen }));
    for (let block = 0; block < opened.language.blocks; block++) {
      const part = await open(block + 1);
      const found = prunableOf(part.opened!).map((it) => [part.named(it).name, it.groups]);
      const expected = structures.filter((it) => it.name.startsWith(`${block}.`) && it.groups > 1);
      expect(new Map(found as [string, number][])).toEqual(
        new Map(expected.map(({ name, groups }) => [name, groups])),
      );
    }
  },
);

test('a plan has the layers that read what an encoder gives, and what that is', () => {
  const language = describeModel(WHISPER, undefined, undefined, undefined, 'decoder'); // behind one that gives 7 tokens
  const profileOf = (heads: HeadsMode) => {
    const subject = describedSubject({ language, heads });
    const recipe = parseRecipe({ keep: 0.5, correct: true });
    return subject.profile(recipe, sizesOf(recipe, subject.structures), [5]);
  };
  const { steps, between, sizes } = profileOf('fewer');
  const own = steps.filter(({ name }) => name.startsWith('0.'));
  expect(own.map(({ name, maps }) => [name, maps.map(({ p, m, rows }) => [p, m, rows])])).toEqual([
    ['0.attention', [32, 32, 32].map((m) => [32, m, 5])],
    ['0.heads', [[32, 32, 5]]],
    ['0.asking', [[32, 32, 5]]],
    ['0.seen', [32, 32].map((m) => [32, m, 7])],
    ['0.cross', [[32, 32, 5]]],
    ['0.up', [[32, 20, 5]]],
    ['0.mlp', [[20, 32, 5]]],
  ]);
  expect(between).toBe(5 * 32 + 7 * 32);
  expect(sizes!.after[0]).toEqual({ heads: 2, kvHeads: 2, ffn: 10, cross: { heads: 2, kvHeads: 2 } });
  const narrow = profileOf('narrow');
  expect(narrow.steps.map(({ name }) => name)).toContain('0.cross.values');
  expect(narrow.sizes!.after[0]).toMatchObject({
    heads: 4,
    keyDim: 4,
    cross: { heads: 4, keyDim: 4, valueDim: 4 },
  });
});
