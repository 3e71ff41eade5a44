import { describe, expect, test } from 'vitest';
import type { LinearMap } from '../../src/graph/index.ts';
import { TRIALS } from '../../src/pipeline/effort.ts';
import { type Machines, openModel, plan, planMachines } from '../../src/pipeline/index.ts';
import { checkSteps, isInTiles, type PlannedStep } from '../../src/pipeline/pass/steps.ts';
import { planRun, stepFlops, workOf } from '../../src/pipeline/plan/plan.ts';
import type { Profile } from '../../src/pipeline/profile.ts';
import { parseRecipe, type RecipeOptions } from '../../src/pipeline/recipe.ts';
import { describe as describeConfig } from '../support/describe.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { OPT_30B_CONFIG } from '../support/opt-30b.ts';
import { engine } from './fixtures.ts';

const OPT_125M = describeConfig({
  model_type: 'opt',
  ffn_dim: 3072,
  hidden_size: 768,
  max_position_embeddings: 2048,
  num_attention_heads: 12,
  num_hidden_layers: 12,
  vocab_size: 50272,
  word_embed_proj_dim: 768,
});
const OPT_30B = describeConfig(OPT_30B_CONFIG);
const OPTIONS = { keep: 0.5, target: 'residual', samples: 64, sample: [512] } as const;
const RATES = { engine: 5e10, kernels: 2e10 };

/** What a run does with a network of one multiply-add, towards a target that is given. */
const work = (options: RecipeOptions, macs: Profile['macs'] = { parts: 1, last: 0 }) =>
  workOf(
    { macs, steps: [], parameters: { before: 1, after: 1 } },
    parseRecipe({ ...options, target: 'residual' }),
    OPTIONS,
  );

const planned = (machines: Machines) => planMachines(OPT_125M, OPTIONS, RATES, machines);

test('a network that is fitted as a whole takes memory for both networks and the steps that it remembers, and the engine for every step', () => {
  const [plain, distilled, longer] = [undefined, 10, 20].map((distill) =>
    plan(OPT_125M, { ...OPTIONS, distill }),
  );
  const { before, after } = plain.parameters;
  const copies = 4 * 4 * (before + after);
  expect(distilled.bytes.heap).toBeGreaterThan(copies + 4 * 16 * (after / 2)); // a third of what is left is a table
  expect(distilled.bytes.heap).toBeLessThan(copies + 4 * 17 * after);
  expect(distilled.bytes.total - plain.bytes.total).toBeGreaterThan(copies);
  expect(longer.bytes).toEqual(distilled.bytes);
  const step = (longer.flops.engine - distilled.flops.engine) / 10;
  expect(distilled.flops.engine - plain.flops.engine).toBeCloseTo(10 * step, -6);
  // Forwards, and of three samples in four back: more than 2 and less than 3 times a pass of the smaller network.
  const { samples, sample } = OPTIONS;
  expect(step / (2 * after * samples * sample[0])).toBeGreaterThan(1.5);
  expect(step / (2 * before * samples * sample[0])).toBeLessThan(3);
});

describe('a run within a budget', () => {
  const { keep: _, ...rest } = OPTIONS;

  test('is planned with sizes that keep it, and the memory of any others', () => {
    for (const of of ['params', 'macs'] as const) {
      const { parameters, bytes } = plan(OPT_125M, { ...rest, [of]: 0.6 });
      const least = plan(OPT_125M, { ...rest, [of]: 0.55 }).parameters.after;
      expect(parameters.after).toBeGreaterThan(least);
      expect(parameters.after).toBeLessThan(parameters.before);
      if (of === 'params') expect(parameters.after).toBeLessThanOrEqual(0.6 * parameters.before);
      expect(bytes).toEqual(plan(OPT_125M, { ...rest, maxLoss: 0.01 }).bytes);
    }
  });

  test('counts the networks that are tried', () => {
    const engine = (effort: 'low' | 'medium' | 'high') =>
      plan(OPT_125M, { ...rest, params: 0.6, effort, producers: false }).flops.engine;
    expect(engine('medium') / engine('low')).toBeGreaterThan(1.5);
    expect(engine('high') / engine('medium')).toBeGreaterThan(1.5);
    const { parts, passes } = work({ params: 0.6, effort: 'low' });
    const once = work({ keep: 0.5 });
    // The analysis is worth four passes, a trial rather more than half of one.
    expect((passes * parts) / (once.passes * once.parts)).toBeGreaterThan(4);
    const tried = ({ before, within }: (typeof TRIALS)['low']) => before + within;
    const more = work({ params: 0.6, effort: 'medium' }).passes - passes;
    expect(more / (tried(TRIALS.medium) - tried(TRIALS.low))).toBeCloseTo(0.6, 9);
  });

  test('counts that both networks are measured, all of them', () => {
    const measured = (macs: Profile['macs']) => work({ keep: 0.5 }, macs).measured;
    expect(measured({ parts: 1, last: 0 })).toBe(measured({ parts: 0, last: 1 }));
    expect(measured({ parts: 1, last: 0 })).toBeGreaterThanOrEqual(2 * 2 * OPTIONS.samples);
  });
});

test('sums of 3×3 convolutions with stride 1 are counted as correlations', () => {
  const conv = { kernel: [3, 3], strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1] } as const;
  const flops = (strides: readonly [number, number]) => {
    const map = {
      p: 576,
      m: 64,
      groupSize: 9,
      rows: 784,
      conv: { ...conv, strides },
    } as unknown as LinearMap;
    return stepFlops(
      { name: 'a', maps: [map], cuts: [{ keep: 32, groups: 64, groupSizes: [9] }] },
      { method: 'osscar', search: 'swap' },
      { samples: 100 },
    );
  };
  const [same, halved] = [flops([1, 1]), flops([2, 2])];
  expect(same.solving).toBe(halved.solving);
  expect(halved.statistics - same.statistics).toBeCloseTo((100 * 784 * (1 - 26 / 81) * 576 ** 2) / 2, 0);
});

test('the refit of producers is counted where these are small enough for it', () => {
  const refits = (model: typeof OPT_125M) => {
    const engine = (producers: boolean) => plan(model, { ...OPTIONS, producers }).flops.engine;
    return engine(true) - engine(false);
  };
  // Rounds of eight times forwards on 64 windows, back on three quarters of them, through fc1 and the half of it that fc2 reads.
  const examples = 2 ** 27 / (4 * 2 * 768 * 512);
  expect(refits(OPT_125M) / (12 * 8 * 2 * (2 * 1536 * 768 * 512) * examples)).toBeCloseTo(1.8 * 2.5, 9);
  expect(refits(OPT_30B)).toBe(0);
});

describe('a run on several machines', () => {
  test('takes on one what the plan of one says, and sends nothing', () => {
    const { flops } = plan(OPT_125M, OPTIONS);
    const { seconds, networkBytes } = planned({ machines: 1 });
    expect(seconds.total).toBeCloseTo(flops.engine / RATES.engine + flops.kernels / RATES.kernels, 6);
    expect(networkBytes).toBe(0);
  });

  test('divides the passes over the samples, and nothing else', () => {
    const [one, eight] = [planned({ machines: 1 }).seconds, planned({ machines: 8 }).seconds];
    expect(eight.engine).toBeCloseTo(one.engine / 8, 9);
    expect(eight.statistics).toBeCloseTo(one.statistics / 8, 9);
    expect([eight.solving, eight.measuring]).toEqual([one.solving, one.measuring]);
  });

  test('is no faster on machines that get no shard more', () => {
    const shards = 8;
    const [four, five, nine] = [4, 5, 9].map((machines) => planned({ machines, shards }).seconds);
    expect(five.engine).toBe(four.engine);
    expect(nine.engine).toBe(planned({ machines: 8, shards }).seconds.engine);
  });

  test('sends the sums of every shard, both ways, and waits for them', () => {
    const bytes = (shards: number) => planned({ machines: 2, shards }).networkBytes;
    // The lower triangle of XᵀX and XᵀY of what reads 768, fc2's of what reads 3072; fitted and held out.
    const sums = ([p, m]: readonly number[]) => 8 * ((p * (p + 1)) / 2 + p * m + p + m);
    const layers = [...Array(4).fill([768, 768]), [768, 3072], [3072, 768]];
    const perShard = 12 * layers.map(sums).reduce((a, b) => a + b);
    expect(bytes(9) - bytes(8)).toBe(2 * 2 * perShard);
    const { seconds, networkBytes } = planned({ machines: 2, storeRate: 1e6 });
    expect(seconds.network).toBeCloseTo(networkBytes / 1e6, 6);
  });
});

describe('a run within a bound of memory', () => {
  const options = { ...OPTIONS, samples: 128, sample: [2048], threads: 2 } as const;
  const free = plan(OPT_30B, options);
  const { activations, total } = free.bytes;

  test('has layers beyond one memory solved in tiles', () => {
    expect(free.bytes.wasm).toBeLessThan(2 ** 32);
    // Sums of fc2 in f64, the dense weights, and H⁻¹ and the weights of the search in f32.
    const [p, m] = [28_672, 7_168];
    expect(free.bytes.heap).toBeGreaterThan(
      8 * ((p * p) / 2 + p * m) + 4 * p * m + 4 * ((p * p) / 2 + p * m),
    );
    expect(free.files.layerBytes).toBeUndefined();
  });

  test('keeps activations in files first, as many as have to go there', () => {
    const memory = total - activations / 2;
    const { bytes, files } = plan(OPT_30B, { ...options, memory });
    expect(bytes.total).toBeLessThanOrEqual(memory);
    expect(bytes.total).toBeGreaterThan(memory - 4);
    expect(files.activationBytes).toBeLessThan(free.files.activationBytes);
    expect(files).toMatchObject({ layerBytes: undefined, bytes: free.files.bytes });
  });

  test('and then the sums of layers in tiles, which costs time', () => {
    const memory = total - activations - 2 ** 30;
    const { bytes, files } = plan(OPT_30B, { ...options, memory });
    expect(bytes.total).toBeLessThanOrEqual(memory);
    expect(files.bytes - free.files.bytes).toBeGreaterThan(8 * (28_672 ** 2 / 2 + 28_672 * 7_168));
    expect(files.traffic).toBeGreaterThan(free.files.traffic);
    expect(files.layerBytes).toBeGreaterThan(0);
  });

  test('says what it takes at least where that does not do', () => {
    const { bytes } = plan(OPT_30B, { ...options, memory: '8GiB' });
    expect(bytes.total).toBeGreaterThan(8 * 2 ** 30);
    expect(bytes.total).toBeLessThan(total);
    for (const memory of ['lots', '8', 0, '-8GiB']) {
      expect(() => plan(OPT_30B, { ...options, memory })).toThrow('`memory`: expected bytes such as 8GiB');
    }
  });
});

test('what tiles have not stays whole, whatever it takes', () => {
  const map = { p: 100, m: 10, groupSize: 1, rows: 1 };
  const step = { name: 'fc2', maps: [map], cuts: [{ keep: 50, groups: 100, groupSizes: [1] }] };
  const inTiles = (more: object, method: 'osscar' | 'ziplm' | 'magnitude' = 'osscar') =>
    isInTiles({ ...step, ...more }, { method, search: 'swap' }, 2 ** 16);
  expect(inTiles({})).toBe(true);
  expect(inTiles({ cuts: [], maps: [map, map] })).toBe(true);
  expect(inTiles({ maps: [map, map] })).toBe(false);
  expect(inTiles({ cuts: [...step.cuts, ...step.cuts] })).toBe(false);
  expect(inTiles({ isPartial: true })).toBe(false);
  expect(inTiles({}, 'ziplm')).toBe(false);
  expect(inTiles({ cuts: [] }, 'magnitude')).toBe(false);
  expect(isInTiles(step, { method: 'osscar', search: 'swap' }, 2 ** 32)).toBe(false);
});

test('of several steps the largest has to fit one memory, and is named', () => {
  const steps = [100, 4000, 200].map((p) => ({
    name: `of ${p}`,
    maps: [{ p, m: 10, groupSize: 1, rows: 1 }],
    cuts: [{ keep: 50, groups: p, groupSizes: [1] }],
  }));
  const check = (of: typeof steps, bytes: number) =>
    checkSteps(of, { method: 'ziplm', search: 'swap' }, bytes);
  expect(check([], 1)).toBe(0);
  expect(check(steps, 2 ** 32)).toBe(check([steps[1]], 2 ** 32));
  expect(() => check(steps, 2 ** 26)).toThrow(/^structure "of 4000" needs \d+ bytes/);
});

test('layers that share channels take what each takes, and not what one of all their rows would', () => {
  const recipe = parseRecipe({ keep: 0.5, producers: false });
  const step = (sizes: readonly (readonly [p: number, m: number])[], groupSizes: readonly number[]) => ({
    name: 'shared',
    maps: sizes.map(([p, m]) => ({ p, m, groupSize: 1, rows: 1 })),
    cuts: [{ keep: 500, groups: 1000, groupSizes }],
  });
  const one = step([[2000, 300]], [2]);
  const another = step([[1000, 700]], [1]);
  const shared = {
    ...one,
    maps: [...one.maps, ...another.maps],
    cuts: [{ keep: 500, groups: 1000, groupSizes: [2, 1] }],
  };
  const alone = step([[3000, 700]], [3]);
  const wasm = (it: PlannedStep) => checkSteps([it], recipe, 2 ** 32);
  expect(wasm(shared)).toBeGreaterThan(wasm(one));
  expect(wasm(shared)).toBeLessThan(wasm(one) + wasm(another));
  expect(wasm(shared)).toBeLessThan(0.7 * wasm(alone));
  expect(() => checkSteps([shared], recipe, 2 ** 20)).toThrow('(p = 2000, m = 300, the largest of 2 layers)');
  // Where only some rows are up for removal, these are what is chosen from.
  const partial = { ...shared, cuts: [{ keep: 50, groups: 100, groupSizes: [2, 1] }] };
  expect(wasm(partial)).toBeLessThan(0.95 * wasm(shared));

  const parameters = { before: 0, after: 0 };
  const weights = { largest: 0, outside: 0, files: 0 };
  const macs = { parts: 0, last: 0 };
  const nothing = { model: '', parameters, weights, between: 0, held: 0, batch: 0, scores: 0, macs };
  const heap = (it: PlannedStep) => planRun({ ...nothing, steps: [it] }, recipe, { samples: 1 }).bytes.heap;
  expect(heap(shared) - heap({ ...shared, cuts: [] })).toBe(8 * (2000 * 300 + 1000 * 700));

  const solving = (it: PlannedStep) => stepFlops(it, recipe, { samples: 1 }).solving;
  expect(solving(shared)).toBe(solving(one) + solving(another));
  expect(solving(shared)).toBeLessThan(solving(alone));
});

test('an engine has what is live at a time, and the dense network gives no more than all of its values', async () => {
  const [channels, side, samples] = [8, 32, 4];
  const chain = async (layers: number) => {
    const b = new OnnxBuilder();
    let x = b.input([channels, side, side]);
    for (let i = 0; i < layers; i++) x = b.conv(x, channels, 3, { pad: 1 });
    const opened = await openModel(b.output(x).build(), { engine });
    const { bytes } = plan(opened, { keep: 0.5, samples });
    return { ...bytes, weights: bytes.weights - opened.bytes * 2 - opened.parameters * 20 };
  };
  const [short, long] = [await chain(3), await chain(12)];
  expect(long.weights).toBe(short.weights);
  const value = 4 * samples * channels * side ** 2;
  expect(long.dense).toBe(3 * 13 * value);
  expect(long.dense - short.dense).toBe(3 * 9 * value);
});
