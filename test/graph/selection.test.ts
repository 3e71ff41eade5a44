import { describe, expect, it } from 'vitest';
import { readModel, unselectedValues } from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';

const types = new Map([
  ['indices', 'int64'],
  ['list', 'non-tensor'],
  ['names', 'string'],
]);
const unselected = async (b: OnnxBuilder) => unselectedValues(await readModel(b.build()), { types });

/** The indices of the highest scores, in front of what picks by them. */
function highest(b: OnnxBuilder, scores: string): string {
  const [, indices] = b.nodes('TopK', [scores, b.integers([3])], { axis: 1 }, { outputs: 2, channels: 3 });
  return b.node('Identity', [indices]);
}

describe('values that nothing has been selected from', () => {
  it('are what a detector gives before it picks boxes', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.gemm(b.input([6]), 8));
    const [scores, boxes] = [b.node('Sigmoid', [b.gemm(x, 5)]), b.gemm(x, 5)];
    const picked = b.node('GatherElements', [boxes, highest(b, scores)], { axis: 1 });
    const features = b.relu(b.gemm(x, 3));
    expect(await unselected(b.output(picked).output(features))).toEqual([boxes, scores, features]);
  });

  it('are the scores of classes that an ArgMax leaves one of', async () => {
    const b = new OnnxBuilder();
    const scores = b.gemm(b.input([6]), 5);
    expect(await unselected(b.output(b.node('ArgMax', [scores], { axis: 1 }), 'indices'))).toEqual([scores]);
  });

  it('are those that are compared for being the same', async () => {
    const b = new OnnxBuilder();
    const map = b.conv(b.input([3, 8, 8]), 4, 3);
    const peaks = b.node('Cast', [b.node('Equal', [map, b.maxPool(map, 3, 1, 1)])], { to: 1 });
    const pooled = b.node('MaxPool', [map], { kernel_shape: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1] });
    expect(await unselected(b.output(b.mul(pooled, peaks)))).toEqual([pooled, map, 'maxpool_3']);
  });

  it('are those that lists and texts are made of', async () => {
    const b = new OnnxBuilder();
    const [x, y] = [b.gemm(b.input([6]), 5), b.gemm('input', 4)];
    b.output(b.node('SequenceConstruct', [x, y]), 'list').output(b.node('Cast', [y], { to: 8 }), 'names');
    expect(await unselected(b)).toEqual([x, y]);
  });

  it('are no others than the outputs where nothing is selected, of samples', async () => {
    const b = new OnnxBuilder();
    const x = b.gemm(b.input([6]), 5);
    const [, best] = b.nodes('TopK', [b.weight([5], 1), b.integers([2])], {}, { outputs: 2, channels: 2 });
    expect(await unselected(b.output(b.node('Gather', [x, best], { axis: 1 })))).toBeUndefined();
  });

  it('are no others where numbers are compared with a constant', async () => {
    const b = new OnnxBuilder();
    const x = b.gemm(b.input([6]), 5);
    const isZero = b.node('Cast', [b.node('Equal', [x, b.floats([0], [])])], { to: 1 });
    expect(await unselected(b.output(b.mul(x, isZero)))).toBeUndefined();
  });

  it('are no others where layers read what was selected, as experts do', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.gemm(b.input([6]), 5));
    const tokens = b.node('GatherElements', [x, highest(b, x)], { axis: 1 }, { channels: 3 });
    expect(await unselected(b.output(b.gemm(tokens, 4)))).toBeUndefined();
  });
});
