import { describe, expect, it } from 'vitest';
import { openEngine } from '../../src/engine/index.ts';
import { type Model, readModel } from '../../src/graph/index.ts';
import { checkGraph } from '../../src/graph/model.ts';
import { openModel } from '../../src/pipeline/index.ts';
import { computeConstants } from '../../src/pipeline/open/constants.ts';
import { cutDifference } from '../graph/masking.ts';
import { difference, randomChannels, randomValue, runModel } from '../graph/running.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random } from '../support/random.ts';

const engine = await openEngine({ threads: 1 });
const head = (b: OnnxBuilder, x: string) => b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 5));

/** Weights as a network has them that standardises its own: the mean and the deviation of each filter are taken out. */
function standardised(b: OnnxBuilder, m: number, c: number): string {
  const W = b.weight([m, c, 3, 3], 0.4, 0.1);
  const mean = (of: string) => b.node('ReduceMean', [of], { axes: [1, 2, 3], keepdims: 1 });
  const centred = b.node('Sub', [W, mean(W)]);
  const variance = b.add(mean(b.mul(centred, centred)), b.floats([1e-5], []));
  return b.node('Div', [centred, b.node('Sqrt', [variance])]);
}

/** Two layers by weights that are side by side in one constant, of which each takes as many rows as `x` has channels, behind a sum. */
function sliced(b: OnnxBuilder) {
  const first = b.matmul(b.sequence(5), 8);
  const x = b.add(first, b.matmul(b.relu(b.matmul(first, 6)), 8));
  const size = b.node('Gather', [b.node('Shape', [x]), b.index(2)]);
  const [E, both] = [size, b.mul(size, b.index(2))].map((it) => b.node('Unsqueeze', [it, b.integers([0])]));
  const W = b.weight([16, 8], 0.4);
  const layer = (from: string, to: string) => {
    const rows = b.node('Slice', [W, from, to, b.integers([0])]);
    // as onnxruntime fuses them
    if (from === E)
      return b.node('FusedMatMul', [x, rows], { transB: 1 }, { domain: 'com.microsoft', channels: 8 });
    const turned = b.node('Transpose', [rows], { perm: [1, 0] });
    return b.node('MatMul', [x, turned], {}, { channels: 8 });
  };
  const [one, two] = [layer(b.integers([0]), E), layer(E, both)];
  return { x, bytes: b.output(b.matmul(b.mul(one, two), 3)).build() };
}

/** Two blocks with layers by rows of constants, as many as the stream has channels: they share a bias that is read whole too, or all. */
function shared(b: OnnxBuilder, isAlike: boolean) {
  const weight = () => b.weight([16, 8], 0.4);
  const [alike, bias] = [weight(), b.weight([16], 0.3)];
  const first = b.matmul(b.sequence(5), 8);
  let x = b.add(first, b.matmul(b.relu(b.add(b.matmul(first, 16), bias)), 8));
  for (const W of isAlike ? [alike, alike] : [weight(), weight()]) {
    const size = b.node('Gather', [b.node('Shape', [x]), b.index(2)]);
    const [E, both] = [size, b.mul(size, b.index(2))].map((it) => b.node('Unsqueeze', [it, b.integers([0])]));
    const layer = (from: string, to: string) => {
      const [rows, own] = [W, bias].map((of) => b.node('Slice', [of, from, to, b.integers([0])]));
      const turned = b.node('Transpose', [rows], { perm: [1, 0] });
      return b.add(own, b.node('MatMul', [x, turned], {}, { channels: 8 }));
    };
    x = b.add(x, b.matmul(b.mul(layer(b.integers([0]), E), layer(E, both)), 8));
  }
  return b.output(b.matmul(x, 3)).build();
}

const conv = (b: OnnxBuilder, x: string, W: string, channels: number, bias: readonly string[] = []) =>
  b.node('Conv', [x, W, ...bias], { pads: [1, 1, 1, 1] }, { channels });

async function folded(b: OnnxBuilder): Promise<{ before: Model; after: Model }> {
  const before = await readModel(b.build());
  return { before, after: await computeConstants(engine, before) };
}

const operators = ({ nodes }: Model) => nodes.map(({ opType }) => opType);

describe('weights that are computed from constants', () => {
  it('are pruned, with the layers and biases that they are of', async () => {
    const b = new OnnxBuilder();
    const bias = b.node('Concat', [b.weight([3], 0.3), b.weight([5], 0.3)], { axis: 0 });
    const x = b.relu(conv(b, b.input([3, 8, 8]), standardised(b, 8, 3), 8, [bias]));
    const bytes = head(b, b.relu(conv(b, x, standardised(b, 6, 8), 6))).build();
    const source = await readModel(bytes);
    const { model, analysis } = await openModel(bytes, { engine });
    const prunable = analysis.structures.filter((structure) => structure.prunable);
    expect(prunable.map(({ groups }) => groups)).toEqual([8, 6]);
    const input = randomValue([2, 3, 8, 8]);
    expect(difference(await runModel(source, input), await runModel(model, input))).toBeLessThan(1e-6);
    const next = random(3);
    const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, next)]));
    expect(await cutDifference(model, cuts, input)).toBeLessThan(2e-5);
  });

  it('are pruned where they are quantised, and made floats again by arithmetic', async () => {
    const b = new OnnxBuilder();
    const quantised = (m: number, c: number) => {
      const steps = b.node('Cast', [b.int8([m, c, 3, 3])], { to: 1 });
      return b.add(b.mul(steps, b.floats([0.004])), b.floats([0.01]));
    };
    const x = b.relu(conv(b, b.input([3, 8, 8]), quantised(8, 3), 8));
    const bytes = head(b, b.relu(conv(b, x, quantised(6, 8), 6))).build();
    const { model, analysis } = await openModel(bytes, { engine });
    const prunable = analysis.structures.filter((structure) => structure.prunable);
    expect(prunable.map(({ groups }) => groups)).toEqual([8, 6]);
    const input = randomValue([2, 3, 8, 8]);
    const expected = await runModel(await readModel(bytes), input);
    expect(difference(expected, await runModel(model, input))).toBeLessThan(1e-6);
  });

  it('are pruned behind norms without scales, which PyTorch gives ones that are as many as there are channels', async () => {
    const b = new OnnxBuilder({ opset: 17 });
    const normal = (x: string) => {
      const [scale, shift] = [1, 0].map((value) =>
        b.node('Expand', [b.floats([value]), b.node('Shape', [x], { start: 1, end: 2 })]),
      );
      return b.relu(b.node('InstanceNormalization', [x, scale, shift]));
    };
    const x = normal(conv(b, b.input([3, 8, 8]), b.weight([8, 3, 3, 3], 0.4), 8));
    const y = normal(conv(b, x, b.weight([6, 8, 3, 3], 0.4), 6));
    const { model, analysis } = await openModel(head(b, y).build(), { engine });
    const prunable = analysis.structures.filter((structure) => structure.prunable);
    expect(prunable.map(({ groups }) => groups)).toEqual([8, 6]);
    const next = random(3);
    const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, next)]));
    expect(await cutDifference(model, cuts, randomValue([2, 3, 8, 8]))).toBeLessThan(2e-5);
  });

  it('are no texts, which take no engine', async () => {
    const b = new OnnxBuilder();
    const names = b.node('Concat', [b.floats([1, 2]), b.floats([3, 4])], { axis: 0 });
    const model = await readModel(
      b
        .output(b.gemm(b.input([4]), 3))
        .output(names)
        .build(),
    );
    for (const [name, { dims }] of model.tensors)
      if (dims.length === 1) model.tensors.set(name, { name, type: 'string', dims, bytes: new Uint8Array() });
    const none = { name: 'none', load: () => Promise.reject(new Error('loaded')) };
    expect(await computeConstants(none, model)).toBe(model);
  });

  it.each([false, true])(
    'are pruned where numbers of channels say what they take, with streams: %s',
    async (residual) => {
      const { x, bytes } = sliced(new OnnxBuilder());
      const { model, analysis } = await openModel(bytes, { engine, size: [7], residual });
      const prunable = analysis.structures.filter((structure) => structure.prunable);
      const isTied = (value: string) =>
        prunable.some(({ values }) => values.some((it) => it.value === value));
      expect(prunable.map(({ groups }) => groups)).toEqual(residual ? [8, 6, 8] : [6, 8]);
      expect(isTied(x)).toBe(residual);
      const next = random(3);
      const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, next)]));
      for (const dims of [
        [2, 7, 5],
        [3, 4, 5],
      ]) {
        const input = randomValue(dims);
        expect(await cutDifference(model, cuts, input)).toBeLessThan(2e-5);
      }
    },
  );

  it.each([true, false])(
    'are pruned where layers share parts of them, of weights too: %s',
    async (isAlike) => {
      const bytes = shared(new OnnxBuilder(), isAlike);
      const { model, analysis } = await openModel(bytes, { engine, size: [7] });
      expect(operators(model)).not.toContain('Slice');
      const prunable = analysis.structures.filter((structure) => structure.prunable);
      const made = prunable.map(({ groups, producers }) => [groups, producers.length]);
      expect(made).toEqual([
        [16, 1],
        ...(isAlike
          ? [[8, 4]]
          : [
              [8, 2],
              [8, 2],
            ]),
      ]);
      const input = randomValue([2, 7, 5]);
      const source = await readModel(bytes);
      expect(difference(await runModel(source, input), await runModel(model, input))).toBeLessThan(1e-6);
      const next = random(3);
      const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, next)]));
      expect(await cutDifference(model, cuts, input)).toBeLessThan(2e-5);
    },
  );

  it('stay computed where numbers of positions say what they take', async () => {
    const b = new OnnxBuilder();
    const x = b.matmul(b.sequence(5), 8);
    const count = b.node('Gather', [b.node('Shape', [x]), b.integers([1])]);
    const positions = b.node('Slice', [b.weight([7, 8], 0.4), b.integers([0]), count, b.integers([0])]);
    const y = b.add(x, positions);
    const own = b.node('Gather', [b.node('Shape', [y]), b.integers([1])]);
    const same = b.node('Sub', [b.add(own, b.integers([2])), b.integers([2])]);
    const shape = b.node('Concat', [b.integers([0]), same, b.integers([8])], { axis: 0 });
    const bytes = b.output(b.matmul(b.node('Reshape', [y, shape], {}, { channels: 8 }), 3)).build();
    const { model, analysis } = await openModel(bytes, { engine, size: [7] }); // as many as the table has
    expect(operators(model)).toContain('Slice');
    const [structure] = analysis.structures;
    const cuts = new Map([[structure, [1, 2, 5]]]);
    const input = randomValue([2, 4, 5]);
    expect(await cutDifference(model, cuts, input)).toBeLessThan(2e-5);
  });

  it.each(['float16', 'float32'] as const)('keep their type: %s', async (type) => {
    const b = new OnnxBuilder({ type });
    const wide = b.node('Concat', [b.weight([2], 0.5), b.weight([3], 0.5)], { axis: 0 });
    const { after } = await folded(b.output(b.mul(b.input([5]), wide)));
    expect(operators(after)).toEqual(['Mul']);
    expect([...after.tensors.values()].map((tensor) => [tensor.type, tensor.dims])).toEqual([[type, [5]]]);
  });

  it('stay computed where they are more numbers than what they are made of', async () => {
    const b = new OnnxBuilder();
    const wide = b.node('Expand', [b.weight([1, 4], 0.5), b.integers([3, 4])]);
    const { before, after } = await folded(b.output(b.add(b.input([4]), wide)));
    expect(after).toBe(before);
  });

  it.each([[4], [9000]])('are computed of a single number where they are few: %i', async (width) => {
    const b = new OnnxBuilder();
    const ones = b.node('Expand', [b.floats([1], [1]), b.integers([width])]);
    const { after } = await folded(b.output(b.mul(b.input([width]), ones)));
    expect(operators(after)).toEqual(width === 4 ? ['Mul'] : ['Expand', 'Mul']);
  });

  it('stay computed of a table that is read as it is too', async () => {
    const b = new OnnxBuilder();
    const table = b.weight([4, 4], 0.5);
    const turned = b.node('Neg', [table]);
    const x = b.node('MatMul', [b.input([4]), table], {}, { channels: 4 });
    const { before, after } = await folded(b.output(b.node('MatMul', [x, turned])));
    expect(after).toBe(before);
  });

  it('stay quantised', async () => {
    const b = new OnnxBuilder();
    const codes = b.node('QuantizeLinear', [b.weight([4, 4], 0.5), b.floats([0.01], [])]);
    const W = b.node('DequantizeLinear', [codes, b.floats([0.01], [])]);
    const { after } = await folded(b.output(b.node('MatMul', [b.input([4]), W])));
    expect(operators(after)).toContain('DequantizeLinear');
  });

  it('stay computed where a graph inside a node names them', async () => {
    const b = new OnnxBuilder();
    const x = b.input([4]);
    const scale = b.node('Neg', [b.weight([4], 0.5)]);
    const branch = (seed: number) => {
      const inner = new OnnxBuilder({ seed });
      return { graph: inner.output(inner.mul(inner.feed(x, ['n', 4]), inner.feed(scale, [4]))).graph() };
    };
    const branches = { then_branch: branch(2), else_branch: branch(3) };
    const chosen = b.node('If', [b.feed('flag', [], 'bool')], branches, { channels: 4 });
    const before = await readModel(b.output(b.add(b.mul(x, scale), chosen)).build());
    const after = await computeConstants(engine, before);
    checkGraph(after);
    expect(operators(after)).toContain('Neg');
  });
});
