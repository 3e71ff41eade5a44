// What the command says of narrow heads.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { expect, test } from 'vitest';
import { folderText, pruneText } from '../../src/cli/print.ts';
import { dequantizedText } from '../../src/graph/index.ts';
import { sharesOf } from '../../src/pipeline/index.ts';
import { reportMarkup } from '../../src/report/markup.ts';
import { LLAMA, MPT, OPT } from '../architectures/tiny.ts';
import { CASES } from '../graph/attention-graphs.ts';
import { describe as describeModel } from '../support/describe.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { fixture, osscar, temporaryFolder } from './osscar.ts';

const BLOCK = { heads: 4, kvHeads: 4, ffn: 20 };
const NARROW = { ...BLOCK, keyDim: 5, valueDim: 5 };
const MIXED = { ...BLOCK, keyDim: 3, valueDim: 5 };
/** The first word of a line, and what comes behind it. */
const linesOf = (text: string) => text.split('\n').map((line) => line.trim().split(/ {2,}/));

test('osscar inspect says how many features heads have', async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'config.json'), JSON.stringify(OPT));
  writeFileSync(join(folder, 'osscar.json'), JSON.stringify({ blocks: [NARROW, MIXED] }));
  const { code, stdout } = await osscar('inspect', folder);
  expect(code).toBe(0);
  const heads = linesOf(stdout).filter(([name]) => name.endsWith('.heads'));
  // Biases of queries, keys and values, too.
  expect(heads).toEqual([
    ['0.heads', '4 groups of 1 head of 5', '2,620', expect.anything()],
    ['1.heads', '4 groups of 1 head of 3, with 5 of values', '2,092', expect.anything()],
  ]);
});

test('a plan tells the features of narrow heads', async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'config.json'), JSON.stringify(OPT));
  writeFileSync(join(folder, 'osscar.json'), JSON.stringify({ blocks: [NARROW, NARROW] }));
  const text = fixture('text/kjv-test.txt');
  const { stdout } = await osscar('prune', folder, '--keep', '0.5', '--dry-run', '--calibrate', text);
  expect(stdout).toMatch(
    /^opt, 2 blocks: 4 heads with 5 features \(4 key-value\), 20 neurons -> 2 heads with 5 features \(2 key-value\), 10 neurons$/m,
  );
  expect(stdout).toContain('(it has no field for heads of fewer than 8 features)');
});

test('heads that are to be narrow are features of all heads', () => {
  const rowsOf = (config: object, blocks?: object[]) => {
    const language = describeModel(config as never, blocks && ({ blocks } as never));
    const { structures } = sharesOf(language, 9, 'narrow');
    const { architecture, blocks: count, hidden, vocabulary, maxPositions, headDim, sizes } = language;
    const folder = {
      architecture,
      blocks: count,
      hidden,
      vocabulary,
      maxPositions,
      headDim,
      sizes,
      structures,
    };
    const found = { name: 'model', parameters: 0, macs: 0, kinds: {}, couldNarrow: false };
    return linesOf(folderText(found, folder)).filter(([name]) => /^\d\.(heads|keys|values)$/.test(name));
  };
  expect(rowsOf(OPT, [BLOCK, MIXED])).toEqual([
    ['0.keys', '8 features of 4 heads', '2,112', expect.anything()],
    ['0.values', '8 features of 4 heads', '2,080', expect.anything()],
    ['1.keys', '3 features of 4 heads', '792', expect.anything()],
    ['1.values', '5 features of 4 heads', '1,300', expect.anything()],
  ]);
  // Values alone: 16 × 32 columns and 32 × 32 rows.
  expect(rowsOf(LLAMA)[0].slice(0, 3)).toEqual(['0.values', '8 features of 4 heads', '1,536']);
  // What stands between layers and heads leaves heads alone to go.
  expect(rowsOf({ ...MPT, attn_config: { clip_qkv: 2 } })[0].slice(0, 2)).toEqual([
    '0.heads',
    '4 groups of 1 head of 8',
  ]);
});

test.each([
  ['heads with biases', true],
  ['key-value groups with rotary embedding', false], // values alone could
  ['a fused projection, split evenly', false],
])('inspect says where heads could all stay: %s', async (name, could) => {
  const { build, opset } = CASES[name];
  const file = join(temporaryFolder(), 'attention.onnx');
  writeFileSync(file, build(new OnnxBuilder({ seed: 3, opset })).build());
  const said = async (...flags: string[]) =>
    (await osscar('inspect', file, '--size', '11x96', ...flags)).stdout.includes('(--heads narrow)');
  expect(await said()).toBe(could);
  expect(await said('--heads', 'narrow')).toBe(false);
});

test('inspect says of a folder where heads could all stay', async () => {
  const said = async (config: object, ...flags: string[]) => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    return (await osscar('inspect', folder, ...flags)).stdout.includes('(--heads narrow)');
  };
  expect([await said(OPT), await said(OPT, '--heads', 'narrow'), await said(LLAMA)]).toEqual([
    true,
    false,
    false,
  ]);
});

test('inspect names the attentions that lose whole heads, and what is in the way', async () => {
  const { build, opset } = CASES['a fused projection, split evenly'];
  const file = join(temporaryFolder(), 'halves.onnx');
  writeFileSync(file, build(new OnnxBuilder({ seed: 3, opset })).build());
  const { stdout } = await osscar('inspect', file, '--size', '11x96', '--heads', 'narrow');
  expect(
    linesOf(stdout)
      .filter(([first]) => first === 'matmul_1')[0]
      .at(-1),
  ).toMatch(/^yes, whole heads: Concat "[^"]+" comes between product and layer$/);
  expect(linesOf(stdout)).toContainEqual([
    'Concat comes between product and layer',
    '1',
    'an export without it there',
  ]);
});

test('a report tells the features of narrow heads, those of state spaces, and what a block has not', () => {
  const space = { heads: 3, kvHeads: 1, keyDim: 2, valueDim: 5 };
  const halves = [
    { ...BLOCK, ffn: 0 },
    { ...BLOCK, heads: 0, kvHeads: 0 },
  ];
  const sizes = [BLOCK, NARROW, MIXED, { ...BLOCK, valueDim: 5 }, { ...BLOCK, space }, ...halves];
  const how = {
    recipe: { method: 'magnitude', keep: 0.5 },
    target: { chosen: { kind: 'self', blend: 0 } },
    ...{ samples: 1, sample: [9], maxDifference: 0 },
  };
  const report = {
    ...how,
    parameters: { before: 2, after: 1 },
    bytes: { before: 2, after: 1 },
    sizes,
    warnings: [],
  };
  const text = pruneText({ ...report, layers: [], stages: [], seconds: 1 } as never, 'small');
  expect(linesOf(text).filter(([name]) => name.startsWith('block'))).toEqual([
    ['block 0', '4 heads', '20 neurons'],
    ['block 1', '4 heads with 5 features', '20 neurons'],
    ['block 2', '4 heads with 3 features of keys and 5 features of values', '20 neurons'],
    ['block 3', '4 heads with 5 features of values', '20 neurons'],
    ['block 4', '4 heads, and 3 of a state space', '20 neurons'],
    ['block 5', '4 heads', '-'],
    ['block 6', '-', '20 neurons'],
  ]);
});

test('warnings of a table name flags', () => {
  const both = { before: 2, after: 1 };
  const how = { recipe: { method: 'magnitude', keep: 0.5 }, target: { chosen: { kind: 'self', blend: 0 } } };
  const sizes = { parameters: both, bytes: both, layers: [], stages: [], samples: 1, sample: [9] };
  const report = { ...how, ...sizes, seconds: 1, maxDifference: 0, warnings: [dequantizedText('int8')] };
  expect(pruneText(report as never, 'small')).toMatch(
    /^warning: it is quantized, .* as int8 again \(--weights float32 .*\)$/m,
  );
});

test.each([
  [0.6581, /^fitted as a whole: 65\.8 % of the distance .* samples held out$/m],
  [1, /^fitted as a whole: nothing was gained on calibration samples held out/m],
])('a table says what fitting the network as a whole has left: %d', (left, line) => {
  const both = { before: 2, after: 1 };
  const how = { recipe: { method: 'osscar', keep: 0.5 }, target: { chosen: { kind: 'self', blend: 0 } } };
  const sizes = { parameters: both, bytes: both, layers: [], stages: [], samples: 1, sample: [9] };
  const report = { ...how, ...sizes, seconds: 1, maxDifference: 0, warnings: [] };
  expect(pruneText({ ...report, distilled: { left } } as never, 'small')).toMatch(line);
  expect(pruneText(report as never, 'small')).not.toContain('as a whole');
});

test('a terminal shows the layers, and how much of each is left where its columns have room for it', () => {
  const layer = { name: '0.heads', kept: [0, 1], groups: 8, relativeError: 0.1, macsSaved: 0.1 };
  const both = { before: 2, after: 1 };
  const report = {
    ...{ recipe: { method: 'magnitude', keep: 0.5 }, target: { chosen: { kind: 'self', blend: 0 } } },
    ...{ samples: 1, sample: [9], maxDifference: 0, parameters: both, bytes: both, warnings: [] },
    ...{ layers: [layer], stages: [], seconds: 1 },
  };
  const shown = (columns?: number) => pruneText(report as never, 'small', columns);
  const [line] = shown(80)
    .split('\n')
    .filter((it) => it.startsWith('0.heads'));
  expect(line).toContain('█████');
  const width = stripVTControlCharacters(line).length;
  expect(shown(width)).toBe(shown(80));
  expect(shown(width - 1)).toContain('0.heads');
  expect(shown(width - 1)).not.toContain('█');
  expect(shown()).not.toContain('0.heads');
});

test('a page of a run tells features from heads', () => {
  const both = { before: 2, after: 1 };
  const layer = { kept: [0, 1], groups: 8, relativeError: 0.1, macsSaved: 0.1 };
  const report = {
    ...{ parameters: both, bytes: both, samples: 1, seconds: 1, warnings: [], notPrunable: [], stages: [] },
    ...{
      recipe: { method: 'osscar', keep: 0.25 },
      target: { chosen: { kind: 'self', blend: 0 }, tried: [] },
    },
    ...{
      model: { path: 'small' },
      engine: 'engine',
      settings: { model: 'model' },
      calibration: { samples: 1, path: 'data' },
    },
    layers: [
      { ...layer, name: '0.keys', isFeatures: true },
      { ...layer, name: '1.heads' },
    ],
  };
  const metric = { ...both, name: 'perplexity', samples: 3, data: 'evaluation' };
  const stored = { file: 'model.onnx', bytes: 1234, weights: 'int4', metric: 1.5 };
  const page = reportMarkup({ ...report, metric, stored } as never);
  expect(page).toMatch(
    /the same with weights as int4: model\.onnx, 1,234 bytes<\/\w+>\s*<td>2\.0000<\/td>\s*<td>1\.5000/,
  );
  expect(page.match(/2 of 8[^<]*/g)).toEqual(['2 of 8 features of each head', '2 of 8']);
});
