import { describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/index.ts';
import { readModel, samplesOf } from '../../src/graph/index.ts';
import { openModel } from '../../src/pipeline/open/open.ts';
import { inferShapes, samplePlaces } from '../../src/pipeline/open/shapes.ts';
import { transpose } from '../graph/attention-graphs.ts';
import { allValues, randomValue } from '../graph/running.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { engine, fixtureBytes } from './fixtures.ts';

const zeros = (dims: number[]) => ({ dims, data: new Float32Array(dims.reduce((a, b) => a * b, 1)) });

/** Loads, and counts what is loaded and run. */
function watched() {
  const seen = { runs: 0, outputs: [] as string[], largest: 0, loaded: [] as number[] };
  const own: Engine = {
    name: 'watched',
    async load(model, external) {
      seen.largest = Math.max(seen.largest, model.length);
      seen.loaded.push((await readModel(model)).nodes.length);
      const session = await engine.load(model, external);
      return {
        ...session,
        inputs: session.inputs,
        outputs: session.outputs,
        run: (feeds, fetches) => {
          seen.runs++;
          seen.outputs.push(...session.outputs.map(({ name }) => name));
          return session.run(feeds, fetches);
        },
      };
    },
  };
  return { own, seen };
}

describe('samples', () => {
  test('are behind positions, within them, or among heads, as shapes and reshapes say', async () => {
    const b = new OnnxBuilder();
    const turned = transpose(b, b.sequence(12), 1, 0, 2); // t, n, d
    const merged = b.reshape(turned, [-1, 12], 12);
    const product = b.relu(b.matmul(merged, 8));
    const apart = b.node('Flatten', [b.reshape(product, [7, -1, 8])], { axis: 2 });
    const heads = b.reshape(product, [7, -1, 2]); // t, n·4, 2
    const first = transpose(b, heads, 1, 0, 2);
    const outer = b.reshape(transpose(b, b.reshape(heads, [7, -1, 4, 2]), 2, 1, 0, 3), [-1, 7, 2]); // 4·n, t, 2
    const one = b.reshape(
      b.node('Slice', [turned, ...[0, 1, 0].map((it) => b.integers([it]))]),
      [-1, 12],
      12,
    );
    const ends = [b.reshape(apart, [-1, 8], 8), b.reshape(first, [-1, 8], 8), b.reshape(outer, [-1, 8], 8)];
    const y = b.matmul(b.node('Concat', ends, { axis: 0 }, { channels: 8 }), 3);
    b.output(y).output(b.matmul(one, 3), 'one', ['n', 3]);
    const model = await readModel(b.build());
    const shapes = await Promise.all(
      [1, 2].map(async (n) => (await inferShapes(engine, model, { input: zeros([n, 7, 12]) })).shapes),
    );
    const places = samplePlaces(model, shapes[0], shapes[1], [1, 2]);
    const of = (value: string) => places.get(value) ?? 'first';
    expect([turned, heads].map(of)).toEqual(Array(2).fill({ axis: 1, positions: 1 }));
    expect([merged, product, apart].map(of)).toEqual(Array(3).fill({ axis: 0, positions: 7 }));
    expect(of(outer)).toEqual({ axis: 0, positions: 4 });
    expect([first, one].map(of)).toEqual(['first', 'first']);
  });

  test('are not in what places of tokens alone make, as a mask of those behind', async () => {
    const b = new OnnxBuilder();
    const x = b.sequence(6);
    const extent = b.node('Squeeze', [b.node('Shape', [x], { start: 1, end: 2 })]);
    const places = b.node('Range', [
      b.node('Sub', [extent, extent]),
      extent,
      b.node('Div', [extent, extent]),
    ]);
    const rows = b.node('Unsqueeze', [places, b.integers([1])]);
    const hidden = b.node('Cast', [b.node('Less', [rows, places])], { to: 1 }); // float32
    b.output(
      b.node('Add', [b.matmul(b.node('MatMul', [hidden, x], {}, { channels: 6 }), 4), b.floats([1])]),
      'y',
      ['n', 't', 4],
    );
    const { info } = await openModel(b.build(), { engine, size: [5, 6] });
    expect([samplesOf(info, hidden).axis, samplesOf(info, x).axis]).toEqual([-1, 0]);
  });

  test('are told from tokens in rows that are merged of both, where there may be any number of these', async () => {
    const b = new OnnxBuilder();
    const ids = b.feed('input_ids', ['n', 't'], 'int64');
    const embedded = b.node('Gather', [b.weight([20, 6], 1), ids], {}, { channels: 6 });
    const rows = b.reshape(transpose(b, embedded, 1, 0, 2), [-1, 6], 6);
    b.output(b.matmul(b.relu(b.matmul(rows, 8)), 3));
    const { info } = await openModel(b.build(), { engine, size: [7] });
    expect(samplesOf(info, rows)).toEqual({ axis: 0, positions: 7 });
  });

  /** A model that asks for the extents of a value within. */
  async function askingWithin(more = (_: OnnxBuilder, y: string) => y) {
    const b = new OnnxBuilder();
    const x = b.relu(b.input([6, 6]));
    const shape = b.node('Shape', [x]);
    const table = b.node('Expand', [
      b.floats([1]),
      b.node('Slice', [shape, b.integers([1]), b.integers([3])]),
    ]);
    const y = b.node('Reshape', [b.node('Unsqueeze', [x, b.integers([0])]), shape]);
    return openModel(b.output(b.matmul(more(b, b.add(y, table)), 3)).build(), { engine });
  }

  test('are found where extents of values within are asked for, and which values have none', async () => {
    const { model, info } = await askingWithin();
    const [table, ...others] = ['Expand', 'Unsqueeze', 'Reshape'].map(
      (opType) => model.nodes.find((node) => node.opType === opType)!.output[0],
    );
    expect(others.map((value) => samplesOf(info, value).axis)).toEqual([1, 0]);
    expect(samplesOf(info, table).axis).toBe(-1);
  });

  test('are taken to be first where a model that declares an open batch takes one sample alone', async () => {
    const { info } = await askingWithin((b, y) => b.node('Concat', [y, b.weight([1, 2, 6], 1)], { axis: 1 }));
    expect(info.samples).toBeUndefined();
  });
});

describe('inferShapes', () => {
  test('gives the shapes of a run without one, and without the weights', async () => {
    const bytes = fixtureBytes('fashion-resnet-bn');
    const model = await readModel(bytes);
    const { own, seen } = watched();
    const { shapes } = await inferShapes(own, model, { input: zeros([3, 1, 28, 28]) });
    const ran = await allValues(model, randomValue([3, 1, 28, 28]));
    for (const [name, { dims }] of ran) expect(shapes.get(name), name).toEqual([...dims]);
    expect(seen.runs).toBe(0);
    expect(seen.largest).toBeLessThan(bytes.length / 4);
  });

  test('tells numbers from values that it knows nothing of', async () => {
    const b = new OnnxBuilder();
    const x = b.input([4, 6]);
    const count = b.node('Size', [x]);
    const found = b.node('NonZero', [b.node('Cast', [count], { to: 1 })]);
    const model = await readModel(b.output(b.node('Cast', [found], { to: 1 })).build());
    const { own, seen } = watched();
    const { shapes } = await inferShapes(own, model, { input: zeros([2, 4, 6]) });
    expect(shapes.get(count)).toEqual([]);
    // of a number it has a row and a column
    expect(shapes.get(found)).toEqual([1, 1]);
    expect(seen.runs).toBe(1);
    expect(seen.outputs).not.toContain(count);
  });

  test('asks for a few nodes at a time, with what is known of those before', async () => {
    const b = new OnnxBuilder();
    let x = b.input([4, 6]);
    for (let i = 0; i < 20; i++) x = b.relu(x);
    const model = await readModel(b.output(x).build());
    const { own, seen } = watched();
    const { shapes } = await inferShapes(own, model, { input: zeros([2, 4, 6]) }, 8);
    expect(shapes.get(x)).toEqual([2, 4, 6]);
    expect(seen.loaded).toEqual([8, 8, 4]);
  });

  test('gives the same however few nodes are asked for at a time', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.input([4, 6]));
    const width = b.node('Gather', [b.node('Shape', [x]), b.index(2)]); // an extent, which reaches a Reshape
    const half = b.node('Unsqueeze', [b.node('Div', [width, b.index(2)]), b.integers([0])]);
    const target = b.node('Concat', [b.integers([0, -1]), half], { axis: 0 });
    const turned = b.relu(b.node('Reshape', [b.relu(x), target]));
    const found = b.relu(b.node('Cast', [b.node('NonZero', [b.relu(turned)])], { to: 1 })); // open until it is run
    const total = b.node('ReduceSum', [b.relu(turned)], { keepdims: 0 }); // a number
    const sequence = b.node('SplitToSequence', [b.mul(turned, total)], { axis: 2 });
    const joined = b.relu(b.node('ConcatFromSequence', [sequence], { axis: 1 }));
    const model = await readModel(b.output(b.mul(found, total)).output(joined).build());
    const feeds = {
      input: { dims: [2, 4, 6], data: Float32Array.from({ length: 48 }, (_, i) => (i % 3) - 1) },
    };
    const { own, seen } = watched();
    const whole = await inferShapes(own, model, feeds);
    const { length: read } = seen.outputs; // in a run
    expect([target, turned, found, total, joined].map((it) => whole.shapes.get(it))).toEqual([
      [3],
      [2, 8, 3],
      [3, 16],
      [],
      [2, 24, 1],
    ]);
    for (const most of [1, 2, 3, 5, 8]) {
      const cut = await inferShapes(own, model, feeds, most);
      expect(seen.outputs.splice(read), `${most}`).toHaveLength(read);
      expect(new Map([...cut.shapes].sort()), `${most}`).toEqual(new Map([...whole.shapes].sort()));
      expect(cut.types, `${most}`).toEqual(whole.types);
    }
  });

  test('goes around sequences, which have no shape', async () => {
    const b = new OnnxBuilder();
    const x = b.conv(b.input([2, 6, 6]), 4, 3);
    const sequence = b.node('SplitToSequence', [x], { axis: 1 });
    const joined = b.node('ConcatFromSequence', [sequence], { axis: 1 }, { channels: 4 });
    const bytes = b.output(b.conv(joined, 3, 3)).build();
    const opened = await openModel(bytes, { engine });
    expect(opened.info.shapes.has(sequence)).toBe(false);
    expect(opened.info.types.get(sequence)).toBe('non-tensor');
    expect(opened.info.shapes.get(joined)).toEqual([1, 4, 6, 6]);
    expect(opened.macs).toBe(36 * (4 * 2 * 9 + 3 * 4 * 9));
  });

  test('does not ask the optimiser for what it folds away', async () => {
    // Positions of a Range and a decomposed LayerNormalization, as exporters write a BERT's embedding.
    const b = new OnnxBuilder();
    const ids = b.feed('ids', ['n', 't'], 'int64');
    const length = b.node('Gather', [b.node('Shape', [ids]), b.index(1)], { axis: 0 });
    const positions = b.node('Range', [b.index(0), length, b.index(1)]);
    const rows = b.node('Gather', [b.weight([16, 8], 1), positions], {}, { channels: 8 });
    const x = b.add(b.node('Gather', [b.weight([9, 8], 1), ids], {}, { channels: 8 }), rows);
    const centred = b.node('Sub', [x, b.node('ReduceMean', [x], { axes: [-1] })]);
    const variance = b.node('ReduceMean', [b.node('Pow', [centred, b.floats([2], [])])], { axes: [-1] });
    const norm = b.node('Div', [centred, b.node('Sqrt', [b.node('Add', [variance, b.floats([1e-5], [])])])]);
    const y = b.matmul(b.relu(b.matmul(b.add(b.mul(norm, b.weight([8], 1)), b.weight([8], 1)), 16)), 3);
    const opened = await openModel(b.output(y).build(), { engine, size: [5] });
    expect(opened.info.shapes.get(positions)).toEqual([5]);
    expect(opened.info.shapes.get(norm)).toEqual([1, 5, 8]);
    expect(opened.analysis.structures.filter(({ prunable }) => prunable)).toHaveLength(2);
  });
});
