import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import {
  depthwise,
  elements,
  fromFloat32,
  linearMap,
  readModel,
  type Structure,
  sizeAt,
  sizeTerms,
  toFloat64,
  writeModel,
} from '../../src/graph/index.ts';
import { OperatorSetIdProtoSchema, ValueInfoProtoSchema } from '../../src/graph/onnx_pb.ts';
import type { Dataset } from '../../src/pipeline/data/index.ts';
import { openModel } from '../../src/pipeline/open/open.ts';
import { gainOutputs, writeGain } from '../../src/pipeline/pass/gain.ts';
import { placed, plannedStep, stepsOf } from '../../src/pipeline/pass/steps.ts';
import { parseRecipe } from '../../src/pipeline/recipe.ts';
import { tiny } from '../cli/models.ts';
import { attend, concat, merge, size } from '../graph/attention-graphs.ts';
import { mask } from '../graph/masking.ts';
import { once } from '../support/once.ts';
import { OnnxBuilder, overPlaces, shuffle } from '../support/onnx-builder.ts';
import { random } from '../support/random.ts';
import { toFloat16, withInputDims } from './edit.ts';
import { difference, engine, fashion, fixtureBytes, noise, outputs, prune } from './fixtures.ts';

// Sums over fewer terms are rounded in another order; the nets are a few layers deep.
const ROUNDING = 2e-5;

const image = (b: OnnxBuilder) => b.input([3, 8, 8]);
const head = (b: OnnxBuilder, x: string) => b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 5));
/** Six rows of eight features. */
const rows = (b: OnnxBuilder) => b.node('Identity', [b.feed('input', ['n', 6, 8])], {}, { channels: 8 });
const zero = (b: OnnxBuilder) => b.integers([0]);
/** Of a table, as many rows as another value has. */
const positions = (b: OnnxBuilder, x: string, width: number) => {
  const length = b.node('Unsqueeze', [b.node('Gather', [b.node('Shape', [x]), b.index(1)]), zero(b)]);
  return b.node('Slice', [b.weight([1, 32, width], 1), zero(b), length, b.integers([1])]);
};
const relu6 = (b: OnnxBuilder, x: string) => b.node('Clip', [x, b.floats([0], []), b.floats([6], [])]);

/** Graphs by what they exercise, with the groups of the structures that can be pruned. */
const GRAPHS: Record<string, { groups: number[]; shape?: number[]; build: (b: OnnxBuilder) => OnnxBuilder }> =
  {
    'a basic block': {
      groups: [6],
      build: (b) => {
        const x = b.relu(b.conv(image(b), 8, 3));
        return head(b, b.relu(b.add(b.conv(b.relu(b.conv(x, 6, 3)), 8, 3), x)));
      },
    },
    'a bottleneck with a projection and BatchNormalization': {
      groups: [8, 4, 4, 16],
      build: (b) => {
        const layer = (x: string, m: number, k: number, stride = 1) =>
          b.batchNormalization(b.conv(x, m, k, { stride, bias: false }));
        const x = b.relu(layer(image(b), 8, 3));
        const inner = b.relu(layer(b.relu(layer(x, 4, 1)), 4, 3, 2));
        return head(b, b.relu(b.add(layer(inner, 16, 1), layer(x, 16, 1, 2))));
      },
    },
    'a depthwise convolution with a multiplier': {
      groups: [6, 8],
      build: (b) => {
        const x = b.relu(b.depthwise(b.relu(b.conv(image(b), 6, 3)), 3, { multiplier: 2 }));
        return head(b, b.relu(b.conv(x, 8, 3)));
      },
    },
    'an inverted residual': {
      groups: [12, 16],
      build: (b) => {
        const x = b.conv(image(b), 6, 3);
        const y = relu6(b, b.depthwise(relu6(b, b.conv(x, 12, 1)), 3));
        return head(b, relu6(b, b.conv(b.add(b.conv(y, 6, 1), x), 16, 1)));
      },
    },
    'positions that are cut out of a table': {
      groups: [12, 10],
      shape: [6, 8],
      build: (b) => {
        const x = rows(b);
        const y = b.add(b.matmul(b.relu(b.matmul(x, 12)), 10), positions(b, x, 10));
        return b.output(b.matmul(b.relu(y), 5));
      },
    },
    'a bias that layers make of constants': {
      groups: [10, 12, 16],
      shape: [6, 8],
      build: (b) => {
        const x = rows(b);
        const weights = b.weight([4, 16], 0.7);
        const hidden = b.node('MatMul', [positions(b, x, 4), weights], {}, { channels: 16 });
        const bias = b.matmul(b.relu(hidden), 10);
        const y = b.add(b.matmul(b.relu(b.matmul(x, 12)), 10), bias);
        return b.output(b.matmul(b.relu(y), 5));
      },
    },
    'channels that are shuffled, and a half of them': {
      groups: [8, 4, 4, 6],
      build: (b) => {
        const x = shuffle(b, b.relu(b.conv(image(b), 8, 3)), 2);
        const y = shuffle(b, b.relu(b.conv(x, 8, 3)), 4);
        const [left, right] = b.nodes('Split', [y], { axis: 1 }, { outputs: 2, channels: 4 });
        const inputs = [left, b.relu(b.conv(right, 6, 1))];
        return head(b, b.node('Concat', inputs, { axis: 1 }, { channels: 10 }));
      },
    },
    'attention over places': {
      groups: [8, 6],
      build: (b) => {
        const x = overPlaces(b, b.relu(b.conv(image(b), 8, 3)));
        return head(b, b.relu(b.conv(x, 6, 3)));
      },
    },
    'what a convolution gives in two groups, weighed and summed over these': {
      groups: [4, 4, 6],
      build: (b) => {
        const x = b.relu(b.conv(b.relu(b.conv(image(b), 8, 3)), 12, 3, { group: 2 }));
        const weighed = b.mul(b.reshape(x, [-1, 2, 6, 8, 8], 6), b.floats([0.5, 2], [2, 1, 1, 1]));
        return head(b, b.node('ReduceSum', [weighed, b.integers([1])], { keepdims: 0 }));
      },
    },
    'squeeze and excitation': {
      groups: [8, 4, 6],
      build: (b) => {
        const x = b.relu(b.conv(image(b), 8, 3));
        const squeeze = b.relu(b.conv(b.globalAveragePool(x), 4, 1));
        const excite = b.node('Sigmoid', [b.conv(squeeze, 8, 1)]);
        return head(b, b.relu(b.conv(b.mul(x, excite), 6, 3)));
      },
    },
    'flatten before Gemm': {
      groups: [6, 10],
      build: (b) => {
        const x = b.maxPool(b.relu(b.conv(image(b), 6, 3)), 2);
        return b.output(b.gemm(b.relu(b.gemm(b.flatten(x, 16), 10)), 5, { transB: 0, bias: false }));
      },
    },
    'a tower whose weights are read on three levels': {
      groups: [6, 7, 8],
      build: (b) => {
        const x = b.relu(b.conv(image(b), 7, 3));
        const levels = [b.conv(x, 6, 3), b.conv(x, 6, 3, { stride: 2 })];
        levels.push(b.conv(levels[1], 6, 3, { stride: 2 }));
        const layer = (m: number, c: number) => {
          const inputs = [b.weight([m, c, 3, 3], 0.25), b.weight([m], 0.2)];
          return (y: string) => b.node('Conv', [y, ...inputs], { pads: [1, 1, 1, 1] }, { channels: m });
        };
        const [first, last] = [layer(8, 6), layer(5, 8)];
        const flat = levels.map((y) => b.reshape(last(b.relu(first(b.relu(y)))), [0, 5, -1]));
        return b.output(b.node('Concat', flat, { axis: 2 }));
      },
    },
    'several layers that read the same channels': {
      groups: [8, 4, 4, 4],
      build: (b) => {
        const x = b.relu(b.conv(image(b), 8, 3));
        const paths = [b.conv(x, 4, 1), b.conv(x, 4, 3, { bias: false }), b.conv(x, 4, 5)];
        return head(b, b.node('Concat', paths, { axis: 1 }, { channels: 12 }));
      },
    },
    'dense blocks': {
      groups: [6, 4, 4],
      build: (b) => {
        let x = b.conv(image(b), 6, 3);
        for (let i = 0; i < 2; i++) {
          const grown = b.conv(b.relu(b.batchNormalization(x)), 4, 3);
          x = b.node('Concat', [x, grown], { axis: 1 }, { channels: b.channels(x) + 4 });
        }
        return head(b, b.relu(b.batchNormalization(x)));
      },
    },
    'channels beside those of the input, and twice': {
      groups: [5],
      build: (b) => {
        const x = b.relu(b.conv(image(b), 5, 3));
        const wide = b.node('Concat', [x, 'input', b.maxPool(x, 3, 1, 1)], { axis: 1 }, { channels: 13 });
        return head(b, b.node('CumSum', [b.conv(wide, 4, 3), b.index(1)]));
      },
    },
    'an encoder and a decoder with a skip connection': {
      groups: [6, 4, 8, 8],
      build: (b) => {
        const x = b.relu(b.conv(image(b), 4, 3));
        const deep = b.relu(b.conv(b.relu(b.conv(b.maxPool(x, 2), 8, 3)), 6, 3));
        const up = b.node('Resize', [deep, '', b.floats([1, 1, 2, 2])], { mode: 'nearest' });
        const wide = b.node('Concat', [up, x], { axis: 1 }, { channels: 10 });
        return head(b, b.relu(b.conv(wide, 8, 3)));
      },
    },
    'a transposed convolution that gives twice the rows and columns': {
      groups: [9, 6, 4],
      build: (b) => {
        const x = b.relu(b.conv(image(b), 9, 3, { stride: 2 }));
        const inputs = [x, b.weight([9, 6, 3, 3], 0.3), b.weight([6], 0.2)];
        const twice = { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] };
        return head(b, b.conv(b.relu(b.node('ConvTranspose', inputs, twice, { channels: 6 })), 4, 3));
      },
    },
    'transposed convolutions': {
      groups: [4, 6],
      build: (b) => {
        const up = (x: string, m: number) => {
          const inputs = [x, b.weight([b.channels(x), m, 2, 2], 0.5), b.weight([m], 0.2)];
          return b.node('ConvTranspose', inputs, { strides: [2, 2] }, { channels: m });
        };
        const x = b.relu(b.conv(image(b), 4, 3, { stride: 2 }));
        return head(b, b.node('CumSum', [up(b.relu(up(x, 6)), 3), b.index(1)]));
      },
    },
    'MatMul with channels last': {
      groups: [6, 9, 7],
      build: (b) => {
        const x = b.node('Transpose', [b.relu(b.conv(image(b), 6, 3))], { perm: [0, 2, 3, 1] });
        const hidden = b.relu(b.add(b.matmul(x, 9), b.weight([9], 0.2)));
        const mean = b.node('ReduceMean', [b.relu(b.matmul(hidden, 7))], { axes: [1, 2], keepdims: 0 });
        return b.output(b.gemm(mean, 5));
      },
    },
    'LayerNormalization between layers': {
      groups: [8, 10],
      build: (b) => {
        const normal = (x: string) => {
          const scales = [b.weight([b.channels(x)], 0.4, 1), b.weight([b.channels(x)], 0.3)];
          return b.node('LayerNormalization', [x, ...scales]);
        };
        const x = b.node('Transpose', [b.relu(b.conv(image(b), 8, 3))], { perm: [0, 2, 3, 1] });
        const y = b.matmul(normal(b.relu(b.matmul(normal(x), 10))), 6);
        return head(b, b.node('CumSum', [b.node('Transpose', [y], { perm: [0, 3, 1, 2] }), b.index(1)]));
      },
    },
    'recurrent layers': {
      groups: [9, 8, 8],
      shape: [5, 6],
      build: (b) => {
        const layer = (x: string) => {
          const weights = [[32, b.channels(x)], [32, 8], [64]].map((dims) => b.weight([1, ...dims], 0.5));
          const [y] = b.nodes('LSTM', [x, ...weights], { hidden_size: 8 }, { outputs: 3, channels: 8 });
          return b.node('Squeeze', [y, b.integers([1])]);
        };
        const wide = b.node('MatMul', [b.input([5, 6]), b.weight([6, 9], 0.5)], {}, { channels: 9 });
        const y = b.node('Transpose', [layer(layer(b.node('Transpose', [wide], { perm: [1, 0, 2] })))], {
          perm: [1, 0, 2],
        });
        return b.output(b.add(b.matmul(y, 5), b.weight([5], 0.3)));
      },
    },
    'two attentions that have heads by one shape, as optimisers leave it': {
      groups: [4, 12, 4],
      shape: [6, 8],
      build: (b) => {
        const x = rows(b);
        const shape = concat(b, [size(b, x, 0), ...[-1, 4, 3].map((it) => b.integers([it]))]);
        const attention = (x: string) => {
          const [q, k, v] = [0, 1, 2].map(() =>
            b.node('Transpose', [b.node('Reshape', [b.matmul(x, 12), shape])], { perm: [0, 2, 1, 3] }),
          );
          return merge(b, attend(b, q, k, v), 12);
        };
        return b.output(b.matmul(attention(b.matmul(attention(x), 12)), 5));
      },
    },
    'convolutions of a video, frame by frame': {
      groups: [6, 8, 7],
      shape: [4, 3, 8, 8],
      build: (b) => {
        const frames = b.reshape(b.input([4, 3, 8, 8]), [-1, 3, 8, 8], 3);
        const y = b.relu(b.conv(b.relu(b.conv(frames, 6, 3)), 8, 3, { stride: 2 }));
        const mean = (x: string, axes: number[]) => b.node('ReduceMean', [x], { axes, keepdims: 0 });
        const z = b.relu(b.gemm(mean(y, [2, 3]), 7));
        return b.output(b.gemm(mean(b.reshape(z, [-1, 4, 7], 7), [1]), 5));
      },
    },
    'one-dimensional, strided and padded convolutions': {
      groups: [6, 8],
      shape: [3, 16],
      build: (b) => {
        const x = b.relu(b.conv(b.input([3, 16]), 6, 3, { dimensions: 1, pad: 2 }));
        const y = b.relu(b.conv(x, 8, 5, { dimensions: 1, stride: 2 }));
        return b.output(b.gemm(b.flatten(b.node('GlobalAveragePool', [y])), 5));
      },
    },
  };

describe('prune', () => {
  for (const [name, { groups, shape = [3, 8, 8], build }] of Object.entries(GRAPHS)) {
    const bytes = build(new OnnxBuilder({ seed: 3 })).build();
    const byMagnitude = once(async () => prune(bytes, await noise(20, shape), { method: 'magnitude' }));

    test(`writes what the masked network computes: ${name}`, async () => {
      const { opened, written, report } = await byMagnitude();
      // By magnitude the weights stay as they are, so that the masked network can be made here, too.
      const structureOf = (name: string) => opened.analysis.structures.find((it) => it.name === name)!;
      const cuts = new Map(report.layers.map(({ name, kept }) => [structureOf(name), kept]));
      const masked = mask(opened.model, cuts);
      const unseen = await noise(5, shape, 8);
      const expected = await outputs(writeModel(masked).model, unseen);
      expect(difference(expected, await outputs(written.model, unseen))).toBeLessThan(ROUNDING);
      expect(difference(expected, await outputs(bytes, unseen))).toBeGreaterThan(0.01);
    });

    test(`keeps half of every structure and loses less than by magnitude: ${name}`, async () => {
      const data = await noise(20, shape);
      const { opened, written, report } = await prune(bytes, data, { target: 'residual' });
      expect(report.maxDifference).toBeLessThan(ROUNDING);
      const terms = sizeTerms(opened.model, opened.analysis, opened.info.shapes);
      const left = new Map(report.layers.map(({ name, kept, groups }) => [name, kept.length / groups]));
      const sizes = (kept: (structure: string) => number) =>
        (['macs', 'parameters'] as const).map((size) => sizeAt(terms[size], kept));
      expect(sizes(() => 1)[0]).toBeCloseTo(report.macs!.before, 6);
      const [macs, parameters] = sizes((structure) => left.get(structure)!);
      expect(macs).toBeCloseTo(report.macs!.after, 6);
      // Layers may get a bias, and those that have none before the first structure do not.
      expect(parameters).toBeGreaterThanOrEqual(report.parameters.after);
      expect(parameters).toBeLessThanOrEqual(report.parameters.after + 16);
      expect(report.layers.map((layer) => layer.groups).sort()).toEqual([...groups].sort());
      for (const { kept, groups } of report.layers) expect(kept).toHaveLength(Math.round(groups / 2));
      for (const key of ['parameters', 'macs', 'bytes'] as const) {
        expect(report[key]!.after, key).toBeLessThan(report[key]!.before);
      }
      const magnitude = await byMagnitude();
      const dense = await outputs(bytes, data);
      const loss = async (model: Uint8Array) => squaredDistance(dense, await outputs(model, data));
      expect(await loss(written.model)).toBeLessThan(await loss(magnitude.written.model));
    });
  }

  test('keeps a network as it is where all channels are kept', async () => {
    const data = await noise(12, [3, 8, 8]);
    const bytes = GRAPHS['an inverted residual'].build(new OnnxBuilder()).build();
    const { written, report } = await prune(bytes, data, { keep: 1, target: 'self' });
    expect(report.parameters.after).toBe(report.parameters.before);
    expect(difference(await outputs(bytes, data), await outputs(written.model, data))).toBeLessThan(1e-4);
  });
});

test('layers with the same weights are one, chosen for and fitted to what all of them read', async () => {
  const b = new OnnxBuilder({ seed: 3 });
  const input = b.input([3, 8, 8]);
  // Channels 0 to 2 matter to one branch, 3 to 5 to the other, 6 and 7 to none.
  const branch = (alive: readonly number[], stride: number) => {
    const bias = b.floats(Array.from({ length: 8 }, (_, c) => (alive.includes(c) ? 0.2 : -100)));
    const pads = [1, 1, 1, 1];
    return b.relu(
      b.node('Conv', [input, b.weight([8, 3, 3, 3], 0.4), bias], { strides: [stride, stride], pads }),
    );
  };
  const [W, bias] = [b.weight([5, 8, 3, 3], 0.4), b.weight([5], 0.2)];
  const [one, other] = [branch([0, 1, 2], 1), branch([3, 4, 5], 2)].map((x) =>
    b.globalAveragePool(b.node('Conv', [x, W, bias], {}, { channels: 5 })),
  );
  const bytes = b.output(b.node('Concat', [one, other], { axis: 1 })).build();
  const data = await noise(24, [3, 8, 8]);
  for (const target of ['self', 'dense'] as const) {
    const { written, report } = await prune(bytes, data, { target, keep: 0.75, damping: 1e-6 });
    expect(report.layers.map(({ kept }) => kept)).toEqual([[0, 1, 2, 3, 4, 5]]);
    expect(difference(await outputs(bytes, data), await outputs(written.model, data))).toBeLessThan(1e-4);
    expect(report.parameters.after).toBe(2 * (6 * 27 + 6) + 5 * 54 + 5);
  }
});

test('a channel is scaled alike in depthwise convolutions with the same weights, and elsewhere as it was', async () => {
  const b = new OnnxBuilder({ seed: 3 });
  const x = b.relu(b.conv(b.input([3, 8, 8]), 8, 3));
  const [W, V, bias] = [b.weight([6, 1, 3, 3], 0.4), b.weight([6, 1, 3, 3], 0.4), b.weight([6], 0.2)];
  const group = { group: 6, pads: [1, 1, 1, 1] };
  const gain = (y: string, w: string) => b.node('Conv', [y, w, bias], group);
  const [y, z] = [b.conv(x, 6, 3), b.conv(x, 6, 1)];
  const levels = [gain(y, W), gain(z, W), gain(y, V)].map((level) => b.globalAveragePool(b.relu(level)));
  const model = await readModel(b.output(b.node('Concat', levels, { axis: 1 })).build());
  const gains = depthwise(model);
  expect(gains.map((it) => gainOutputs(it).length)).toEqual([2, 1]);
  const slope = Float64Array.from([1, 2, 3, 4, 5, 6]);
  const before = model.clone();
  writeGain(model, gains[0], { slope, shift: slope });
  const inputsOf = (it: typeof model) =>
    it.nodes
      .filter(({ output }) => gains.flatMap(gainOutputs).includes(output[0]))
      .map(({ input: [, ...own] }) => own.map((name) => [...toFloat64(it.tensors.get(name)!)]));
  const [dense, scaled] = [inputsOf(before), inputsOf(model)];
  expect(scaled[2]).toEqual(dense[2]);
  expect(scaled[0]).toEqual(scaled[1]);
  expect(scaled[0][0]).toEqual(dense[0][0].map((value, i) => Math.fround(value * slope[Math.floor(i / 9)])));
  expect(scaled[0][1]).toEqual(dense[0][1].map((value, j) => Math.fround(value * slope[j] + slope[j])));
});

test('weights that are no numbers, and biases that are NaN, are named before anything runs', async () => {
  const b = new OnnxBuilder({ seed: 3 });
  const [W, bias] = [b.weight([5, 6], 0.4), b.weight([5], 0.2)];
  const x = b.flatten(b.globalAveragePool(b.relu(b.conv(b.relu(b.conv(image(b), 8, 3)), 6, 3))));
  const model = await readModel(b.output(b.node('Gemm', [x, W, bias], { transB: 1 })).build());
  const [gemm] = model.nodes.slice(-1);
  const data = await noise(20, [3, 8, 8]);
  const pruned = (name: string, value: number) => {
    const changed = model.clone();
    const tensor = changed.tensors.get(name)!;
    const values = toFloat64(tensor).fill(value, 2, 3);
    changed.tensors.set(name, fromFloat32(values, tensor.dims, tensor));
    return prune(writeModel(changed).model, data, { method: 'magnitude', keep: 0.5 });
  };
  await expect(pruned(W, Number.NEGATIVE_INFINITY)).rejects.toThrow(
    new InputError(`model: tensor "${W}" of layer "${gemm.name}" has -Infinity at element 2`),
  );
  await expect(pruned(bias, Number.NaN)).rejects.toThrow(`tensor "${bias}" of layer "${gemm.name}" has NaN`);
});

test('values may be called as what every object has', async () => {
  const b = new OnnxBuilder({ seed: 3 });
  const x = b.relu(b.conv(image(b), 8, 3));
  const model = await readModel(head(b, b.conv(x, 6, 3)).build());
  for (const node of model.nodes)
    for (const names of [node.input, node.output])
      for (const [i, name] of names.entries()) if (name === x) names[i] = 'constructor';
  const { report } = await prune(writeModel(model).model, await noise(20, [3, 8, 8]));
  expect(report.layers.map(({ kept }) => kept.length)).toEqual([4, 3]);
});

test('of a file that was optimised for one processor it is said how to save it', async () => {
  const b = new OnnxBuilder();
  const x = b.node(
    'Conv',
    [b.input([3, 8, 8]), b.weight([8, 3, 3, 3], 0.4)],
    {},
    { domain: 'com.microsoft.nchwc' },
  );
  const opening = openModel(b.output(x).build(), { engine, name: 'all.onnx' });
  await expect(opening).rejects.toThrow(/^all\.onnx: .*com\.microsoft\.nchwc.* level "extended", not "all"$/);
});

test('a classifier that gives a map of its scores, as those of scikit-learn do, is pruned and measured', async () => {
  const b = new OnnxBuilder();
  const x = b.node('Identity', [b.feed('input', ['n', 8])], {}, { channels: 8 });
  const scores = b.node('Softmax', [b.matmul(b.relu(b.matmul(x, 12)), 3)], { axis: 1 });
  const classes = { classlabels_int64s: [0, 1, 2] };
  const map = b.node('ZipMap', [scores], classes, { domain: 'ai.onnx.ml' });
  const model = await readModel(b.output(b.node('ArgMax', [scores], { axis: 1, keepdims: 0 })).build());
  model.graph.output = [
    create(ValueInfoProtoSchema, { name: model.outputs[0].name }),
    create(ValueInfoProtoSchema, { name: map }),
  ];
  model.proto.opsetImport.push(create(OperatorSetIdProtoSchema, { domain: 'ai.onnx.ml', version: 1n }));
  const { report } = await prune(writeModel(model).model, await noise(40, [8]));
  expect(report.layers.map(({ kept }) => kept.length)).toEqual([6]);
  expect(report.latencyMs).toBeDefined();
});

test('a network that gives a list alone is measured by what it is made of', async () => {
  const b = new OnnxBuilder();
  const x = b.relu(b.gemm(b.relu(b.gemm(b.input([8]), 12)), 6));
  const parts = [b.gemm(x, 3), b.gemm(x, 2)];
  const list = b.node('SequenceConstruct', parts);
  const model = await readModel(b.output(list).build());
  model.graph.output = [create(ValueInfoProtoSchema, { name: list })];
  const bytes = writeModel(model).model;
  expect((await openModel(bytes, { engine })).measured).toEqual(parts);
  const { report } = await prune(bytes, await noise(40, [8]));
  expect(report.layers.map(({ kept }) => kept.length)).toEqual([6, 3]);
  expect(report.quality!.relativeError).toBeLessThan(1);
});

test('channels of volumes that others repeat go without loss, before convolutions that are strided, dilated and transposed', async () => {
  const b = new OnnxBuilder();
  const next = random(3);
  const numbers = (count: number) => Array.from({ length: count }, () => 0.8 * next() - 0.4);
  // Each channel that is made twice: of (m, c, …), or of (c, m, …) where it is transposed.
  const twice = (x: string, [k, own, ...kernel]: number[], attributes: object, opType = 'Conv') => {
    const [lists, m] = opType === 'Conv' ? [1, k] : [k, own];
    const size = (k * own * elements(kernel)) / lists;
    const values = Array.from({ length: lists }, () => numbers(size)).flatMap((list) => [...list, ...list]);
    const dims = opType === 'Conv' ? [2 * k, own, ...kernel] : [k, 2 * own, ...kernel];
    const bias = numbers(m);
    const inputs = [x, b.floats(values, dims), b.floats([...bias, ...bias])];
    return b.relu(b.node(opType, inputs, { ...attributes }));
  };
  const x = twice(b.input([2, 5, 6, 6]), [4, 2, 3, 3, 3], { pads: [1, 1, 1, 1, 1, 1] });
  const y = twice(x, [3, 8, 3, 3, 2], { strides: [2, 1, 2], pads: [1, 0, 0, 0, 1, 1] });
  const up = twice(y, [6, 4, 2, 2, 3], { strides: [2, 2, 1], pads: [0, 0, 1, 0, 0, 0] }, 'ConvTranspose');
  const bytes = b
    .output(b.node('Conv', [up, b.weight([6, 8, 2, 1, 1], 0.4)], { dilations: [2, 1, 1] }))
    .build();
  const data = await noise(12, [2, 5, 6, 6]);
  const { written, report } = await prune(bytes, data, { target: 'dense', damping: 1e-6 });
  expect(report.layers.map(({ groups }) => groups)).toEqual([8, 6, 8]);
  const unseen = await noise(5, [2, 5, 6, 6], 8);
  expect(difference(await outputs(bytes, unseen), await outputs(written.model, unseen))).toBeLessThan(1e-3);
});

test('layers of a dense block choose their damping with the first channels that they lose, and with the last', async () => {
  const b = new OnnxBuilder({ seed: 3 });
  let x = b.conv(b.input([8, 1, 1]), 12, 1);
  for (let i = 0; i < 4; i++)
    x = b.node('Concat', [x, b.conv(b.relu(x), 12, 1)], { axis: 1 }, { channels: b.channels(x) + 12 });
  const bytes = b.output(b.gemm(b.flatten(b.relu(x)), 5)).build();
  // Few rows, of which most pull differently.
  const { report } = await prune(bytes, await noise(40, [8, 1, 1]), { target: 'self', producers: false });
  const dampings = report.layers.map(({ damping }) => damping);
  const last = dampings.map((own) => own.at(-1)!);
  expect(dampings.map((own) => own.length)).toEqual([5, 4, 3, 2, 1]);
  expect(new Set(last.slice(0, -1)).size).toBe(1);
  expect(last.at(-1)).not.toBe(last[0]);
});

test('a layer of several branches chooses its damping with the first that loses channels, and with the last', async () => {
  const b = new OnnxBuilder({ seed: 3 });
  const x = b.input([8, 1, 1]);
  const branches = Array.from({ length: 4 }, () => b.relu(b.conv(x, 12, 1)));
  const joined = b.node('Concat', branches, { axis: 1 }, { channels: 48 });
  const bytes = b.output(b.gemm(b.flatten(joined), 5)).build();
  const { report } = await prune(bytes, await noise(40, [8, 1, 1]), { target: 'self', producers: false });
  const [first, second, third, last] = report.layers.map(({ damping }) => damping[0]);
  expect([second, third]).toEqual([first, first]);
  expect(last).not.toBe(first);
});

test('a normalisation is refitted without the channels that go, and then what reads it', async () => {
  const bytes = GRAPHS['LayerNormalization between layers'].build(new OnnxBuilder({ seed: 3 })).build();
  const { analysis, ...opened } = await openModel(bytes, { engine });
  const wholeNorms = analysis.structures.map((structure) => ({ ...structure, norms: [] }));
  const stepsWith = (structures: readonly Structure[], method?: 'magnitude') => {
    const recipe = parseRecipe({ keep: 0.5, method, correct: false });
    const model = { ...opened, analysis: { structures: [...structures] } };
    const steps = stepsOf(model, ({ groups }) => groups / 2, recipe, { kind: 'self', blend: 0 });
    return steps.map(({ cuts, maps, gain }) => gain?.axis ?? [cuts[0]?.structure.groups, maps[0].m]);
  };
  const chosen = [
    [8, 10],
    [10, 6],
  ];
  expect(stepsWith(wholeNorms)).toEqual(chosen);
  expect(stepsWith(analysis.structures, 'magnitude')).toEqual(chosen);
  expect(stepsWith(analysis.structures)).toEqual([[8, 10], 3, [undefined, 10], [10, 6], 3, [undefined, 6]]);
});

test('what lies before a step is final: the normalisation of its channels does not', async () => {
  const bytes = GRAPHS['LayerNormalization between layers'].build(new OnnxBuilder({ seed: 3 })).build();
  const opened = await openModel(bytes, { engine });
  const { model } = opened;
  const recipe = parseRecipe({ keep: 0.5, correct: false });
  const steps = stepsOf(opened, ({ groups }) => groups / 2, recipe, { kind: 'self', blend: 0 });
  const norms = [...model.nodes.entries()].filter(([, { opType }]) => opType === 'LayerNormalization');
  const [[first], [second]] = norms;
  const readers = steps.map(({ position }) => position);
  expect(placed(model, steps).map(({ from }) => from)).toEqual([
    ...[first, first, readers[2]],
    ...[second, second, readers[5]],
  ]);
  const producers = steps[0].cuts[0].structure.producers.map(
    ({ node }) => linearMap(model, model.node(node)!, opened.info.shapes)!,
  );
  expect(placed(model, [{ ...steps[0], producers }])[0].from).toBeLessThan(first);
});

describe('structures that the same layers read', () => {
  /** Two layers side by side, each of whose channels the other one makes too. */
  const twins = (b: OnnxBuilder, between = (x: string) => x) => {
    const next = random(3);
    const values = Array.from({ length: 4 * 3 * 9 }, () => next() - 0.5);
    const x = image(b);
    const make = () =>
      b.node('Conv', [x, b.floats(values, [4, 3, 3, 3])], { pads: [1, 1, 1, 1] }, { channels: 4 });
    const pieces = [make(), make()].map((piece) => b.relu(piece));
    const both = between(b.node('Concat', pieces, { axis: 1 }, { channels: 8 }));
    return head(b, b.relu(b.conv(both, 6, 3, { pad: 1 }))).build();
  };
  const stepsIn = async (bytes: Uint8Array) => {
    const opened = await openModel(bytes, { engine });
    const recipe = parseRecipe({ keep: 0.5, correct: false });
    return stepsOf(opened, ({ groups }) => groups / 2, recipe, { kind: 'self', blend: 0 });
  };

  test('are one step', async () => {
    const steps = await stepsIn(twins(new OnnxBuilder()));
    expect(steps.map(({ cuts }) => cuts.map(({ structure }) => structure.groups))).toEqual([[4, 4], [6]]);
    expect(plannedStep(steps[0])).toMatchObject({ isPartial: true, cuts: [{ keep: 2 }, { keep: 2 }] });
  });

  test('are several where what reaches the layers of one depends on which channels of another stay', async () => {
    const b = new OnnxBuilder({ opset: 21 });
    const [scale, bias] = [b.weight([8], 1, 1), b.weight([8], 1)];
    const normalized = (x: string) => b.node('GroupNormalization', [x, scale, bias], { num_groups: 1 });
    const steps = await stepsIn(twins(b, normalized));
    expect(steps.filter(({ cuts }) => cuts.length > 1)).toEqual([]);
  });

  test('lose what the others have', async () => {
    const bytes = twins(new OnnxBuilder());
    const [, last] = await stepsIn(bytes);
    const keep = { all: 0.5, layers: { [last.maps[0].node]: 1 } };
    const options = { keep, target: 'self', damping: 1e-6, producers: false } as const;
    const { written, report } = await prune(bytes, await noise(24, [3, 8, 8]), options);
    const both = report.layers.flatMap(({ kept }) => kept);
    expect(both.toSorted()).toEqual([0, 1, 2, 3]);
    const unseen = await noise(5, [3, 8, 8], 8);
    expect(difference(await outputs(bytes, unseen), await outputs(written.model, unseen))).toBeLessThan(1e-3);
  });
});

test('a layer whose input changes after it was solved with others is solved again in its turn', async () => {
  const bytes = GRAPHS['an encoder and a decoder with a skip connection'].build(new OnnxBuilder()).build();
  const opened = await openModel(bytes, { engine });
  const skip = opened.analysis.structures.find(({ consumers }) => consumers.length === 2)!;
  const decoder = skip.consumers[1].node;
  const recipe = parseRecipe({ keep: 0.5 });
  const stepsWith = (kept: (structure: Structure) => number) => {
    const steps = stepsOf(opened, kept, recipe, { kind: 'dense', blend: 1 });
    return steps
      .filter(({ maps }) => maps.some(({ node }) => node === decoder))
      .map(({ cuts }) => cuts[0]?.structure.name);
  };
  // With the channels from below it is solved when these are; else once more by itself.
  const below = opened.analysis.structures.find(({ groups }) => groups === 6)!.name;
  expect(stepsWith(({ groups }) => groups / 2)).toEqual([skip.name, below]);
  expect(stepsWith((it) => (it === skip ? 2 : it.groups))).toEqual([skip.name, undefined]);
});

test('layers that keep all inputs are solved behind the first change, and all of them where that came before', async () => {
  const b = new OnnxBuilder();
  const x = b.relu(b.conv(b.relu(b.conv(image(b), 4, 3)), 5, 3));
  const bytes = head(b, b.relu(b.depthwise(b.relu(b.conv(x, 6, 3)), 3))).build();
  const opened = await openModel(bytes, { engine });
  const recipe = parseRecipe({ keep: 0.5 });
  const kept = ({ groups }: Structure) => (groups === 6 ? 3 : groups);
  const nodesOf = (diverged: boolean) =>
    stepsOf(opened, kept, recipe, { kind: 'dense', blend: 1 }, diverged).map(({ maps, gain }) =>
      [...maps, ...(gain ? [gain] : [])].map(({ node }) => node),
    );
  const layers = opened.model.nodes.filter(({ opType }) => opType === 'Conv' || opType === 'Gemm');
  const alone = layers.map(({ name }) => [name]);
  expect(nodesOf(false)).toEqual(alone.slice(-1));
  expect(nodesOf(true)).toEqual(alone);
});

function squaredDistance(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0);
}

test('a layer with fewer calibration rows than inputs is warned of, with the samples it takes', async () => {
  const b = new OnnxBuilder({ seed: 3 });
  const x = image(b);
  // Two structures: the layer that reads both is told of once.
  const pieces = [3, 1].map((kernel) => b.relu(b.conv(x, 4, kernel)));
  const both = b.node('Concat', pieces, { axis: 1 }, { channels: 8 });
  const bytes = b.output(b.gemm(b.flatten(b.maxPool(both, 2), 16), 5)).build();
  const few = await prune(bytes, await noise(20, [3, 8, 8]), { method: 'magnitude' });
  const [{ layer }, ...others] = few.opened.analysis.structures.filter(({ prunable }) => prunable);
  expect(others).toMatchObject([{ layer }]);
  const ofRows = (warnings: readonly string[]) =>
    warnings.filter((text) => text.includes('calibration rows'));
  expect(ofRows(few.report.warnings)).toEqual([
    `layer "${layer}": 20 calibration rows for 128 inputs; 128 samples or more fit better`,
  ]);
  const enough = await prune(bytes, await noise(128, [3, 8, 8]), { method: 'magnitude' });
  expect(ofRows(enough.report.warnings)).toEqual([]);
});

test('layers that have as few calibration rows are warned of in one line', async () => {
  const b = new OnnxBuilder({ seed: 3 });
  const hidden = [16, 16, 12].reduce((x, width) => b.relu(b.gemm(x, width)), b.flatten(image(b), 64));
  const bytes = b.output(b.gemm(hidden, 5)).build();
  const { report, opened } = await prune(bytes, await noise(8, [3, 8, 8]), { method: 'magnitude' });
  const [first] = opened.analysis.structures.flatMap(({ consumers }) => consumers);
  expect(report.warnings.filter((text) => text.includes('calibration rows'))).toEqual([
    `layers "${first.node}" and 1 more: 8 calibration rows for 16 inputs; 16 samples or more fit better`,
    expect.stringMatching(/^layer "\S+": 8 calibration rows for 12 inputs; 12 samples or more fit better$/),
  ]);
});

describe('prune, by the form of the input', () => {
  const SAMPLES = 13;
  /** What the same network gives with an input of n × 1 × 28 × 28. */
  const usual = once(async () => prune(tiny(), await fashion('calib', SAMPLES), { target: 'residual' }));

  async function expectSame(bytes: Uint8Array, data: Dataset, size?: readonly [number, number]) {
    const [expected, actual] = [await usual(), await prune(bytes, data, { target: 'residual', size })];
    for (const [i, { kept, relativeError }] of actual.report.layers.entries()) {
      expect(kept).toEqual(expected.report.layers[i].kept);
      expect(relativeError).toBeCloseTo(expected.report.layers[i].relativeError, 5);
    }
    expect(actual.report.layers).toHaveLength(2);
    for (const key of ['parameters', 'macs', 'metric'] as const) {
      expect(actual.report[key]).toEqual(expected.report[key]);
    }
    return actual;
  }

  test.each([1, 4])('keeps a fixed batch of %i, of which a surplus does not count', async (batch) => {
    const bytes = await withInputDims(tiny(), [batch, 1, 28, 28]);
    const { written, report } = await expectSame(bytes, await fashion('calib', SAMPLES));
    expect(report.metric?.samples).toBe(SAMPLES);
    const session = await engine.load(written.model);
    expect(session.inputs[0].dims).toEqual([batch, 1, 28, 28]);
    await session.release();
  });

  test('takes height and width for dimensions that are open', async () => {
    const bytes = await withInputDims(tiny(), ['n', 1, 'h', 'w']);
    const data = await fashion('calib', SAMPLES);
    await expectSame(bytes, data, [28, 28]);
    const open = openModel(bytes, { engine, name: 'open.onnx' });
    await expect(open).rejects.toThrow(
      new InputError('open.onnx: input "input" has open dimensions [1, ?, ?]; give the image size (`size`)'),
    );
  });

  test('prunes behind the Transpose of an input with channels last', async () => {
    await expectSame(tiny({ channelsLast: true }), await fashion('calib', SAMPLES, 'nhwc'));
  });
});

describe('prune, float16', () => {
  test('prunes and stays float16', async () => {
    const bytes = await toFloat16(fixtureBytes('fashion-mobilenet'), ['n', 1, 28, 28]);
    const calibration = await fashion('calib', 40);
    const evaluation = await fashion('test', 60);
    const { written, report } = await prune(bytes, calibration, { target: 'residual', evaluation });
    const { tensors } = await readModel(written.model);
    expect(new Set([...tensors.values()].map(({ type }) => type))).toEqual(new Set(['float16']));
    const session = await engine.load(written.model);
    expect([session.inputs[0].type, session.outputs[0].type]).toEqual(['float16', 'float16']);
    await session.release();

    // Rounding of the weights to 11 bits aside, it is the float32 network.
    const single = await prune(fixtureBytes('fashion-mobilenet'), calibration, { target: 'residual' });
    expect(report.parameters).toEqual(single.report.parameters);
    expect(report.bytes.after).toBeLessThan(0.65 * single.report.bytes.after);
    expect(report.maxDifference).toBeLessThan(5e-3);
    expect(report.metric!.before).toBeGreaterThan(0.8);
    expect(report.metric!.after).toBeGreaterThan(0.6);
  });
});

test('prunes a model of float64', async () => {
  const b = new OnnxBuilder({ type: 'float64' });
  const rows = b.reshape(b.input([1, 28, 28]), [0, 784], 784);
  const bytes = b.output(b.gemm(b.relu(b.gemm(b.relu(b.gemm(rows, 16)), 8)), 10)).build();
  const { written, report } = await prune(bytes, await fashion('calib', 20), { keep: 0.5 });
  expect(report.maxDifference).toBeLessThan(1e-5);
  const { tensors } = await readModel(written.model);
  expect([...tensors.values()].filter(({ type }) => type === 'float64').length).toBe(6);
});
