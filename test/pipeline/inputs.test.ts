import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { GraphBuilder } from '../../src/graph/index.ts';
import { batchSource, listed } from '../../src/pipeline/data/batches.ts';
import {
  arraySamples,
  type Dataset,
  declaredInput,
  evaluate,
  type FeedSample,
  feedsDataset,
  jsonSample,
  type OpenedModel,
  openModel,
  prune as pruneOpened,
} from '../../src/pipeline/index.ts';
import { squares } from '../../src/pipeline/measure/fidelity.ts';
import { modelInput, otherFeeds, statesOf } from '../../src/pipeline/open/inputs.ts';
import { sizedInput } from '../../src/pipeline/open/size.ts';
import { concat, multihead, size, transpose, WIDTH } from '../graph/attention-graphs.ts';
import { CHANNELS, EACH, gatedDelta, KEYS } from '../graph/linear-attention-graph.ts';
import { encoder } from '../support/encoder.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random } from '../support/random.ts';
import { engine, noise, session } from './fixtures.ts';

const value = (name: string, type: string, dims: (number | string)[]) => ({ name, type, dims });

describe('modelInput', () => {
  const statesIn = (...[inputs, outputs]: [number | string, ...(number | string)[]][][]) => {
    const [ins, outs] = [inputs, outputs].map((list, i) =>
      list.map((dims, at) => value(`${['in', 'activation_'][i]}${at + 2}`, 'float32', dims)),
    );
    const input = modelInput(ins, outs);
    return [input.name, ...statesOf(input).map((state) => `${state.input} ${state.output}`)];
  };

  test('tells states without names by their extents, where one sample is run', () => {
    const [frame, stacked]: [number, ...number[]][] = [
      [1, 1, 257],
      [1, 2, 128, 2],
    ];
    expect(statesIn([frame, stacked], [frame, stacked])).toEqual(['in2', 'in3 activation_3']);
    expect(statesIn([frame, stacked], [stacked, frame])).toEqual(['in2', 'in3 activation_2']);
    expect(statesIn([frame, stacked, stacked], [frame, stacked, stacked])).toEqual(['in3']);
    expect(statesIn([frame, stacked], [stacked])).toEqual(['in3']);
    const [two, open]: [number | string, ...number[]][] = [
      [1, 2, 64, 64],
      ['n', 2, 128, 2],
    ];
    expect(statesIn([[1, 3, 64, 64], two], [[1, 3, 64, 64], two])).toEqual(['in2']);
    expect(statesIn([frame, open], [frame, open])).toEqual(['in3']);
  });

  test('knows states that are numbered, as in a video', () => {
    const names = ['r1', 'r2'];
    const dims = ['b', 'c', 'h', 'w'];
    const input = modelInput(
      [value('src', 'float32', ['n', 3, 'h', 'w']), ...names.map((it) => value(`${it}i`, 'float32', dims))],
      [value('pha', 'float32', ['n', 1, 'h', 'w']), ...names.map((it) => value(`${it}o`, 'float32', dims))],
    );
    expect(input.name).toBe('src');
    expect(input.others.map(({ name, fill }) => [name, fill !== undefined])).toEqual([
      ['r1i', true],
      ['r2i', true],
    ]);
  });

  test('knows masks, positions, token types and empty caches by their names', () => {
    const input = modelInput(
      [
        value('attention_mask', 'int64', ['n', 'total']),
        value('input_ids', 'int64', ['n', 't']),
        value('token_type_ids', 'int64', ['n', 't']),
        value('position_ids', 'int64', ['n', 't']),
        value('past_key_values.0.key', 'float32', ['n', 2, 'past', 4]),
        value('use_cache_branch', 'bool', [1]),
      ],
      [],
    );
    expect(input).toMatchObject({ name: 'input_ids', shape: [0], open: [true], fixedBatch: 0 });
    const feeds = otherFeeds(input, [2, 3]);
    expect(feeds.attention_mask).toEqual({ dims: [2, 3], data: Float32Array.of(1, 1, 1, 1, 1, 1) });
    expect(feeds.token_type_ids.data).toEqual(new Float32Array(6));
    expect(feeds.position_ids.data).toEqual(Float32Array.of(0, 1, 2, 0, 1, 2));
    expect(feeds['past_key_values.0.key'].dims).toEqual([2, 2, 0, 4]);
    expect(feeds.use_cache_branch).toEqual({ dims: [1], data: Float32Array.of(0) });
  });

  test('gives samples to what stands for tokens where there are none, with masks and positions as long as these', () => {
    const ids = value('input_ids', 'int64', ['batch', 'tokens']);
    const embeds = value('inputs_embeds', 'float32', ['batch', 'tokens', 12]);
    const others = [
      value('per_layer_inputs', 'float32', ['batch', 'tokens', 3, 4]),
      value('attention_mask', 'int64', ['batch', 'total']),
      value('position_ids', 'int64', [3, 'batch', 'tokens']),
      value('num_logits_to_keep', 'int64', []),
    ];
    expect(modelInput([embeds, ids], []).name).toBe('input_ids');
    const input = modelInput([...others, embeds], []);
    expect([input.name, input.shape]).toEqual(['inputs_embeds', [0, 12]]);
    const told = { per_layer_inputs: { dims: [2, 5, 3, 4], data: new Float32Array(120) } };
    const { attention_mask, position_ids, num_logits_to_keep } = otherFeeds(input, [2, 5, 12], told);
    expect(attention_mask).toEqual({ dims: [2, 5], data: new Float32Array(10).fill(1) });
    expect(position_ids.dims).toEqual([3, 2, 5]);
    expect([...position_ids.data.slice(0, 6)]).toEqual([0, 1, 2, 3, 4, 0]);
    expect(num_logits_to_keep).toEqual({ dims: [], data: Float32Array.of(0) });
  });

  test('starts the states of a recurrent model at zero, told by the outputs that they come back as', () => {
    const input = modelInput(
      [
        value('input', 'float32', ['n', 512]),
        value('state', 'float32', [2, 'n', 128]),
        value('sr', 'int64', []),
      ],
      [value('output', 'float32', ['n', 1]), value('stateN', 'float32', [2, 'n', 128])],
    );
    expect(input.name).toBe('input');
    expect(otherFeeds(input, [3, 512])).toEqual({
      state: { dims: [2, 3, 128], data: new Float32Array(768) },
      sr: { dims: [], data: Float32Array.of(16000) },
    });
    const held = modelInput(
      [value('x', 'float32', ['n', 8]), value('h0', 'float32', [1, 1, 4])],
      [value('y', 'float32', ['n', 8]), value('hn', 'float32', [1, 1, 4])],
    );
    expect(held.fixedBatch).toBe(1);
  });

  test('takes what is as large as the image for what the model gives, not for a state that goes on', () => {
    const inputs = [
      value('image', 'float32', ['n', 3, 'h', 'w']),
      value('prev_flow', 'float32', ['n', 2, 'h', 'w']),
    ];
    const outputs = [value('flow', 'float32', ['n', 2, 'h', 'w']), value('scores', 'float32', ['n', 5])];
    expect(statesOf(modelInput(inputs, outputs))).toEqual([]);
    const [image, state] = [inputs[0], value('prev_flow', 'float32', ['n', 2, 7, 7])];
    expect(statesOf(modelInput([image, state], outputs))).toEqual([{ input: 'prev_flow', output: 'flow' }]);
  });

  test('takes an image that comes out as another one for data, not for a state', () => {
    const image = ['n', 3, 8, 8];
    const input = modelInput([value('input', 'float32', image)], [value('output', 'float32', image)]);
    expect(input).toMatchObject({ name: 'input', shape: [3, 8, 8], others: [] });
  });

  test('takes hidden states that come in and go out for data, beside a mask', () => {
    const hidden = ['n', 't', 16];
    const input = modelInput(
      [value('attention_mask', 'int64', ['n', 't']), value('hidden_in', 'float32', hidden)],
      [value('hidden_out', 'float32', hidden)],
    );
    expect(input.name).toBe('hidden_in');
    expect(otherFeeds(input, [2, 3, 16]).attention_mask.dims).toEqual([2, 3]);
  });

  test('makes a mask as long as the states that the data has for these samples, not as the longest', () => {
    const input = modelInput(
      [
        value('encoder_attention_mask', 'int64', ['n', 's']),
        value('input_ids', 'int64', ['n', 't']),
        value('encoder_hidden_states', 'float32', ['n', 's', 4]),
      ],
      [value('logits', 'float32', ['n', 't', 9])],
      {},
      { encoder_hidden_states: [7, 4] },
    );
    const states = { dims: [2, 5, 4], data: new Float32Array(40) };
    const feeds = otherFeeds(input, [2, 3], { encoder_hidden_states: states });
    expect(feeds.encoder_attention_mask).toEqual({ dims: [2, 5], data: new Float32Array(10).fill(1) });
    expect(feeds.encoder_hidden_states).toEqual(states);
  });

  test('takes an image without a batch for one sample', () => {
    const image = value('image', 'float32', [3, 'h', 'w']);
    const scores = value('scores', 'float32', [10]);
    const one = { shape: [3, 0, 0], open: [false, true, true], fixedBatch: 1, single: ['image'] };
    expect(modelInput([image], [scores])).toMatchObject(one);
    const three = value('scores', 'float32', [3, 10]);
    expect(modelInput([image], [three])).toMatchObject({ shape: [0, 0], fixedBatch: 3 });
    expect(modelInput([image], [three]).single).toEqual([]);
  });

  test.each([
    [
      ['h', 'w', 3],
      [1, 10],
    ],
    [[16, 24, 3], [10]],
  ])('does so where its channels are last: %j', (dims, scores) => {
    const image = value('image', 'uint8', dims);
    const input = modelInput([image], [value('scores', 'float32', scores)]);
    expect(input).toMatchObject({ fixedBatch: 1, single: ['image'] });
    expect(input.shape).toHaveLength(3);
  });

  test.each([
    [
      ['n', 17, 3],
      [1, 10],
    ],
    [
      ['n', 'points', 3],
      ['classes', 10],
    ],
    [
      [1, 1024, 3],
      [1024, 13],
    ],
    [
      [16, 24, 3],
      [16, 10],
    ],
  ])('takes points for what they are: %j', (dims, scores) => {
    const points = value('points', 'float32', dims);
    expect(modelInput([points], [value('scores', 'float32', scores)]).shape).toHaveLength(2);
  });

  test('takes the image of a denoiser for data, whatever comes out of it', () => {
    const image = ['n', 4, 16, 16];
    const inputs = [
      value('sample', 'float32', image),
      value('timestep', 'int64', ['n']),
      value('encoder_hidden_states', 'float32', ['n', 7, 24]),
    ];
    const { name, others } = modelInput(inputs, [value('out_sample', 'float32', image)]);
    expect(name).toBe('sample');
    expect(others.every(({ fill }) => !fill)).toBe(true);
  });

  test('takes from the data how long inputs are that go along; axes of one name are alike', () => {
    const inputs = [
      value('pixel_values', 'float32', ['images', 3, 8, 8]),
      value('input_ids', 'int64', ['texts', 't']),
      value('attention_mask', 'int64', ['texts', 't']),
    ];
    const { others } = modelInput(inputs, [], {}, { input_ids: [5] });
    expect(others.map(({ said }) => said)).toEqual([
      [-1, 5],
      [-1, 5],
    ]);
    expect(others[1].fill!([2, 3, 8, 8]).dims).toEqual([2, 5]);
  });

  test('takes what the user says of an input, and refuses what is of none', () => {
    const inputs = [value('x', 'float32', ['n', 2]), value('threshold', 'float32', [1])];
    const input = modelInput(inputs, [], { threshold: 0.5 });
    expect(otherFeeds(input, [4, 2]).threshold).toEqual({ dims: [1], data: Float32Array.of(0.5) });
    expect(() => otherFeeds(modelInput(inputs, []), [4, 2])).toThrow(
      /nothing of input "threshold".*`inputs.threshold`/,
    );
    expect(() => modelInput(inputs, [], { treshold: 1 })).toThrow('no input "treshold"; the inputs are "x"');
  });
});

test('an id in a sample is one for each of two tables, whose channels go where layers meet them again', async () => {
  const b = new OnnxBuilder();
  const [user, item] = ['user', 'item'].map((name) => b.feed(name, ['n'], 'int64'));
  const embedded = (ids: string) => b.node('Gather', [b.weight([20, 8], 1), ids], {}, { channels: 8 });
  const both = (x: string, y: string) =>
    b.node('Concat', [x, y], { axis: 1 }, { channels: b.channels(x) + b.channels(y) });
  const product = b.mul(embedded(user), embedded(item));
  const deep = b.relu(b.gemm(b.relu(b.gemm(both(embedded(user), embedded(item)), 12)), 6));
  const bytes = b.output(b.gemm(both(product, deep), 3)).build();
  const opened = await openModel(bytes, { engine });
  expect(opened.input).toMatchObject({ name: 'user', shape: [], fixedBatch: 0 });
  const next = random(6);
  const id = () => ({ dims: [], data: Float32Array.of(Math.floor(20 * next())) });
  const samples = Array.from({ length: 40 }, () => ({ inputs: { user: id(), item: id() } }));
  const calibration = await feedsDataset(samples, opened.input);
  const { report } = await pruneOpened(opened, { engine, session, calibration, keep: 0.5 });
  expect(report.layers.map(({ kept }) => kept.length)).toContain(4);
  expect(report.maxDifference).toBeLessThan(1e-5);
  expect(() => modelInput([value('signal', 'float32', ['t'])], [])).toThrow('a leading batch dimension');
});

function sentences(count: number, lengths: readonly number[]): FeedSample[] {
  const next = random(5);
  return Array.from({ length: count }, (_, i) => {
    const length = lengths[i % lengths.length];
    const data = Float32Array.from({ length }, () => Math.floor(40 * next()));
    return { inputs: { input_ids: { dims: [length], data } } };
  });
}

/** The layers that make channels are refitted: outputs are nearer to the dense ones. */
async function expectRefits(opened: OpenedModel, calibration: Dataset) {
  const errorOf = async (producers: boolean) => {
    const data = { calibration, evaluation: calibration };
    const { report } = await pruneOpened(opened, { engine, session, ...data, keep: 0.5, producers });
    return report.quality!.relativeError;
  };
  expect(await errorOf(true)).toBeLessThan(0.99 * (await errorOf(false)));
}

describe('prune, of models with several inputs', () => {
  test('an encoder is no language model, whatever its ids: its outputs are compared', async () => {
    const opened = await openModel(encoder(), { engine, size: [9] });
    expect(opened.predictsTokens).toBe(false);
    const calibration = await feedsDataset(sentences(24, [9, 4, 7]), opened.input);
    expect(calibration).toMatchObject({ size: 24, shape: [9], smallest: [4] });
    await expectRefits(opened, await feedsDataset(sentences(160, [9, 4, 7]), opened.input));
    const { report } = await pruneOpened(opened, { engine, session, calibration, keep: 0.5 });
    expect(report.metric).toBeUndefined();
    expect(report.maxDifference).toBeLessThan(1e-5);
    const { quality } = report;
    expect(quality).toMatchObject({ samples: 6, data: 'held-out' });
    expect(quality!.relativeError).toBeGreaterThan(0);
    expect(quality!.relativeError).toBeLessThan(1);
    expect(quality!.cosine).toBeGreaterThan(0.5);
  });

  test('says how far off the outputs are on the samples for evaluation, and warns where that is much', async () => {
    const opened = await openModel(encoder(), { engine, size: [6] });
    const [calibration, evaluation] = [16, 8].map((count) => sentences(count, [6]));
    const { report } = await pruneOpened(opened, {
      engine,
      session,
      calibration: await feedsDataset(calibration, opened.input),
      evaluation: await feedsDataset(evaluation, opened.input),
      keep: 0.05,
      method: 'magnitude',
    });
    expect(report.quality).toMatchObject({ samples: 8, data: 'evaluation' });
    expect(report.quality!.relativeError).toBeGreaterThan(0.5);
    expect(report.warnings.at(-1)).toMatch(/outputs are \d+ % off .* \(8 evaluation samples\)/);
  });

  test('scores of the vocabulary that ids are of make a language model', async () => {
    const b = new OnnxBuilder();
    const ids = b.feed('input_ids', ['n', 't'], 'int64');
    const x = b.node(
      'Gather',
      [b.weight([40, 16], 1), b.node('Cast', [ids], { to: 6 })],
      {},
      { channels: 16 },
    );
    const opened = await openModel(b.output(b.matmul(b.relu(b.matmul(x, 24)), 40)).build(), {
      engine,
      size: [6],
    });
    expect(opened.predictsTokens).toBe(true);
  });

  test('ids that its table has no row for are refused before it runs; of what is computed of them nothing is said', async () => {
    const b = new OnnxBuilder();
    const ids = b.feed('input_ids', ['n', 't'], 'int64');
    const rows = (count: number, of: string) =>
      b.node('Gather', [b.weight([count, 16], 1), of], {}, { channels: 16 });
    const x = b.add(
      rows(40, b.node('Cast', [ids], { to: 6 })),
      rows(7, b.node('Mod', [ids, b.integers([7])])),
    );
    const bytes = b.output(b.matmul(b.relu(b.matmul(x, 24)), 8)).build();
    const opened = await openModel(bytes, { engine, size: [2] });
    const evaluated = async (...data: number[]) => {
      const sample = { inputs: { input_ids: { dims: [2], data: Float32Array.from(data) } } };
      const samples = await feedsDataset([sample], opened.input, { name: 'a.txt' });
      return evaluate(opened, samples, { engine });
    };
    const message = /^"a\.txt": token 40 is outside the model's vocabulary of 40: .* see `tokenizer`$/;
    await expect(evaluated(39, 40)).rejects.toThrow(message);
    await expect(evaluated(39, -40)).resolves.toBeUndefined();
  });

  test('an input without an axis for samples takes one value, and samples that give it others are refused', async () => {
    const input = modelInput([value('image', 'float32', ['n', 3]), value('scale', 'float32', [1, 2])], []);
    const sample = (x: number, name: string) => ({
      name,
      inputs: {
        image: { dims: [3], data: Float32Array.of(x, x, x) },
        scale: { dims: [1, 2], data: Float32Array.of(1, x) },
      },
    });
    expect(await feedsDataset([sample(2, 'a'), sample(2, 'b')], input)).toMatchObject({ size: 2 });
    await expect(feedsDataset([sample(2, 'a.npz'), sample(3, 'b.npz')], input)).rejects.toThrow(
      '"b.npz": other values of input "scale" than before: it has no axis for samples, all need the same',
    );
  });

  test('a padded sample gives the statistics of the sample without its padding', async () => {
    const { input } = await openModel(encoder(), { engine, size: [6] });
    const data = Float32Array.of(5, 6, 7, 0, 0, 0);
    const attention_mask = { dims: [6], data: Float32Array.of(1, 1, 1, 0, 0, 0) };
    const padded = await feedsDataset(
      [{ inputs: { input_ids: { dims: [6], data }, attention_mask } }],
      input,
    );
    for await (const batch of padded.batches(4)) {
      expect(batch.inputs).toEqual(Float32Array.of(5, 6, 7));
      expect(batch.others!.attention_mask).toEqual({ dims: [1, 3], data: Float32Array.of(1, 1, 1) });
    }
    const fixed = (await openModel(encoder({ dims: ['n', 6] }), { engine })).input;
    const kept = await feedsDataset([{ inputs: { input_ids: { dims: [6], data }, attention_mask } }], fixed);
    for await (const batch of kept.batches(4)) expect(batch.inputs).toEqual(data);
  });

  test('a voice detector: a state, a sample rate and the input itself captured by the branches of an If', async () => {
    const opened = await openModel(voiceDetector(), { engine });
    expect(opened.input.name).toBe('input');
    expect(opened.analysis.structures.some(({ prunable }) => prunable)).toBe(true);
    const [calibration, evaluation] = [await noise(16, [32]), await noise(5, [32], 4)];
    const { report, written } = await pruneOpened(opened, {
      ...{ engine, session, calibration, evaluation, keep: 0.5, target: 'dense' },
    });
    expect(report.maxDifference).toBeLessThan(1e-4);
    const { kept } = report.layers.find(({ name }) => name.startsWith('lstm'))!;
    const [{ inputs }] = await listed(evaluation.batches(5));
    const dims = [5, 32];
    const feeds = { ...otherFeeds(opened.input, dims), input: { dims, data: inputs } };
    const [dense, small] = await Promise.all(
      [voiceDetector(), written.model].map(async (bytes) => {
        const session = await engine.load(bytes);
        const results = await session.run(feeds);
        await session.release();
        return results;
      }),
    );
    expect(report.warnings).toContainEqual(
      expect.stringContaining('input "state" is output "stateN" in the next step: states keep their sizes'),
    );
    // a state is as large as it was, and nothing to measure a model by
    expect(small.stateN.dims).toEqual([1, 5, 8]);
    const units = small.stateN.data.subarray(0, 8);
    expect(Array.from(units.keys()).filter((unit) => units[unit] !== 0)).toEqual(kept);
    const { error, square } = squares(dense.output.data, small.output.data);
    expect(report.quality!.relativeError).toBeCloseTo(Math.sqrt(error / square), 5);
  });

  test('states of the steps before, whose axis for samples lies within, with it or without', async () => {
    for (const shape of [
      [3, 8],
      [3, 1, 8],
    ]) {
      const input = modelInput(
        [value('x', 'float32', ['n', 2]), value('h', 'float32', [3, 'n', 8])],
        [value('y', 'float32', ['n', 2]), value('hn', 'float32', [3, 'n', 8])],
      );
      const array = (dims: number[], by: number) => ({
        dims,
        data: Float32Array.from({ length: dims.reduce((a, b) => a * b) }, (_, i) => i + by),
      });
      const samples = [0, 100].map((by) => ({ inputs: { x: array([2], by), h: array(shape, by) } }));
      const [{ others }] = await listed(batchSource(await feedsDataset(samples, input), input).batches());
      const { dims, data } = others!.h;
      expect(dims).toEqual([3, 2, 8]);
      expect([...data.subarray(8, 18)]).toEqual([100, 101, 102, 103, 104, 105, 106, 107, 8, 9]);
    }
    // of a model that takes one at a time
    const one = modelInput(
      [value('x', 'float32', [1, 2]), value('h', 'float32', [3, 1, 8])],
      [value('y', 'float32', [1, 2]), value('hn', 'float32', [3, 1, 8])],
    );
    const row = (length: number, by: number) => ({ dims: [length], data: new Float32Array(length).fill(by) });
    const samples = [1, 2].map((by) => ({
      inputs: { x: row(2, by), h: { dims: [3, 8], data: new Float32Array(24).fill(by) } },
    }));
    const batches = await listed(batchSource(await feedsDataset(samples, one), one).batches());
    expect(batches.map(({ others }) => [others!.h.dims, others!.h.data[23]])).toEqual([
      [[3, 1, 8], 1],
      [[3, 1, 8], 2],
    ]);
  });

  test('ids of an encoder and of a decoder: the scores are of the other ids, and lengths differ', async () => {
    const b = new OnnxBuilder();
    const table = b.weight([16, 8], 1);
    const [source, target] = ['input_ids', 'decoder_input_ids'].map((name, i) =>
      b.node('Gather', [table, b.feed(name, ['n', ['t', 'u'][i]], 'int64')], {}, { channels: 8 }),
    );
    const hidden = b.matmul(b.relu(b.matmul(source, 12)), 8);
    const mean = b.node('ReduceMean', [hidden], { axes: [1] });
    const scores = b.matmul(b.relu(b.matmul(b.add(target, mean), 12)), 16);
    const dims = { decoder_input_ids: [3] };
    const opened = await openModel(b.output(scores).build(), { engine, size: [5], dims });
    expect(opened.predictsTokens).toBe(false);
    const next = random(3);
    const ids = (length: number) => ({
      dims: [length],
      data: Float32Array.from({ length }, () => Math.floor(16 * next())),
    });
    const samples = Array.from({ length: 16 }, () => ({
      inputs: { input_ids: ids(5), decoder_input_ids: ids(3) },
    }));
    const calibration = await feedsDataset(samples, opened.input);
    const { report } = await pruneOpened(opened, { engine, session, calibration, keep: 0.5 });
    expect(report.metric).toBeUndefined();
    expect(report.maxDifference).toBeLessThan(1e-5);
  });

  test('an image and a row of numbers, both of the data', async () => {
    const b = new OnnxBuilder();
    const image = b.globalAveragePool(b.relu(b.conv(b.input([2, 6, 6]), 16, 3)));
    const numbers = b.feed('numbers', ['n', 4]);
    const flat = b.flatten(image);
    const both = b.add(b.gemm(flat, 8), b.node('Gemm', [numbers, b.weight([4, 8], 1)], {}, { channels: 8 }));
    const opened = await openModel(b.output(b.gemm(b.relu(both), 3)).build(), { engine });
    const next = random(2);
    const tensor = (...dims: number[]) => ({
      dims,
      data: Float32Array.from({ length: dims.reduce((a, c) => a * c, 1) }, next),
    });
    const samples = Array.from({ length: 16 }, () => ({
      inputs: { input: tensor(2, 6, 6), numbers: tensor(4) },
    }));
    const calibration = await feedsDataset(samples, opened.input);
    const { report } = await pruneOpened(opened, { engine, session, calibration, keep: 0.5 });
    expect(report.maxDifference).toBeLessThan(1e-5);
    await expect(
      pruneOpened(opened, { engine, session, calibration: await noise(16, [2, 6, 6]), keep: 0.5 }),
    ).rejects.toThrow(/the data says nothing of input "numbers"/);
  });
});

test('first states of recurrent layers that come from outside keep their size', async () => {
  const b = new OnnxBuilder();
  const x = b.feed('input', ['n', 12, 6]);
  const states = ['h', 'c'].map((name) => b.feed(name, ['n', 1, 8]));
  const [hidden, cell] = states.map((it) => b.node('Transpose', [it], { perm: [1, 0, 2] }));
  const steps = b.node('Transpose', [x], { perm: [1, 0, 2] }, { channels: 6 });
  const weights = [[32, 6], [32, 8], [64]].map((dims) => b.weight([1, ...dims], 0.4));
  const attributes = { hidden_size: 8 };
  const [, last] = b.nodes('LSTM', [steps, ...weights, '', hidden, cell], attributes, { outputs: 2 });
  const y = b.gemm(b.node('Squeeze', [last, b.integers([0])], {}, { channels: 8 }), 4);
  const opened = await openModel(b.output(y).build(), { engine });
  expect(opened.input.name).toBe('input');
  const next = random(5);
  const value = (...dims: number[]) => ({
    dims,
    data: Float32Array.from({ length: dims.reduce((a, b) => a * b) }, () => 2 * next() - 1),
  });
  const samples = Array.from({ length: 24 }, (_, i) => ({
    name: `sample ${i}`,
    inputs: { input: value(12, 6), h: value(1, 8), c: value(1, 8) },
  }));
  const calibration = await feedsDataset(samples, opened.input);
  const { report, written } = await pruneOpened(opened, { engine, session, calibration, keep: 0.5 });
  expect(report.maxDifference).toBeLessThan(1e-5);
  expect(report.layers.map(({ kept }) => kept.length)).toEqual([4]);
  const small = await engine.load(written.model);
  expect(small.inputs.map(({ dims }) => dims.slice(1))).toEqual([
    [12, 6],
    [1, 8],
    [1, 8],
  ]);
});

/** A layer, an If whose branches read the input and a value of the graph, and an LSTM with a state that comes and goes. */
function voiceDetector(): Uint8Array {
  const b = new OnnxBuilder();
  const input = b.feed('input', ['n', 32]);
  const state = b.feed('state', [1, 'n', 8]);
  const rate = b.feed('sr', [], 'int64');
  const features = b.gemm(b.relu(b.node('Gemm', [input, b.weight([32, 24], 0.2)], {}, { channels: 24 })), 32);
  const is16k = b.node('Equal', [rate, b.index(16000)]);
  const branch = (operator: string) => {
    const inner = new OnnxBuilder();
    const values = [inner.feed(features, ['n', 32]), inner.feed(input, ['n', 32])];
    return { graph: inner.output(inner.node(operator, values, {}, { channels: 32 })).graph() };
  };
  const branches = { then_branch: branch('Add'), else_branch: branch('Sub') };
  const chosen = b.node('If', [is16k], branches, { channels: 32 });
  const x = b.node('Unsqueeze', [chosen, b.integers([0])], {}, { channels: 32 });
  const weights = [b.weight([1, 32, 32], 0.2), b.weight([1, 32, 8], 0.2)];
  const [, hidden] = b.nodes('LSTM', [x, ...weights, '', '', state], { hidden_size: 8 }, { outputs: 2 });
  const y = b.gemm(b.node('Squeeze', [hidden, b.integers([0])], {}, { channels: 8 }), 2);
  return b.output(hidden, 'stateN').output(y, 'output').build();
}

describe('samples by input name', () => {
  const array = (...shape: number[]) => ({
    shape,
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i),
  });

  test('come from arrays of n rows, or of a single sample', async () => {
    const { input } = await openModel(encoder(), { engine, size: [3] });
    const arrays = new Map([
      ['input_ids', array(2, 3)],
      ['attention_mask', array(2, 3)],
      ['labels', array(2)],
    ]);
    const [first, second] = arraySamples(arrays, input, 'a.npz');
    expect(first).toMatchObject({ name: 'a.npz[0]', label: 0 });
    expect(second.inputs.input_ids).toEqual({ dims: [3], data: Float32Array.of(3, 4, 5) });
    const single = [...arraySamples(new Map([['arr_0', array(3)]]), input, 'b.npz')];
    expect(single.map(({ inputs }) => inputs.input_ids.dims)).toEqual([[3]]);
    const others = new Map(['x_train', 'x_test'].map((name) => [name, array(2, 3)]));
    expect(() => [...arraySamples(others, input, 'c.npz')]).toThrow(
      '"c.npz": no array for the input "input_ids"; its arrays are "x_train", "x_test"',
    );
    const uneven = new Map([
      ['input_ids', array(2, 3)],
      ['attention_mask', array(1, 3)],
    ]);
    expect(() => [...arraySamples(uneven, input, 'c.npz')]).toThrow(
      '"c.npz": expected 2 rows in "attention_mask", got shape [1, 3]',
    );
  });

  test('come from lines of JSON', async () => {
    const { input } = await openModel(encoder(), { engine, size: [3] });
    expect(jsonSample({ input_ids: [1, 2, 3], label: 1 }, input, 'line 1')).toEqual({
      inputs: { input_ids: { dims: [3], data: Float32Array.of(1, 2, 3) } },
      name: 'line 1',
      label: 1,
    });
    expect(() => jsonSample({ input_ids: [[1, 2], [3]] }, input, 'line 2')).toThrow(
      'line 2: "input_ids": expected numbers in lists of equal length',
    );
    expect(() => jsonSample({ ids: [1] }, input, 'line 3')).toThrow(
      /^line 3: "ids" is neither an input of the model nor a label; its inputs are "input_ids"/,
    );
  });

  test.each([
    [
      { input_ids: array(3), mask: array(3) },
      'the model has no input "mask"; its inputs are "input_ids", "attention_mask"',
    ],
    [{ attention_mask: array(3) }, 'no values for the input "input_ids"'],
    [{ input_ids: array(2, 3) }, 'input "input_ids" expected shape [?], got [2, 3]'],
    [{ input_ids: { shape: [2], data: Float32Array.of(1, Number.NaN) } }, 'value 1 of the input is NaN'],
  ])('are refused where the model does not take them: %#', async (arrays, message) => {
    const { input } = await openModel(encoder(), { engine, size: [3] });
    const inputs = Object.fromEntries(
      Object.entries(arrays).map(([name, { shape, data }]) => [name, { dims: shape, data }]),
    );
    const refused = feedsDataset([{ inputs, name: 's' }], input);
    await expect(refused).rejects.toBeInstanceOf(InputError);
    await expect(refused).rejects.toThrow(message);
  });
});

describe('sizes that a model leaves open', () => {
  const network = (dims: (number | string)[]) => {
    const b = new OnnxBuilder();
    const input = b.feed('input', dims);
    const x = b.node('Conv', [input, b.weight([8, 1, 3, 3], 1)], { pads: [1, 1, 1, 1] }, { channels: 8 });
    return b.output(b.conv(b.relu(x), 2, 3)).build();
  };
  const shapeOf = async (dims: (number | string)[], size?: number[]) =>
    (await openModel(network(dims), { engine, size })).input.shape;

  test('are filled as height and width, whichever of them is open, and channels as the weights have them', async () => {
    expect(await shapeOf(['n', 1, 48, 'w'], [48, 320])).toEqual([1, 48, 320]);
    expect(await shapeOf(['n', 1, 'h', 32], [16, 32])).toEqual([1, 16, 32]);
    expect(await shapeOf(['n', -1, -1, -1], [16, 24])).toEqual([1, 16, 24]);
  });

  test('are one number where one is open beside others: of one number height and width are the same', () => {
    const signal = (dims: (number | string)[], size: number[]) => {
      const graph = new GraphBuilder();
      graph.output(graph.node('Relu', [graph.input('input', 'float32', dims)]), 'y', 'float32', dims);
      const model = graph.build('signal');
      return sizedInput(declaredInput(model), model, size).shape;
    };
    expect(signal(['n', 8, 't'], [50, 50])).toEqual([8, 50]);
    expect(signal(['n', 't', 8], [50, 50])).toEqual([50, 8]);
    expect(signal(['n', 't', 8], [50, 8])).toEqual([50, 8]);
    expect(() => signal(['n', 't', 8], [50, 9])).toThrow('`size` 50x9: input "input" is of [?, 8]');
  });

  test('are refused where the model has others', async () => {
    await expect(shapeOf(['n', 1, 48, 'w'], [32, 320])).rejects.toThrow(
      '`size` 32x320: input "input" is of [1, 48, ?]',
    );
    await expect(shapeOf(['n', 1, 8, 8], [16, 16])).rejects.toThrow(
      '`size` 16x16: input "input" is of a fixed size, [1, 8, 8]',
    );
    await expect(shapeOf(['n', 1, 8, 8], [16])).rejects.toThrow('`seqlen` 16: input "input" is of a fixed');
    expect(await shapeOf(['n', 1, 8, 8], [8, 8])).toEqual([1, 8, 8]);
    await expect(shapeOf(['n', 1, 'h', 'w'])).rejects.toThrow('give the image size (`size`)');
  });

  test('samples of different sizes run at their own', async () => {
    const opened = await openModel(network(['n', 1, 'h', 'w']), { engine, size: [12, 16] });
    const next = random(9);
    const sizes = [
      [12, 16],
      [8, 16],
      [8, 16],
      [12, 8],
    ];
    const samples = Array.from({ length: 16 }, (_, i) => {
      const dims = [1, ...sizes[i % 4]];
      return { inputs: { input: { dims, data: Float32Array.from({ length: dims[1] * dims[2] }, next) } } };
    });
    const calibration = await feedsDataset(samples, opened.input);
    await expectRefits(opened, calibration);
    for (const target of ['auto', 'self'] as const) {
      const { report } = await pruneOpened(opened, { engine, session, calibration, keep: 0.5, target });
      expect(report.maxDifference).toBeLessThan(1e-5);
      expect(report.quality!.relativeError).toBeLessThan(1);
    }
  });

  test.each(['n', 2])(
    'samples of different sizes count the same in any order, where positions come before them, %s of them',
    async (batch) => {
      const b = new OnnxBuilder();
      const input = b.node('Identity', [b.feed('input', [batch, 't', WIDTH])], {}, { channels: WIDTH });
      const bytes = b.output(multihead(b, input)).build();
      const opened = await openModel(bytes, { engine, size: [5, WIDTH] });
      const next = random(3);
      const some = (length: number) =>
        Array.from({ length: 8 }, () => {
          const data = Float32Array.from({ length: length * WIDTH }, () => next() - 0.5);
          return { inputs: { input: { dims: [length, WIDTH], data } } };
        });
      const [long, short] = [some(5), some(3)];
      const orders = [[...long, ...short], long.flatMap((sample, i) => [sample, short[i]])];
      const [together, inTurn] = await Promise.all(
        orders.map(async (samples) => {
          const calibration = await feedsDataset(samples, opened.input);
          // Without refits: what they are measured on is every fourth.
          const how = { keep: 0.5, target: 'self' as const, producers: false, damping: 0.01 };
          const { report } = await pruneOpened(opened, { engine, session, calibration, ...how });
          return report.layers;
        }),
      );
      expect(together.length).toBeGreaterThan(0);
      for (const [i, { kept, relativeError }] of together.entries()) {
        expect(kept).toEqual(inTurn[i].kept);
        expect(relativeError! / inTurn[i].relativeError!).toBeCloseTo(1, 4);
      }
    },
  );

  test('what is the same for all samples has a part for each of them where a network merges it with their number', async () => {
    const b = new OnnxBuilder();
    const input = b.sequence(6);
    const shape = (...parts: (string | number)[]) =>
      concat(
        b,
        parts.map((it) => (typeof it === 'string' ? it : b.integers([it]))),
      );
    // Learned queries of a decoder, positions before samples: 4 × n × 8.
    const queries = b.node('Expand', [b.weight([4, 1, 8], 1), shape(4, size(b, input, 0), 8)]);
    const rows = b.reshape(queries, [-1, 8], 8);
    const made = b.matmul(b.relu(b.matmul(rows, 12)), 8);
    const back = b.node('Reshape', [made, shape(4, size(b, input, 0), 8)], {}, { channels: 8 });
    const asked = transpose(b, b.add(back, queries), 1, 0, 2);
    const given = b.node('ReduceMean', [b.matmul(input, 8)], { axes: [1], keepdims: 1 }, { channels: 8 });
    const bytes = b.output(b.matmul(b.mul(asked, given), 3)).build();
    const opened = await openModel(bytes, { engine, size: [5, 6] });
    const calibration = await noise(16, [5, 6]);
    const how = { keep: 0.5, target: 'residual' as const };
    const { report } = await pruneOpened(opened, { engine, session, calibration, ...how });
    expect(report.layers.map(({ kept }) => kept.length)).toContain(6);
    expect(report.maxDifference).toBeLessThan(1e-5);
  });

  test('the same samples give the same layers, whether all have one size or are said to differ', async () => {
    const opened = await openModel(network(['n', 1, 'h', 'w']), { engine, size: [8, 8] });
    const calibration = await noise(16, [1, 8, 8]);
    const keep = { engine, session, keep: 0.5, target: 'dense' as const };
    const [one, other] = [
      await pruneOpened(opened, { ...keep, calibration }),
      await pruneOpened(opened, { ...keep, calibration: { ...calibration, smallest: [1, 8, 8] } }),
    ];
    expect(other.report.layers.map(({ kept }) => kept)).toEqual(one.report.layers.map(({ kept }) => kept));
  });
});

test('what convolutions and recurrences keep of earlier tokens loses what goes of their heads, and is no output to be fitted', async () => {
  const opened = await openModel(gatedDelta().build(), { engine, name: 'delta', size: [5] });
  const calibration = await noise(40, [5, WIDTH]);
  const { written, report } = await pruneOpened(opened, { engine, session, calibration, keep: 0.67 });
  expect(report.layers.map(({ kind, groups, kept }) => [kind, groups, kept.length])).toEqual([
    ['head', KEYS, 2],
  ]);
  expect(report.maxDifference).toBeLessThan(1e-5);
  const { others } = (await openModel(written.model, { engine, name: 'small', size: [5] })).input;
  expect(others.map(({ name, dims }) => [name, dims.slice(1)])).toEqual([
    ['past_conv.0', [(CHANNELS * 2) / KEYS, 3]],
    ['past_recurrent.0', [2 * EACH, 16, 16]],
  ]);
});
