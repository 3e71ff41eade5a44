// Graphs of a few kilobytes whose analysis would take years, gigabytes or the whole stack, were there no bounds. Shapes are
// said as the engine would infer them: no value is ever made.

import { expect, test } from 'vitest';
import { UnsupportedModelError } from '../../src/errors.ts';
import { analyse, readModel } from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';

const IMAGE = [1, 4, 2, 2];

/** A builder, and the shapes of what it makes. */
function drawn() {
  const b = new OnnxBuilder();
  const shapes = new Map<string, readonly number[]>();
  const shaped = (value: string, dims: readonly number[]) => {
    shapes.set(value, dims);
    return value;
  };
  const x = shaped(b.input(IMAGE.slice(1)), IMAGE);
  const channels = shaped(b.conv(x, 4, 1), IMAGE);
  const structures = async () =>
    analyse(await readModel(b.output(channels).build(), { name: 'm' }), shapes).structures;
  return { b, shaped, x, channels, structures };
}

/** A value beside itself, over and over: 2ⁿ times as long. */
function doubled(
  { b, shaped }: ReturnType<typeof drawn>,
  value: string,
  axis: number,
  dims: readonly number[],
) {
  let last = value;
  for (let i = 1; i <= 60; i++) {
    const longer = dims.with(axis, dims[axis] * 2 ** i);
    last = shaped(b.node('Concat', [last, last], { axis }), longer);
  }
  return last;
}

test('channels that are put beside themselves at every node are refused', async () => {
  const graph = drawn();
  doubled(graph, graph.channels, 1, IMAGE);
  const error = await graph.structures().catch((it) => it);
  expect(error).toBeInstanceOf(UnsupportedModelError);
  expect(error.message).toMatch(
    /^channels are put together .* more than 2097152 times \(limits\.channelPieces\)$/,
  );
});

test('a shape that is put beside itself at every node is no shape', async () => {
  const graph = drawn();
  const { b, shaped, channels } = graph;
  doubled(graph, shaped(b.node('Shape', [channels]), [4]), 0, [4]);
  expect(await graph.structures()).toHaveLength(1);
});

test('what a shape goes into is followed once, however many ways lead there', async () => {
  const graph = drawn();
  const { b, shaped, channels } = graph;
  const part = (value: number) => shaped(b.node('Identity', [b.integers([value])]), [1]);
  const shape = shaped(b.node('Concat', [part(1), b.integers([4]), part(4)], { axis: 0 }), [3]);
  shaped(b.node('Reshape', [channels, shape]), [1, 4, 4]);
  doubled(graph, shape, 0, [3]);
  expect(await graph.structures()).toHaveLength(1);
});

test('channels with more reasons to stay than a call has arguments are split', async () => {
  const graph = drawn();
  const { b, shaped, channels } = graph;
  for (let i = 0; i < 150_000; i++) b.node('Unknown', [channels]);
  for (const half of b.nodes('Split', [channels], { axis: 1 }, { outputs: 2 })) shaped(half, [1, 2, 2, 2]);
  expect(await graph.structures()).toHaveLength(2);
});
