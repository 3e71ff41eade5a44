import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { FormatError } from '../../src/errors.ts';
import { type Model, readModel, writeModel } from '../../src/graph/index.ts';
import { attribute, attributeOf, subgraphs } from '../../src/graph/node.ts';
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  FunctionProtoSchema,
  GraphProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  ValueInfoProtoSchema,
} from '../../src/graph/onnx_pb.ts';
import { limits } from '../../src/limits.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { difference, randomValue, run } from './running.ts';

const OWN = { domain: 'my.domain' };
const input = randomValue([3, 8]);
const node = (opType: string, input: string[], output: string[], domain = '') =>
  create(NodeProtoSchema, { opType, input, output, domain });
const set = (domain: string, version: number) =>
  create(OperatorSetIdProtoSchema, { domain, version: BigInt(version) });

/** leaky(x·W + b) as functions that call each other; the inner one has the slope from its caller. */
function functions(opset = 17) {
  const leaky = node('LeakyRelu', ['value'], ['result']);
  const type = AttributeProto_AttributeType.FLOAT;
  leaky.attribute = [create(AttributeProtoSchema, { name: 'alpha', refAttrName: 'slope', type })];
  const inner = node('Activation', ['sum'], ['y'], OWN.domain);
  inner.attribute = [attributeOf('slope', { float: 0.3 })];
  return [
    create(FunctionProtoSchema, {
      ...OWN,
      name: 'Dense',
      input: ['x', 'W', 'b'],
      output: ['y'],
      node: [node('MatMul', ['x', 'W'], ['product']), node('Add', ['product', 'b'], ['sum']), inner],
      opsetImport: [set('', opset), set(OWN.domain, 1)],
    }),
    create(FunctionProtoSchema, {
      ...OWN,
      name: 'Activation',
      input: ['value'],
      output: ['result'],
      attribute: ['slope'],
      node: [node('Identity', ['value'], ['sum']), leaky],
      opsetImport: [set('', opset)],
    }),
  ];
}

/** Two layers by such functions, as a file, with names that the functions have too. */
async function file(own = functions(), named = true): Promise<Uint8Array> {
  const b = new OnnxBuilder();
  let x = b.node('Identity', [b.feed('sum', ['n', 8])], {}, { channels: 8 });
  for (const m of [12, 5]) {
    x = b.node(
      'Dense',
      [x, b.weight([b.channels(x), m], 0.4), b.weight([m], 0.3)],
      {},
      { ...OWN, channels: m },
    );
  }
  // Without functions nothing is put in place of anything.
  const model = await readModel(b.output(x).build());
  model.proto.functions = own;
  if (!named) {
    for (const call of model.nodes) call.name = '';
    model.nodes[0].output[0] = model.nodes[1].input[0] = 'Dense/sum'; // as what is inside would be called
  }
  model.proto.opsetImport.push(set(OWN.domain, 1));
  return writeModel(model).model;
}

const operators = ({ nodes }: Model) => nodes.map(({ opType }) => opType);

describe('functions of a model', () => {
  it('are put in the place of the nodes that call them', async () => {
    const bytes = await file();
    const model = await readModel(bytes);
    const layer = ['MatMul', 'Add', 'Identity', 'LeakyRelu'];
    expect(operators(model)).toEqual(['Identity', ...layer, ...layer]);
    expect(model.proto.functions).toEqual([]);
    const [before] = Object.values(await run(bytes, { sum: input }));
    const [after] = Object.values(await run(writeModel(model).model, { sum: input }));
    expect(difference(before, after)).toBeLessThan(1e-6);
  });

  it('are called by their operators where calls have no names, and values are told apart', async () => {
    const bytes = await file(functions(), false);
    const model = await readModel(bytes);
    const layer = ['MatMul', 'Add', 'Activation/Identity', 'Activation/LeakyRelu'].map((it) => `Dense/${it}`);
    const names = ['Identity_0', ...layer, ...layer.map((it) => `${it}_1`)];
    expect(model.nodes.map(({ name }) => name)).toEqual(names);
    const [before] = Object.values(await run(bytes, { sum: input }));
    const [after] = Object.values(await run(writeModel(model).model, { sum: input }));
    expect(difference(before, after)).toBeLessThan(1e-6);
  });

  it('have the attributes that a call does not say from their own defaults', async () => {
    const [dense, activation] = functions();
    activation.attribute = [];
    activation.attributeProto = [attributeOf('slope', { float: 0.7 })];
    // The call by Dense says 0.3, one of its own nothing.
    dense.node.push(node('Activation', ['said'], ['y'], OWN.domain));
    dense.node[2].output = ['said'];
    const bytes = await file([dense, activation]);
    const model = await readModel(bytes);
    const slopes = model.nodes.flatMap((it) =>
      it.opType === 'LeakyRelu' ? [attribute(it, 'alpha')?.f] : [],
    );
    expect(slopes).toEqual([0.3, 0.7, 0.3, 0.7].map(Math.fround));
    expect(model.proto.functions).toEqual([]);
    const [before] = Object.values(await run(bytes, { sum: input }));
    const [after] = Object.values(await run(writeModel(model).model, { sum: input }));
    expect(difference(before, after)).toBeLessThan(1e-6);
  });

  it('with graphs inside are put there too, under names that nothing else has', async () => {
    const [dense, activation] = functions();
    // Relu of sums above 0, LeakyRelu of others, and the name of the model's input in both branches.
    const branch = (name: string, inner: NodeProto) => {
      Object.assign(inner, { input: ['sum'], output: ['made'] });
      const nodes = [node('Neg', ['value'], ['negative']), node('Neg', ['negative'], ['sum']), inner];
      const g = create(GraphProtoSchema, {
        name,
        node: nodes,
        output: [create(ValueInfoProtoSchema, { name: 'made' })],
      });
      return create(AttributeProtoSchema, { name, g, type: AttributeProto_AttributeType.GRAPH });
    };
    const choice = node('If', ['holds'], ['result']);
    choice.attribute = [
      branch('then_branch', node('Relu', [], [])),
      branch('else_branch', activation.node[1]),
    ];
    activation.node = [
      node('Sub', ['value', 'value'], ['none']),
      ...['value', 'none'].map((of) => node('ReduceSum', [of], [`${of} in all`])),
      node('Greater', ['value in all', 'none in all'], ['holds']),
      choice,
    ];
    const bytes = await file([dense, activation]);
    const model = await readModel(bytes);
    const layer = ['MatMul', 'Add', 'Sub', 'ReduceSum', 'ReduceSum', 'Greater', 'If'];
    expect(operators(model)).toEqual(['Identity', ...layer, ...layer]);
    expect(model.proto.functions).toEqual([]);
    const names = model.nodes
      .flatMap(subgraphs)
      .flatMap((graph) => graph.node.flatMap(({ output }) => output));
    expect(names).not.toContain('sum');
    for (const sign of [1, -1]) {
      const x = { ...input, data: input.data.map((value) => sign * value) };
      const [before] = Object.values(await run(bytes, { sum: x }));
      const [after] = Object.values(await run(writeModel(model).model, { sum: x }));
      expect(difference(before, after)).toBeLessThan(1e-6);
    }
  });

  it('stay where they are of another version of the operators', async () => {
    const model = await readModel(await file(functions(16)));
    expect(operators(model)).toEqual(['Identity', 'Dense', 'Dense']);
    expect(model.proto.functions).toHaveLength(2);
  });

  it('that call themselves are refused', async () => {
    const [dense] = functions();
    dense.node = [node('Dense', ['x', 'W', 'b'], ['y'], OWN.domain)];
    await expect(readModel(await file([dense]), { name: 'm' })).rejects.toThrow(
      new FormatError('m: its function "Dense" calls itself'),
    );
    // By way of another one.
    const [first, second] = functions();
    second.node = [node('Dense', ['value', 'value', 'value'], ['result'], OWN.domain)];
    await expect(readModel(await file([first, second]), { name: 'm' })).rejects.toThrow(
      new FormatError('m: its function "Dense" calls itself'),
    );
  });

  it('with more inputs than nodes have, or long defaults, count for as many nodes as take so much memory', async () => {
    const names = Array.from({ length: 1000 }, (_, i) => `x${i}`);
    const wide = (input: string[], read: string[]) =>
      create(FunctionProtoSchema, {
        ...OWN,
        name: 'Dense',
        input,
        output: ['y'],
        node: [node('Sum', read, ['y'])],
        opsetImport: [set('', 17)],
      });
    // A default of 8 KiB that fifty nodes have.
    const long = wide(['x', 'W', 'b'], ['x']);
    long.attributeProto = [attributeOf('text', 'x'.repeat(8192))];
    const refers = create(AttributeProtoSchema, { name: 'text', refAttrName: 'text' });
    for (let i = 0; i < 50; i++) {
      const more = node('Sum', ['x'], [`y${i}`]);
      more.attribute = [refers];
      long.node.push(more);
    }
    const { onnxNodes } = limits;
    limits.onnxNodes = 200;
    try {
      for (const own of [wide(['x', 'W', 'b'], Array(1000).fill('x')), wide(names, ['x0']), long]) {
        const refused = readModel(await file([own]), { name: 'm' });
        await expect(refused).rejects.toThrow('m: its functions come to more than 200 nodes');
      }
    } finally {
      limits.onnxNodes = onnxNodes;
    }
  });

  it('with constants and texts count for these where they are called again', async () => {
    const [dense, activation] = functions();
    dense.node[0].docString = 'd'.repeat(200 * 1024);
    const { onnxNodes } = limits;
    limits.onnxNodes = 200;
    try {
      await expect(readModel(await file([dense, activation]), { name: 'm' })).rejects.toThrow(
        'm: its functions come to more than 200 nodes',
      );
      dense.node[0].docString = 'd'.repeat(100 * 1024);
      await expect(readModel(await file([dense, activation]))).resolves.toBeDefined();
    } finally {
      limits.onnxNodes = onnxNodes;
    }
  });

  it('make no names that are long, however long those inside are', async () => {
    const [dense, activation] = functions();
    const long = 'n'.repeat(5000);
    const [matmul, add] = dense.node;
    matmul.output[0] = add.input[0] = matmul.name = long;
    const { nodes } = await readModel(await file([dense, activation]));
    for (const { name, input, output } of nodes)
      for (const it of [name, ...input, ...output]) expect(it.length).toBeLessThan(300);
  });
});
