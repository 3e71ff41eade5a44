// Attention in the forms that exporters give it: what is tied, and that the shrunk graph computes what the masked
// one does.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OsscarError } from '../../src/errors.ts';
import {
  analyse,
  countParameters,
  type Model,
  readModel,
  type Structure,
  shrink,
  writeModel,
} from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random as seeded } from '../support/random.ts';
import {
  attend,
  CASES,
  concat,
  linear,
  MICROSOFT,
  merge,
  NARROW,
  project,
  SIZE,
  size,
  split,
  transpose,
  WIDTH,
} from './attention-graphs.ts';
import { FUSED } from './fused-graphs.ts';
import { mask } from './masking.ts';
import { changeInteger } from './mutation.ts';
import {
  difference,
  type Feed,
  randomChannels,
  randomValue,
  run,
  shapesOfFeeds,
  type Value,
} from './running.ts';

const ROUNDING = 1e-5;

/** Feeds for whatever inputs a case has: n × t rows, a cache of so many heads. */
function feedsOf(model: Model, n: number, t: number, [heads, past]: readonly number[]): Record<string, Feed> {
  const integers = (dims: number[], value: (i: number) => number): Feed => ({
    ...{ dims, data: BigInt64Array.from({ length: n * t }, (_, i) => BigInt(value(i))) },
  });
  const known: Record<string, () => Feed> = {
    seqlens: () => ({ dims: [n], data: new Int32Array(n).fill(past + t - 1) }),
    total: () => ({ dims: [], data: Int32Array.of(past + t) }),
    positions: () => ({ dims: [1], data: BigInt64Array.of(0n) }),
  };
  const feed = (name: string): Feed => {
    if (known[name]) return known[name]();
    if (name.startsWith('positions')) return integers([n, t], (i) => past + (i % t));
    const width = model.inputs[0].name === name ? [n, t, widthOf(model)] : [n, heads, past, SIZE];
    return randomValue(width, name.length);
  };
  return Object.fromEntries(model.inputs.map(({ name }) => [name, feed(name)]));
}

function widthOf(model: Model): number {
  const type = model.inputs[0].type!.value;
  const dim = type.case === 'tensorType' ? type.value.shape!.dim[2].value : undefined;
  return Number(dim?.value);
}

/** The dims that a model declares for its inputs and outputs with heads; some have names instead. */
function declaredHeads(model: Model): number[] {
  return [...model.inputs, ...model.outputs].flatMap(({ name, type }) => {
    const dim = type?.value.case === 'tensorType' ? type.value.value.shape?.dim[1]?.value : undefined;
    return /past|present/.test(name) && dim?.case === 'dimValue' ? [Number(dim.value)] : [];
  });
}

/** Without the heads of a cache that are gone. */
function keepHeads({ dims, data }: Feed, kept: readonly number[]): Feed {
  const size = dims[2] * dims[3];
  const rows = Array.from({ length: dims[0] }, (_, n) => kept.map((h) => (n * dims[1] + h) * size)).flat();
  const values = rows.flatMap((start) => [...(data as Float32Array).subarray(start, start + size)]);
  return { dims: [dims[0], kept.length, dims[2], dims[3]], data: Float32Array.from(values) };
}

/** Largest relative difference between the outputs of a model with channels masked and with them cut out. */
async function maskedAgainstShrunk(
  model: Model,
  cuts: ReadonlyMap<Structure, readonly number[]>,
  feeds: Record<string, Feed>,
): Promise<number> {
  const masked = mask(model, cuts);
  // caches lose their heads too
  const lessHeads = <T extends Feed>(name: string, value: T) => {
    const isCut = ([s]: [Structure, unknown]) => s.edits.some((e) => e.kind === 'dim' && e.value === name);
    const kept = [...cuts].find(isCut)?.[1];
    return kept ? keepHeads(value, kept) : value;
  };
  const cutFeeds = Object.entries(feeds).map(([name, feed]) => [name, lessHeads(name, feed)]);
  const wanted = await run(writeModel(masked).model, feeds);
  const got = await run(writeModel(shrink(model, cuts)).model, Object.fromEntries(cutFeeds));
  const values = Object.entries(wanted).map(([name, value]) => [lessHeads(name, value), got[name]] as const);
  return Math.max(...values.map(([a, b]) => difference(a as Value, b)));
}

const RUNS: [number, number][] = [
  [2, 11],
  [1, 6],
  [3, 1],
];

describe('attention', () => {
  for (const [name, { build, prunable: expected, opset, past = [0, 0], runs = RUNS }] of Object.entries({
    ...CASES,
    ...FUSED,
  })) {
    it(`is cut head by head: ${name}`, async () => {
      const model = await readModel(build(new OnnxBuilder({ seed: 3, opset })).build());
      const { structures } = analyse(model, await shapesOfFeeds(model, feedsOf(model, ...runs[0], past)));
      const prunable = structures.filter((s) => s.prunable);
      const outline = prunable.map((s) => [s.kind, s.groups, s.groupSize]);
      expect(outline, JSON.stringify(structures.map((s) => [s.name, s.reason]))).toEqual(expected);
      const random = seeded(11);
      const choose = (kept: (s: Structure) => number[]) => new Map(prunable.map((s) => [s, kept(s)]));
      const selections = [
        ...prunable.map((s) => new Map([[s, randomChannels(s, random)]])),
        choose((s) => randomChannels(s, random)),
        choose((s) => [s.groups - 1]),
      ];
      for (const cuts of selections) {
        const small = shrink(model, cuts);
        const isCut = [...cuts].some(([s, kept]) => kept.length < s.groups);
        if (isCut) expect(countParameters(small)).toBeLessThan(countParameters(model));
        const heads = [...cuts].find(([s]) => s.kind === 'head')?.[1];
        if (heads) expect(declaredHeads(small)).toEqual(declaredHeads(model).map(() => heads.length));
        for (const [n, t] of runs) {
          expect(await maskedAgainstShrunk(model, cuts, feedsOf(model, n, t, past))).toBeLessThan(ROUNDING);
        }
      }
    });
  }

  const ROLES = { apart: ['scores', 'mixture'], tied: ['scores and mixture'], values: ['mixture'] };
  // Forms of which heads lose features, of values alone or of queries and keys too.
  const NARROWED: Record<string, keyof typeof ROLES> = {
    'heads with biases': 'apart',
    'queries and keys scaled by what is computed of their size': 'apart',
    'heads, causal masks, a residual stream and an MLP': 'apart',
    'heads merged with the batch': 'apart',
    'heads merged with the batch, which is the quotient of both': 'apart',
    'heads that are merged to the shape of what they were made of': 'apart',
    'one computed shape for queries, keys and values': 'tied',
    'a mask and a scale of their own for each head': 'apart',
    'key-value groups of a fixed batch and length': 'apart',
    'key-value groups that broadcast': 'apart',
    'key-value groups that constant shapes repeat': 'apart',
    'key-value groups that a Tile repeats': 'apart',
    'key-value groups that constants in a guarded shape repeat': 'apart',
    'key-value groups that broadcast, each to query heads that lie apart': 'apart',
    'one key-value head that constants in a guarded shape repeat': 'apart',
    'a fused projection that slices take apart, with key-value groups': 'apart',
    'a fused projection, head by head': 'apart',
    'a fused projection, split in three behind a Gemm': 'apart',
    'a fused projection reshaped to three of all heads, as vision transformers have it': 'tied',
    'a fused projection reshaped to three of all heads, of which slices of one take each, as PaddlePaddle has it':
      'tied',
    'torch.nn.MultiheadAttention': 'tied',
    'a fused projection reshaped to three of all heads, of which the keys are taken before the others are turned, as onnxruntime optimises it':
      'tied',
    'heads in a shape that a Split takes apart': 'apart',
    'torch.nn.MultiheadAttention, with arithmetic on shapes': 'tied',
    'torch.nn.MultiheadAttention, of channels that a layer makes': 'tied',
    'products written as Einsum': 'apart',
    'skipped normalisations, fused products and activations': 'apart',
    'key-value groups with rotary embedding': 'values',
    'query and key normalised, part of each head rotated': 'values',
  };
  // The others lose whole heads, for these reasons.
  const WHOLE: Record<string, RegExp | undefined> = {
    'one key-value head for all': /^no values are seen to be weighed by its scores$/,
    'a fused projection, split evenly': /^Concat "[^"]+" comes between product and layer$/,
    'heads that are mixed before the softmax': /^no values are seen to be weighed by its scores$/,
    'heads interleaved with features': undefined, // these lose features, which no head has of its own
    'heads that come back in another order': /^MatMul "[^"]+" reads features of several heads side by side$/,
    'keys and values repeated as a whole': /^features of its heads are seen one by one$/,
    'a cache of keys and values': /^Concat "[^"]+" comes between layer and product$/,
  };
  const ONE_NODE = ['Attention', 'MultiHeadAttention', 'GroupQueryAttention'];
  for (const [name, { build, prunable: expected, opset, past = [0, 0], runs = RUNS }] of Object.entries({
    ...CASES,
    ...FUSED,
  })) {
    it(`is cut right where heads become narrow: ${name}`, async () => {
      const model = await readModel(build(new OnnxBuilder({ seed: 3, opset })).build());
      const shapes = await shapesOfFeeds(model, feedsOf(model, ...runs[0], past));
      const { structures } = analyse(model, shapes, { heads: 'narrow' });
      const prunable = structures.filter((s) => s.prunable);
      const features = prunable.flatMap((structure) => structure.features ?? []);
      const roles = features.map((own) => Object.keys(own).join(' and '));
      expect(roles).toEqual(ROLES[NARROWED[name]] ?? []);
      if (features.length === 0) {
        const outline = prunable.map((s) => [s.kind, s.groups, s.groupSize]);
        expect(outline, 'as if heads were to become fewer').toEqual(expected);
      }
      const isOne = new RegExp(`^(${ONE_NODE.join('|')}) "[^"]+" is one node$`);
      const reason = name in CASES ? WHOLE[name] : isOne;
      for (const { kind, features, wholeHeads } of prunable) {
        if (kind === 'head' && !features) expect(wholeHeads).toMatch(reason!);
        else expect(wholeHeads).toBeUndefined();
      }
      const random = seeded(11);
      const cuts = [
        ...prunable.map((s) => new Map([[s, randomChannels(s, random)]])),
        new Map(prunable.map((s) => [s, randomChannels(s, random)])),
      ];
      for (const cut of cuts) {
        if ([...cut].some(([s, kept]) => kept.length < s.groups))
          expect(countParameters(shrink(model, cut))).toBeLessThan(countParameters(model));
        for (const [n, t] of runs)
          expect(await maskedAgainstShrunk(model, cut, feedsOf(model, n, t, past))).toBeLessThan(ROUNDING);
      }
    });
  }

  it('of one head, whose features something sees, loses channels as if heads were to become fewer', async () => {
    const b = new OnnxBuilder({ seed: 3 });
    const x = b.sequence(WIDTH);
    const [q, k, v] = [0, 1, 2].map(() => linear(b, x, NARROW));
    const scores = b.node('MatMul', [q, transpose(b, k, 0, 2, 1)]);
    const y = b.node('MatMul', [b.node('Softmax', [scores], { axis: -1 }), v]);
    const model = await readModel(project(b, b.relu(y)).build());
    const shapes = await shapesOfFeeds(model, feedsOf(model, 2, 11, [0, 0]));
    const [fewer, narrow] = (['fewer', 'narrow'] as const).map((heads) => analyse(model, shapes, { heads }));
    expect(narrow).toEqual(fewer);
    expect(narrow.structures.filter(({ prunable }) => prunable)).toMatchObject([
      { kind: 'channel', groups: NARROW },
    ]);
  });

  it('is cut right or kept, whatever numbers stand in the graph', async () => {
    const names = ['one computed shape for queries, keys and values', 'torch.nn.MultiheadAttention'];
    const random = seeded(1);
    const numbers = [-2, -1, 0, 1, 2, 3, 6, SIZE, NARROW, WIDTH];
    let compared = 0;
    for (const { build } of names.map((name) => CASES[name])) {
      for (let trial = 0; trial < 60; trial++) {
        const model = await readModel(build(new OnnxBuilder({ seed: 3 })).build());
        changeInteger(model, Math.floor(random() * 1e6), numbers[Math.floor(random() * numbers.length)]);
        const feeds = feedsOf(model, 2, 11, [0, 0]);
        const shapes = await shapesOfFeeds(model, feeds).catch(() => undefined);
        if (!shapes) continue; // the graph is none
        for (const structure of analyse(model, shapes).structures.filter((s) => s.prunable)) {
          const cuts = new Map([[structure, randomChannels(structure, random)]]);
          expect(await maskedAgainstShrunk(model, cuts, feeds)).toBeLessThan(ROUNDING);
          compared++;
        }
      }
    }
    expect(compared).toBeGreaterThan(20);
  });

  describe('keeps the heads', () => {
    const attention = (b: OnnxBuilder, scores?: (s: string) => string, mixed?: (y: string) => string) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, x, WIDTH), 6));
      const y = attend(b, q, k, v, scores);
      return project(b, merge(b, mixed ? mixed(y) : y, WIDTH));
    };
    const pinned: Record<string, [RegExp, (b: OnnxBuilder) => OnnxBuilder]> = {
      'that a reduction runs over': [
        /ReduceMean "[^"]+" reduces over it/,
        (b) =>
          attention(b, (s) => {
            const mean = b.node('ReduceMean', [s], { axes: [1], keepdims: 0 });
            return b.node('Sub', [s, b.node('Unsqueeze', [mean, b.integers([1])])]);
          }),
      ],
      'that a product of activations mixes': [
        /MatMul "[^"]+" sums over it/,
        (b) =>
          attention(b, undefined, (y) => {
            const last = transpose(b, y, 0, 2, 3, 1);
            const similar = b.node('Sigmoid', [b.node('MatMul', [transpose(b, last, 0, 1, 3, 2), last])]);
            return transpose(b, b.node('MatMul', [last, similar]), 0, 3, 1, 2);
          }),
      ],
      'whose number is computed with': [
        /Neg "[^"]+" reads the number of channels/,
        (b) =>
          attention(b, (s) =>
            b.node('Div', [s, b.node('Cast', [b.node('Neg', [size(b, s, 1)])], { to: 1 })]),
          ),
      ],
      'whose number is compared with that of others': [
        /Div "[^"]+" divides numbers of channels/,
        (b) => {
          return attention(b, (s) => {
            const other = split(b, b.node('MatMul', ['input', b.weight([WIDTH, WIDTH], 0.2)]), 6);
            const one = b.node('Cast', [b.node('Div', [size(b, s, 1), size(b, other, 1)])], { to: 1 });
            return b.mul(s, one);
          });
        },
      ],
      'that are a graph output': [
        /it is the graph output "scores"/,
        (b) =>
          attention(b, (s) => {
            b.output(s, 'scores');
            return 'scores';
          }),
      ],
      'whose count another node reads in a shared shape': [
        /Concat "[^"]+" gives a shape that other nodes read too/,
        (b) => {
          const x = b.sequence(WIDTH);
          const shape = concat(b, [size(b, x, 0), size(b, x, 1), b.integers([6, SIZE])]);
          const heads = (y: string) => transpose(b, b.node('Reshape', [y, shape]), 0, 2, 1, 3);
          const [q, k, v] = [0, 1, 2].map(() => heads(linear(b, x, WIDTH)));
          const own = b.node('ReduceMean', [heads(x)], { axes: [1] });
          return project(b, merge(b, b.add(attend(b, q, k, v), own), WIDTH));
        },
      ],
      'of fused attention with a mask per head from outside': [
        /MultiHeadAttention "[^"]+" has a mask per head/,
        (b) => {
          const x = b.sequence(WIDTH);
          const [q, k, v] = [0, 1, 2].map(() => linear(b, x, WIDTH));
          const inputs = [q, k, v, '', '', b.feed('mask', [1, 6, 11, 11])];
          return project(b, b.node('MultiHeadAttention', inputs, { num_heads: 6 }, MICROSOFT));
        },
      ],
      'of fused attention to keys from outside': [
        /MultiHeadAttention "[^"]+" attends with values that no layer makes/,
        (b) => {
          const x = b.sequence(WIDTH);
          const q = linear(b, x, WIDTH);
          return project(b, b.node('MultiHeadAttention', [q, x, x], { num_heads: 6 }, MICROSOFT));
        },
      ],
      'a cache that another model makes': [
        /another model makes the graph input "past"/,
        (b) => {
          const q = split(b, linear(b, b.sequence(WIDTH), WIDTH), 6);
          const cache = b.feed('past', ['n', 6, 'past', SIZE]);
          return project(b, merge(b, attend(b, q, cache, cache), WIDTH));
        },
      ],
    };
    for (const [which, [message, build]] of Object.entries(pinned)) {
      it(which, async () => {
        const model = await readModel(build(new OnnxBuilder({ seed: 4 })).build());
        const mask = randomValue([1, 6, 11, 11]);
        const { data, dims } = randomValue([2, 11, WIDTH]);
        const feeds: Record<string, Feed> = {
          input: { data, dims },
          mask,
          past: randomValue([2, 6, 5, SIZE]),
        };
        const given = Object.fromEntries(model.inputs.map(({ name }) => [name, feeds[name]]));
        const { structures } = analyse(model, await shapesOfFeeds(model, given));
        expect(structures.filter((s) => s.prunable)).toEqual([]);
        expect(structures.map((s) => s.reason).join('; ')).toMatch(message);
      });
    }
  });

  it('gives an analysis and a smaller model, or an error of this library, whatever attributes and shapes say', async () => {
    const cases = [
      CASES['key-value groups with rotary embedding'],
      CASES['a fused projection that slices take apart, with key-value groups'],
      CASES['torch.nn.MultiheadAttention'],
      FUSED['GroupQueryAttention of one fused projection'],
      FUSED['MultiHeadAttention with a bias, a mask per head and a cache'],
    ];
    let cut = 0;
    for (const { build, past = [0, 0] } of cases) {
      const model = await readModel(build(new OnnxBuilder()).build());
      const shapes = await shapesOfFeeds(model, feedsOf(model, 2, 11, past));
      const number = fc.oneof(fc.integer({ min: -3, max: 50 }), fc.integer());
      const changes = fc.array(fc.tuple(fc.nat(), number), { minLength: 1, maxLength: 3 });
      const property = fc.property(changes, (list) => {
        const copy = model.clone();
        for (const [which, value] of list) changeInteger(copy, which, value);
        try {
          const prunable = analyse(copy, shapes).structures.filter((s) => s.prunable);
          writeModel(shrink(copy, new Map(prunable.map((structure) => [structure, [0]]))));
          cut += prunable.length;
        } catch (error) {
          expect(error).toBeInstanceOf(OsscarError);
        }
      });
      fc.assert(property, { numRuns: 400, seed: 2 });
    }
    expect(cut).toBeGreaterThan(100);
  });
});
