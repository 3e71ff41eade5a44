// Networks that run step by step: states stay as large as they are, and shrunk and masked networks give the same in every step.

import { describe, expect, it } from 'vitest';
import { analyse, type Model, readModel, type State, shrink, writeModel } from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random as seeded } from '../support/random.ts';
import { mask } from './masking.ts';
import { difference, type Feed, randomChannels, randomValue, run, shapesOfFeeds } from './running.ts';

const ROUNDING = 1e-5;
const STEPS = 4;

interface Streaming {
  /** Structures that can be pruned, and without states. */
  prunable: readonly [number, number];
  /** Dims of a step's input, and of its states. */
  dims: Readonly<Record<string, readonly number[]>>;
  opset?: number;
  build(b: OnnxBuilder): OnnxBuilder;
}

/** An LSTM or a GRU of `h` units over one step of (t, n, d): all that it gives. */
function recurrent(
  b: OnnxBuilder,
  operator: 'LSTM' | 'GRU',
  x: string,
  states: readonly string[],
  h: number,
) {
  const gates = operator === 'LSTM' ? 4 : 3;
  const dims = [[gates * h, b.channels(x)], [gates * h, h], [2 * gates * h]];
  const weights = dims.map((own) => b.weight([1, ...own], 0.5));
  const outputs = operator === 'LSTM' ? 3 : 2;
  const options = { outputs, channels: h };
  const [y, ...last] = b.nodes(operator, [x, ...weights, '', ...states], { hidden_size: h }, options);
  return { y: b.node('Squeeze', [y, b.integers([1])]), last };
}

const steps = (b: OnnxBuilder) => {
  const x = b.feed('input', ['t', 'n', 6]);
  return b.add(b.node('MatMul', [x, b.weight([6, 7], 0.5)], {}, { channels: 7 }), b.weight([7], 0.3));
};
const row = (b: OnnxBuilder, x: string, place: number) =>
  b.node('Slice', [x, ...[place, place + 1, 0].map((it) => b.integers([it]))]);
/** (n, c, time) of the past, and what is behind it; the last `past` of both go out. */
const behind = (b: OnnxBuilder, past: string, x: string) =>
  b.node('Concat', [past, x], { axis: 2 }, { channels: b.channels(x) });
const tail = (b: OnnxBuilder, x: string, past: number) =>
  b.node('Slice', [x, b.integers([-past]), b.integers([Number.MAX_SAFE_INTEGER]), b.integers([2])]);
const causal = (b: OnnxBuilder, x: string, m: number) => b.relu(b.conv(x, m, 3, { dimensions: 1, pad: 0 }));

const STREAMING: Record<string, Streaming> = {
  'states of a layer that the graph is given and gives': {
    prunable: [2, 1],
    dims: { input: [2, 3, 6], h: [1, 3, 8], c: [1, 3, 8] },
    build: (b) => {
      const states = ['h', 'c'].map((name) => b.feed(name, [1, 'n', 8]));
      const { y, last } = recurrent(b, 'LSTM', steps(b), states, 8);
      b.output(b.matmul(y, 5));
      for (const [i, name] of ['hn', 'cn'].entries()) b.output(last[i], name);
      return b;
    },
  },
  'states of two layers in one, of which the last is read as a feature too': {
    prunable: [3, 1],
    dims: { input: [2, 3, 6], state: [4, 3, 8] },
    build: (b) => {
      const state = b.feed('state', [4, 'n', 8]);
      const x = steps(b);
      const first = recurrent(b, 'LSTM', x, [row(b, state, 0), row(b, state, 1)], 8);
      const second = recurrent(b, 'LSTM', first.y, [row(b, state, 2), row(b, state, 3)], 8);
      const feature = b.node('Squeeze', [second.last[0], b.integers([0])]);
      const made = b.node('Concat', [...first.last, ...second.last], { axis: 0 });
      return b.output(b.gemm(feature, 5)).output(made, 'stateN');
    },
  },
  'a state of which the graph reads all, as its rows are written into it': {
    prunable: [3, 1],
    dims: { input: [2, 3, 6], cache: [2, 1, 3, 8] },
    opset: 16,
    build: (b) => {
      let cache = b.feed('cache', [2, 1, 'n', 8]);
      let x = steps(b);
      for (const place of [0, 1]) {
        const state = b.node('Gather', [cache, b.index(place)]);
        const { y, last } = recurrent(b, 'GRU', x, [state], 8);
        const own = b.node('Unsqueeze', [last[0], b.integers([0])]);
        const at = b.node('Reshape', [b.integers([place]), b.integers([1, 1])]);
        cache = b.node('ScatterND', [cache, at, own]);
        x = y;
      }
      return b.output(b.matmul(x, 5)).output(cache, 'cache_out');
    },
  },
  'the past of causal convolutions': {
    prunable: [3, 1],
    dims: { input: [2, 3, 4], cache_1: [2, 6, 2], cache_2: [2, 5, 2] },
    build: (b) => {
      const caches = [6, 5].map((c, i) => b.feed(`cache_${i + 1}`, ['n', c, 2]));
      const x = b.relu(b.conv(b.input([3, 't']), 6, 3, { dimensions: 1 }));
      const first = behind(b, caches[0], x);
      const second = behind(b, caches[1], causal(b, first, 5));
      b.output(b.conv(causal(b, second, 4), 3, 1, { dimensions: 1 }));
      for (const [i, it] of [first, second].entries()) b.output(tail(b, it, 2), `new_cache_${i + 1}`);
      return b;
    },
  },
  'the past of convolutions side by side, padded by an attribute': {
    prunable: [3, 1],
    dims: { input: [2, 3, 4], cache: [2, 11, 2] },
    opset: 10,
    build: (b) => {
      const cache = b.feed('cache', ['n', 11, 2]);
      const input = b.input([3, 't']);
      const [x, y] = [6, 5].map((m) => b.relu(b.conv(input, m, 3, { dimensions: 1 })));
      const all = behind(b, cache, b.node('Concat', [x, y], { axis: 1 }, { channels: 11 }));
      b.output(b.conv(causal(b, all, 4), 3, 1, { dimensions: 1 }));
      return b.output(tail(b, all, 2), 'cache_out');
    },
  },
};

async function opened({ build, opset = 17, dims }: Streaming) {
  const model = await readModel(build(new OnnxBuilder({ seed: 3, opset })).build());
  const feeds = Object.fromEntries(
    Object.entries(dims).map(([name, own], i) => [name, randomValue(own, 5 + i)]),
  );
  const inputs = model.inputs.map(({ name }) => name).filter((name) => name !== 'input');
  const [, ...outputs] = model.outputs.map(({ name }) => name);
  const states = inputs.map((input, i): State => ({ input, output: outputs[i] }));
  return { model, feeds, states, shapes: await shapesOfFeeds(model, feeds) };
}

/** What a network gives in every step, its states handed on. */
async function stream(model: Model, states: readonly State[], first: Record<string, Feed>) {
  const { model: bytes } = writeModel(model);
  let feeds = first;
  const given = [];
  for (let step = 0; step < STEPS; step++) {
    const results = await run(bytes, feeds);
    given.push(results);
    feeds = { ...feeds, input: randomValue(first.input.dims, 20 + step) };
    for (const { input, output } of states) feeds[input] = results[output];
  }
  return given;
}

describe('states', () => {
  for (const [name, streaming] of Object.entries(STREAMING)) {
    it(`go on from step to step as in the masked network: ${name}`, async () => {
      const { model, feeds, states, shapes } = await opened(streaming);
      const { structures } = analyse(model, shapes, { states });
      const reasons = JSON.stringify(structures.map((it) => [it.name, it.reason]));
      const prunable = structures.filter((it) => it.prunable);
      expect(prunable.length, reasons).toBe(streaming.prunable[0]);
      const plain = analyse(model, shapes).structures.filter((it) => it.prunable);
      expect(plain.length).toBe(streaming.prunable[1]);
      const random = seeded(11);
      const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, random)]));
      const [wanted, got] = [
        await stream(mask(model, cuts), states, feeds),
        await stream(shrink(model, cuts), states, feeds),
      ];
      for (const [step, results] of wanted.entries())
        for (const [name, value] of Object.entries(results))
          expect(difference(value, got[step][name]), `${name}, step ${step}`).toBeLessThan(ROUNDING);
    });
  }

  it('have zeros where channels go, and what hosts say there makes no difference', async () => {
    const { model, feeds, states, shapes } = await opened(Object.values(STREAMING)[0]);
    const { structures } = analyse(model, shapes, { states });
    const units = structures.find(({ slices }) => slices.some(({ state }) => state))!;
    const kept = [1, 2, 6];
    const small = shrink(model, new Map([[units, kept]]));
    const given = await stream(small, states, feeds);
    const gone = (_: number, i: number) => !kept.includes(i % 8);
    for (const name of ['hn', 'cn']) expect(new Set(given[0][name].data.filter(gone))).toEqual(new Set([0]));
    const others = Object.fromEntries(
      Object.entries(feeds).map(([name, { dims, data }]) => [
        name,
        name === 'input' ? { dims, data } : { dims, data: data.map((x, i) => (gone(x, i) ? 9 : x)) },
      ]),
    );
    expect(await stream(small, states, others)).toEqual(given);
  });
});
