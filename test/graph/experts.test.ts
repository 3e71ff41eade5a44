import { describe, expect, it } from 'vitest';
import {
  analyse,
  countParameters,
  readModel,
  separateExperts,
  unfuse,
  writeModel,
} from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random } from '../support/random.ts';
import { cutDifference } from './masking.ts';
import { difference, randomChannels, randomValue, run, shapesOf } from './running.ts';

const [EXPERTS, WIDTH, HIDDEN] = [3, 6, 8];
const input = randomValue([5, WIDTH]);

/** Rows that all experts read, and how much each of them counts: (experts, rows, 1). */
function routed(b: OnnxBuilder) {
  const x = b.relu(b.gemm(b.input([WIDTH]), WIDTH));
  const scores = b.node('Softmax', [b.gemm(x, EXPERTS)]);
  const turned = b.node('Transpose', [scores], { perm: [1, 0] }, { channels: 1 });
  const gates = b.node('Unsqueeze', [turned, b.integers([2])]);
  return { rows: b.node('Unsqueeze', [x, b.integers([0])], {}, { channels: WIDTH }), gates };
}

const product = (b: OnnxBuilder, x: string, p: number, m: number) =>
  b.node('MatMul', [x, b.weight([EXPERTS, p, m], 0.5)], {}, { channels: m });

function summed(b: OnnxBuilder, y: string, gates: string) {
  const all = b.node('ReduceSum', [b.mul(y, gates), b.integers([0])], { keepdims: 0 }, { channels: WIDTH });
  return b.output(b.gemm(b.relu(all), 4));
}

/** Every output is what it was. */
async function apart(b: OnnxBuilder, given = input) {
  const before = await readModel(b.build());
  const plain = unfuse(before);
  const model = separateExperts(plain, await shapesOf(plain, given));
  const feeds = { input: given };
  const [wanted, got] = await Promise.all([before, model].map((it) => run(writeModel(it).model, feeds)));
  for (const [name, value] of Object.entries(wanted)) expect(difference(value, got[name])).toBeLessThan(1e-6);
  return { before, model };
}

async function separated(b: OnnxBuilder, dims = input.dims) {
  const given = randomValue(dims);
  const { before, model } = await apart(b, given);
  expect(countParameters(model)).toBe(countParameters(before));
  const { structures } = analyse(model, await shapesOf(model, given));
  const prunable = structures.filter(({ prunable }) => prunable);
  const next = random(3);
  const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, next)]));
  expect(await cutDifference(model, cuts, given)).toBeLessThan(2e-5);
  return { model, groups: prunable.map(({ groups }) => groups) };
}

describe('separateExperts', () => {
  it.each([13, 18])(
    'lets each expert lose neurons of its own, with gates and biases: opset %d',
    async (opset) => {
      const b = new OnnxBuilder({ opset });
      const { rows, gates } = routed(b);
      const [gate, up] = [0, 1].map(() => product(b, rows, WIDTH, HIDDEN));
      const biased = b.add(gate, b.weight([EXPERTS, 1, HIDDEN], 0.3));
      const bounded = b.node('Clip', [biased, '', b.floats([1], [])]);
      const hidden = b.mul(b.mul(bounded, b.node('Sigmoid', [biased])), b.mul(up, b.weight([HIDDEN], 0.5)));
      const { groups } = await separated(summed(b, product(b, hidden, HIDDEN, WIDTH), gates));
      expect(groups.filter((it) => it === HIDDEN)).toEqual([HIDDEN, HIDDEN, HIDDEN]);
    },
  );

  it('puts together what is read whole, and takes apart what is made whole', async () => {
    const b = new OnnxBuilder({ opset: 18 });
    const { rows, gates } = routed(b);
    const hidden = b.relu(product(b, rows, WIDTH, HIDDEN));
    const scaled = b.node('Div', [hidden, b.node('ReduceMax', [hidden, b.integers([0, 1, 2])])]);
    const { model } = await separated(summed(b, product(b, scaled, HIDDEN, WIDTH), gates));
    const operators = model.nodes.map(({ opType }) => opType);
    expect(['Concat', 'Split', 'MatMul'].map((it) => operators.filter((own) => own === it).length)).toEqual([
      2,
      1,
      2 * EXPERTS,
    ]);
  });

  it('lets others read whole what experts read by parts: constants, what was taken apart, outputs', async () => {
    const b = new OnnxBuilder({ opset: 18 });
    const { rows, gates } = routed(b);
    const most = (x: string) => b.node('ReduceMax', [x, b.integers([0, 1, 2])]);
    const bias = b.weight([EXPERTS, 1, HIDDEN], 0.3);
    const biased = b.add(product(b, rows, WIDTH, HIDDEN), bias);
    const hidden = b.relu(biased);
    const scaled = b.node('Div', [hidden, most(hidden)]);
    const y = b.mul(b.add(product(b, scaled, HIDDEN, WIDTH), most(bias)), most(scaled));
    await apart(summed(b, y, gates).output(biased));
  });

  it.each([
    ['once for all', [1]],
    ['behind other axes', [1, 1]],
  ])('takes apart experts of the rows of each sample: weights %s', async (_, before) => {
    const b = new OnnxBuilder({ opset: 18 });
    const x = b.relu(b.matmul(b.sequence(WIDTH), WIDTH));
    const one = b.node('Unsqueeze', [x, b.integers([1])], {}, { channels: WIDTH });
    const layer = (y: string, p: number, m: number) => {
      const dims = [...before.slice(1), EXPERTS];
      const made = b.node('MatMul', [y, b.weight([...dims, p, m], 0.5)], {}, { channels: m });
      return b.add(made, b.weight([...dims, 1, m], 0.3));
    };
    const mixed = layer(b.relu(layer(one, WIDTH, HIDDEN)), HIDDEN, WIDTH);
    const sum = b.node('ReduceSum', [mixed, b.integers([1])], { keepdims: 0 }, { channels: WIDTH });
    const { groups } = await separated(b.output(b.matmul(b.relu(sum), 4)), [2, 5, WIDTH]);
    expect(groups).toEqual([WIDTH, HIDDEN, HIDDEN, HIDDEN, WIDTH]);
  });

  it('follows them where they change places with samples between layers, as in ensembles of one input', async () => {
    const b = new OnnxBuilder({ opset: 18 });
    const swap = (y: string) => b.node('Transpose', [y], { perm: [1, 0, 2] });
    const layer = (y: string, p: number, m: number) =>
      b.add(swap(product(b, swap(y), p, m)), b.weight([EXPERTS, m], 0.3));
    const x = b.node('Unsqueeze', [b.input([WIDTH]), b.integers([1])], {}, { channels: WIDTH });
    const all = b.node('Expand', [x, b.integers([1, EXPERTS, 1])]);
    const hidden = b.relu(layer(b.relu(layer(all, WIDTH, HIDDEN)), HIDDEN, HIDDEN));
    const { model, groups } = await separated(b.output(layer(hidden, HIDDEN, 2)));
    expect(groups).toEqual(new Array(2 * EXPERTS).fill(HIDDEN));
    expect(model.nodes.filter(({ opType }) => opType === 'Split' || opType === 'Concat').length).toBe(2);
  });

  it.each([
    ['btd,edh->bteh', 'bteh,ehd->bted', 'bte,bted->btd', [EXPERTS, HIDDEN], 17],
    ['edh,btd->ebth', 'ebth,edh->betd', 'bte,betd->btd', [EXPERTS, 1, 1, HIDDEN], 17],
    ['btd,dhe->bthe', 'bthe,ehd->bdte', 'bte,bdte->btd', [HIDDEN, EXPERTS], 12],
  ])('knows experts of products that Einsum writes: %s and %s', async (first, second, last, bias, opset) => {
    const b = new OnnxBuilder({ opset });
    const x = b.relu(b.matmul(b.sequence(WIDTH), WIDTH));
    const gates = b.node('Softmax', [b.matmul(x, EXPERTS)], { axis: 2 });
    const extents: Record<string, number> = { e: EXPERTS, d: WIDTH, h: HIDDEN };
    const einsum = (equation: string, y: string) => {
      const [one, other] = equation.split('->')[0].split(',');
      const [isFirst, own] = one.startsWith('e') && one.length === 3 ? [true, one] : [false, other];
      const W = b.weight(
        [...own].map((letter) => extents[letter]),
        0.5,
      );
      return b.node('Einsum', isFirst ? [W, y] : [y, W], { equation });
    };
    const hidden = b.relu(b.add(einsum(first, x), b.weight(bias, 0.3)));
    const gate = b.node('Sigmoid', [einsum(first, x)]);
    const made = einsum(second, b.mul(hidden, gate));
    const sum = b.node('Einsum', [gates, made], { equation: last }, { channels: WIDTH });
    const { groups } = await separated(b.output(b.matmul(b.relu(sum), 4)), [2, 5, WIDTH]);
    expect(groups.filter((it) => it === HIDDEN)).toEqual([HIDDEN, HIDDEN, HIDDEN]);
  });

  it('leaves heads of products that Einsum writes, which no product has added', async () => {
    const b = new OnnxBuilder();
    const heads = b.reshape(b.matmul(b.sequence(WIDTH), 12), [0, 0, 3, 4]);
    const y = b.node('Einsum', [heads, b.weight([3, 4, 2], 0.5)], { equation: 'bthk,hkm->bthm' });
    const { model } = await apart(b.output(y), randomValue([2, 5, WIDTH]));
    expect(model.nodes.map(({ opType }) => opType)).toContain('Einsum');
  });

  it('takes apart what gets another axis before that of the experts', async () => {
    const b = new OnnxBuilder({ opset: 18 });
    const { rows, gates } = routed(b);
    const twice = b.add(product(b, rows, WIDTH, HIDDEN), b.weight([1, 1, 1, HIDDEN], 0.3));
    const hidden = b.node('ReduceSum', [twice, b.integers([0])], { keepdims: 0 }, { channels: HIDDEN });
    await separated(summed(b, product(b, b.relu(hidden), HIDDEN, WIDTH), gates));
  });

  it.each([1, 65])('leaves a stack of %d', async (experts) => {
    const b = new OnnxBuilder();
    const x = b.relu(b.gemm(b.input([WIDTH]), WIDTH));
    const rows = b.node('Unsqueeze', [x, b.integers([0])], {}, { channels: WIDTH });
    const y = b.node('MatMul', [rows, b.weight([experts, WIDTH, 2], 1)], {}, { channels: 2 });
    const model = await readModel(b.output(y).build());
    expect(separateExperts(model, await shapesOf(model, input))).toBe(model);
  });

  it('leaves matrices that heads and positions are multiplied with', async () => {
    const b = new OnnxBuilder();
    const x = b.reshape(b.matmul(b.sequence(WIDTH), 12), [0, 0, 3, 4]);
    const heads = b.node('Transpose', [x], { perm: [0, 2, 1, 3] }, { channels: 4 });
    const model = await readModel(b.output(b.node('MatMul', [heads, b.weight([3, 4, 2], 1)])).build());
    expect(separateExperts(model, await shapesOf(model, randomValue([2, 5, WIDTH])))).toBe(model);
  });

  it('makes no more nodes than there is room for', async () => {
    const b = new OnnxBuilder();
    let y = b.node('MatMul', [b.node('Unsqueeze', [b.input([2]), b.integers([0])]), b.weight([64, 2, 2], 1)]);
    for (let i = 0; i < 1200; i++) y = b.relu(y);
    const model = await readModel(b.output(y).build());
    const shapes = new Map(model.nodes.map(({ output }) => [output[0], [64, 5, 2]]));
    shapes.set(model.nodes[0].output[0], [1, 5, 2]);
    const { nodes } = separateExperts(model, shapes);
    expect(nodes.length).toBeLessThan(2 ** 16 + 300);
    expect(nodes.filter(({ opType }) => opType === 'Concat').length).toBe(1);
  });
});
