import { describe, expect, test } from 'vitest';
import {
  gradientModel,
  type LinearMap,
  linearMaps,
  type Model,
  readModel,
  readWeights,
  toFloat32,
  weightTensors,
  writeWeights,
} from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { allValues, randomValue, run } from './running.ts';

const IMAGE = [2, 3, 9, 8];
const ROWS = [2, 5, 6];

/** Everything between the first linear map or maps and the last. */
const graphs: Record<string, { dims: number[]; producers?: number; build(b: OnnxBuilder): string }> = {
  'MatMul, Add, Relu': {
    dims: ROWS,
    build: (b) => b.matmul(b.relu(b.add(b.matmul(b.sequence(6), 7), b.weight([7], 0.3))), 4),
  },
  'Gemm with alpha, turned or not': {
    dims: [4, 6],
    build: (b) => b.gemm(b.relu(b.gemm(b.input([6]), 7, { transB: 0 })), 4, { alpha: 0.5 }),
  },
  'convolutions with strides, pads and dilations': {
    dims: IMAGE,
    build: (b) => {
      const wide = b.conv(b.input([3, 9, 8]), 5, 3, { stride: 2 });
      return b.conv(b.node('Clip', [wide, b.floats([0], []), b.floats([1], [])]), 4, 3, { dilation: 2 });
    },
  },
  'a 1-D convolution without bias': {
    dims: [2, 3, 11],
    build: (b) => {
      const x = b.conv(b.input([3, 11]), 5, 3, { dimensions: 1, bias: false, dilation: 2, pad: 1 });
      return b.conv(b.node('Tanh', [x]), 4, 2, { dimensions: 1, stride: 2, pad: 0 });
    },
  },
  'a depthwise convolution and a normalization': {
    dims: IMAGE,
    build: (b) => {
      const x = b.relu(b.batchNormalization(b.conv(b.input([3, 9, 8]), 6, 1)));
      return b.conv(b.node('Sigmoid', [b.depthwise(x, 3, { stride: 2 })]), 4, 1);
    },
  },
  'a mean over positions': {
    dims: IMAGE,
    build: (b) => b.gemm(b.flatten(b.globalAveragePool(b.relu(b.conv(b.input([3, 9, 8]), 6, 3)))), 4),
  },
  'a gate of two layers': {
    dims: ROWS,
    producers: 2,
    build: (b) => {
      const x = b.sequence(6);
      const gate = b.matmul(x, 7);
      return b.matmul(b.mul(b.mul(gate, b.node('Sigmoid', [gate])), b.matmul(x, 7)), 4);
    },
  },
  'GELU as exporters write it': {
    dims: ROWS,
    build: (b) => {
      const x = b.matmul(b.sequence(6), 7);
      const error = b.node('Erf', [b.node('Div', [x, b.floats([Math.SQRT2], [])])]);
      return b.matmul(b.mul(b.mul(x, b.add(error, b.floats([1], []))), b.floats([0.5], [])), 4);
    },
  },
  'a power, other shapes and orders': {
    dims: ROWS,
    build: (b) => {
      const x = b.node('Pow', [b.matmul(b.sequence(6), 7), b.floats([3], [])]);
      const turned = b.node('Transpose', [b.reshape(x, [-1, 5, 7])], { perm: [1, 0, 2] });
      return b.matmul(b.node('Transpose', [turned], { perm: [1, 0, 2] }), 4);
    },
  },
};

async function opened(build: (b: OnnxBuilder) => string, dims: readonly number[]) {
  const b = new OnnxBuilder();
  const model = await readModel(b.output(build(b)).build());
  const input = randomValue(dims);
  const values = await allValues(model, input);
  const shapes = new Map([...values].map(([name, value]) => [name, value.dims]));
  return {
    model,
    input,
    values,
    info: { shapes, types: new Map<string, string>() },
    maps: linearMaps(model, shapes),
  };
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((total, value, i) => total + value * b[i], 0);

/** The gradients, and the loss of the same model with other weights. */
async function gradientsOf(name: string) {
  const { dims, producers = 1, build } = graphs[name];
  const { model, input, info, maps } = await opened(build, dims);
  const [by, to] = [maps.slice(0, producers), maps.slice(-1)];
  const gradient = gradientModel(model, by, to, info)!;
  const target = randomValue(info.shapes.get(to[0].output)!, 11);
  const results = async (of: Model, bytes = gradient.bytes) => {
    const weights = by.flatMap((map) => Object.values(weightTensors(of, map)));
    const feeds = Object.fromEntries(weights.map((it) => [it.name, { dims: it.dims, data: toFloat32(it) }]));
    const [{ target: wanted }] = gradient.layers;
    return run(bytes, { ...feeds, [by[0].input]: input, [wanted]: target });
  };
  const [{ squares }] = gradient.layers;
  const loss = async (of: Model) =>
    (await results(of, gradient.forward))[squares].data.reduce((a, b) => a + b) / 2;
  return { model, by, gradient, found: await results(model), loss };
}

/** Slope of the loss along a direction of a layer's weights, by two losses. */
async function slope(
  model: Model,
  map: LinearMap,
  loss: (of: Model) => Promise<number>,
  W: Float32Array,
  bias?: Float32Array,
) {
  const dense = readWeights(model, map);
  const [up, down] = await Promise.all(
    [1e-3, -1e-3].map((step) => {
      const moved = model.clone();
      const along = (a: Float32Array, d: Float32Array) => a.map((value, i) => value + step * d[i]);
      writeWeights(moved, map, along(dense.W, W), bias && along(dense.bias!, bias));
      return loss(moved);
    }),
  );
  return (up - down) / 2e-3;
}

describe('gradients', () => {
  test.each(Object.keys(graphs))('are those of differences: %s', async (name) => {
    const { model, by, gradient, found, loss } = await gradientsOf(name);
    for (const [i, map] of by.entries()) {
      const direction = randomValue([map.p * map.m], 5).data;
      const { weight, bias } = gradient.gradients[i];
      const W = found[weight].data;
      expect(W).toHaveLength(map.p * map.m);
      const scale = Math.sqrt(dot(W, W));
      expect(Math.abs(dot(W, direction) - (await slope(model, map, loss, direction))) / scale).toBeLessThan(
        0.02,
      );
      if (!bias) continue;
      const shift = randomValue([map.m], 6).data;
      const none = new Float32Array(map.p * map.m);
      const own = found[bias].data;
      const error = dot(own, shift) - (await slope(model, map, loss, none, shift));
      expect(Math.abs(error) / Math.sqrt(dot(own, own))).toBeLessThan(0.02);
    }
  });

  test('by outputs are squared and summed by channel', async () => {
    const { by, gradient, found } = await gradientsOf('MatMul, Add, Relu');
    const { power, bias } = gradient.gradients[0];
    expect(found[power].dims).toEqual([by[0].m]);
    // (Σδ)² ≤ n·Σδ² for the n = 10 rows, and equal only where all are alike.
    found[power].data.forEach((square, j) => {
      expect(found[bias!].data[j] ** 2).toBeLessThan(10 * square);
    });
  });

  test('are not given where a derivative is not known, or one layer reads what another makes', async () => {
    const pooled = await opened((b) => b.conv(b.maxPool(b.conv(b.input([3, 9, 8]), 5, 3), 2), 4, 3), IMAGE);
    expect(
      gradientModel(pooled.model, pooled.maps.slice(0, 1), pooled.maps.slice(1), pooled.info),
    ).toBeUndefined();
    const chain = await opened((b) => b.gemm(b.gemm(b.gemm(b.input([6]), 7), 5), 4), [2, 6]);
    expect(
      gradientModel(chain.model, chain.maps.slice(0, 2), chain.maps.slice(2), chain.info),
    ).toBeUndefined();
    expect(gradientModel(chain.model, chain.maps.slice(1, 2), chain.maps.slice(2), chain.info)).toBeDefined();
  });
});
