import { describe, expect, it } from 'vitest';
import {
  analyse,
  type LinearMap,
  linearMaps,
  type Model,
  padsFor,
  readModel,
  readWeights,
  writeWeights,
} from '../../src/graph/index.ts';
import { toFloat64 } from '../../src/graph/tensor.ts';
import { type BuilderOptions, OnnxBuilder } from '../support/onnx-builder.ts';
import { concat, size, transpose } from './attention-graphs.ts';
import { allValues, randomValue, type Value } from './running.ts';

async function opened(b: OnnxBuilder, dims: readonly number[]) {
  const model = await readModel(b.build());
  const input = randomValue(dims);
  const values = await allValues(model, input);
  const shapes = new Map([...values].map(([name, value]) => [name, value.dims]));
  return { model, input, values, shapes, maps: linearMaps(model, shapes) };
}

/** Y = X·W + b by the definition, rows of X unfolded from the input. */
function apply(model: Model, map: LinearMap, values: Map<string, Value>): Float64Array {
  const { W, bias } = readWeights(model, map);
  const x = values.get(map.input)!;
  const y = values.get(map.output)!;
  const out = new Float64Array(y.data.length);
  const rows = map.conv ? unfold(map, x, y) : split(x.data, map.p);
  for (const [r, row] of rows.entries()) {
    for (let j = 0; j < map.m; j++) {
      let sum = bias ? bias[j] : 0;
      for (let i = 0; i < map.p; i++) sum += row[i] * W[i * map.m + j];
      if (!map.conv) out[r * map.m + j] = sum;
      else {
        const positions = rows.length / y.dims[0];
        out[(Math.floor(r / positions) * map.m + j) * positions + (r % positions)] = sum;
      }
    }
  }
  return out;
}

/** The channels of images that are a part's. */
function channelsOf({ dims: [n, channels, ...sides], data }: Value, { part }: LinearMap): Value {
  const { index, count } = part!;
  const size = data.length / n / count;
  const own = Array.from({ length: n }, (_, i) => [
    ...data.subarray((i * count + index) * size).slice(0, size),
  ]);
  return { dims: [n, channels / count, ...sides], data: Float32Array.from(own.flat()) };
}

function split(data: Float32Array, p: number): Float32Array[] {
  return Array.from({ length: data.length / p }, (_, i) => data.subarray(i * p, (i + 1) * p));
}

function unfold(map: LinearMap, x: Value, y: Value): number[][] {
  const { kernel, strides, pads, dilations, inputDilations = [1, 1], depth } = map.conv!;
  const [n, channels] = x.dims;
  // as of three dimensions
  const three = (list: readonly number[]) => [1, 1, ...list].slice(-3);
  const sides = three(x.dims.slice(2));
  const [d, h, w] = sides;
  const steps = [depth?.stride ?? 1, ...strides];
  const apart = [depth?.inputDilation ?? 1, ...inputDilations];
  const dilated = [depth?.dilation ?? 1, ...dilations];
  const before = [depth?.pads[0] ?? 0, pads[0], pads[1]];
  const [od, oh, ow] = three(y.dims.slice(2));
  const taps = places([depth?.kernel ?? 1, ...kernel]);
  return places([n, od, oh, ow]).map(([s, ...at]) =>
    Array.from({ length: channels }, (_, c) => c).flatMap((c) =>
      taps.map((tap) => {
        const [iz, iy, ix] = at.map((o, i) => (o * steps[i] + tap[i] * dilated[i] - before[i]) / apart[i]);
        const isInside = [iz, iy, ix].every((i, axis) => Number.isInteger(i) && i >= 0 && i < sides[axis]);
        return isInside ? x.data[(((s * channels + c) * d + iz) * h + iy) * w + ix] : 0;
      }),
    ),
  );
}

/** Every place in a box of these extents, row by row. */
function places([extent, ...more]: readonly number[]): number[][] {
  if (extent === undefined) return [[]];
  return Array.from({ length: extent }, (_, i) => places(more).map((rest) => [i, ...rest])).flat();
}

function expectClose(got: Float64Array, value: Value): void {
  expect(got.length).toBe(value.data.length);
  let worst = 0;
  for (let i = 0; i < got.length; i++) worst = Math.max(worst, Math.abs(got[i] - value.data[i]));
  expect(worst).toBeLessThan(1e-4);
}

const image = [2, 3, 7, 6];
const withInput = (options?: BuilderOptions) => {
  const b = new OnnxBuilder(options);
  return { b, x: b.input([3, 7, 6]) };
};

describe('linearMaps', () => {
  const layers: Record<string, (b: OnnxBuilder, x: string) => string> = {
    'a convolution': (b, x) => b.conv(x, 4, 3),
    'a convolution with strides, dilations and no bias': (b, x) =>
      b.conv(x, 4, 3, { stride: 2, dilation: 2, pad: 1, bias: false }),
    'a convolution padded to the same size': (b, x) => b.conv(x, 4, 3, { stride: 2, autoPad: 'SAME_UPPER' }),
    'a convolution padded to the same size, more in front': (b, x) =>
      b.conv(x, 4, 4, { stride: 2, autoPad: 'SAME_LOWER' }),
    'a convolution without padding': (b, x) => b.conv(x, 4, 3, { autoPad: 'VALID' }),
    'a convolution padded unevenly': (b, x) =>
      b.node(
        'Conv',
        [x, b.weight([4, 3, 2, 3], 0.5)],
        { pads: [1, 0, 2, 3], strides: [1, 2] },
        { channels: 4 },
      ),
    'a transposed convolution': (b, x) =>
      b.node(
        'ConvTranspose',
        [x, b.weight([3, 4, 2, 2], 0.5), b.weight([4], 1)],
        { strides: [2, 2] },
        { channels: 4 },
      ),
    'a transposed convolution that crops, with dilations, extra rows and no bias': (b, x) =>
      b.node(
        'ConvTranspose',
        [x, b.weight([3, 4, 3, 2], 0.5)],
        { strides: [2, 3], dilations: [2, 1], pads: [1, 0, 2, 1], output_padding: [1, 2] },
        { channels: 4 },
      ),
    'a transposed convolution placed by its extents': (b, x) =>
      b.node(
        'ConvTranspose',
        [x, b.weight([3, 4, 3, 4], 0.5)],
        { strides: [2, 3], auto_pad: 'SAME_UPPER' },
        { channels: 4 },
      ),
    'a transposed convolution to a shape': (b, x) =>
      b.node(
        'ConvTranspose',
        [x, b.weight([3, 4, 3, 4], 0.5)],
        { strides: [2, 2], output_shape: [14, 13] },
        { channels: 4 },
      ),
    Gemm: (b, x) => b.gemm(b.flatten(b.globalAveragePool(x)), 5),
    'Gemm with alpha, beta and the other layout': (b, x) =>
      b.gemm(b.flatten(b.globalAveragePool(x)), 5, { transB: 0, alpha: 0.5, beta: 3 }),
    MatMul: (b, x) => b.matmul(b.flatten(b.globalAveragePool(x)), 5),
    'MatMul with a bias behind it': (b, x) =>
      b.add(b.matmul(b.flatten(b.globalAveragePool(x)), 5), b.weight([5], 1)),
    'MatMul on the last of four axes': (b, x) =>
      b.add(b.weight([1, 5], 1), b.matmul(b.node('Transpose', [x], { perm: [0, 2, 3, 1] }), 5)),
  };
  for (const [what, layer] of Object.entries(layers)) {
    it(`describes ${what} so that Y = X·W + b holds`, async () => {
      const { b, x } = withInput();
      const { model, values, maps } = await opened(b.output(layer(b, x)), image);
      expect(maps.length).toBe(1);
      expectClose(apply(model, maps[0], values), values.get(maps[0].output)!);
      expect(maps[0].rows * 2 * maps[0].m).toBe(values.get(maps[0].output)!.data.length);
    });

    it(`writes back what it read: ${what}`, async () => {
      const { b, x } = withInput();
      const { model, input, values, maps } = await opened(b.output(layer(b, x)), image);
      const { W, bias } = readWeights(model, maps[0]);
      const copy = model.clone();
      writeWeights(copy, maps[0], W, bias);
      expectClose(
        Float64Array.from((await allValues(copy, input)).get(maps[0].output)!.data),
        values.get(maps[0].output)!,
      );
    });

    it(`takes new weights and a bias: ${what}`, async () => {
      const { b, x } = withInput();
      const { model, input, maps } = await opened(b.output(layer(b, x)), image);
      const [map] = maps;
      const W = Float64Array.from({ length: map.p * map.m }, (_, i) => Math.sin(i));
      const bias = Float64Array.from({ length: map.m }, (_, i) => i + 0.5);
      const copy = model.clone();
      writeWeights(copy, map, W, map.kind === 'matmul' && !map.bias ? undefined : bias);
      const read = readWeights(copy, map);
      expect([...read.W]).toEqual([...Float32Array.from(W)]);
      if (read.bias) expect([...read.bias]).toEqual([...bias]);
      const values = await allValues(copy, input);
      expectClose(apply(copy, map, values), values.get(map.output)!);
    });
  }

  const extents: [one: number[], other: number[]][] = [
    [[9], [7]],
    [
      [9, 8],
      [7, 5],
    ],
    [
      [9, 8, 7],
      [7, 5, 5],
    ],
  ];
  for (const [one, other] of extents) {
    it.each(['SAME_UPPER', 'SAME_LOWER'])(
      `knows the padding for images of each size: ${one.length} axes, %s`,
      async (auto_pad) => {
        const mapOf = async (sides: number[]) => {
          const b = new OnnxBuilder();
          const W = b.weight([4, 3, ...sides.map(() => 4)], 1);
          const y = b.node(
            'Conv',
            [b.input([3, ...sides]), W],
            { auto_pad, strides: sides.map(() => 3) },
            { channels: 4 },
          );
          return (await opened(b.output(y), [2, 3, ...sides])).maps[0].conv!;
        };
        const [conv, expected] = await Promise.all([one, other].map(mapOf));
        expect(conv.pads).not.toEqual(expected.pads);
        expect(padsFor(conv, other)).toEqual(expected);
      },
    );
  }

  it('treats a one-dimensional convolution as one of height 1', async () => {
    const b = new OnnxBuilder();
    const y = b.conv(b.input([3, 9]), 4, 3, { dimensions: 1, stride: 2, dilation: 2, pad: 1 });
    const { model, values, maps } = await opened(b.output(y), [2, 3, 9]);
    expect(maps[0].conv).toEqual({ kernel: [1, 3], strides: [1, 2], pads: [0, 1, 0, 1], dilations: [1, 2] });
    expectClose(apply(model, maps[0], values), values.get(y)!);
  });

  it('treats a one-dimensional transposed convolution as one of height 1', async () => {
    const b = new OnnxBuilder();
    const W = b.weight([3, 4, 3], 0.5);
    const y = b.node('ConvTranspose', [b.input([3, 9]), W], { strides: [2], pads: [1, 0] }, { channels: 4 });
    const { model, values, maps } = await opened(b.output(y), [2, 3, 9]);
    expect(maps[0].conv).toMatchObject({ kernel: [1, 3], inputDilations: [1, 2] });
    expectClose(apply(model, maps[0], values), values.get(y)!);
  });

  it('treats a convolution in three dimensions, transposed or not, as one of stacked planes', async () => {
    const b = new OnnxBuilder();
    const attributes = { strides: [1, 2, 1], dilations: [2, 1, 1], pads: [1, 0, 2, 2, 1, 0] };
    const W = [b.weight([4, 2, 3, 3, 2], 0.5), b.weight([4, 3, 3, 2, 2], 0.5)];
    const x = b.input([2, 5, 7, 4]);
    const y = b.node('Conv', [x, W[0], b.weight([4], 1)], attributes, { channels: 4 });
    const z = b.node('ConvTranspose', [b.relu(y), W[1]], { strides: [2, 1, 2], pads: [1, 0, 0, 0, 1, 1] });
    const { model, values, maps } = await opened(b.output(z), [2, 2, 5, 7, 4]);
    expect(maps.map(({ p, m, conv }) => [p, m, conv?.depth])).toEqual([
      [2 * 18, 4, { kernel: 3, stride: 1, pads: [1, 2], dilation: 2, inputDilation: 1 }],
      [4 * 12, 3, { kernel: 3, stride: 1, pads: [1, 2], dilation: 1, inputDilation: 2 }],
    ]);
    for (const map of maps) expectClose(apply(model, map, values), values.get(map.output)!);
  });

  it('takes each group of a convolution for a layer of its own', async () => {
    const { b, x } = withInput();
    const W = b.weight([4, 3, 3, 2], 0.5);
    const six = b.node('Concat', [x, b.relu(x)], { axis: 1 }, { channels: 6 });
    const attributes = { group: 2, strides: [2, 1] };
    for (const bias of [[], [b.weight([4], 1)]]) {
      const y = b.node('Conv', [six, W, ...bias], attributes, { channels: 4 });
      b.output(y);
    }
    const { model, input, values, maps } = await opened(b, image);
    expect(maps.map(({ p, m, part }) => [p, m, part])).toEqual(
      [0, 1, 0, 1].map((index) => [18, 2, { index, count: 2 }]),
    );
    const expectParts = (of: Model, found: Map<string, Value>) => {
      for (const map of maps) {
        const own = new Map([map.input, map.output].map((name) => [name, channelsOf(found.get(name)!, map)]));
        expectClose(apply(of, map, own), own.get(map.output)!);
      }
    };
    expectParts(model, values);
    const copy = model.clone();
    for (const [i, map] of maps.entries()) {
      const W = Float64Array.from({ length: map.p * map.m }, (_, at) => Math.sin(at + i));
      const bias = Float64Array.from({ length: map.m }, (_, at) => at + i);
      writeWeights(copy, map, W, bias);
      expect(readWeights(copy, map)).toEqual({ W: Float32Array.from(W), bias: Float32Array.from(bias) });
    }
    expectParts(copy, await allValues(copy, input));
  });

  it('leaves out depthwise convolutions and products of activations', async () => {
    const { b, x } = withInput();
    const y = b.depthwise(x, 3);
    const { maps } = await opened(
      b.output(b.node('MatMul', [y, b.node('Transpose', [y], { perm: [0, 1, 3, 2] })])),
      image,
    );
    expect(maps).toEqual([]);
  });

  it('takes what recurrent layers read of themselves for a layer of each direction', async () => {
    const b = new OnnxBuilder();
    const weights = [[6], [4], []].map((dims, i) => b.weight([2, i < 2 ? 16 : 32, ...dims], 0.5));
    const attributes = { hidden_size: 4, direction: 'bidirectional' };
    const [y] = b.nodes('LSTM', [b.feed('input', [3, 'n', 6]), ...weights], attributes, {
      outputs: 2,
      channels: 8,
    });
    const flat = b.reshape(b.node('Transpose', [y], { perm: [0, 2, 1, 3] }), [0, 0, 8], 8);
    const { model, shapes } = await opened(b.output(b.matmul(flat, 5)), [3, 2, 6]);
    const [{ consumers }] = analyse(model, shapes).structures;
    const recurrent = consumers.filter((map) => map.isRecurrent);
    expect(recurrent.map(({ p, m, part }) => [p, m, part?.index])).toEqual([
      [4, 16, 0],
      [4, 16, 1],
    ]);
    const [R, B] = [weights[1], weights[2]].map((name) => toFloat64(model.tensors.get(name)!));
    const copy = model.clone();
    for (const map of recurrent) {
      const { W, bias } = readWeights(model, map);
      const first = 16 * map.part!.index;
      for (const [at, value] of W.entries())
        expect(value).toBe(R[(first + (at % 16)) * 4 + Math.floor(at / 16)]);
      expect([...bias!]).toEqual([...B.subarray(2 * first + 16, 2 * first + 32)]);
      writeWeights(
        copy,
        map,
        W.map((value) => 2 * value),
        bias!.map((value) => 3 * value),
      );
    }
    expect([...toFloat64(copy.tensors.get(weights[1])!)]).toEqual([...R].map((value) => 2 * value));
    const written = toFloat64(copy.tensors.get(weights[2])!);
    for (const [at, value] of B.entries())
      expect(written[at]).toBeCloseTo(at % 32 < 16 ? value : 3 * value, 6);
  });

  it('finds the shortcut that a layer is added to', async () => {
    const { b, x } = withInput();
    const [first, second] = [b.conv(x, 4, 3), b.conv(x, 4, 1)];
    const sum = b.add(b.node('Identity', [first]), second);
    const { maps } = await opened(b.output(b.conv(b.relu(sum), 2, 1)), image);
    const node = sum;
    expect(maps[0].residual).toEqual({ sum, shortcut: second, node });
    expect(maps[1].residual).toEqual({ sum, shortcut: `identity_6`, node });
    expect(maps[2].residual).toBeUndefined();
  });

  it('finds the shortcut behind a Reshape that gives rows their batch back, and counts the rows of a sample', async () => {
    const b = new OnnxBuilder();
    const x = b.sequence(6);
    const flat = b.gemm(b.reshape(x, [-1, 6]), 6);
    const sum = b.add(x, b.node('Reshape', [flat, b.node('Shape', [x])]));
    const { model, values, maps } = await opened(b.output(sum), [2, 5, 6]);
    expect(maps[0]).toMatchObject({ kind: 'gemm', rows: 5, residual: { sum, shortcut: x } });
    expectClose(apply(model, maps[0], values), values.get(flat)!);
  });

  it('finds the shortcut behind a Transpose that moves samples alone, also of a layer whose extents are read', async () => {
    const residualOf = async (shape: number[], perm: number[]) => {
      const b = new OnnxBuilder();
      const x = b.sequence(4);
      const flat = b.gemm(b.reshape(transpose(b, x, 1, 0, 2), [-1, 4]), 4); // positions before samples
      const apart = b.node('Reshape', [flat, concat(b, [b.integers(shape), size(b, flat, 1)])]);
      b.output(b.add(x, b.reshape(transpose(b, apart, ...perm), [-1, 6, 4])));
      return (await opened(b, [1, 6, 4])).maps[0].residual;
    };
    expect(await residualOf([6, -1], [1, 0, 2])).toMatchObject({ shortcut: 'input' });
    expect(await residualOf([2, 3, -1], [2, 0, 1, 3])).toMatchObject({ shortcut: 'input' });
    expect(await residualOf([2, 3, -1], [2, 1, 0, 3])).toBeUndefined();
  });

  it('sees no shortcut behind a Reshape that breaks up rows', async () => {
    const b = new OnnxBuilder();
    const x = b.sequence(6);
    const halves = (value: string) => b.reshape(value, [0, -1, 3]);
    const { maps } = await opened(b.output(b.add(halves(x), halves(b.matmul(x, 6)))), [2, 5, 6]);
    expect(maps[0].residual).toBeUndefined();
  });

  it('finds the shortcut of a fused normalisation where the sum is an output of it and has no bias', async () => {
    const fused = async (opType: string, bias: boolean, outputs: number) => {
      const b = new OnnxBuilder();
      const x = b.sequence(6);
      const parameters = [b.weight([6], 0.2, 1), ...(bias ? [b.weight([6], 0.2), b.weight([6], 0.2)] : [])];
      const domain = 'com.microsoft';
      const [normal, , , sum] = b.nodes(opType, [b.matmul(x, 6), x, ...parameters], {}, { domain, outputs });
      b.output(sum ? b.add(sum, normal) : normal);
      const { values, maps } = await opened(b, [2, 5, 6]);
      if (!maps[0].residual) return undefined;
      const read = (name: string) => values.get(name)!.data;
      const whole = read(maps[0].output).map((y, i) => y + read(maps[0].residual!.shortcut)[i]);
      expectClose(Float64Array.from(whole), values.get(maps[0].residual.sum)!);
      return maps[0].residual;
    };
    expect(await fused('SkipSimplifiedLayerNormalization', false, 4)).toMatchObject({ shortcut: 'input' });
    expect(await fused('SkipLayerNormalization', false, 4)).toMatchObject({ shortcut: 'input' });
    expect(await fused('SkipLayerNormalization', true, 4)).toBeUndefined();
    expect(await fused('SkipSimplifiedLayerNormalization', false, 1)).toBeUndefined();
  });

  it('sees no shortcut where the operands broadcast or someone else reads the layer', async () => {
    const { b, x } = withInput();
    const y = b.conv(x, 4, 3);
    const pooled = b.conv(b.globalAveragePool(x), 4, 1);
    const twice = b.conv(x, 4, 1);
    const sum = b.add(b.add(y, pooled), b.mul(twice, b.add(twice, y)));
    const { maps } = await opened(b.output(sum), image);
    expect(maps.map((map) => map.residual)).toEqual([undefined, undefined, undefined]);
  });

  it('keeps the type of weights in double precision without rounding them to single', async () => {
    const b = new OnnxBuilder({ type: 'float64' });
    const model = await readModel(b.output(b.conv(b.input([3, 7, 6]), 4, 1)).build());
    const shapes = new Map([
      ['input', [2, 3, 7, 6]],
      ['conv_2', [2, 4, 7, 6]],
    ]);
    const [map] = linearMaps(model, shapes);
    const W = Float64Array.from({ length: 12 }, (_, i) => 1 / (i + 3));
    writeWeights(model, map, W);
    const weights = model.tensors.get(map.weight)!;
    expect(weights.type).toBe('float64');
    expect([...toFloat64(weights)].sort()).toEqual([...W].sort());
  });

  it('gives a layer its own weights before they change', async () => {
    const { b, x } = withInput();
    const W = b.weight([3, 3, 1, 1], 0.5);
    const conv = (input: string, stride: number) =>
      b.node('Conv', [input, W], { strides: [stride, stride] }, { channels: 3 });
    const { model, maps } = await opened(b.output(conv(conv(x, 1), 2)), image);
    const before = readWeights(model, maps[0]).W;
    const copy = model.clone();
    writeWeights(copy, maps[1], new Float32Array(9));
    expect(readWeights(copy, maps[0]).W).toEqual(before);
    expect(readWeights(copy, maps[1]).W).toEqual(new Float32Array(9));
    expect(readWeights(model, maps[1]).W).toEqual(before);
  });

  it('takes nodes with the same weights for one layer, and writes these once', async () => {
    const { b, x } = withInput();
    const [W, bias] = [b.weight([3, 3, 1, 1], 0.5), b.weight([3], 0.5)];
    const [V, c] = [b.weight([3, 5], 0.5), b.weight([5], 0.5)];
    const conv = (input: string, ...more: string[]) =>
      b.node('Conv', [input, W, ...more], { pads: [0, 0, 0, 0] }, { channels: 3 });
    const rows = (y: string) =>
      b.add(b.node('MatMul', [b.node('Transpose', [y], { perm: [0, 2, 3, 1] }), V]), c);
    const images = [conv(x, bias), conv(b.maxPool(x, 2), bias), conv(x)];
    const [all, few] = images.slice(0, 2).map(rows);
    const { model, input, maps } = await opened(b.output(all).output(few).output(images[2]), image);
    expect(maps.map(({ others = [] }) => 1 + others.length)).toEqual([2, 1, 2]);
    expect(maps[0].rows).toBe(7 * 6 + 3 * 3);
    const copy = model.clone();
    for (const map of [maps[0], maps[2]]) {
      const W = Float64Array.from({ length: map.p * map.m }, (_, i) => Math.sin(i));
      const own = Float64Array.from({ length: map.m }, (_, i) => i + 0.5);
      writeWeights(copy, map, W, own);
    }
    // One more: a convolution without a bias keeps the weights of before.
    expect(copy.tensors.size).toBe(model.tensors.size + 1);
    expect(readWeights(copy, maps[1]).W).toEqual(readWeights(model, maps[1]).W);
    const values = await allValues(copy, input);
    for (const map of maps.flatMap((map) => [map, ...(map.others ?? [])]))
      expectClose(apply(copy, map, values), values.get(map.output)!);
    const once = model.clone();
    writeWeights(once, maps[2], new Float32Array(15), new Float32Array(5));
    expect(once.tensors.size).toBe(model.tensors.size);
  });

  it.each<Record<string, number[]>>([
    { strides: [2 ** 40, 1] },
    { pads: [0, 0, 0, 2 ** 31] },
    { dilations: [1, 2 ** 31] },
  ])('takes a convolution for no layer whose steps are too far to be counted: %j', async (attributes) => {
    const { b, x } = withInput();
    const y = b.node('Conv', [x, b.weight([4, 3, 1, 1], 0.5)], attributes, { channels: 4 });
    const model = await readModel(b.output(y).build());
    const shapes = [3, 4].map((channels) => [1, channels, 1, 1]);
    expect(linearMaps(model, new Map([x, y].map((value, i) => [value, shapes[i]])))).toEqual([]);
  });

  it('refuses weights of another size', async () => {
    const { b, x } = withInput();
    const { model, maps } = await opened(b.output(b.conv(x, 4, 3)), image);
    expect(() => writeWeights(model, maps[0], new Float32Array(3))).toThrow(
      /"W" of "conv_2" expected 27x4, got 3/,
    );
    expect(() => writeWeights(model, maps[0], new Float32Array(108), new Float32Array(3))).toThrow(
      /"bias" .* expected 4/,
    );
    expect(() => readWeights(model, { ...maps[0], node: 'gone' })).toThrow(/no layer "gone"/);
  });
});
