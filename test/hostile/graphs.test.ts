// Graphs of a few kilobytes whose analysis would take years, gigabytes or the whole stack, were there no bounds. Shapes are
// said as the engine would infer them: no value is ever made.

import { expect, test } from 'vitest';
import { UnsupportedModelError } from '../../src/errors.ts';
import { analyse, foldConstants, readModel, sizeAt, sizeTerms } from '../../src/graph/index.ts';
import { Label, Patience } from '../../src/graph/labels.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';

const IMAGE = [1, 4, 2, 2];
/** More calls than a stack holds. */
const DEEP = 15_000;

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
  return { b, shapes, shaped, x, channels, structures };
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

test('channels that a value has at a great many places are counted in one pass over these', async () => {
  const { b, shapes, channels, structures } = drawn();
  const [structure] = await structures();
  const values = Array.from({ length: 1_000_000 }, (_, i) => ({
    value: channels,
    axis: 1,
    offset: 4 * i,
    block: 1,
  }));
  const model = await readModel(b.build(), { name: 'm' });
  const { parameters } = sizeTerms(model, { structures: [{ ...structure, prunable: true, values }] }, shapes);
  expect([0.5, 1].map((kept) => sizeAt(parameters, () => kept))).toEqual([10, 20]);
});

/** Labels of four channels, each put beside all before it. */
function nested(count: number) {
  const patience = new Patience();
  const leaves = Array.from({ length: count }, () => new Label(4, patience));
  const whole = leaves.reduce((before, label, i) =>
    Label.of([
      { label: before, share: 4 * i },
      { label, share: 4 },
    ]),
  );
  return { leaves, whole };
}

test('channels that are put together deeper than a stack goes are taken apart', () => {
  const { leaves, whole } = nested(DEEP);
  const parts = whole.split([2, 4 * DEEP - 6, 4]);
  expect(parts?.map(({ label }) => label.leaves().length)).toEqual([1, DEEP - 1, 1]);
  expect(leaves[0].leaves().map(({ groups }) => groups)).toEqual([2, 2]);
  expect(parts?.[2].label).toBe(leaves.at(-1));
});

test('heads of channels that are put together deeper than a stack goes', () => {
  const { leaves, whole } = nested(DEEP);
  expect(whole.coarsen(2 * DEEP)).toBe(2 * DEEP);
  expect(new Set(leaves.map(({ groups }) => groups))).toEqual(new Set([2]));
});

/** Means of the channels, gone through by nodes, and taken from the channels again. */
function reduced(inputs: (last: string) => readonly string[], opType: string, count: number) {
  const graph = drawn();
  const { b, shaped, channels } = graph;
  const mean = [1, 1, 2, 2];
  let last = shaped(b.node('ReduceMean', [channels], { axes: [1] }), mean);
  for (let i = 0; i < count; i++) last = shaped(b.node(opType, inputs(last)), mean);
  shaped(b.node('Sub', [channels, last]), IMAGE);
  return graph.structures();
}

test('what is made of a mean is followed further than a stack goes', async () => {
  expect(await reduced((last) => [last], 'Relu', DEEP)).toHaveLength(1);
});

test('what is made of a mean is followed once, however many ways lead there', async () => {
  expect(await reduced((last) => [last, last], 'Add', 60)).toHaveLength(1);
});

test.each(['Conv', 'ConvTranspose'])(
  'a %s whose weights or attributes are of other axes is no layer',
  async (op) => {
    const pinned = async (dims: readonly number[], attributes = {}) => {
      const { b, shaped, channels, structures } = drawn();
      const weight = b.weight(dims, 1);
      shaped(b.node(op, [channels, weight], attributes), [1, 4, 2, 2]);
      const [{ reason = 'none' }] = await structures();
      return reason;
    };
    expect(await pinned([4, 4, 1, 1])).not.toMatch('no linear map|not a linear map');
    for (const dims of [[4], [4, 4], [4, 4, 1], [4, 4, 1, 1, 1]])
      expect(await pinned(dims)).toMatch('is not a linear map that can be re-solved');
    for (const attributes of [{ strides: [1] }, { dilations: [1, 1, 1] }, { pads: [0, 0] }])
      expect(await pinned([4, 4, 1, 1], attributes)).toMatch('is not a linear map that can be re-solved');
  },
);

test('an axis is followed through more nodes than a stack holds', async () => {
  const graph = drawn();
  const { b, shaped, channels } = graph;
  const [wide, long] = [
    [1, 2, 2, 4],
    [1, 2, 4, 2],
  ];
  let last = shaped(b.node('Reshape', [channels, b.integers(wide)]), wide);
  for (let i = 0; i < DEEP; i++) {
    last = shaped(b.node('Transpose', [last], { perm: [0, 1, 3, 2] }), i % 2 === 0 ? long : wide);
  }
  expect(await graph.structures()).toHaveLength(1);
});

test('states of zeros are found behind more nodes than a stack holds', async () => {
  const b = new OnnxBuilder();
  let state = b.node('ConstantOfShape', [b.integers([2, 1, 4])]);
  for (let i = 0; i < DEEP; i++) state = b.node('Identity', [state]);
  const weights = [b.weight([2, 16, 4], 1), b.weight([2, 16, 4], 1)];
  const x = b.sequence(4);
  const y = b.node('LSTM', [x, ...weights, '', '', state], { hidden_size: 4, direction: 'bidirectional' });
  const folded = foldConstants(await readModel(b.output(y).build()));
  expect(folded.nodes.map(({ opType }) => opType)).toEqual(['LSTM']);
  expect(folded.nodes[0].input[5]).toBe('');
});
