import { expect, test } from 'vitest';
import { openEngine } from '../../src/engine/index.ts';
import { typeCode } from '../../src/graph/dtype.ts';
import { inFloat32, readModel, writeModel } from '../../src/graph/index.ts';
import { fromFloat32 } from '../../src/graph/tensor.ts';
import { encodeTensor } from '../../src/graph/wire.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { difference, randomValue } from './running.ts';

const engine = await openEngine({ threads: 1 });

/** Weights, a constant that is made, Casts there and back, values of nothing. */
async function network() {
  const b = new OnnxBuilder({ type: 'float16' });
  const x = b.conv(b.input([3, 8, 8]), 6, 3);
  const filled = b.node('ConstantOfShape', [b.node('Shape', [x])], { value: { tensor: 0 } });
  const wide = b.node('Cast', [b.add(x, filled)], { to: typeCode('float32') });
  const narrow = b.node('Cast', [b.node('Sigmoid', [wide])], { to: typeCode('float16') });
  const drawn = b.node('RandomUniformLike', [narrow], {
    dtype: typeCode('float16'),
    low: { float: 0.25 },
    high: { float: 0.25 },
  });
  const model = await readModel(b.output(b.add(narrow, drawn), 'output', ['n', 6, 8, 8]).build());
  const [value] = model.nodes.find(({ opType }) => opType === 'ConstantOfShape')!.attribute;
  value.t = encodeTensor(fromFloat32(Float32Array.of(0.5), [1], { name: '', type: 'float16' }));
  return model;
}

test('a network of float16 in float32 gives the same, with nothing of float16 in it', async () => {
  const half = await network();
  const single = inFloat32(half);
  const input = randomValue([2, 3, 8, 8]);
  const [expected, actual] = await Promise.all(
    [half, single].map(async (model) => {
      const session = await engine.load(writeModel(model).model);
      const { output } = await session.run({ input });
      const types = [...session.inputs, ...session.outputs].map(({ type }) => type);
      await session.release();
      return { output, types };
    }),
  );
  expect([expected.types, actual.types]).toEqual([
    ['float16', 'float16'],
    ['float32', 'float32'],
  ]);
  expect(difference(actual.output, expected.output)).toBeGreaterThan(0);
  expect(difference(actual.output, expected.output)).toBeLessThan(2e-3);
  expect([...single.tensors.values()].filter(({ type }) => type === 'float16')).toEqual([]);
  expect([...half.tensors.values()].filter(({ type }) => type === 'float16')).toHaveLength(2); // stays as it was
});
