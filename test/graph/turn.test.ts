import { describe, expect, it } from 'vitest';
import { analyse, linearMaps, type Model, readModel, turnProducts, unfuse } from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random } from '../support/random.ts';
import { cutDifference } from './masking.ts';
import { difference, randomChannels, randomValue, runModel, shapesOf, type Value } from './running.ts';

const operators = ({ nodes }: Model) => nodes.map(({ opType }) => opType);
const swap = (b: OnnxBuilder, x: string, perm = [0, 2, 1]) => b.node('Transpose', [x], { perm });

/** W·X, and W·X + b with a number for each row. */
const left = (b: OnnxBuilder, x: string, m: number, p: number, W = b.weight([m, p], 0.5)) =>
  b.node('MatMul', [W, x], {}, { channels: m });
const biased = (b: OnnxBuilder, x: string, m: number, p: number) =>
  b.add(left(b, x, m, p), b.weight([m, 1], 0.3));

async function turned(built: OnnxBuilder | Model, input: Value) {
  const before = built instanceof OnnxBuilder ? await readModel(built.build()) : built;
  const model = turnProducts(before, await shapesOf(before, input));
  expect(difference(await runModel(before, input), await runModel(model, input))).toBeLessThan(1e-6);
  const shapes = await shapesOf(model, input);
  const prunable = analyse(model, shapes).structures.filter((structure) => structure.prunable);
  return { before, model, shapes, prunable };
}

async function expectCuts({ model, prunable }: Awaited<ReturnType<typeof turned>>, input: Value) {
  const next = random(3);
  const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, next)]));
  expect(await cutDifference(model, cuts, input)).toBeLessThan(2e-5);
}

describe('turnProducts', () => {
  it('makes layers of weights on the left, with the biases of their rows', async () => {
    const b = new OnnxBuilder();
    const input = randomValue([2, 5, 7]);
    const x = b.relu(biased(b, b.feed('input', ['n', 5, 't']), 8, 5));
    const own = await turned(b.output(left(b, b.relu(biased(b, x, 6, 8)), 3, 6)), input);
    expect(linearMaps(own.model, own.shapes).map(({ p, m, bias }) => [p, m, bias !== undefined])).toEqual([
      [5, 8, true],
      [8, 6, true],
      [6, 3, false],
    ]);
    expect(own.prunable.map(({ groups }) => groups)).toEqual([8, 6]);
    await expectCuts(own, input);
  });

  it('makes layers of products by lists, as of an attention that pools by a vector', async () => {
    const b = new OnnxBuilder();
    const input = randomValue([2, 5, 7]);
    const x = b.node('Tanh', [b.matmul(b.sequence(7), 8)]);
    const vector = b.weight([8], 0.5);
    const scores = b.node('MatMul', [x, vector], {}, { channels: 1 });
    const weights = b.node('Unsqueeze', [b.node('Softmax', [scores], { axis: 1 }), b.integers([1])]);
    const pooled = b.reshape(b.node('MatMul', [weights, x]), [0, 8], 8);
    const sum = b.node('MatMul', [b.relu(b.gemm(pooled, 6)), b.weight([6], 0.5)], {}, { channels: 1 });
    const own = await turned(b.output(sum), input);
    expect(linearMaps(own.model, own.shapes).map(({ p, m }) => [p, m])).toEqual([
      [7, 8],
      [8, 1],
      [8, 6],
      [6, 1],
    ]);
    expect(own.prunable.map(({ groups }) => groups)).toEqual([8, 6]);
    await expectCuts(own, input);
  });

  it('makes layers of Gemm that turns what it reads', async () => {
    const b = new OnnxBuilder();
    const input = randomValue([4, 5]);
    const gemm = (x: string, m: number, p: number) =>
      b.node(
        'Gemm',
        [swap(b, x, [1, 0]), b.weight([m, p], 0.5), b.weight([m], 0.3)],
        { transA: 1, transB: 1, alpha: { float: 0.5 }, beta: { float: 2 } },
        { channels: m },
      );
    const own = await turned(b.output(gemm(b.relu(gemm(b.input([5]), 8, 5)), 3, 8)), input);
    expect(operators(own.model)).toEqual(['Gemm', 'Relu', 'Gemm']);
    expect(own.prunable.map(({ groups }) => groups)).toEqual([8]);
    await expectCuts(own, input);
  });

  it('makes layers of what onnxruntime has fused with Transposes, and products of batches that it has turned', async () => {
    const b = new OnnxBuilder();
    const input = randomValue([4, 5, 7]);
    const fused = (inputs: string[], attributes: Record<string, number>, channels = 0) =>
      b.node('FusedMatMul', inputs, attributes, { domain: 'com.microsoft', channels });
    const weight = (m: number, p: number) => b.weight([p, m], 0.5);
    const x = b.relu(fused([b.feed('input', ['n', 5, 't']), weight(8, 5)], { transA: 1 }, 8)); // n, t, 8
    const parts = [0, 1, 2].map(() => b.relu(fused([swap(b, x), weight(6, 8)], { transA: 1 }, 6)));
    const first = (y: string) => swap(b, b.node('Unsqueeze', [y, b.integers([1])]), [2, 0, 1, 3]); // t, n, 1, 6
    const [q, k, v] = parts.map(first);
    const scores = fused([q, k], { transBatchA: 1, transBatchB: 1, transB: 1 }); // n, 1, t, t
    const mixed = fused([scores, v], { transBatchB: 1 }, 6);
    const plain = unfuse(await readModel(b.output(b.matmul(mixed, 3)).build()));
    const own = await turned(plain, input);
    const keys = own.model.nodes.flatMap(({ attribute }) => attribute.map(({ name }) => name));
    expect(keys.filter((name) => name.startsWith('trans'))).toEqual(['transB']);
    expect(own.prunable.map(({ groups }) => groups)).toEqual([8, 6]);
    await expectCuts(own, input);
  });

  it('leaves no Transposes between such layers and those that undo them, but those that are read otherwise', async () => {
    const b = new OnnxBuilder();
    const input = randomValue([2, 7, 5]);
    const first = swap(b, b.sequence(5));
    const x = swap(b, left(b, first, 8, 5));
    b.output(b.matmul(b.add(swap(b, left(b, swap(b, x), 8, 8)), x), 3)).output(first);
    const own = await turned(b, input);
    expect(operators(own.model)).toEqual(['Transpose', 'MatMul', 'MatMul', 'Add', 'MatMul']);
    expect(linearMaps(own.model, own.shapes)[1].residual).toBeDefined();
    await expectCuts(own, input);
  });

  it('keeps Transposes that do not undo each other, and what is an output of the graph', async () => {
    const b = new OnnxBuilder();
    const input = randomValue([2, 7, 5]);
    const x = swap(b, left(b, swap(b, b.sequence(5), [2, 1, 0]), 8, 7));
    const own = await turned(b.output(swap(b, left(b, b.relu(x), 6, 2))), input);
    expect(operators(own.model).filter((name) => name === 'Transpose')).toHaveLength(5);
    expect(own.model.outputs.map(({ name }) => own.model.producer(name)?.opType)).toEqual(['Transpose']);
  });

  it('takes for a bias what makes no further axis, and for a Transpose no other node', async () => {
    const b = new OnnxBuilder();
    const input = randomValue([5, 7]);
    const x = b.relu(left(b, b.relu(left(b, b.feed('input', [5, 't']), 8, 5)), 6, 8));
    const own = await turned(b.output(swap(b, b.add(x, b.weight([1, 6, 1], 0.3)))), input);
    expect(operators(own.model).filter((name) => name === 'Relu')).toHaveLength(2);
    const higher = new OnnxBuilder();
    const sum = higher.add(left(higher, higher.feed('input', [5, 't']), 8, 5), higher.weight([1, 8, 1], 0.3));
    await turned(higher.output(swap(higher, sum)), input);
  });

  it('shares weights as before', async () => {
    const b = new OnnxBuilder();
    const input = randomValue([2, 5, 7]);
    const [W, bias] = [b.weight([8, 5], 0.5), b.weight([8, 1], 0.3)];
    const x = b.feed('input', ['n', 5, 't']);
    const both = [x, b.relu(x)].map((it) => b.relu(b.add(left(b, it, 8, 5, W), bias)));
    const own = await turned(b.output(left(b, b.add(both[0], both[1]), 3, 8)), input);
    expect(own.prunable.map(({ groups, producers }) => [groups, producers.length])).toEqual([[8, 2]]);
    expect([...own.model.tensors.values()].map(({ dims }) => dims)).toHaveLength(3);
    await expectCuts(own, input);
  });

  it('leaves other products as they are', async () => {
    const b = new OnnxBuilder();
    const x = b.sequence(5);
    const table = b.weight([5, 5], 0.5);
    const product = b.node('MatMul', [b.matmul(x, 5), table]);
    b.output(b.node('MatMul', [table, swap(b, product)])).output(b.node('MatMul', [x, swap(b, product)]));
    const model = await readModel(b.build());
    expect(turnProducts(model, await shapesOf(model, randomValue([2, 7, 5])))).toBe(model);
  });
});
