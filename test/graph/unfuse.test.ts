import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { linearMaps, type Model, readModel, unfuse, writeModel } from '../../src/graph/index.ts';
import { AttributeProto_AttributeType, AttributeProtoSchema } from '../../src/graph/onnx_pb.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { difference, randomValue, run, runModel, shapesOf } from './running.ts';

const MICROSOFT = { domain: 'com.microsoft' };
const input = randomValue([2, 3, 7, 6]);

/** The builder has no lists of floats. */
function withParameters(model: Model, node: string, floats: number[]): void {
  const type = AttributeProto_AttributeType.FLOATS;
  model.node(node)!.attribute.push(create(AttributeProtoSchema, { name: 'activation_params', floats, type }));
}

async function plain(model: Model) {
  const before = writeModel(model).model;
  const result = unfuse(model);
  expect(writeModel(model).model).toEqual(before);
  expect(difference(await runModel(model, input), await runModel(result, input))).toBeLessThan(1e-6);
  return result;
}

const fusedConv = (b: OnnxBuilder, inputs: string[], activation: string) =>
  b.node('FusedConv', inputs, { activation, pads: [1, 1, 1, 1] }, { ...MICROSOFT, channels: 3 });

describe('unfuse', () => {
  for (const [activation, ...parameters] of [
    ['Relu'],
    ['Tanh'],
    ['LeakyRelu', 0.3],
    ['HardSigmoid', 0.3, 0.4],
    ['Clip', -0.2, 0.5],
  ] as [string, ...number[]][]) {
    it(`takes a convolution, a shortcut and ${activation} apart`, async () => {
      const b = new OnnxBuilder();
      const x = b.input([3, 7, 6]);
      const [W, bias] = [b.weight([3, 3, 3, 3], 0.4), b.weight([3], 0.3)];
      const fused = [
        [x, W, bias],
        [x, W],
        [x, W, '', x],
      ].map((inputs) => fusedConv(b, inputs, activation));
      const y = fusedConv(b, [b.add(fused[0], fused[1]), W, bias, fused[2]], activation);
      const model = await readModel(b.output(y).build());
      for (const node of [...fused, y]) if (parameters.length > 0) withParameters(model, node, parameters);
      const result = await plain(model);
      const shapes = await shapesOf(result, input);
      const maps = linearMaps(result, shapes).flatMap((map) => [map, ...(map.others ?? [])]);
      expect(maps.map(({ node }) => node).sort()).toEqual([...fused, y].sort());
      expect(result.nodes.every(({ domain }) => domain === '')).toBe(true);
      const sums = maps.filter(({ residual }) => residual).map(({ node }) => node);
      expect(sums).toContain(y);
      expect(result.nodes.filter(({ opType }) => opType === activation)).toHaveLength(4);
    });
  }

  it('takes products apart, whatever their layout and scale, and shares weights as before', async () => {
    const b = new OnnxBuilder();
    const x = b.flatten(b.input([3, 7, 6]), 42);
    const attributes = {
      activation: 'LeakyRelu',
      activation_alpha: { float: 0.2 },
      alpha: { float: 0.5 },
      transB: 1,
    };
    const gemm = b.node('FusedGemm', [x, b.weight([8, 126], 0.1), b.weight([8], 0.3)], attributes, MICROSOFT);
    const [square, other] = [b.weight([8, 8], 0.4), b.weight([8, 5], 0.4)];
    const turned = { transB: 1, alpha: { float: 0.25 } };
    const twice = [gemm, b.relu(gemm)].map((y) => b.node('FusedMatMul', [y, square], turned, MICROSOFT));
    const z = b.node('FusedMatMul', [b.add(twice[0], twice[1]), other], {}, MICROSOFT);
    const model = await readModel(b.output(z).build());
    const result = await plain(model);
    expect(result.nodes.some(({ domain }) => domain !== '')).toBe(false);
    expect(result.tensors.size).toBe(model.tensors.size);
  });

  it('leaves alone what it does not know, and products of activations', async () => {
    const b = new OnnxBuilder();
    const x = b.input([3, 6, 6]);
    const odd = fusedConv(b, [x, b.weight([3, 3, 3, 3], 0.4)], 'constructor');
    const y = b.node('FusedMatMul', [odd, x], { transB: 1, alpha: { float: 0.5 } }, MICROSOFT);
    const model = await readModel(b.output(y).build());
    expect(writeModel(unfuse(model)).model).toEqual(writeModel(model).model);
  });

  it.each([
    ['abc,cde->abde', [2, 3, 6], [6, 2, 4]],
    ['abcd,cde->abe', [2, 3, 4, 2], [4, 2, 5]],
    ['abcd,ced->abe', [2, 3, 4, 2], [4, 5, 2]],
    ['abc,dc->adb', [2, 3, 6], [5, 6]],
    ['acb,dc->abd', [2, 6, 3], [5, 6]],
    ['abc,c->ab', [2, 3, 6], [6]],
    ['acbd,ce->aebd', [2, 6, 3, 2], [6, 5]],
    ['...c,cd->...d', [2, 3, 6], [6, 5]],
    ['a...c,dc -> a...d', [2, 3, 2, 6], [5, 6]],
  ])('makes a product of matrices of Einsum %s', async (equation, dims, weight) => {
    const b = new OnnxBuilder();
    const x = b.feed('input', ['n', ...dims.slice(1)]);
    const W = b.weight(weight, 0.5);
    const uses = [1, 2].map(() => b.node('Einsum', [x, W], { equation }));
    const model = await readModel(b.output(uses[0]).output(uses[1]).build());
    const result = unfuse(model);
    const outputs = (of: Model) => run(writeModel(of).model, { input: randomValue(dims) });
    const [wanted, got] = [await outputs(model), await outputs(result)];
    for (const name of Object.keys(wanted)) expect(difference(wanted[name], got[name])).toBeLessThan(1e-6);
    expect(result.nodes.filter(({ opType }) => opType === 'MatMul').map(({ name }) => name)).toEqual(uses);
    const [map] = linearMaps(result, await shapesOf(result, randomValue(dims)));
    expect(map.others).toHaveLength(1);
    expect(result.tensors.has(W)).toBe(false);
  });

  it.each(['abc,abd->acd', 'abc,bcd->abd', 'abc,cd->abc', '...c,cab->...ab', 'c...,cdb->b...d'])(
    'leaves Einsum %s, which is no product of rows and weights',
    async (equation) => {
      const b = new OnnxBuilder();
      const x = b.feed('input', ['n', 2, 2]);
      const W = b.weight([2, 2, 2], 0.5);
      const model = await readModel(b.output(b.node('Einsum', [x, W], { equation })).build());
      expect(unfuse(model).nodes.map(({ opType }) => opType)).toEqual(['Einsum']);
    },
  );
});
