// Networks that declare any number of samples, and take as many as they were exported with.

import { expect, test } from 'vitest';
import { openModel, prune } from '../../src/pipeline/index.ts';
import { inputTexts } from '../../src/pipeline/open/inputs.ts';
import { randomValue, run } from '../graph/running.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { engine, noise, session } from './fixtures.ts';

const CHANNELS = 8;

/** Two layers on values that `lead` makes of 5 features; its last axis is the features. */
function network(lead: (b: OnnxBuilder, features: string) => string, end = (_: OnnxBuilder, x: string) => x) {
  const b = new OnnxBuilder();
  const hidden = b.relu(b.matmul(b.input([5], 'x'), CHANNELS));
  return b.output(end(b, b.matmul(b.relu(b.matmul(lead(b, hidden), 6)), 3)), 'y').build();
}

/** As `torch.cat([x, torch.ones(len(x), 1)], 1)` is traced. */
const withOnes = (samples: number) =>
  network((b, x) => {
    const ones = b.floats(new Float32Array(samples).fill(1), [samples, 1]);
    return b.node('Concat', [x, ones], { axis: 1 }, { channels: CHANNELS + 1 });
  });

/** As `x.view(len(x), -1, 4)` is. */
const viewed = (samples: number) =>
  network(
    (b, x) => b.node('Reshape', [x, b.integers([samples, 2, CHANNELS / 2])], {}, { channels: CHANNELS / 2 }),
    (b, x) => b.node('ReduceMean', [x], { axes: [1], keepdims: 0 }),
  );

/** As `x.view(1, -1, 8)` is: however many samples are one to what follows, with no error. */
const mixed = () =>
  network(
    (b, x) => b.node('Reshape', [x, b.integers([1, -1, CHANNELS])]),
    (b, x) => b.node('ReduceMean', [x], { axes: [1], keepdims: 0 }),
  );

test.each([
  ['ones', 1, withOnes(1)],
  ['ones', 4, withOnes(4)],
  ['sizes', 1, viewed(1)],
  ['sizes', 4, viewed(4)],
  ['tokens of all samples', 1, mixed()],
])('with %s of %i samples written in, it is pruned so many at a time', async (_, samples, bytes) => {
  const opened = await openModel(bytes, { engine });
  expect(opened.input).toMatchObject({ fixedBatch: samples, isHeld: true });
  expect(inputTexts(opened.input)).toEqual([expect.stringContaining(`takes ${samples} at a time`)]);
  const calibration = await noise(10, [5]);
  const { written, report } = await prune(opened, { engine, session, calibration, keep: 0.5 });
  expect(report.parameters.after).toBeLessThan(report.parameters.before);
  expect(report.warnings.join()).toContain(`takes ${samples} at a time`);
  const { y } = await run(written.model, { x: randomValue([samples, 5]) });
  expect(y.dims).toEqual([samples, 3]);
});

test.each(['Expand', 'LSTM'])('samples of states tell how many: %s', async (opType) => {
  const b = new OnnxBuilder();
  const [steps, width, hidden, samples] = [4, 5, 6, 4];
  const x = b.node('Transpose', [b.feed('x', ['n', steps, width])], { perm: [1, 0, 2] });
  const zeros = b.floats(new Float32Array(samples * hidden), [1, samples, hidden]);
  const count = b.node('Gather', [b.node('Shape', [x]), b.integers([1])]);
  const sizes = b.node('Concat', [b.integers([1]), count, b.integers([1])], { axis: 0 });
  const state = opType === 'Expand' ? b.node('Expand', [zeros, sizes]) : zeros;
  const weights = [width, hidden].map((it) => b.weight([1, 4 * hidden, it], 0.5));
  const given = [x, ...weights, '', '', state, state];
  const [, last] = b.nodes('LSTM', given, { hidden_size: hidden }, { outputs: 2, channels: hidden });
  const y = b.matmul(b.node('Squeeze', [last, b.integers([0])]), 3);
  const opened = await openModel(b.output(y, 'y').build(), { engine });
  expect(opened.input).toMatchObject({ fixedBatch: samples, isHeld: true });
});

test('what takes any number stays as it is, and so does what gives a state of each', async () => {
  const plain = await openModel(
    network((_, x) => x),
    { engine },
  );
  const state = network((b, x) => b.node('Unsqueeze', [x, b.integers([0])]));
  for (const { input } of [plain, await openModel(state, { engine })]) {
    expect(input.fixedBatch).toBe(0);
    expect(inputTexts(input)).toEqual([]);
  }
});

test('where no number fits, it is said which were tried', async () => {
  const b = new OnnxBuilder();
  const x = b.node('Reshape', [b.input([5], 'x'), b.integers([7, -1])], {}, { channels: 9 });
  const bytes = b.output(b.matmul(x, 3), 'y').build();
  await expect(openModel(bytes, { engine, name: 'a.onnx' })).rejects.toThrow(
    /^a\.onnx: engine: .* nor does it take 2, 7, 9 of \[5\]: give a size that it was exported for/,
  );
});
