// Every option that a call can be told, with values of other kinds than its own.

import { expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { checkOptions } from '../../src/run/check.ts';
import { analyze, evaluate, inspect, latency, plan, prune } from '../../src/run/index.ts';

const KINDS: readonly (readonly [
  expected: string,
  names: string,
  wrong: readonly unknown[],
  right: unknown,
])[] = [
  ['true or false', 'residual force correct producers overwrite loadable', ['false', 0, null], false],
  ['a whole number from 1 on', 'seqlen samples shards round groupsPerStep machines', [0, 1.5, '1', null], 1],
  ['a whole number from 1 to 1024', 'threads', [0, 1.5, 1025, '1'], 1024],
  ['a whole number', 'labelOffset seed augment', [0.5, '1', null], -1],
  ['a number above 0', 'timeout storeRate', [0, -1, '1', Number.NaN, Number.POSITIVE_INFINITY], 0.5],
  ['a number', 'damping', ['0.1', null], 0],
  ['a number, or text such as 50%', 'memory macs params bytes latency maxLoss', [true, {}, null], '50%'],
  ['a function', 'onNote onKind onProgress', ['log', {}, null], () => {}],
  ['an object', 'inputs min max pin latencyTable', ['x', [], null], {}],
  ['a path, or an object', 'work queue output', [5, [], null], '/tmp/run'],
  ['a path, or a function', 'scratch', [5, {}, null], () => {}],
  ['an AbortSignal', 'signal', [{}, 5, null], new AbortController().signal],
  ['one of auto, baseline, relaxed', 'simd', ['fast', 5, null], 'relaxed'],
  ['one of even, random', 'sampling', ['odd', 5, null], 'random'],
  ['one of safetensors, onnx, transformers.js', 'format', ['gguf', 5, null], 'onnx'],
  ['one of web, node, or an engine', 'engine', ['cuda', {}, 5, null], 'web'],
  ['a list of osscar, ziplm, magnitude, magnitude-refit', 'compare', ['ziplm', ['l1'], null], ['ziplm']],
  [
    'a value',
    'size resize multiple scale mean std layout color tokenizer labels calibration evaluation evaluationLabels keep method search target effort of spend exclude',
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
    const got = typeof value === 'string' ? `"${value}"` : Array.isArray(value) ? `[${value}]` : value;
    expect(() => checkOptions({ [name]: value })).toThrow(
      `\`${name}\`: expected ${expected}, got ${Object(got) === got ? 'an object' : got}`,
    );
  }
});

test('an engine of a program is one', () => {
  expect(() => checkOptions({ engine: { load: async () => {} } })).not.toThrow();
});

test.each([null, 5, 'x', []])('options are no %j', (options) => {
  expect(() => checkOptions(options as never)).toThrow('expected an object of options, got');
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
  await expect(call({ kep: 0.5 })).rejects.toThrow(new InputError('`kep`: there is no option of that name'));
});
