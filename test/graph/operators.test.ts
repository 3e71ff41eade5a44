// Operators that a user describes. onnxruntime runs the standard ones that they stand for.

import { describe, expect, it } from 'vitest';
import {
  analyse,
  attributeInt,
  broadcast,
  carry,
  countMacs,
  foldBatchNormalization,
  linear,
  linearMaps,
  type Model,
  type Operator,
  readModel,
  readWeights,
  shrink,
  unary,
  writeWeights,
} from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { mask } from './masking.ts';
import { difference, randomValue, runModel, shapesOf } from './running.ts';

const domain = 'my.domain';

const OWN = {
  Wave: { domain, name: 'Wave', kind: 'pass', rule: unary },
  Gate: { domain, name: 'Gate', kind: 'join', rule: broadcast },
  Plus: { domain, name: 'Plus', kind: 'join', rule: broadcast, sum: ({ output }) => output[0] },
  Mean: {
    domain,
    name: 'Mean',
    kind: 'pass',
    rule: (state, node) => {
      const over = attributeInt(node, 'axis', 1);
      carry(state, node, (place) => (place === over ? 'averages over it' : place));
    },
  },
  Linear: {
    domain,
    name: 'Linear',
    kind: 'source',
    rule: linear,
    layer: { axis: -1, outputAxis: () => 0, bias: 2, isLinear: () => true },
    macs: (node, dims) => dims(node.output[0]).reduce((a, b) => a * b, 1) * dims(node.input[1])[1],
  },
} satisfies Record<string, Operator>;

const STANDS_FOR: Readonly<Record<keyof typeof OWN, string>> = {
  Wave: 'Sin',
  Gate: 'Mul',
  Plus: 'Add',
  Mean: 'Softmax', // of the same shape
  Linear: 'Gemm',
};

/** The same model in standard operators. */
function standard(model: Model): Model {
  const copy = model.clone();
  for (const node of copy.nodes) {
    if (node.domain !== domain) continue;
    node.opType = STANDS_FOR[node.opType as keyof typeof OWN];
    node.domain = '';
  }
  return copy;
}

const input = randomValue([2, 3, 8, 8]);
const image = (b: OnnxBuilder) => b.input([3, 8, 8]);
const flat = (b: OnnxBuilder, x: string) => b.flatten(b.globalAveragePool(x));
const wave = (b: OnnxBuilder, x: string) => b.node('Wave', [x], {}, { domain });
const layer = (b: OnnxBuilder, x: string, m: number, bias = true) => {
  const inputs = [x, b.weight([m, b.channels(x)], 0.5), ...(bias ? [b.weight([m], 0.2)] : [])];
  return b.node('Linear', inputs, { transB: 1 }, { domain, channels: m });
};

async function opened(b: OnnxBuilder, operators?: readonly Operator[]) {
  const model = await readModel(b.build(), { operators });
  const shapes = await shapesOf(standard(model), input);
  const { structures } = analyse(model, shapes);
  return { model, shapes, structures, prunable: structures.filter((structure) => structure.prunable) };
}

/** Keeps every other channel of everything, and compares with the masked model. */
async function expectCut({ model, prunable }: Awaited<ReturnType<typeof opened>>): Promise<Model> {
  const cuts = new Map(
    prunable.map((structure) => {
      const channels = Array.from({ length: structure.groups }, (_, c) => c);
      return [structure, channels.filter((c) => c % 2 === 0)] as const;
    }),
  );
  const masked = mask(model, cuts);
  const small = shrink(model, cuts);
  const outputs = [await runModel(standard(masked), input), await runModel(standard(small), input)];
  expect(difference(outputs[0], outputs[1])).toBeLessThan(2e-5);
  return small;
}

describe('an operator of the user', () => {
  const graph = () => {
    const b = new OnnxBuilder();
    const x = wave(b, b.conv(image(b), 6, 3));
    return b.output(b.gemm(flat(b, b.conv(x, 8, 3)), 5));
  };

  it('keeps channels where it is not described', async () => {
    const { structures } = await opened(graph());
    expect(structures[0]).toMatchObject({ groups: 6, prunable: false });
    expect(structures[0].reason).toMatch(/^Wave "[^"]+" cannot be seen through$/);
    const elsewhere = await opened(graph(), [{ ...OWN.Wave, domain: 'my.other' }]);
    expect(elsewhere.structures[0].reason).toBe(structures[0].reason);
  });

  it('lets them through where it is', async () => {
    const described = await opened(graph(), [OWN.Wave]);
    expect(described.prunable.map(({ groups }) => groups)).toEqual([6, 8]);
    const small = await expectCut(described);
    expect([...small.tensors.values()].map(({ dims }) => dims)).toEqual([
      [3, 3, 3, 3],
      [3],
      [4, 3, 3, 3],
      [4],
      [5, 4],
      [5],
    ]);
  });

  it('ties operands', async () => {
    const b = new OnnxBuilder();
    const x = image(b);
    const product = b.node('Gate', [b.conv(x, 6, 3), b.conv(x, 6, 1)], {}, { domain });
    const described = await opened(b.output(b.gemm(flat(b, product), 5)), [OWN.Gate]);
    expect(described.prunable.map(({ groups, producers }) => [groups, producers.length])).toEqual([[6, 2]]);
    await expectCut(described);
  });

  it('makes a residual stream of what it adds', async () => {
    const b = new OnnxBuilder();
    const y = b.conv(image(b), 6, 1);
    const sum = b.node('Plus', [b.conv(y, 6, 3), y], {}, { domain });
    const described = await opened(b.output(b.gemm(flat(b, b.relu(sum)), 5)), [OWN.Plus]);
    expect(described.prunable).toEqual([]);
    expect(described.structures[0]).toMatchObject({ isResidual: true, producers: [{}, {}] });
    expect(linearMaps(described.model, described.shapes)[1].residual).toMatchObject({ sum, shortcut: y });
  });

  it('gives a reason of its own', async () => {
    const b = new OnnxBuilder();
    const mean = (x: string, axis: number) => b.node('Mean', [x], { axis }, { domain });
    const x = mean(mean(b.conv(image(b), 6, 3), 2), 1);
    const { structures } = await opened(b.output(b.gemm(flat(b, x), 5)), [OWN.Mean]);
    expect(structures[0].reason).toBe('Mean "mean_4" averages over it');
  });

  it('goes before one of the same name that is known', async () => {
    const b = new OnnxBuilder();
    const graph = b.output(b.gemm(flat(b, b.relu(b.conv(image(b), 6, 3))), 5));
    const relu: Operator = {
      name: 'Relu',
      kind: 'pass',
      rule: (state, node) => state.pinAll(node, 'it is mine'),
    };
    expect((await opened(graph)).structures[0].prunable).toBe(true);
    expect((await opened(graph, [relu])).structures[0].reason).toBe('it is mine');
  });
});

describe('a layer of the user', () => {
  const graph = (bias = true) => {
    const b = new OnnxBuilder();
    const x = wave(b, layer(b, flat(b, b.relu(b.conv(image(b), 8, 3))), 12, bias));
    return b.output(layer(b, x, 5, bias));
  };
  const operators = [OWN.Wave, OWN.Linear];

  it('keeps channels where it is not described, and has no multiply-adds', async () => {
    const { model, shapes, structures } = await opened(graph(), [OWN.Wave]);
    expect(structures.map(({ groups, prunable }) => [groups, prunable])).toEqual([[8, false]]);
    expect(countMacs(standard(model), shapes) - countMacs(model, shapes)).toBe(8 * 12 + 12 * 5);
  });

  it('is cut, counted and re-solved where it is', async () => {
    const described = await opened(graph(), operators);
    const { model, shapes, prunable } = described;
    expect(prunable.map(({ groups }) => groups)).toEqual([8, 12]);
    expect(prunable[1]).toMatchObject({
      producers: [{ kind: 'linear' }],
      consumers: [{ p: 12, m: 5, rows: 1 }],
    });
    expect(countMacs(model, shapes)).toBe(countMacs(standard(model), shapes));
    const outline = (model: Model) => linearMaps(model, shapes).map((map) => [map, readWeights(model, map)]);
    expect(outline(model)).toEqual(outline(standard(model)));
    const small = await expectCut(described);
    const dims = [...small.tensors.values()].map(({ dims }) => dims);
    expect(dims.slice(2)).toEqual([[6, 4], [6], [5, 6], [5]]);
  });

  it('takes a bias that it did not have, which is cut as its weights are', async () => {
    const { model, shapes, ...rest } = await opened(graph(false), operators);
    const edited = model.clone();
    for (const map of linearMaps(model, shapes)) {
      writeWeights(edited, map, readWeights(model, map).W, new Float32Array(map.m).fill(0.5));
    }
    const small = await expectCut({ model: edited, shapes, ...rest });
    expect([...small.tensors.values()].filter(({ dims }) => dims.length === 1 && dims[0] === 6)).toHaveLength(
      1,
    );
  });

  it('takes in the BatchNormalization behind it', async () => {
    const b = new OnnxBuilder();
    const x = b.batchNormalization(layer(b, flat(b, b.conv(image(b), 8, 3)), 12));
    const { model } = await opened(b.output(b.relu(x)), operators);
    const folded = foldBatchNormalization(model);
    expect(folded.nodes.map(({ opType }) => opType)).not.toContain('BatchNormalization');
    expect(
      difference(await runModel(standard(model), input), await runModel(standard(folded), input)),
    ).toBeLessThan(1e-5);
  });
});
