import { create, fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { valueInfo } from '../../src/graph/build.ts';
import { analyse, readModel, unrollLoops, writeModel } from '../../src/graph/index.ts';
import { type GraphProto, TypeProtoSchema, ValueInfoProtoSchema } from '../../src/graph/onnx_pb.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { difference, randomValue, run, shapesOf } from './running.ts';

const WIDTH = 6;
const input = randomValue([3, 4, WIDTH]);

/** Of one axis with one number, as exporters write the number of the round; none for the condition. */
interface Round {
  readonly b: OnnxBuilder;
  readonly count: string;
  readonly condition: string;
}

/** @param outer  values from outside */
function body(outer: readonly string[], make: (round: Round) => readonly string[]): GraphProto {
  const b = new OnnxBuilder({ seed: 4 });
  const round = { b, count: b.feed('round', [1], 'int64'), condition: b.feed('goes on', [], 'bool') };
  for (const name of ['state', ...outer]) b.sequence(WIDTH, name);
  for (const value of make(round)) b.output(value);
  const graph = b.graph();
  graph.input = [valueInfo('round', 'int64', [1]), valueInfo('goes on', 'bool', [])];
  graph.output = graph.output.map(({ name }) => create(ValueInfoProtoSchema, { name }));
  return graph;
}

/** What a Loop has for its condition after each round. */
type Next = (b: OnnxBuilder, condition: string) => string;
const same: Next = (b, condition) => b.node('Identity', [condition]);

/** Adds rounds of layers that share their weights; each knows which one it is. */
function layers(b: OnnxBuilder, x: string, rounds: string, first = '', next = same): string {
  const graph = body([x], ({ b: own, count, condition }) => {
    const y = own.node('Mul', ['state', own.node('Cast', [count], { to: 1 })], {}, { channels: WIDTH });
    return [next(own, condition), own.add(own.relu(own.matmul(y, WIDTH)), x)];
  });
  graph.input.push(valueInfo('state', 'float32', ['n', 't', WIDTH]));
  return b.node('Loop', [rounds, first, x], { body: { graph } }, { channels: WIDTH });
}

/** x in three pieces of its positions, as PyTorch exports tensor_split. */
function pieces(b: OnnxBuilder, x: string): string[] {
  const axis = b.integers([1]);
  const graph = body([x], ({ b: own, count, condition }) => {
    const bounds = own.integers([0, 1, 2]);
    const [start, end] = [count, own.node('Add', [count, own.integers([1])], {}, { channels: 1 })].map((at) =>
      own.node('Gather', [bounds, at], {}, { channels: 1 }),
    );
    const piece = own.node('Slice', [x, start, end, own.integers([1])], {}, { channels: WIDTH });
    return [own.node('Identity', [condition]), own.node('SequenceInsert', ['state', piece])];
  });
  // sequence_type { elem_type { tensor_type { elem_type: FLOAT } } }
  const type = fromBinary(TypeProtoSchema, Uint8Array.of(0x22, 6, 0x0a, 4, 0x0a, 2, 8, 1));
  graph.input.push(create(ValueInfoProtoSchema, { name: 'state', type }));
  const empty = b.node('SequenceEmpty', []);
  const two = b.node('Loop', [b.index(2), '', empty], { body: { graph } });
  const rest = b.node('Slice', [x, b.integers([2]), b.integers([100]), axis], {}, { channels: WIDTH });
  const all = b.node('SequenceInsert', [two, rest]);
  return [0, 1, -1].map((at) => b.node('SequenceAt', [all, b.index(at)], {}, { channels: WIDTH }));
}

async function unrolled(b: OnnxBuilder) {
  const bytes = b.build();
  const before = await readModel(bytes);
  const model = unrollLoops(before);
  expect(writeModel(before).model).toEqual(writeModel(await readModel(bytes)).model);
  const [wanted, got] = await Promise.all([before, model].map((it) => run(writeModel(it).model, { input })));
  for (const [name, value] of Object.entries(wanted)) expect(difference(value, got[name])).toBeLessThan(1e-6);
  return { model, operators: model.nodes.map(({ opType }) => opType) };
}

describe('Loops', () => {
  it('of a number of rounds become layers that share their weights', async () => {
    const b = new OnnxBuilder();
    const y = layers(b, b.relu(b.matmul(b.sequence(WIDTH), WIDTH)), b.index(3));
    const { model, operators } = await unrolled(b.output(y).output(b.matmul(y, 2)));
    expect(operators).not.toContain('Loop');
    const products = model.nodes.filter(({ opType }) => opType === 'MatMul');
    expect(products.length).toBe(5);
    const { structures } = analyse(model, await shapesOf(model, input));
    expect(structures.some(({ consumers }) => consumers.some(({ others }) => others?.length === 2))).toBe(
      true,
    );
  });

  it('that fill sequences become what their pieces are', async () => {
    const b = new OnnxBuilder();
    const [first, second, rest] = pieces(b, b.relu(b.matmul(b.sequence(WIDTH), WIDTH)));
    const { operators } = await unrolled(
      b.output(b.matmul(b.node('Concat', [rest, b.mul(first, second)], { axis: 1 }, { channels: WIDTH }), 3)),
    );
    expect(operators.filter((it) => it.includes('Sequence') || it === 'Loop')).toEqual([]);
    expect(operators.filter((it) => it === 'Slice').length).toBe(3);
  });

  it('with a Range of lists of one number, whose extents the engine refuses once they are known, become layers', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.matmul(b.sequence(WIDTH), WIDTH));
    const graph = body([], ({ b: own, count, condition }) => {
      const end = own.node('Add', [count, own.integers([2])], {}, { channels: 1 });
      const places = own.node('Range', [own.index(0), end, own.index(1)], {}, { channels: 1 });
      const factor = own.node('ReduceSum', [own.node('Cast', [places], { to: 1 })], { keepdims: 0 });
      return [same(own, condition), own.node('Mul', ['state', factor], {}, { channels: WIDTH })];
    });
    graph.input.push(valueInfo('state', 'float32', ['n', 't', WIDTH]));
    const y = b.node('Loop', [b.index(3), '', x], { body: { graph } }, { channels: WIDTH });
    const { operators } = await unrolled(b.output(b.matmul(y, 2)));
    expect(operators).not.toContain('Loop');
  });

  it('stay where they go round too often, or as often as is computed', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.matmul(b.sequence(WIDTH), WIDTH));
    const size = b.node('Gather', [b.node('Shape', [x]), b.index(1)], {}, { channels: 1 });
    const model = await readModel(
      b
        .output(layers(b, x, size))
        .output(layers(b, x, b.index(9)))
        .build(),
    );
    expect(unrollLoops(model)).toBe(model);
  });

  it.each<readonly [string, boolean, Next, isLeft: boolean]>([
    ['holds from outside', true, same, false],
    ['holds anew each time', true, (b) => b.boolean(true), false],
    ['does not hold', false, same, true],
    ['holds once', true, (b) => b.boolean(false), true],
    ['is computed', true, (b, condition) => b.node('Not', [condition]), true],
  ])('whose condition %s', async (_, first, next, isLeft) => {
    const b = new OnnxBuilder();
    const x = b.relu(b.matmul(b.sequence(WIDTH), WIDTH));
    const { operators } = await unrolled(b.output(layers(b, x, b.index(8), b.boolean(first), next)));
    expect(operators.includes('Loop')).toBe(isLeft);
  });

  it('gives what sequences have at their places, and what they are beside each other', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.matmul(b.sequence(WIDTH), WIDTH));
    const [first, second, third] = [2, 3, 5].map((factor) => b.mul(x, b.floats([factor])));
    const two = b.node('Identity', [b.node('SequenceConstruct', [first, third])]);
    const all = b.node('SequenceInsert', [two, second, b.index(1)]);
    const at = (place: number) => b.node('SequenceAt', [all, b.index(place)], {}, { channels: WIDTH });
    const beside = b.node('ConcatFromSequence', [all], { axis: 1 }, { channels: WIDTH });
    const apart = b.node('ConcatFromSequence', [all], { axis: 0, new_axis: 1 });
    const { operators } = await unrolled(
      b
        .output(b.matmul(at(-2), 2))
        .output(b.matmul(beside, 2))
        .output(apart)
        .output(at(0)),
    );
    const left = operators.filter((it) => /Sequence|Concat/.test(it)).sort();
    // An output keeps its name, and there is no one node that puts values on an axis of their own.
    expect(left).toEqual([
      'Concat',
      'ConcatFromSequence',
      'SequenceAt',
      'SequenceConstruct',
      'SequenceInsert',
    ]);
  });

  it('gives the pieces of a value that is split', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.matmul(b.sequence(WIDTH), WIDTH));
    const split = (axis: number, inputs: readonly string[], channels: number, keepdims = 1) => {
      const list = b.node('SplitToSequence', [x, ...inputs], { axis, keepdims });
      return (place: number) => b.node('SequenceAt', [list, b.index(place)], {}, { channels });
    };
    const listed = split(2, [b.integers([2, 4])], 4);
    const alike = split(-1, [b.index(4)], 2);
    const [kept, single] = [split(1, [], WIDTH), split(1, [], WIDTH, 0)];
    const named = split(1, [b.index(1)], WIDTH, 0); // as PyTorch writes it, and as onnxruntime runs it
    const values = [listed(-1), alike(1), kept(2), single(3), named(3)];
    for (const value of values) b.output(b.matmul(value, 2));
    const { operators } = await unrolled(b);
    expect(operators.filter((it) => /Sequence|Slice|Gather/.test(it))).toEqual([
      'Slice',
      'Slice',
      'Slice',
      'Gather',
      'Gather',
    ]);
  });

  it('leaves pieces whose place is computed, or counted from an end that is not known', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.matmul(b.sequence(WIDTH), WIDTH));
    const list = b.node('SplitToSequence', [x, b.index(2)], { axis: 2 });
    const computed = b.node('ReduceMin', [b.node('Shape', [x])], { keepdims: 0 });
    for (const place of [b.index(-1), b.node('Mod', [computed, b.index(2)])])
      b.output(b.matmul(b.node('SequenceAt', [list, place], {}, { channels: 2 }), 2));
    const { operators } = await unrolled(b);
    expect(operators.filter((it) => it.includes('Sequence'))).toEqual([
      'SplitToSequence',
      'SequenceAt',
      'SequenceAt',
    ]);
  });

  it('leaves long sequences as they are', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.matmul(b.sequence(WIDTH), WIDTH));
    let list = b.node('SequenceEmpty', []);
    for (let i = 0; i < 300; i++) list = b.node('SequenceInsert', [list, x]);
    const first = b.node('SequenceAt', [list, b.index(0)], {}, { channels: WIDTH });
    const { operators } = await unrolled(b.output(b.matmul(first, 2)));
    expect(operators.filter((it) => it === 'SequenceInsert').length).toBe(300);
  });
});
