import { describe, expect, test } from 'vitest';
import { sizeAt, type Term } from '../../src/graph/index.ts';
import { type Alone, lossAt } from '../../src/pipeline/allocate/alone.ts';
import { kneeOf } from '../../src/pipeline/allocate/analyze.ts';
import { leastOfAll, uniformSizes } from '../../src/pipeline/allocate/problem.ts';
import { type Choices, type Point, tradeoff } from '../../src/pipeline/allocate/tradeoff.ts';
import { isBetter } from '../../src/pipeline/data/split.ts';
import { analyze, memoryStore, type PruneOptions } from '../../src/pipeline/index.ts';
import { openSession } from '../../src/pool/index.ts';
import { once } from '../support/once.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random } from '../support/random.ts';
import { engine, fashion, fixtureBytes, noise, openFixture, prune } from './fixtures.ts';

describe('tradeoff', () => {
  /** A few structures of a few widths; some terms of one, some of two that need not be neighbours. */
  function instance(seed: number): { structures: Choices[]; terms: Term[] } {
    const next = random(seed);
    const whole = (most: number) => 1 + Math.floor(next() * most);
    const structures = Array.from({ length: 4 }, (_, i): Choices => {
      const groups = 3 + whole(4);
      const widths = Array.from({ length: groups }, (_, k) => k + 1).filter(() => next() < 0.8);
      let loss = 10 * next();
      const choices = [...new Set([...widths, groups])].map((kept) => {
        loss *= next();
        return { kept, loss: kept === groups ? 0 : loss };
      });
      return { name: `s${i}`, groups, choices };
    });
    const names = structures.map(({ name }) => name);
    const terms = [
      { value: whole(20), of: [] },
      ...names.map((name) => ({ value: whole(50), of: [name] })),
      ...[0, 1, 2].map(() => ({
        value: whole(90),
        of: [names[Math.floor(next() * 2)], names[2 + (whole(2) - 1)]],
      })),
    ];
    return { structures, terms };
  }

  function everyPoint({ structures, terms }: ReturnType<typeof instance>): { cost: number; loss: number }[] {
    let all: { kept: Map<string, number>; loss: number }[] = [{ kept: new Map(), loss: 0 }];
    for (const { name, groups, choices } of structures) {
      all = all.flatMap(({ kept, loss }) =>
        choices.map((choice) => ({
          kept: new Map(kept).set(name, choice.kept / groups),
          loss: loss + choice.loss,
        })),
      );
    }
    return all.map(({ kept, loss }) => ({ cost: sizeAt(terms, (name) => kept.get(name)!), loss }));
  }

  const within = (points: readonly Point[], budget: number) => points.findLast(({ cost }) => cost <= budget);

  test.each(Array.from({ length: 20 }, (_, seed) => seed + 1))(
    'is as good as trying everything, at any budget (%i)',
    (seed) => {
      const drawn = instance(seed);
      const points = tradeoff(drawn.structures, drawn.terms);
      const all = everyPoint(drawn);
      const costs = all.map(({ cost }) => cost).sort((a, b) => a - b);
      for (const budget of costs.filter((_, i) => i % 7 === 0)) {
        const best = Math.min(...all.filter(({ cost }) => cost <= budget + 1e-9).map(({ loss }) => loss));
        expect(within(points, budget + 1e-9)!.loss).toBeCloseTo(best, 9);
      }
      expect(within(points, costs[0] - 1e-6)).toBeUndefined();
    },
  );

  test('says of each point what it costs and loses, and loses less the more it may cost', () => {
    const { structures, terms } = instance(5);
    const points = tradeoff(structures, terms);
    expect(points.length).toBeGreaterThan(5);
    for (const [i, { cost, loss, sizes }] of points.entries()) {
      const groups = new Map(structures.map((it) => [it.name, it.groups]));
      expect(sizeAt(terms, (name) => sizes.get(name)! / groups.get(name)!)).toBeCloseTo(cost, 9);
      const own = structures.map(
        ({ name, choices }) => choices.find(({ kept }) => kept === sizes.get(name))!.loss,
      );
      expect(own.reduce((a, b) => a + b, 0)).toBeCloseTo(loss, 9);
      if (i > 0) {
        expect(cost).toBeGreaterThan(points[i - 1].cost);
        expect(loss).toBeLessThan(points[i - 1].loss);
      }
    }
  });

  test('stays close to the best where every structure stands in terms with every other', () => {
    const next = random(7);
    const structures = Array.from({ length: 6 }, (_, i): Choices => {
      const [weight, power] = [0.2 + next(), 1.5 + 2 * next()];
      const choices = Array.from({ length: 6 }, (_, k) => ({
        kept: k + 1,
        loss: weight * (1 - (k + 1) / 6) ** power,
      }));
      return { name: `s${i}`, groups: 6, choices };
    });
    const terms = structures.flatMap(({ name }, i) =>
      structures
        .slice(i)
        .map((other) => ({ value: 10 + 90 * next(), of: other.name === name ? [name] : [name, other.name] })),
    );
    const [points, all] = [tradeoff(structures, terms), everyPoint({ structures, terms })];
    const total = sizeAt(terms, () => 1);
    for (const share of [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) {
      const losses = all.filter(({ cost }) => cost <= share * total).map(({ loss }) => loss);
      const found = within(points, share * total)!;
      expect(found.loss).toBeLessThan(1.2 * losses.reduce((a, b) => Math.min(a, b)));
    }
  });

  // Losses that grow with the square of what is removed: where all are alike, the best is the same fraction of all, in the limit.
  const squares = (length: number) =>
    Array.from(
      { length },
      (_, i): Choices => ({
        name: `s${i}`,
        groups: 64,
        choices: Array.from({ length: 64 }, (_, k) => ({ kept: k + 1, loss: (1 - (k + 1) / 64) ** 2 })),
      }),
    );

  test('takes no more memory for forty structures of which each stands in terms with every other', () => {
    const structures = squares(40);
    const terms = structures.flatMap(({ name }, i) =>
      structures.slice(i + 1).map((other) => ({ value: 1, of: [name, other.name] })),
    );
    const best = within(tradeoff(structures, terms), (40 * 39) / 8)!;
    expect(best.loss).toBeLessThan(40 * 0.25 * 1.03);
  });

  test('stays close to the best where there are more points than it keeps', () => {
    const structures = squares(12);
    const terms = structures.map(({ name }, i) => ({
      value: 1000 + i / 7,
      of: i === 0 ? [name] : [`s${i - 1}`, name],
    }));
    const total = sizeAt(terms, () => 1);
    const best = within(tradeoff(structures, terms), total / 4)!;
    expect(best.cost).toBeLessThanOrEqual(total / 4);
    // A quarter of the products is half of each.
    expect(best.loss).toBeLessThan(12 * 0.25 * 1.03);
  });
});

describe('the loss of a width', () => {
  const curve = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0];
  const alone: Alone = {
    name: 's',
    groups: 8,
    curve,
    points: [
      { kept: 6, loss: 0.004 },
      { kept: 4, loss: 0.03 },
      { kept: 2, loss: 0.9 },
    ],
  };

  test('is what was measured where it was, and 0 where all stays', () => {
    for (const { kept, loss } of alone.points) expect(lossAt(alone, kept)).toBeCloseTo(loss, 9);
    expect(lossAt(alone, 8)).toBe(0);
  });

  test('grows as groups go, between the measurements and beyond them', () => {
    const losses = Array.from({ length: 8 }, (_, i) => lossAt(alone, 8 - i));
    for (let i = 1; i < losses.length; i++) expect(losses[i]).toBeGreaterThan(losses[i - 1]);
    expect(lossAt(alone, 7)).toBeCloseTo((0.004 * 0.001) / 0.01, 9);
  });

  test('of none is what was found without it, which bounds that of the narrowest', () => {
    const without = { ...alone, points: [...alone.points, { kept: 0, loss: 0.91 }] };
    expect(lossAt(without, 0)).toBeCloseTo(0.91, 9);
    expect(lossAt(without, 1)).toBeGreaterThan(0.9);
    expect(lossAt(without, 1)).toBeLessThan(0.91);
    for (const kept of [3, 7]) expect(lossAt(without, kept)).toBe(lossAt(alone, kept));
    // What is narrower than what was tried loses more than the whole otherwise.
    expect(lossAt(alone, 1)).toBeGreaterThan(0.91);
  });

  test('does not fall where a measurement says so: that is noise', () => {
    const noisy = { ...alone, points: [alone.points[0], { kept: 4, loss: 0.001 }, alone.points[2]] };
    expect(lossAt(noisy, 4)).toBeCloseTo(0.004, 9);
  });
});

test('uniform sizes leave nothing of a budget that a further step of a structure would fit into', () => {
  const structures = [3, 1, 2].map((step, i) => {
    const widths = Array.from({ length: 12 / step }, (_, k) => (k + 1) * step);
    return { name: `s${i}`, layer: `l${i}`, kind: 'channel' as const, groups: 12, widths };
  });
  const terms = [
    { value: 70, of: ['s0'] },
    { value: 110, of: ['s0', 's1'] },
    { value: 60, of: ['s1', 's2'] },
  ];
  const costOf = (sizes: ReadonlyMap<string, number>) => sizeAt(terms, (name) => sizes.get(name)! / 12);
  for (const limit of [30, 60, 100, 150, 200]) {
    const sizes = uniformSizes({ terms, structures, limit });
    expect(costOf(sizes)).toBeLessThanOrEqual(limit);
    for (const { name, widths } of structures) {
      const next = widths.find((width) => width > sizes.get(name)!);
      if (next) expect(costOf(new Map(sizes).set(name, next))).toBeGreaterThan(limit);
    }
  }
});

test('uniform sizes leave something of all, unless the limit is below that', () => {
  const structures = [0, 1].map((i) => {
    return {
      name: `s${i}`,
      layer: '',
      kind: 'channel' as const,
      groups: 10,
      canGo: true,
      widths: [0, 1, 5, 10],
    };
  });
  const terms = [
    { value: 10, of: ['s0'] },
    { value: 30, of: ['s1'] },
  ];
  const of = (limit: number) => [...uniformSizes({ terms, structures, limit }).values()];
  expect(of(20)).toEqual([5, 5]);
  expect(of(5)).toEqual([1, 1]);
  expect(of(3)).toEqual([1, 0]);
  expect(leastOfAll({ terms, structures })).toBe(4);
});

test('a trial is better where its mean is lower by more than its standard error', () => {
  const before = Float64Array.of(1, 2, 3, 4);
  expect(isBetter(Float64Array.of(0.9, 1.9, 2.9, 3.9), before)).toBe(true);
  expect(isBetter(Float64Array.of(0.5, 2.4, 2.6, 4.4), before)).toBe(false);
  expect(isBetter(before, before)).toBe(false);
  // The standard error is 1, 0.87 and none.
  expect(isBetter([3, 4], [3, 6])).toBe(false);
  expect(isBetter([4.5, 2.5, 3], [4, 5, 4])).toBe(true);
  expect(isBetter([1], [2])).toBe(true);
});

const images = await fashion('calib', 32);
const NETWORK = 'fashion-mobilenet-v2';
const bytes = fixtureBytes(NETWORK);

describe('prune within a budget', () => {
  const options = { target: 'residual', search: 'greedy', effort: 'low' } as const;
  const store = memoryStore(); // of the analysis, which all budgets have in common
  const run = (more: Partial<PruneOptions>) =>
    prune(bytes, images, { keep: undefined, ...options, store, ...more });

  const onOneThread = () => openSession({ threads: 1, simd: 'baseline' });
  const fresh = once(async () => run({ macs: 0.5, session: await onOneThread(), store: undefined }));

  test.each(['macs', 'params', 'bytes'] as const)('stays below it, and close to it: %s', async (kind) => {
    const { report } = await run({ [kind]: 0.6 });
    const { before, after } = report[kind === 'params' ? 'parameters' : kind]!;
    expect(after).toBeLessThanOrEqual(0.6 * before);
    expect(after).toBeGreaterThan(0.52 * before);
    const { allocation } = report;
    expect(allocation).toMatchObject({ of: kind });
    expect(allocation!.after).toBeLessThanOrEqual(allocation!.limit);
    const chosen = allocation!.trials.find(({ name }) => name === allocation!.chosen)!;
    const uniform = allocation!.trials.find(({ name }) => name === 'uniform')!;
    expect(chosen.loss).toBeLessThan(uniform.loss);
    for (const { name, kept } of report.layers) expect(kept).toHaveLength(chosen.sizes[name]);
  });

  test('finds sizes for the baselines, too', async () => {
    const { report } = await run({ macs: 0.5, method: 'magnitude' });
    expect(report.macs!.after).toBeLessThanOrEqual(0.5 * report.macs!.before);
    expect(report.allocation!.trials).toHaveLength(2);
  });

  test('gives every thread count the same model', async () => {
    const two = await openSession({ threads: 2, simd: 'baseline' });
    try {
      const [one, other] = [await fresh(), await run({ macs: 0.5, session: two, store: undefined })];
      expect(one.report.allocation).toEqual(other.report.allocation);
      expect(one.written.model).toEqual(other.written.model);
    } finally {
      await two.close();
    }
  });

  test('analyses once for all budgets of a store', async () => {
    const store = memoryStore();
    const watched = await onOneThread();
    const first = await run({ macs: 0.7, store, session: watched });
    const found = await store.list('alone/');
    expect(found).toHaveLength(1);
    const solved: number[] = [];
    const solve = watched.solveLayers.bind(watched);
    watched.solveLayers = (...args) => {
      solved.push(args[0].length);
      return solve(...args);
    };
    const second = await run({ macs: 0.5, store, session: watched });
    expect(await store.list('alone/')).toEqual(found);
    expect(second.written.model).toEqual((await fresh()).written.model);
    expect(second.written.model).not.toEqual(first.written.model);
    // Two trials, the final pass, and no more.
    const { structures } = (await openFixture(NETWORK)).analysis;
    expect(solved.length).toBeLessThan(3 * 3 * structures.length);
    const again: number = solved.length;
    await run({ macs: 0.5, store, session: watched });
    expect(solved.length).toBe(again);
  });

  test('keeps what is pinned, whole or between bounds', async () => {
    const { analysis } = await openFixture(NETWORK);
    const [a, b, c, d] = analysis.structures.filter(({ prunable, groups }) => prunable && groups >= 8);
    const { report } = await run({
      macs: 0.7,
      pin: { [a.name]: 0.5 },
      exclude: [b.name],
      min: { [c.name]: 0.75 },
      max: { [d.name]: 0.5 },
    });
    const kept = (name: string) => report.layers.find((it) => it.name === name)?.kept.length;
    expect(kept(a.name)).toBe(Math.round(a.groups / 2));
    expect(kept(b.name)).toBeUndefined();
    expect(kept(c.name) ?? c.groups).toBeGreaterThanOrEqual(0.75 * c.groups);
    expect(kept(d.name)).toBeLessThanOrEqual(0.5 * d.groups);
  });

  test.each([
    [
      'what cannot be reached, with what can',
      { macs: 0.001 },
      /`macs`: at most \d+ \(0\.001 .*smallest widths take \d+ \(0\.\d+/,
    ],
    [
      'what keeps everything',
      { bytes: '100GB' },
      /`bytes`: at most 100000000000 keeps all of the dense model, which has \d+$/,
    ],
    ['a budget of all', { macs: 1 }, '`macs`: 1 is all of the dense model; expected a fraction such as 0.5'],
    ['two budgets', { macs: 0.5, params: 0.5 }, 'one budget, got `macs` and `params`'],
    [
      'a budget beside sizes',
      { keep: 0.5, macs: 0.5 },
      'expected `keep` or a budget (`macs`, `params`, `bytes`, `latency`, `maxLoss`), got both',
    ],
    ['neither', {}, /^expected `keep` or a budget \(.*\)$/],
    ['a budget beside a loss', { macs: 0.5, maxLoss: 0.01 }, 'one budget, got `macs` and `maxLoss`'],
    ['a negative loss', { maxLoss: -0.1 }, '`maxLoss`: expected a fraction such as 1%'],
    ['all that there is to lose', { maxLoss: '200%' }, '`maxLoss`: expected less than 100%, which is all of'],
    [
      "more than the dense model's accuracy",
      { maxLoss: '99.9%' },
      /less than \d\d\.?\d*%, which is all of the dense model's accuracy, got 99\.9%$/,
    ],
    ['an amount that is none', { bytes: 'half' }, '`bytes`: expected a fraction such as 0.5'],
    [
      'a pattern without a structure',
      { macs: 0.5, exclude: ['none*'] },
      'no prunable structure matches "none*"',
    ],
    ['a fraction outside (0, 1]', { macs: 0.5, pin: { '*': 1.5 } }, '`pin` of "*" must be in (0, 1]'],
  ])('refuses %s', async (_, more, message) => {
    await expect(run(more)).rejects.toThrow(message);
  });
});

test('more effort tries more sizes, from what was found for all budgets on, and none takes worse than uniform ones', async () => {
  const options = { target: 'residual', search: 'greedy', keep: undefined, macs: 0.5 } as const;
  const store = memoryStore();
  const [low, medium] = [
    await prune(bytes, images, { ...options, store, effort: 'low' }),
    await prune(bytes, images, { ...options, store, effort: 'medium' }),
  ].map(({ report }) => report.allocation!);
  expect(low.trials.map(({ name }) => name)).toEqual(['uniform', 'sum of losses']);
  expect(medium.trials[0]).toEqual(low.trials[0]);
  expect(medium.trials.length).toBeGreaterThan(2);
  for (const { trials, chosen } of [low, medium])
    expect(trials.find(({ name }) => name === chosen)!.loss).toBeLessThanOrEqual(trials[0].loss);
  const { reference: all } = medium;
  expect(medium.trials[1].name === 'sum of losses').toBe(all!.chosen === 'sum of losses');
  expect(low.reference).toBeUndefined();
  expect(medium.reference!.trials.length).toBeGreaterThan(2);
  // Another budget begins with what was found at the reference.
  const found = await store.list('trial/');
  const other = await prune(bytes, images, { ...options, macs: 0.7, store, effort: 'medium' });
  const { reference, trials } = other.report.allocation!;
  expect(reference).toEqual(medium.reference);
  expect((await store.list('trial/')).length - found.length).toBeLessThanOrEqual(trials.length);
});

test('streams that could go are tried whole, too, but not where they have to go', async () => {
  const b = new OnnxBuilder({ seed: 2 });
  let x = b.relu(b.conv(b.input([3, 8, 8]), 8, 3));
  for (let i = 0; i < 2; i++) x = b.add(b.conv(b.relu(b.conv(x, 12, 3)), 8, 3), x);
  const streams = b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 5)).build();
  const data = await noise(24, [3, 8, 8]);
  const options = { target: 'residual', effort: 'low', residual: true, keep: undefined, macs: 0.25 } as const;
  const { report, opened } = await prune(streams, data, options);
  const { trials, chosen } = report.allocation!;
  const names = ['sum of losses, streams whole', 'uniform', 'sum of losses'];
  expect(trials.map(({ name }) => name)).toEqual(names);
  expect(names).toContain(chosen);
  const [stream] = opened.analysis.structures.filter((it) => it.prunable && it.isResidual);
  expect(trials[0].sizes[stream.name]).toBe(stream.groups);
  expect(trials[1].sizes[stream.name]).toBeLessThan(stream.groups);
  expect(report.allocation!.after).toBeLessThanOrEqual(report.allocation!.limit);
  const pinned = await prune(streams, data, { ...options, pin: { [stream.name]: 0.5 } });
  for (const { sizes } of pinned.report.allocation!.trials) expect(sizes[stream.name]).toBe(4);
});

describe('prune to a loss', () => {
  const options = { target: 'residual', search: 'greedy', keep: undefined, effort: 'low' } as const;

  test('finds a small model that loses no more on held-out samples, a smaller one where it may lose more', async () => {
    const data = await noise(24, [1, 28, 28]);
    const store = memoryStore();
    const [strict, loose] = [
      await prune(bytes, data, { ...options, store, maxLoss: 0.05 }),
      await prune(bytes, data, { ...options, store, maxLoss: '20%' }),
    ];
    for (const { report } of [strict, loose]) {
      const { maxLoss, trials, chosen, after, before } = report.allocation!;
      expect(trials.find(({ name }) => name === chosen)!.lost).toBeLessThanOrEqual(maxLoss!);
      // What is smaller was tried, and loses more.
      const smaller = trials.filter(({ lost }) => lost > maxLoss!);
      expect(smaller.length).toBeGreaterThan(0);
      expect(report.macs!.after).toBeCloseTo(after, 3);
      expect(after).toBeLessThan(before);
    }
    expect(loose.report.macs!.after).toBeLessThan(0.9 * strict.report.macs!.after);
    await expect(prune(bytes, data, { ...options, store, maxLoss: 0 })).rejects.toThrow(
      /max-loss: at most 0 cannot be kept: macs 0\.9\d+ of the dense model loses 0\.0/,
    );
  });
});

describe('analyze', () => {
  test('gives sizes from the whole model to the smallest, what they lose, and a knee', async () => {
    const model = await openFixture(NETWORK);
    const store = memoryStore();
    const report = await analyze(model, { engine, calibration: images, params: 1, store });
    const { points, knee, structures, of, before } = report;
    expect([of, before]).toEqual(['params', model.parameters]);
    expect(points.length).toBeGreaterThan(20);
    expect(points[0].fraction).toBeCloseTo(1, 2);
    for (const [i, { fraction, size, loss }] of points.entries()) {
      expect(size).toBeCloseTo(fraction * before, 6);
      if (i > 0) {
        expect(fraction).toBeLessThan(points[i - 1].fraction);
        expect(loss).toBeGreaterThan(points[i - 1].loss);
      }
    }
    expect(points).toContain(knee);
    expect(structures.map(({ name }) => name)).toEqual(
      model.analysis.structures.filter(({ prunable }) => prunable).map(({ name }) => name),
    );
    for (const { points, groups } of structures) {
      expect(points.length).toBeGreaterThan(2);
      expect(points[0].kept).toBeGreaterThan(groups / 2);
    }
    const again = await analyze(model, { engine, calibration: images, params: 1, store });
    expect({ ...again, seconds: 0, stages: [] }).toEqual({ ...report, seconds: 0, stages: [] });
    expect(again.stages[0].solve + again.stages[0].engine).toBe(0);
  });

  test('finds the knee of a curve that has one', () => {
    const curve = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3].map((fraction) => ({
      fraction,
      loss: fraction >= 0.6 ? 0.001 * (1 - fraction) : (0.65 - fraction) ** 2 * 10,
    }));
    expect(kneeOf(curve).fraction).toBe(0.6);
  });
});
