// Every option that a call can be told, with values of other kinds than its own.

import { expect, test } from 'vitest';
import { memoryOutput } from '../../src/checkpoint/index.ts';
import { openEngine } from '../../src/engine/index.ts';
import { InputError } from '../../src/errors.ts';
import { openGuard } from '../../src/guard/index.ts';
import { openKernels } from '../../src/kernel/index.ts';
import { limits } from '../../src/limits.ts';
import { keepRatio, memoryStore } from '../../src/pipeline/index.ts';
import { openSession } from '../../src/pool/index.ts';
import { checkOptions as check } from '../../src/run/check.ts';
import { analyze, evaluate, inspect, latency, plan, prune } from '../../src/run/index.ts';

/** Of the call that has all of them. */
const checkOptions = (options: object) => check('plan', options);

const KINDS: readonly (readonly [
  expected: string,
  names: string,
  wrong: readonly unknown[],
  right: unknown,
])[] = [
  ['true or false', 'residual force correct producers overwrite loadable', ['false', 0, null], false],
  ['a whole number from 1 on', 'seqlen samples shards round groupsPerStep machines', [0, 1.5, '1', null], 1],
  ['a whole number from 1 to 128', 'threads', [0, 1.5, 129, '1'], 128],
  ['a whole number', 'labelOffset seed augment', [0.5, '1', null], -1],
  ['a number above 0', 'timeout storeRate', [0, -1, '1', Number.NaN, Number.POSITIVE_INFINITY], 0.5],
  ['a number', 'damping', ['0.1', null], 0],
  ['a number, or text such as 50%', 'memory macs params bytes latency maxLoss', [true, {}, null], '50%'],
  ['a function', 'onNote onKind onProgress', ['log', {}, null], () => {}],
  ['an object', 'inputs min max pin latencyTable', ['x', [], null], {}],
  ['a path, or a run store', 'work', [5, [], {}, null], '/tmp/run'],
  ['a path, or a queue', 'queue', [5, [], {}, null], 'redis://127.0.0.1'],
  ['a path, or an output folder', 'output', [5, [], {}, null], 'small.onnx'],
  ['a path, or a function', 'scratch', [5, {}, null], () => {}],
  ['an AbortSignal', 'signal', [{}, 5, null], new AbortController().signal],
  ['one of auto, baseline, relaxed', 'simd', ['fast', 5, null], 'relaxed'],
  ['one of even, random', 'sampling', ['odd', 5, null], 'random'],
  ['one of safetensors, onnx, transformers.js', 'format', ['gguf', 5, null], 'onnx'],
  ['one of float32, float16, int8, int4, q8, q4', 'weights', ['int2', 8, null], 'int4'],
  ['one of web, node, or an engine', 'engine', ['cuda', {}, 5, null], 'web'],
  ['a list of osscar, ziplm, magnitude, magnitude-refit', 'compare', ['ziplm', ['l1'], null], ['ziplm']],
  [
    'a value',
    'tokenizer labels calibration evaluation evaluationLabels keep method search target effort of spend exclude',
    [null],
    undefined,
  ],
];
const OPTIONS = KINDS.flatMap(([expected, names, ...values]) =>
  names.split(' ').map((name) => [name, expected, ...values] as const),
);

test.each(OPTIONS)('%s is %s', (name, expected, wrong, right) => {
  expect(() => checkOptions({ [name]: right })).not.toThrow();
  expect(() => checkOptions({ [name]: undefined })).not.toThrow();
  for (const value of wrong) {
    const got =
      typeof value === 'string'
        ? `"${value}"`
        : Array.isArray(value)
          ? `[${value.map((it) => `"${it}"`)}]`
          : value;
    expect(() => checkOptions({ [name]: value })).toThrow(
      `\`${name}\`: expected ${expected}, got ${Object(got) === got ? 'an object' : got}`,
    );
  }
});

test('an engine of a program is one, and so are a store, a queue and an output folder', () => {
  const engine = { load: async () => {} };
  const queue = { run: async () => {} };
  expect(() => checkOptions({ engine, work: memoryStore(), queue, output: memoryOutput() })).not.toThrow();
  expect(() => checkOptions({ output: new URL('file:///a') })).toThrow(
    'an output folder, got an object of URL',
  );
});

test.each([null, 5, 'x', []])('options are no %j', (options) => {
  expect(() => checkOptions(options as never)).toThrow('expected an object of options, got');
});

const OPENED: Readonly<Record<string, (options: never) => unknown>> = {
  openSession,
  openKernels,
  openEngine,
  openGuard,
};

test.each(Object.entries(OPENED))(
  '%s knows its options, and takes nothing else for them',
  async (name, open) => {
    const opened = async (options: unknown) => open(options as never);
    for (const [options, got] of [
      [null, 'null'],
      ['4', '"4"'],
    ] as const)
      await expect(opened(options)).rejects.toThrow(
        new InputError(`${name}: "options" expected an object, got ${got}`),
      );
    await expect(opened({ othr: 4 })).rejects.toThrow(`${name}: there is no option "othr"; expected `);
  },
);

test.each([
  [{}, '`keep`: expected a number, or an object with all, heads, channels or layers in it, got {}'],
  ['0.5', '`keep` must be a number in (0, 1], as 0.5 for half of them, got "0.5"'],
  [{ heads: '0.5' }, '`keep.heads` must be in (0, 1], as 0.5 for half of them, got "0.5"'],
])('%j is nothing to keep', (keep, message) => {
  expect(() => keepRatio(keep as never)).toThrow(new InputError(message));
});

test('a structure may be called as what every object has', () => {
  const ratio = keepRatio({ all: 0.5, layers: { toString: 0.25 } });
  const of = (layer: string) => ratio({ name: layer, layer, kind: 'channel' });
  expect(['constructor', 'toString', '__proto__'].map(of)).toEqual([0.5, 0.25, 0.5]);
});

test('a search is of osscar alone', () => {
  expect(() => checkOptions({ search: 'greedy', method: 'ziplm' })).toThrow("beside `method: 'ziplm'`");
  for (const method of ['osscar', undefined])
    expect(() => checkOptions({ search: 'greedy', method })).not.toThrow();
});

// biome-ignore lint/suspicious/noExplicitAny: all that types would not let pass
const CALLS: Readonly<Record<string, (options: any) => Promise<unknown>>> = {
  prune: (options) => prune('', { keep: 0.5, ...options }),
  analyze: (options) => analyze('', options),
  evaluate: (options) => evaluate('', '', options),
  inspect: (options) => inspect('', options),
  plan: (options) => plan('', { keep: 0.5, ...options }),
  latency: (options) => latency('', options),
};

test.each(Object.entries(CALLS))('%s looks at its options before at anything else', async (_, call) => {
  await expect(call({ kep: 0.5 })).rejects.toThrow(
    new InputError('`kep`: there is no option of that name; is `keep` meant?'),
  );
});

test.each([
  ['calibrate', 'calibration'],
  ['data', 'evaluation'],
  ['keepHeads', 'keep.heads'],
  ['data-labels', 'evaluationLabels'],
  ['label-offset', 'labelOffset'],
  ['max_loss', 'maxLoss'],
  ['kepe', 'keep'],
  ['ouput', 'output'],
  ['sample', 'samples'],
])('the option that is meant by `%s` is `%s`', (name, meant) => {
  expect(() => checkOptions({ [name]: 1 })).toThrow(
    `\`${name}\`: there is no option of that name; is \`${meant}\` meant?`,
  );
});

test.each([
  ['sparsity', 0.3, '`keep` is the part that stays: `keep: 0.7` where 0.3 goes'],
  ['pruning_ratio', 50, '`keep` is the part that stays: `keep: 0.5` where 0.5 goes'],
  ['amount', '0.5%', '`keep` is the part that stays: `keep: 0.995` where 0.005 goes'],
  ['amount', 0, '`keep` is the part that stays'],
  ['amount', {}, '`keep` is the part that stays'],
  ['keepRatio', 0.5, 'is `keep` meant?'],
  ['calibrationDataset', 'a', 'is `calibration` meant?'],
  ['nSamples', 8, 'is `samples` meant?'],
  ['bits', 4, 'is `weights` meant?'],
  ['maxAccuracyDrop', 0.01, 'is `maxLoss` meant?'],
  ['layers', {}, 'is `keep.layers` meant?'],
  ['device', 'cuda', 'it runs on the CPU'],
])('what others call `%s` is told by our name', (name, value, hint) => {
  expect(() => checkOptions({ [name]: value })).toThrow(
    new InputError(`\`${name}\`: there is no option of that name; ${hint}`),
  );
});

test('a plan is refused a budget that bounds nothing, as a run is', async () => {
  for (const call of [CALLS.plan, CALLS.prune])
    await expect(call({ keep: undefined, macs: '100%' })).rejects.toThrow(
      '`macs`: 1 is all of the dense model',
    );
});

test.each([
  ['dryRun', '`plan` says what a run takes'],
  ['report', 'reportHtml of osscar-wasm/report makes the page of what `prune` gives'],
])('of the flag `%s`, which is no option, it is said what there is instead', (name, instead) => {
  expect(() => checkOptions({ [name]: true })).toThrow(`there is no option of that name; ${instead}`);
});

test('nothing is meant by what is like no option', () => {
  expect(() => checkOptions({ verbose: true })).toThrow(/`verbose`: there is no option of that name$/);
  expect(() => checkOptions({ x: true })).toThrow(/`x`: there is no option of that name$/);
});

test.each([
  [
    'inspect',
    { keep: 0.5 },
    '`keep` is an option of prune and plan, and says nothing to inspect; leave it out',
  ],
  ['evaluate', { output: 'a' }, '`output` is an option of prune and plan, and says nothing to evaluate'],
  ['evaluate', { sampling: 'even' }, '`sampling` is an option of prune, plan and analyze'],
  ['analyze', { macs: 0.5 }, '`macs` is an option of prune and plan, and says nothing to analyze'],
  ['analyze', { compare: [] }, '`compare` is an option of prune and plan'],
  ['latency', { samples: 5 }, '`samples` is an option of prune, plan, analyze and evaluate'],
  ['prune', { machines: 2 }, '`machines` is an option of plan, and says nothing to prune'],
] as const)('%s is told %j, which others know', (call, options, message) => {
  expect(() => check(call, options)).toThrow(InputError);
  expect(() => check(call, options)).toThrow(message);
  expect(() =>
    check(call, Object.fromEntries(Object.keys(options).map((it) => [it, undefined]))),
  ).not.toThrow();
});

test('preprocessing is judged before anything is opened', async () => {
  await expect(inspect('', { mean: '0.5' as never })).rejects.toThrow(
    '`mean`: expected one number or one per channel',
  );
  for (const right of [0.5, [0.5], [0.4, 0.5, 0.6]])
    expect(() => check('inspect', { mean: right })).not.toThrow();
});

test('samples to measure on are missing', async () => {
  await expect(evaluate('', undefined as never)).rejects.toThrow('evaluate: "data" is missing');
});

test('a limit that there is not cannot be set', () => {
  const set = () => Object.assign(limits, { downloadByte: 5 });
  expect(set).toThrow('downloadByte');
  expect(limits).not.toHaveProperty('downloadByte');
});

test('a plan is told what the run will be told', () => {
  const told = {
    keep: 0.5,
    calibration: 'a/',
    evaluation: 'b/',
    output: 'c.onnx',
    overwrite: true,
    compare: ['ziplm'],
  };
  for (const call of ['prune', 'plan'] as const) expect(() => check(call, told)).not.toThrow();
});
