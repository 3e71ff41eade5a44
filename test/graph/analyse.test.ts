import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OsscarError } from '../../src/errors.ts';
import {
  type Analysis,
  analyse,
  foldBatchNormalization,
  linearMaps,
  type Model,
  readModel,
  rowsOf,
  type Structure,
  shrink,
  writeModel,
} from '../../src/graph/index.ts';
import { setAttribute } from '../../src/graph/node.ts';
import type { NodeProto } from '../../src/graph/onnx_pb.ts';
import { OnnxBuilder, resnet50 } from '../support/onnx-builder.ts';
import { randomValue, shapesOf } from './running.ts';

async function analysed(b: OnnxBuilder, dims = [2, 3, 8, 8]): Promise<Structure[]> {
  const model = await readModel(b.build());
  return analyse(model, await shapesOf(model, randomValue(dims))).structures;
}

/** Why the structure made by the first layer cannot be pruned, for a graph that does something to its channels. */
async function reason(
  something: (b: OnnxBuilder, x: string) => string,
  opset = 17,
): Promise<string | undefined> {
  const b = new OnnxBuilder({ opset });
  const x = b.relu(b.conv(b.input([3, 8, 8]), 6, 3));
  const [structure] = await analysed(b.output(something(b, x)));
  expect(structure.producers[0].node).toMatch(/conv/);
  return structure.reason;
}

const head = (b: OnnxBuilder, x: string) => b.gemm(b.flatten(b.globalAveragePool(x)), 5);

describe('analyse', () => {
  it('describes a chain of two layers', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.conv(b.input([3, 8, 8]), 6, 3));
    const [first, second, last] = await analysed(
      b.output(b.gemm(b.flatten(b.conv(x, 4, 3, { stride: 2 }), 16), 5)),
    );
    expect(first).toEqual({
      name: 'conv_2',
      layer: 'conv_6',
      kind: 'channel',
      groups: 6,
      groupSize: 9,
      prunable: true,
      isResidual: false,
      producers: [{ node: 'conv_2', kind: 'conv', weight: 'w_0', bias: 'w_1', output: 'conv_2' }],
      consumers: [
        {
          node: 'conv_6',
          kind: 'conv',
          input: 'relu_3',
          output: 'conv_6',
          weight: 'w_4',
          bias: 'w_5',
          groupSize: 9,
          blocks: [{ offset: 0, block: 9 }],
          p: 54,
          m: 4,
          rows: 16,
          conv: { kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], dilations: [1, 1] },
        },
      ],
      values: [
        { value: 'conv_2', axis: 1, offset: 0, block: 1 },
        { value: 'relu_3', axis: 1, offset: 0, block: 1 },
      ],
      slices: [
        { tensor: 'w_0', axis: 0, offset: 0, block: 1, node: 'conv_2', input: 1 },
        { tensor: 'w_1', axis: 0, offset: 0, block: 1, node: 'conv_2', input: 2 },
        { tensor: 'w_4', axis: 1, offset: 0, block: 1, node: 'conv_6', input: 1 },
      ],
      edits: [],
      norms: [],
    });
    expect(second).toMatchObject({ layer: 'gemm_10', groups: 4, groupSize: 16, prunable: true });
    expect(second.slices.at(-1)).toMatchObject({ axis: 1, block: 16 });
    expect(last).toMatchObject({ layer: '', prunable: false, reason: 'it is the graph output "gemm_10"' });
  });

  it('finds the 32 inner convolutions of a ResNet50 and its four residual streams', async () => {
    const model = await readModel(resnet50(1, { input: 64 }));
    const input = randomValue([1, 3, 64, 64]);
    const { structures } = analyse(model, await shapesOf(model, input));
    const inner = structures.filter((s) => s.prunable && s.consumers.length === 1);
    expect(inner.length).toBe(32);
    expect(inner.filter((s) => s.groupSize === 9).length).toBe(16);
    expect(inner.filter((s) => s.consumers[0].residual).length).toBe(16);
    const streams = structures.filter((s) => s.isResidual);
    expect(streams.map((s) => [s.groups, s.producers.length, s.prunable])).toEqual([
      [256, 4, false],
      [512, 5, false],
      [1024, 7, false],
      [2048, 4, false],
    ]);
    expect(streams[0].reason).toMatch(/^residual stream: tied across 4 producers by Add "add_\d+"$/);
    // The stem feeds two layers of the first block; it is prunable, and the classifier's output is not.
    expect(structures.length).toBe(32 + 4 + 1 + 1);
    expect(linearMaps(model, await shapesOf(model, input)).length).toBe(54);
  });

  it('keeps the stream of a block whose branch is gated, and not what is added before it', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.add(b.conv(b.input([3, 8, 8]), 6, 3), b.conv('input', 6, 1)));
    const y = b.conv(b.relu(b.conv(x, 5, 3)), 4, 3);
    const branch = b.conv(y, 4, 3);
    const gate = b.node('Sigmoid', [b.conv(b.globalAveragePool(branch), 4, 1)]);
    const sum = b.add(b.mul(branch, gate), y);
    const [first, inner, stream] = await analysed(b.output(b.gemm(b.flatten(b.globalAveragePool(sum)), 5)));
    expect(first).toMatchObject({ groups: 6, producers: [{}, {}], isResidual: false, prunable: true });
    expect(inner).toMatchObject({ groups: 5, isResidual: false, prunable: true });
    const reason = `residual stream: tied across 3 producers by Add "${sum}"`;
    expect(stream).toMatchObject({ groups: 4, isResidual: true, prunable: false, reason });
  });

  it('calls the same sums streams, whether numbers change their type behind them or not', async () => {
    const isResidual = async (types: readonly number[]) => {
      const b = new OnnxBuilder();
      const x = b.conv(b.input([3, 8, 8]), 4, 3);
      let sum = b.add(b.conv(b.relu(b.conv(x, 5, 3)), 4, 3), x);
      for (const to of types) sum = b.node('Cast', [sum], { to }, { channels: 4 });
      const beside = b.node('Concat', [x, sum], { axis: 1 }, { channels: 8 });
      const found = await analysed(b.output(b.gemm(b.flatten(b.globalAveragePool(beside)), 5)));
      return found.map((structure) => structure.isResidual);
    };
    expect(await isResidual([10, 1])).toEqual(await isResidual([]));
  });

  it('finds every inner layer of the trained models', async () => {
    const expected = {
      'fashion-resnet': [15, 3, 1],
      'fashion-resnet-bn': [15, 3, 1],
      'fashion-mobilenet': [6, 0, 1],
      // What its seven blocks expand to, and the layer before the classifier.
      'fashion-mobilenet-v2': [8, 3, 1],
    };
    for (const [name, counts] of Object.entries(expected)) {
      const model = await readModel(readFileSync(new URL(`../fixtures/${name}.onnx`, import.meta.url)));
      const { structures } = analyse(model, await shapesOf(model, randomValue([1, 1, 28, 28])));
      const count = (is: (s: Structure) => boolean) => structures.filter(is).length;
      const outputs = count((s) => s.reason === 'it is the graph output "logits"');
      expect([count((s) => s.prunable), count((s) => s.isResidual), outputs], name).toEqual(counts);
    }
  });

  it('says the same whatever the batch of the sample run', async () => {
    const b = new OnnxBuilder();
    const x = b.maxPool(b.relu(b.conv(b.input([3, 8, 8]), 6, 3)), 4);
    const model = await readModel(b.output(b.gemm(b.reshape(x, [-1, 24], 24), 5)).build());
    const results: Analysis[] = [];
    for (const n of [1, 2, 3, 6, 24])
      results.push(analyse(model, await shapesOf(model, randomValue([n, 3, 8, 8]))));
    for (const result of results) expect(result).toEqual(results[0]);
    expect(results[0].structures[0].edits).toEqual([
      { kind: 'constant', node: 'reshape_6', input: 1, index: 1, unit: 4 },
    ]);
  });

  it('does not care what things are called', async () => {
    const build = (b: OnnxBuilder) => {
      const x = b.relu(b.conv(b.input([3, 8, 8]), 6, 3));
      return b.output(head(b, b.add(b.conv(b.relu(b.conv(x, 4, 3)), 6, 3), x)));
    };
    const plain = await readModel(build(new OnnxBuilder()).build());
    const shapes = await shapesOf(plain, randomValue([2, 3, 8, 8]));
    const renamed = plain.clone();
    const names = new Map<string, string>();
    const rename = (name: string) => {
      if (name === '' || name === 'input' || plain.isOutput(name)) return name;
      if (!names.has(name)) names.set(name, `v${7919 * names.size}`);
      return names.get(name)!;
    };
    for (const node of renamed.nodes) {
      node.name = rename(node.name);
      node.input = node.input.map(rename);
      node.output = node.output.map(rename);
    }
    for (const [name, tensor] of plain.tensors) {
      renamed.tensors.delete(name);
      renamed.tensors.set(rename(name), { ...tensor, name: rename(name) });
    }
    renamed.edited();
    const moved = new Map([...shapes].map(([name, dims]) => [rename(name), dims]));
    const outline = (model: Model, at: typeof shapes) =>
      analyse(model, at).structures.map((s) => [
        s.groups,
        s.groupSize,
        s.prunable,
        s.producers.length,
        s.slices.length,
      ]);
    expect(outline(renamed, moved)).toEqual(outline(plain, shapes));
  });

  it('names the structures of one fused layer apart', async () => {
    const b = new OnnxBuilder();
    const halves = b.nodes(
      'Split',
      [b.matmul(b.sequence(6), 10), b.integers([4, 6])],
      { axis: 2 },
      { outputs: 2 },
    );
    for (const [i, half] of halves.entries())
      b.output(b.gemm(b.reshape(half, [-1, 4 + 2 * i], 4 + 2 * i), 3));
    const structures = (await analysed(b, [2, 5, 6])).filter((s) => s.prunable);
    expect(structures.map((s) => [s.name, s.groups])).toEqual([
      ['matmul_1', 4],
      ['matmul_1:2', 6],
    ]);
    expect(structures.map((s) => s.slices[0])).toMatchObject([{ offset: 0 }, { offset: 4 }]);
  });

  it('ties the layers of a gated product without calling it residual', async () => {
    const b = new OnnxBuilder();
    const x = b.flatten(b.globalAveragePool(b.input([3, 8, 8])));
    const gate = b.matmul(x, 10);
    const product = b.mul(b.node('Sigmoid', [gate]), b.matmul(x, 10));
    const [structure] = await analysed(b.output(b.matmul(product, 4)));
    expect(structure).toMatchObject({ prunable: true, isResidual: false, groups: 10 });
    expect(structure.producers.length).toBe(2);
  });

  it('lists the group of a depthwise convolution among the edits', async () => {
    const b = new OnnxBuilder();
    const x = b.depthwise(b.depthwise(b.conv(b.input([3, 8, 8]), 4, 3), 3, { multiplier: 2 }), 3);
    const [structure] = await analysed(b.output(head(b, x)));
    expect(structure.edits.map((edit) => edit.unit)).toEqual([1, 2]);
    expect(structure.groupSize).toBe(2);
  });

  it('gives the rows of each structure that a concatenation has', async () => {
    const b = new OnnxBuilder();
    const x = b.conv(b.input([3, 8, 8]), 4, 3);
    const y = b.conv(b.maxPool(x, 3, 1, 1), 6, 3);
    const wide = b.node('Concat', ['input', x, y, x], { axis: 1 }, { channels: 17 });
    const [first, second] = await analysed(b.output(head(b, b.conv(wide, 5, 3))));
    expect(first.consumers.map(({ p, groupSize, blocks }) => ({ p, groupSize, blocks }))).toEqual([
      { p: 36, groupSize: 9, blocks: [{ offset: 0, block: 9 }] },
      {
        p: 153,
        groupSize: 18,
        blocks: [
          { offset: 27, block: 9 },
          { offset: 117, block: 9 },
        ],
      },
    ]);
    expect(second.consumers[0].blocks).toEqual([{ offset: 63, block: 9 }]);
    expect(rowsOf(first.consumers[1], [1]).slice(8, 11)).toEqual([44, 126, 127]);
  });

  it.each([
    [1, 1],
    [0, 0], // what it reads are no units, but a part of each
  ])(
    'a GRU whose linear_before_reset is %i has its units read by itself: %i',
    async (linear_before_reset, count) => {
      const b = new OnnxBuilder();
      const weights = [[12, 6], [12, 4], [24]].map((dims) => b.weight([1, ...dims], 1));
      const attributes = { hidden_size: 4, linear_before_reset };
      const [y] = b.nodes('GRU', [b.feed('input', [3, 'n', 6]), ...weights], attributes, { outputs: 2 });
      const structures = await analysed(b.output(b.node('MatMul', [y, b.weight([4, 2], 1)])), [3, 2, 6]);
      const readers = structures.flatMap(({ consumers }) => consumers.filter((it) => it.isRecurrent));
      expect(readers).toHaveLength(count);
    },
  );

  describe('keeps channels', () => {
    const numberOf = (b: OnnxBuilder, x: string, place: number) =>
      b.node('Gather', [b.node('Shape', [x]), b.integers([place])]);
    const apart = (b: OnnxBuilder, x: string) => b.node('Reshape', [x, b.integers([0, 2, 3, 8, 8])]);
    const together = (b: OnnxBuilder, x: string) =>
      b.node('Reshape', [x, b.integers([0, 6, 8, 8])], {}, { channels: 6 });
    const asRows = (b: OnnxBuilder, x: string) =>
      b.node('Transpose', [x], { perm: [0, 2, 1, 3] }, { channels: 8 });
    const pinned: Record<string, [RegExp, (b: OnnxBuilder, x: string) => string]> = {
      'that are a graph output': [/^it is the graph output "relu_3"$/, (_, x) => x],
      'that no layer reads': [
        /^no layer reads it$/,
        (b, x) => {
          b.relu(x);
          return b.globalAveragePool('input');
        },
      ],
      'that are reversed with rows': [
        /Slice "[^"]+" may reverse/,
        (b, x) => {
          const bounds = [-1, -99].map((number) => b.integers([number, number]));
          return head(b, b.node('Slice', [x, ...bounds, b.integers([1, 2]), b.integers([-1, -1])]));
        },
      ],
      'that may be reversed': [
        /Slice "[^"]+" may reverse/,
        (b, x) => {
          const steps = b.node('Sign', [b.integers([1])]);
          return head(b, b.node('Slice', [x, b.integers([0]), b.integers([6]), b.integers([1]), steps]));
        },
      ],
      'of which every second is taken, in every second row': [
        /Slice "[^"]+" changes the number of channels/,
        (b, x) => {
          const bounds = [0, 6].map((number) => b.integers([number, number]));
          const steps = [b.integers([1, 2]), b.integers([2, 2])];
          return head(b, b.node('Slice', [x, ...bounds, ...steps], {}, { channels: 3 }));
        },
      ],
      'that are mirrored': [
        /Pad "[^"]+" changes the number/,
        (b, x) => {
          const pads = b.integers([0, 1, 0, 0, 0, 1, 0, 0]);
          return head(b, b.node('Pad', [x, pads], { mode: 'reflect' }, { channels: 8 }));
        },
      ],
      'that are picked twice': [
        /Gather "[^"]+" picks from it/,
        (b, x) => head(b, b.node('Gather', [x, b.integers([1, 1])], { axis: 1 }, { channels: 2 })),
      ],
      'that are shuffled, and go out on the way': [
        /^it is the graph output "reshape_\d+"$/,
        (b, x) => {
          const groups = apart(b, x);
          b.output(groups);
          return head(b, together(b, b.node('Transpose', [groups], { perm: [0, 2, 1, 3, 4] })));
        },
      ],
      'that a softmax runs over': [
        /Softmax "[^"]+" normalises over it/,
        (b, x) => head(b, b.node('Softmax', [x], { axis: 1 })),
      ],
      'that MeanVarianceNormalization runs over': [
        /MeanVarianceNormalization "[^"]+" normalises over it/,
        (b, x) => head(b, b.node('MeanVarianceNormalization', [x], { axes: [1, 2, 3] })),
      ],
      'that a reduction runs over': [
        /ReduceMean "[^"]+" reduces over it/,
        (b, x) => head(b, b.node('ReduceMean', [x], { axes: [1] }, { channels: 1 })),
      ],
      'that LayerNormalization gives the statistics of': [
        /LayerNormalization "[^"]+" normalises over it, with statistics as outputs/,
        (b, x) => {
          const inputs = [x, b.weight([6, 8, 8], 1), b.weight([6, 8, 8], 1)];
          const [y, mean] = b.nodes('LayerNormalization', inputs, { axis: 1 }, { outputs: 2 });
          return head(b, b.add(y, mean));
        },
      ],
      'that LayerNormalization scales, and does not run over': [
        /LayerNormalization "[^"]+" scales more axes than it normalises/,
        (b, x) => head(b, b.node('LayerNormalization', [x, b.weight([6, 8, 8], 1)], { axis: -1 })),
      ],
      'that LayerNormalization scales by computed numbers': [
        /LayerNormalization "[^"]+" normalises over it, with computed scales/,
        (b, x) => {
          const scale = b.node('Abs', [b.weight([6, 8, 8], 1)]);
          return head(b, b.node('LayerNormalization', [x, scale], { axis: 1 }));
        },
      ],
      'of convolutions whose groups do not fit': [
        /Conv "[^"]+" is a grouped convolution/,
        (b, x) => head(b, b.conv(b.conv(x, 6, 3, { group: 2 }), 6, 3, { group: 3 })),
      ],
      'that a transposed convolution reads which crops more than it reaches': [
        /ConvTranspose "[^"]+" is not a linear map/,
        (b, x) => {
          const inputs = [x, b.weight([6, 4, 2, 2], 1)];
          return head(b, b.node('ConvTranspose', inputs, { pads: [2, 2, 2, 2] }, { channels: 4 }));
        },
      ],
      'that are flattened behind other channels': [
        /Flatten "[^"]+" interleaves it/,
        (b, x) => {
          const wide = b.reshape(b.globalAveragePool(x), [0, 1, 6]);
          const high = b.reshape(b.globalAveragePool(b.conv('input', 4, 1)), [0, 4, 1]);
          return b.gemm(b.flatten(b.mul(wide, high), 4), 5);
        },
      ],
      'that are coordinates of places': [
        /GridSample "[^"]+" reads coordinates from it/,
        (b, x) => {
          const places = b.node(
            'Transpose',
            [b.node('Slice', [x, b.integers([0]), b.integers([2]), b.integers([1])])],
            { perm: [0, 2, 3, 1] },
          );
          return head(b, b.conv(b.node('GridSample', ['input', places], {}, { channels: 3 }), 4, 1));
        },
      ],
      'that are rows where pixels are put into blocks': [
        /DepthToSpace "[^"]+" takes it apart/,
        (b, x) => {
          const rows = b.node('Transpose', [x], { perm: [0, 2, 1, 3] });
          return head(b, b.node('DepthToSpace', [rows], { blocksize: 2 }, { channels: 2 }));
        },
      ],
      'that blocks of pixels are put into and taken out of': [
        /DepthToSpace "[^"]+" takes it apart/,
        (b, x) => {
          const packed = b.node('SpaceToDepth', [x], { blocksize: 2 }, { channels: 24 });
          return head(b, b.node('DepthToSpace', [packed], { blocksize: 2, mode: 'CRD' }, { channels: 6 }));
        },
      ],
      'of a block of pixels that reaches over two layers': [
        /DepthToSpace "[^"]+" takes it apart/,
        (b, x) => {
          const both = b.node('Concat', [x, b.conv('input', 2, 1)], { axis: 1 }, { channels: 8 });
          return head(b, b.node('DepthToSpace', [both], { blocksize: 2, mode: 'CRD' }, { channels: 2 }));
        },
      ],
      'whose new shape is computed in ways not known': [
        /Reshape "[^"]+" takes it apart/,
        (b, x) => head(b, b.node('Reshape', [x, b.node('Neg', [b.integers([-2, -6, -4, -16])])])),
      ],
      'whose number is computed with': [
        /Max "[^"]+" reads the number of channels/,
        (b, x) => {
          const count = b.node('Max', [b.node('Gather', [b.node('Shape', [x]), b.index(1)])]);
          return head(b, b.node('Div', [x, b.node('Cast', [count], { to: 1 })]));
        },
      ],
      'whose number is computed with, as often as there are pairs of samples': [
        /Div "[^"]+" reads the number of channels/,
        (b, x) => {
          const pairs = b.node('Div', [numberOf(b, x, 0), b.integers([2])]); // one of them, in this run
          const times = b.node('Concat', [b.integers([1]), pairs, b.integers([1, 1])], { axis: 0 });
          const half = b.node('Div', [numberOf(b, b.node('Tile', [x, times]), 1), b.integers([2])]);
          return head(b, b.mul(x, b.node('Cast', [half], { to: 1 })));
        },
      ],
      'that say how often others are repeated': [
        /Tile "[^"]+" reads the number of channels/,
        (b, x) => {
          const times = b.node('Concat', [b.integers([1]), numberOf(b, x, 1), b.integers([1, 1])], {
            axis: 0,
          });
          return b.add(head(b, x), head(b, b.node('Tile', ['input', times], {}, { channels: 18 })));
        },
      ],
      'over which the places of the largest are counted': [
        /MaxPool "[^"]+" gives indices that count over channels/,
        (b, x) => {
          const [y, places] = b.nodes('MaxPool', [x], { kernel_shape: [2, 2] }, { outputs: 2 });
          const last = b.node('ReduceMax', [b.node('Cast', [places], { to: 1 })], { keepdims: 0 });
          return b.add(head(b, y), last);
        },
      ],
      'that say how others are shaped': [
        /Reshape "[^"]+" reads the number of channels/,
        (b, x) => {
          const shape = b.node('Concat', [numberOf(b, x, 0), numberOf(b, x, 1), b.integers([-1])], {
            axis: 0,
          });
          const rows = b.node('ReduceMean', [b.node('Reshape', ['input', shape])], { axes: [2] });
          return b.add(head(b, x), b.node('ReduceMax', [rows], { keepdims: 0 }));
        },
      ],
      'that say how large others are': [
        /Resize "[^"]+" reads the number of channels/,
        (b, x) => {
          const sizes = b.node('Concat', [numberOf(b, x, 0), b.integers([3, 8]), numberOf(b, x, 1)], {
            axis: 0,
          });
          const large = b.node('Resize', ['input', '', '', sizes], { mode: 'nearest' }, { channels: 3 });
          return b.add(head(b, x), head(b, large));
        },
      ],
      'that a product of activations sums over': [
        /MatMul "[^"]+" sums over it/,
        (b, x) => {
          const pooled = b.flatten(b.globalAveragePool(x));
          return b.node('MatMul', [pooled, b.node('Transpose', [pooled], { perm: [1, 0] })]);
        },
      ],
      'of an operator that is not known': [
        /^SampleOp "sampleop_4" cannot be seen through$/,
        (b, x) => head(b, b.node('SampleOp', [x], {}, { domain: 'com.microsoft' })),
      ],
      'that are summed up one after the other': [
        /^CumSum "cumsum_5" sums over it$/,
        (b, x) => head(b, b.node('CumSum', [x, b.index(1)])),
      ],
      'of which the largest are picked': [
        /^TopK "topk_5" picks from it$/,
        (b, x) => head(b, b.nodes('TopK', [x, b.integers([2])], { axis: 1 }, { outputs: 2, channels: 2 })[0]),
      ],
      'of which some are put elsewhere': [
        /^ScatterElements "[^"]+" picks from it$/,
        (b, x) => {
          const places = b.node('Cast', [b.mul(b.relu(x), b.floats([0], []))], { to: 7 });
          return head(b, b.node('ScatterElements', [x, places, x], { axis: 1 }));
        },
      ],
      'of which some are put at places that are listed': [
        /^ScatterND "[^"]+" picks from it$/,
        (b, x) => {
          const places = b.reshape(b.integers([0, 1]), [1, 2]);
          return head(b, b.node('ScatterND', [x, places, b.floats(new Array(64).fill(0), [1, 8, 8])]));
        },
      ],
      'that say which steps are turned round': [
        /^ReverseSequence "[^"]+" turns it round$/,
        (b, x) =>
          head(b, b.node('ReverseSequence', [x, b.integers([2, 1])], { time_axis: 1, batch_axis: 0 })),
      ],
      'that are cropped and extended': [
        /^Pad "[^"]+" crops$/,
        (b, x) => head(b, b.node('Pad', [x, b.integers([0, 1, 0, 0, 0, -1, 0, 0])])),
      ],
      'that are as many as a piece of other channels': [
        /Slice "[^"]+" reads the number of channels/,
        (b, x) => {
          const many = b.node('Concat', [x, x], { axis: 1 });
          return head(b, b.node('Slice', [many, b.integers([0, 0, 0, 0]), b.node('Shape', [x])]));
        },
      ],
      'that a bias is computed from': [
        /Gemm "[^"]+" has a computed bias/,
        (b, x) => {
          const pooled = b.flatten(b.globalAveragePool(x));
          return b.node('Gemm', [b.flatten('input', 64), b.weight([192, 6], 1), pooled], {}, { channels: 6 });
        },
      ],
      'that a bias has a row for': [
        /Gemm "[^"]+" has a bias per row/,
        (b, x) => {
          const rows = b.node('Transpose', [b.flatten(b.globalAveragePool(x))], { perm: [1, 0] });
          return b.node('Gemm', [rows, b.weight([2, 4], 1), b.weight([6, 4], 1)], {}, { channels: 4 });
        },
      ],
      'tied to those of a layer with a bias for each row': [
        /Gemm "[^"]+" has a bias per row/,
        (b, x) => {
          const weights = [b.weight([192, 6], 1), b.weight([2, 6], 1)];
          const rows = b.node('Gemm', [b.flatten('input', 64), ...weights], {}, { channels: 6 });
          return b.add(b.flatten(b.globalAveragePool(x)), rows);
        },
      ],
      'that are pooled over': [/MaxPool "[^"]+" pools over it/, (b, x) => b.maxPool(asRows(b, x), 3, 1, 1)],
      'that a convolution of single positions pads': [
        /Conv "[^"]+" mixes the axis/,
        (b, x) => b.conv(asRows(b, x), 4, 1, { pad: 1 }),
      ],
      'read by weights that read the input too, and merged with rows': [
        /MatMul "[^"]+" ties it to "[^"]+", whose channels no layer makes/,
        (b, x) => {
          const W = b.weight([384, 4], 0.5);
          const flat = b.flatten(b.node('Transpose', [x], { perm: [0, 2, 3, 1] }), 384);
          const wide = b.flatten(b.node('Concat', ['input', 'input'], { axis: 1 }), 384);
          const [one, other] = [flat, wide].map((value) => b.node('MatMul', [value, W], {}, { channels: 4 }));
          return b.gemm(b.relu(b.add(one, other)), 5);
        },
      ],
      'whose shape is given by a value that others read too': [
        /Concat "[^"]+" gives a shape that other nodes read too/,
        (b, x) => {
          const batch = b.node('Unsqueeze', [
            b.node('Gather', [b.node('Shape', [x]), b.index(0)]),
            b.integers([0]),
          ]);
          const shape = b.node('Concat', [batch, b.integers([384])], { axis: 0 });
          const wide = b.node('Concat', ['input', 'input'], { axis: 1 }, { channels: 6 });
          const flat = [x, wide].map((value) => b.node('Reshape', [value, shape], {}, { channels: 384 }));
          return b.add(b.gemm(flat[0], 5), b.gemm(flat[1], 5));
        },
      ],
      'whose number is multiplied by one that others read too': [
        /Mul "[^"]+" gives a shape that other nodes read too/,
        (b, x) => {
          const batch = b.node('Gather', [b.node('Shape', [x]), b.integers([0])]);
          const rows = b.mul(batch, b.integers([6]));
          const shape = b.node('Concat', [rows, b.integers([-1, 8])], { axis: 0 });
          const wide = b.node('Concat', ['input', 'input'], { axis: 1 }, { channels: 6 });
          const [flat, other] = [x, wide].map((value) => b.node('Reshape', [value, shape]));
          const back = b.node('Reshape', [
            flat,
            b.node('Concat', [batch, b.integers([6, 8, 8])], { axis: 0 }),
          ]);
          return b.add(head(b, back), b.node('ReduceMean', [other], { keepdims: 0 }));
        },
      ],
    };
    for (const [which, [message, build]] of Object.entries(pinned)) {
      it(which, async () => {
        expect(await reason(build)).toMatch(message);
      });
    }

    it('of an operator of another domain, even if its name is known', async () => {
      const b = new OnnxBuilder();
      const x = b.conv(b.input([3, 8, 8]), 6, 3);
      const model = await readModel(b.output(head(b, b.node('Relu', [x]))).build());
      const shapes = await shapesOf(model, randomValue([2, 3, 8, 8]));
      model.nodes[1].domain = 'com.example';
      expect(analyse(model, shapes).structures[0].reason).toMatch(/Relu .* cannot be seen through/);
    });

    it('that a parameter is computed from', async () => {
      const b = new OnnxBuilder();
      const x = b.conv(b.input([3, 8, 8]), 6, 3);
      const model = await readModel(b.output(head(b, b.relu(x))).build());
      const shapes = await shapesOf(model, randomValue([2, 3, 8, 8]));
      const relu = model.node('relu_3')!;
      relu.opType = 'Clip';
      relu.input.push(x);
      expect(analyse(model, shapes).structures[0].reason).toMatch(/Clip .* cannot be seen through/);
    });

    it('that are units of an LSTM whose peepholes are computed', async () => {
      const b = new OnnxBuilder();
      const [W, R, P] = [[16, 6], [16, 4], [12]].map((dims) => b.weight([1, ...dims], 1));
      const inputs = [b.feed('input', [3, 'n', 6]), W, R, '', '', '', '', b.node('Abs', [P])];
      const [y] = b.nodes('LSTM', inputs, { hidden_size: 4 }, { outputs: 3 });
      const made = await analysed(b.output(b.node('MatMul', [y, b.weight([4, 2], 1)])), [3, 2, 6]);
      expect(made[0].reason).toMatch(/LSTM "[^"]+" has computed peepholes/);
    });

    it('that GroupNormalization scales by computed numbers', async () => {
      const something = (b: OnnxBuilder, x: string) => {
        const inputs = [x, b.node('Abs', [b.weight([2], 1)]), b.weight([2], 1)];
        return head(b, b.node('GroupNormalization', inputs, { num_groups: 2 }));
      };
      expect(await reason(something, 18)).toMatch(/GroupNormalization "[^"]+" normalises over it/);
    });

    it.each<[string, (node: NodeProto) => unknown]>([
      ['its outputs', ({ output }) => output.push('running_mean', 'running_var')],
      ['its attribute', (node) => setAttribute(node, 'training_mode', 1)],
    ])('that BatchNormalization in training form, by %s, reads', async (_, train) => {
      const b = new OnnxBuilder();
      const x = b.batchNormalization(b.conv(b.input([3, 8, 8]), 6, 3));
      const model = await readModel(b.output(head(b, x)).build());
      const shapes = await shapesOf(model, randomValue([2, 3, 8, 8]));
      train(model.nodes[1]);
      expect(analyse(model, shapes).structures[0].reason).toMatch(/not in inference form/);
    });

    it('when the shape of a value is not known', async () => {
      const b = new OnnxBuilder();
      const model = await readModel(b.output(head(b, b.relu(b.conv(b.input([3, 8, 8]), 6, 3)))).build());
      const shapes = await shapesOf(model, randomValue([2, 3, 8, 8]));
      shapes.delete('relu_3');
      expect(analyse(model, shapes).structures[0].reason).toMatch(/Relu .* cannot be seen through/);
      expect(analyse(model, new Map()).structures.filter((s) => s.prunable)).toEqual([]);
    });
  });

  it('lets a softmax over other axes through, and before opset 13 only over leading ones', async () => {
    const spatial = (b: OnnxBuilder, x: string) => head(b, b.node('Softmax', [x], { axis: 2 }));
    expect(await reason(spatial)).toBeUndefined();
    expect(await reason(spatial, 12)).toBeUndefined();
    const flat = (b: OnnxBuilder, x: string) => head(b, b.node('Softmax', [x]));
    expect(await reason(flat)).toBeUndefined();
    expect(await reason(flat, 12)).toMatch(/normalises over it/);
  });

  it('lets the batch be read from a shape', async () => {
    for (const index of [0, 2, -1, -4]) {
      const message = await reason((b, x) => {
        const extent = b.node('Gather', [b.node('Shape', [x]), b.index(index)]);
        return head(b, b.node('Div', [x, b.node('Cast', [extent], { to: 1 })]));
      });
      expect(message).toBeUndefined();
    }
  });

  it('gives an analysis and a smaller model, or an error of this library, whatever attributes and dims say', async () => {
    const b = new OnnxBuilder();
    const x = b.depthwise(b.relu(b.batchNormalization(b.conv(b.input([3, 8, 8]), 6, 3))), 3);
    const pooled = b.node('Transpose', [b.maxPool(b.add(b.conv(b.relu(b.conv(x, 4, 1)), 6, 3), x), 2)], {
      perm: [0, 2, 3, 1],
    });
    const bytes = b
      .output(b.gemm(b.relu(b.gemm(b.reshape(b.matmul(pooled, 4), [-1, 64], 64), 7)), 5))
      .build();
    const shapes = await shapesOf(await readModel(bytes), randomValue([2, 3, 8, 8]));
    const flips = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.oneof(fc.nat(12), fc.nat(255))), {
      maxLength: 4,
    });
    const property = fc.asyncProperty(flips, async (changes) => {
      const copy = Uint8Array.from(bytes);
      for (const [at, value] of changes) copy[at] = value;
      try {
        const model = foldBatchNormalization(await readModel(copy));
        const prunable = analyse(model, shapes).structures.filter((s) => s.prunable);
        writeModel(shrink(model, new Map(prunable.map((structure) => [structure, [0]]))));
      } catch (error) {
        expect(error).toBeInstanceOf(OsscarError);
      }
    });
    await fc.assert(property, { numRuns: 1500, seed: 2 });
  });
});
