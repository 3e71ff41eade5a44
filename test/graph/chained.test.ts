import { describe, expect, test } from 'vitest';
import { openEngine } from '../../src/engine/index.ts';
import { chained, nameInChain, readModel, writeModel } from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';

const engine = await openEngine({ threads: 1 });
const X = { dims: [2, 3, 4, 4], data: Float32Array.from({ length: 96 }, (_, i) => Math.sin(i)) };
const MASK = { dims: [2, 5, 4, 4], data: Float32Array.from({ length: 160 }, (_, i) => Math.cos(i)) };

/** A convolution of 5 channels, times an input that goes along. */
const model = (channels: number, seed: number) => {
  const b = new OnnxBuilder({ seed });
  const x = b.relu(b.conv(b.input([channels, 4, 4]), 5, 1));
  return readModel(b.output(b.mul(x, b.input([5, 4, 4], 'mask'))).build());
};

describe('models one behind the other', () => {
  test('are one graph that gives what they give, with names of their own and inputs that go along in common', async () => {
    const models = [await model(3, 1), await model(5, 2)];
    const [first, second] = await Promise.all(models.map((it) => engine.load(writeModel(it).model)));
    const named = (value: typeof X, name: string) => ({ [name]: value, mask: MASK });
    const [between] = Object.values(await first.run(named(X, models[0].inputs[0].name)));
    const [expected] = Object.values(
      await second.run(
        named({ dims: [...between.dims], data: Float32Array.from(between.data) }, models[1].inputs[0].name),
      ),
    );

    const whole = chained(models, new Set(['mask']));
    expect(whole.inputs.map(({ name }) => name)).toEqual([models[0].inputs[0].name, 'mask']);
    const session = await engine.load(writeModel(whole).model);
    const [found] = Object.values(await session.run(named(X, models[0].inputs[0].name)));
    expect([found.dims, found.data]).toEqual([expected.dims, expected.data]);
    for (const [at, { nodes, tensors }] of models.entries()) {
      for (const { name } of nodes) expect(whole.node(nameInChain(2, at, name)), name).toBeDefined();
      for (const [name, { bytes }] of tensors)
        expect(whole.tensors.get(nameInChain(2, at, name))!.bytes).toBe(bytes);
    }
  });

  test('are the one, under its names, where there is one', async () => {
    const alone = await model(3, 1);
    expect(chained([alone], new Set())).toBe(alone);
    expect(nameInChain(1, 0, 'conv_0')).toBe('conv_0');
  });
});
