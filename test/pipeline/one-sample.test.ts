// Networks that take one image, without an axis for samples, as torchvision exports its detectors.

import { expect, test } from 'vitest';
import { describeValue, readModel } from '../../src/graph/index.ts';
import { openModel, prune } from '../../src/pipeline/index.ts';
import { difference, randomValue, run } from '../graph/running.ts';
import { either, same } from '../support/branches.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { engine, noise, session } from './fixtures.ts';

/** An image that is made a batch of one in the graph, as opsets write it. */
function batched(b: OnnxBuilder, opset: number): string {
  const image = b.feed('image', [3, 'h', 'w']);
  const options = { channels: 3 };
  if (opset < 13) return b.node('Unsqueeze', [image], { axes: [0] }, options);
  return b.node('Unsqueeze', [image, b.integers([0])], {}, options);
}

function detector(opset: number): Uint8Array {
  const b = new OnnxBuilder({ opset });
  const hidden = b.relu(b.conv(b.relu(b.conv(batched(b, opset), 8, 3)), 6, 3));
  return b.output(b.flatten(b.globalAveragePool(b.conv(hidden, 4, 3))), 'scores').build();
}

test.each([11, 17])('one image is a sample, and the written model takes one too: opset %i', async (opset) => {
  const opened = await openModel(detector(opset), { engine, name: 'detector', size: [8, 8] });
  expect(opened.input).toMatchObject({ name: 'image', shape: [3, 8, 8], fixedBatch: 1, isOneSample: true });
  const calibration = await noise(12, [3, 8, 8]);
  const { written, report } = await prune(opened, { engine, session, calibration, keep: 0.5 });
  expect(report.layers.map(({ groups, kept }) => [groups, kept.length])).toEqual([
    [8, 4],
    [6, 3],
  ]);
  const small = await readModel(written.model);
  expect(describeValue(small.inputs[0])).toEqual({ name: 'image', type: 'float32', dims: [3, 'h', 'w'] });
  expect(small.nodes.map(({ opType }) => opType)).not.toContain('Gather');
  expect([...small.tensors.keys()].filter((name) => name.includes('.one'))).toEqual([]);
  const image = randomValue([3, 12, 10]);
  const { scores } = await run(written.model, { image });
  expect(scores.dims).toEqual([1, 4]);
  const again = await openModel(written.model, { engine, size: [8, 8] });
  expect(again.parameters).toBe(report.parameters.after);
});

test('weights are stored in such a model too', async () => {
  const opened = await openModel(detector(17), { engine, size: [8, 8] });
  const options = { engine, session, calibration: await noise(12, [3, 8, 8]), keep: 1 };
  const [plain, stored] = [
    await prune(opened, options),
    await prune(opened, { ...options, weights: 'float16' }),
  ];
  const image = randomValue([3, 8, 8]);
  const [one, other] = [
    await run(plain.written.model, { image }),
    await run(stored.written.model, { image }),
  ];
  expect(difference(one.scores, other.scores)).toBeLessThan(1e-2);
});

test('is refused by name where a graph within a node reads it', async () => {
  const b = new OnnxBuilder();
  const image = b.feed('image', [3, 8, 8]);
  const most = b.node('ReduceMax', [image], { keepdims: 0 }, { channels: 1 });
  const condition = b.node('Equal', [most, most]);
  b.output(either(b, condition, image, same, same), 'y');
  await expect(openModel(b.build(), { engine, name: 'detector' })).rejects.toThrow(
    'detector: input "image" has shape [3, 8, 8]; a leading batch dimension is needed',
  );
});
