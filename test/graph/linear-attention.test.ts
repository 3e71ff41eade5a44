// Gated delta rules as single operators: a key head goes with the value heads that it serves, what they fade and share by, the channels of the convolution
// before them, and what is kept of earlier tokens.

import { describe, expect, it, test } from 'vitest';
import { countMacs } from '../../src/graph/count.ts';
import { analyse, GraphBuilder, readModel, shrink, writeModel } from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { linear, SIZE, WIDTH } from './attention-graphs.ts';
import { CHANNELS, EACH, gatedDelta, KERNEL, KEYS, VALUES } from './linear-attention-graph.ts';
import { mask } from './masking.ts';
import { difference, randomValue, run, shapesOfFeeds, type Value } from './running.ts';

const build = (form?: Parameters<typeof gatedDelta>[0]) => readModel(gatedDelta(form).build());

const feedsFor = (n: number, t: number, channelsLast = false) => ({
  input: randomValue([n, t, WIDTH]),
  'past_conv.0': randomValue(channelsLast ? [n, KERNEL - 1, CHANNELS] : [n, CHANNELS, KERNEL - 1], 8),
  'past_recurrent.0': randomValue([n, VALUES, SIZE, SIZE], 9),
});

/** Some positions of an axis. */
function picked({ dims, data }: Value, axis: number, places: readonly number[]): Value {
  const inner = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const outer = dims.slice(0, axis).reduce((a, b) => a * b, 1);
  const rows = Array.from({ length: outer }, (_, o) =>
    places.flatMap((at) => [
      ...data.subarray((o * dims[axis] + at) * inner, (o * dims[axis] + at + 1) * inner),
    ]),
  );
  return { dims: dims.with(axis, places.length), data: Float32Array.from(rows.flat()) };
}

describe.each([false, true])('channels last: %s', (channelsLast) => {
  it('loses heads, and gives what the masked network gives', async () => {
    const model = await build({ channelsLast });
    const shapes = await shapesOfFeeds(model, feedsFor(2, 5, channelsLast));
    const { structures } = analyse(model, shapes);
    const prunable = structures.filter((it) => it.prunable);
    expect(
      prunable.map(({ kind, groups, groupSize }) => [kind, groups, groupSize]),
      JSON.stringify(structures.map(({ name, reason }) => [name, reason])),
    ).toEqual([['head', KEYS, EACH * SIZE]]);
    const [heads] = prunable;
    for (const kept of [[0, 2], [1]]) {
      const cuts = new Map([[heads, kept]]);
      const small = shrink(model, cuts);
      const of = (from: number, width: number) =>
        kept.flatMap((group) => Array.from({ length: width }, (_, i) => from + group * width + i));
      const channels = [...of(0, SIZE), ...of(KEYS * SIZE, SIZE), ...of(2 * KEYS * SIZE, EACH * SIZE)];
      const states = (values: Record<string, Value>) =>
        Object.fromEntries(
          Object.entries(values).map(([name, value]) => {
            if (name.includes('conv')) return [name, picked(value, channelsLast ? 2 : 1, channels)];
            return [name, name.includes('recurrent') ? picked(value, 1, of(0, EACH)) : value];
          }),
        );
      for (const [n, t] of [
        [2, 5],
        [1, 1],
      ]) {
        const feeds = feedsFor(n, t, channelsLast);
        const wanted = states(await run(writeModel(mask(model, cuts)).model, feeds));
        const got = await run(writeModel(small).model, states(feeds));
        expect(Object.keys(got).sort()).toEqual(['present_conv.0', 'present_recurrent.0', 'y']);
        for (const [name, value] of Object.entries(wanted)) {
          expect(got[name].dims, name).toEqual(value.dims);
          expect(difference(value, got[name]), name).toBeLessThan(1e-5);
        }
      }
    }
  });
});

test('a single key head is no group that could go', async () => {
  const model = await build({ keyHeads: 1 });
  const channels = SIZE * (2 + EACH);
  const feeds = {
    input: randomValue([1, 4, WIDTH]),
    'past_conv.0': randomValue([1, channels, KERNEL - 1], 8),
    'past_recurrent.0': randomValue([1, EACH, SIZE, SIZE], 9),
  };
  const { structures } = analyse(model, await shapesOfFeeds(model, feeds));
  expect(structures.filter(({ kind, prunable }) => kind === 'head' && prunable)).toEqual([]);
  expect(structures.map(({ reason }) => reason).join()).toContain('has a single group of heads');
});

test('its work counts, of one sample', async () => {
  const model = await build();
  const t = 5;
  const shapes = await shapesOfFeeds(model, feedsFor(2, t));
  const maps = WIDTH * (CHANNELS + 2 * VALUES + VALUES * SIZE) + VALUES * SIZE * WIDTH;
  const rule = VALUES * 3 * SIZE * SIZE;
  expect(countMacs(model, shapes)).toBe(t * (maps + CHANNELS * KERNEL + rule));
});

/** Heads of which a Scan over tokens keeps sums: (n, h, dh) each. @param op  of what a token adds */
function recurrence(op: string, opset = 17): OnnxBuilder {
  const b = new OnnxBuilder({ seed: 3, opset });
  const body = new GraphBuilder();
  for (const name of ['before', 'token']) body.input(name, 'float32');
  body.node(
    'Add',
    ['before', body.node(op, ['token'], op === 'Softmax' ? { axis: 1 } : {}, 'turned')],
    {},
    'after',
  );
  for (const name of ['after', 'given']) {
    if (name === 'given') body.node('Identity', ['after'], {}, 'given');
    body.output(name, name, 'float32');
  }
  const x = linear(b, b.sequence(WIDTH), 6 * SIZE);
  const heads = b.node('Reshape', [x, b.integers([0, 0, -1, SIZE])]);
  const start = b.mul(b.node('Gather', [heads, b.index(0)], { axis: 1 }), b.floats([0], []));
  const attributes = {
    body: { graph: body.graph('sum') },
    num_scan_inputs: 1,
    scan_input_axes: [1],
    scan_output_axes: [1],
  };
  const [, sums] = b.nodes('Scan', [start, heads], attributes, { outputs: 2 });
  return b.output(linear(b, b.reshape(sums, [0, 0, -1], 6 * SIZE), WIDTH), 'y');
}

test.each([
  ['Tanh', true],
  ['Softmax', false],
])('a Scan is seen through if it leaves heads apart: %s', async (op, isApart) => {
  const model = await readModel(recurrence(op).build());
  const feeds = { input: randomValue([2, 5, WIDTH]) };
  const { structures } = analyse(model, await shapesOfFeeds(model, feeds));
  const [heads] = structures;
  expect([heads.prunable, heads.groups]).toEqual(isApart ? [true, 6] : [false, expect.any(Number)]);
  if (!isApart) return expect(heads.reason).toContain('computes over what is not seen through');
  const cuts = new Map([[heads, [1, 4]]]);
  const wanted = await run(writeModel(mask(model, cuts)).model, feeds);
  const got = await run(writeModel(shrink(model, cuts)).model, feeds);
  expect(difference(wanted.y, got.y)).toBeLessThan(1e-5);
});

test('a Scan of opset 8, which goes along another axis, is not seen through', async () => {
  const feeds = { input: randomValue([2, 5, WIDTH]) };
  const shapes = await shapesOfFeeds(await readModel(recurrence('Tanh').build()), feeds);
  const [heads] = analyse(await readModel(recurrence('Tanh', 8).build()), shapes).structures;
  expect([heads.prunable, heads.reason]).toEqual([false, expect.stringContaining('is not seen through')]);
});
