import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { FormatError } from '../../src/errors.ts';
import { ifsOf, readModel, takeBranches, writeModel } from '../../src/graph/index.ts';
import { type GraphProto, ValueInfoProtoSchema } from '../../src/graph/onnx_pb.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { difference, randomValue, run } from './running.ts';

/** Inputs under which two conditions hold or do not. */
const feeds = (outer: boolean, inner: boolean) => ({
  input: randomValue([3, 8]),
  outer: { dims: [], data: Float32Array.of(Number(outer)) },
  inner: { dims: [], data: Float32Array.of(Number(inner)) },
});

type Layers = (b: OnnxBuilder, x: string) => string;

/** A graph of layers behind a value from outside. Builders call what they make alike, in all graphs. */
function graphOf(value: string, seed: number, layers: Layers): GraphProto {
  const b = new OnnxBuilder({ seed });
  return b.output(layers(b, b.input([8], value))).graph();
}

const goesOut = (graph: GraphProto, value: string) => {
  graph.output.push(create(ValueInfoProtoSchema, { name: value }));
  return graph;
};

/** An If that gives a value and a constant; inside it is another. */
function network(): Uint8Array {
  const b = new OnnxBuilder();
  const x = b.input([8]);
  const [outer, inner] = ['outer', 'inner'].map((name) =>
    b.node('Greater', [b.feed(name, []), b.floats([0.5], [])], {}, { channels: 1 }),
  );
  const hidden = b.relu(b.gemm(x, 8));
  const gemm: Layers = (own, value) => own.gemm(value, 8);
  const withIf: Layers = (own, value) => {
    const graphs = [gemm(own, value), x].map((it, i) => graphOf(it, 5 + i, (deep, y) => deep.matmul(y, 8)));
    const branches = { then_branch: { graph: graphs[0] }, else_branch: { graph: graphs[1] } };
    return own.node('If', [own.feed(inner, [], 'bool')], branches, { channels: 8 });
  };
  const [then, otherwise] = [graphOf(x, 3, withIf), graphOf(hidden, 4, gemm)].map((graph) =>
    goesOut(graph, graph.initializer[1].name),
  );
  const branches = { then_branch: { graph: then }, else_branch: { graph: otherwise } };
  const [y, constant] = b.nodes('If', [outer], branches, { outputs: 2, channels: 8 });
  const z = b.relu(b.gemm(b.add(y, constant), 4));
  return b.output(y).output(constant).output(z).build();
}

describe('branches of Ifs', () => {
  it.each([
    [true, true],
    [true, false],
    [false, false],
  ])('are put in the place of these, where the conditions are %s and %s', async (outer, inner) => {
    const bytes = network();
    const wanted = await run(bytes, feeds(outer, inner));
    let model = await readModel(bytes);
    const ifs = [];
    for (const holds of outer ? [outer, inner] : [outer]) {
      const [{ name }] = ifsOf(model);
      model = takeBranches(model, new Map([[name, holds]]));
      ifs.push(ifsOf(model).length);
      const got = await run(writeModel(model).model, feeds(outer, inner));
      for (const [value, { dims }] of Object.entries(wanted)) {
        expect(got[value].dims).toEqual(dims);
        expect(difference(wanted[value], got[value])).toBeLessThan(1e-6);
      }
    }
    expect(ifs).toEqual(outer ? [1, 0] : [0]);
  });

  it('take with them nothing that only the others and the condition were made of', async () => {
    const model = await readModel(network());
    const [{ name }] = ifsOf(model);
    const taken = takeBranches(model, new Map([[name, false]]));
    expect(taken.nodes.map(({ opType }) => opType).sort()).toEqual(
      ['Add', 'Gemm', 'Gemm', 'Gemm', 'Identity', 'Relu', 'Relu'].sort(),
    );
    expect(taken.tensors.size).toBe(6);
    expect(taken.inputs.map((input) => input.name)).toEqual(['input', 'outer', 'inner']);
    expect(ifsOf(model)).toHaveLength(1); // that was a copy
  });

  it('are refused without the outputs of the If', async () => {
    const model = await readModel(network());
    const [node] = ifsOf(model);
    node.attribute = node.attribute.filter(({ name }) => name !== 'else_branch');
    const take = () => takeBranches(model, new Map([[node.name, false]]));
    expect(take).toThrow(FormatError);
    expect(take).toThrow(`If "${node.name}" has a branch without its outputs`);
  });
});
