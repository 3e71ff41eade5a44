// Language models as torch exports them: heads, key-value groups and gated neurons are found in the plain graph.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  analyse,
  linearMaps,
  readModel,
  readWeights,
  type Structure,
  segments,
  shrink,
  subgraph,
} from '../../src/graph/index.ts';
import { mask } from '../graph/masking.ts';
import {
  difference,
  type Feed,
  randomChannels,
  randomTokens,
  run,
  runModel,
  shapesOfFeeds,
} from '../graph/running.ts';
import { random as seeded } from '../support/random.ts';
import { shared } from './shared.ts';

// float32, up to 10 blocks deep: sums over fewer terms are rounded in another order
const ROUNDING = 1e-5;

const MODELS = [
  {
    file: 'opt-kjv-torch',
    layers: 4,
    vocabulary: 1024,
    width: 128,
    heads: [8, 16],
    neurons: 512,
    producers: [3, 1],
  },
  {
    file: 'stories260k-torch',
    layers: 5,
    vocabulary: 512,
    width: 64,
    heads: [4, 16],
    neurons: 172,
    producers: [3, 2],
  },
];

describe.each(MODELS)('$file', ({ file, layers, vocabulary, width, heads, neurons, producers }) => {
  const opened = async (dims: readonly number[]) => {
    const model = await readModel(readFileSync(shared(`models/${file}.onnx`)));
    const shapes = await shapesOfFeeds(model, { input_ids: randomTokens(dims, vocabulary) });
    return { model, shapes, structures: analyse(model, shapes).structures };
  };

  test('has one structure of heads and one of neurons in every layer', async () => {
    const { structures } = await opened([2, 11]);
    const outline = ({ kind, groups, groupSize, producers }: Structure) => [
      kind,
      groups,
      groupSize,
      producers.length,
    ];
    const layer = [
      ['head', ...heads, producers[0]],
      ['channel', neurons, 1, producers[1]],
    ];
    expect(structures.filter((s) => s.prunable).map(outline)).toEqual(new Array(layers).fill(layer).flat());
    const others = structures.filter((s) => !s.prunable);
    for (const { reason } of others) expect(reason).toMatch(/residual stream|graph output "logits"/);
    expect(others.map((s) => [s.isResidual, s.groups])).toEqual([
      [true, width],
      [false, vocabulary],
    ]);
  });

  test.each([
    [1, 32],
    [1, 16],
    [8, 8],
    [3, 4],
  ])('is analysed alike from a run on %i × %i tokens', async (...dims) => {
    // rows per sample follow the length of the run; nothing else may
    const plain = (structures: Structure[]) =>
      JSON.stringify(structures, (key, value) => (key === 'rows' ? undefined : value));
    expect(plain((await opened(dims)).structures)).toBe(plain((await opened([2, 11])).structures));
  });

  test('computes the same shrunk as masked, for any batch and length', async () => {
    const { model, structures } = await opened([2, 11]);
    const prunable = structures.filter((s) => s.prunable);
    const random = seeded(3);
    const choose = (which: readonly Structure[]) =>
      new Map(which.map((structure) => [structure, randomChannels(structure, random)]));
    const some = (kind: Structure['kind']) => prunable.filter((s) => s.kind === kind);
    const selections = [choose(some('head')), choose(some('channel')), choose(prunable)];
    selections.push(new Map(prunable.map((structure) => [structure, [structure.groups - 1]])));
    for (const cuts of selections) {
      const masked = mask(model, cuts);
      const small = shrink(model, cuts);
      for (const dims of [
        [1, 32],
        [2, 17],
      ]) {
        const tokens = randomTokens(dims, vocabulary, 5);
        const wanted = await runModel(masked, tokens);
        expect(difference(wanted, await runModel(small, tokens))).toBeLessThan(ROUNDING);
        expect(difference(wanted, await runModel(model, tokens))).toBeGreaterThan(1e-3);
      }
    }
  });

  test('feeds a shortcut from every output projection and every second layer of an MLP', async () => {
    const { model, shapes, structures } = await opened([2, 11]);
    const consumers = structures.filter((s) => s.prunable).flatMap((s) => s.consumers);
    expect(consumers).toHaveLength(2 * layers);
    for (const map of consumers) {
      expect(map.residual, map.node).toBeDefined();
      expect(shapes.get(map.residual!.shortcut)).toEqual([2, 11, width]);
      expect(map.rows).toBe(11);
      expect(readWeights(model, map).bias?.length).toBe(file.startsWith('opt') ? width : undefined);
    }
    expect(linearMaps(model, shapes).filter((map) => map.residual)).toHaveLength(2 * layers);
  });

  test('can be run in parts: a cut after every layer of the residual stream, from any batch', async () => {
    const { model, shapes } = await opened([2, 11]);
    const types = new Map([['input_ids', 'int64']]);
    const cuts = segments(model, { shapes, types });
    expect(cuts.length).toBeGreaterThanOrEqual(2 * layers);
    const tokens = randomTokens([3, 11], vocabulary, 5);
    const middle = cuts[layers].value;
    const run3 = async (from: string, to: string, feed: Feed) =>
      (await run(subgraph(model, [from], [to], { shapes, types }), { [from]: feed }))[to];
    const whole = await runModel(model, tokens);
    const parts = await run3(middle, 'logits', await run3('input_ids', middle, tokens));
    expect(difference(whole, parts)).toBeLessThan(ROUNDING);
  });
});
