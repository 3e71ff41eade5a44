import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Live, liveValues, type Model, readModel, segments, subgraph } from '../../src/graph/index.ts';
import { samplePlaces } from '../../src/pipeline/open/shapes.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { concat, size, transpose } from './attention-graphs.ts';
import { allValues, difference, randomValue, run, type Value } from './running.ts';

async function opened(bytes: Uint8Array, dims: readonly number[]) {
  const model = await readModel(bytes);
  const values = await allValues(model, randomValue(dims));
  const shapes = new Map([...values].map(([name, value]) => [name, value.dims]));
  return { model, values, info: { shapes, types: new Map<string, string>() } };
}

function twoBlocks(): Uint8Array {
  const b = new OnnxBuilder();
  const block = (x: string) => b.relu(b.add(b.conv(b.relu(b.conv(x, 4, 1)), 6, 3), x));
  const x = block(block(b.conv(b.input([3, 8, 8]), 6, 3)));
  return b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 5)).build();
}

const pick = (values: Map<string, Value>, names: readonly string[]) =>
  Object.fromEntries(names.map((name) => [name, values.get(name)!]));

describe('subgraph', () => {
  it('computes any value from the cut before it', async () => {
    const { model, values, info } = await opened(twoBlocks(), [2, 3, 8, 8]);
    for (const { after, value } of segments(model)) {
      const to = model.nodes.slice(after + 1).map((node) => node.output[0]);
      if (to.length === 0) continue;
      const results = await run(subgraph(model, [value], to, info), pick(values, [value]));
      for (const name of to) expect(difference(results[name], values.get(name)!)).toBeLessThan(1e-5);
    }
  });

  it('takes the batch from the cut where only the shape of an input is needed behind it', async () => {
    const b = new OnnxBuilder();
    const x = b.sequence(6);
    const extent = (axis: number) => b.node('Gather', [b.node('Shape', [x]), b.index(axis)]);
    const [n, t] = [0, 1].map(extent);
    const places = b.node('Cast', [b.node('Range', [b.index(0), t, b.index(1)])], { to: 1 });
    const block = (y: string) => {
      const added = b.add(b.matmul(y, 6), b.node('Unsqueeze', [places, b.integers([1])]));
      return b.add(y, b.relu(b.node('Div', [added, b.node('Cast', [n], { to: 1 })])));
    };
    const { model, values, info } = await opened(b.output(block(block(block(x)))).build(), [2, 5, 6]);
    const cuts = segments(model, info);
    expect(cuts.length).toBeGreaterThan(segments(model).length);
    const last = model.outputs[0].name;
    for (const { value } of cuts.slice(0, -1)) {
      const part = subgraph(model, [value], [last], info);
      expect((await readModel(part)).inputs.map((input) => input.name)).toEqual([value]);
      const results = await run(part, pick(values, [value]));
      expect(difference(results[last], values.get(last)!)).toBeLessThan(1e-5);
    }
  });

  it('takes extents of values before the cut from the sample run, with the batch of the cut, wherever samples are', async () => {
    const b = new OnnxBuilder();
    const turned = transpose(b, b.relu(b.sequence(6)), 1, 0, 2); // t, n, d
    const merged = b.relu(b.matmul(b.reshape(b.node('Sin', [turned]), [-1, 6], 6), 4));
    const whole = b.node('Reshape', [
      merged,
      concat(b, [size(b, turned, 0), size(b, turned, 1), b.integers([4])]),
    ]);
    const apart = b.relu(transpose(b, whole, 1, 0, 2));
    const end = b.node('Reshape', [apart, b.node('Shape', [b.node('Cos', [whole])])]);
    const { model, info } = await opened(b.output(end).build(), [2, 5, 6]);
    const other = await allValues(model, randomValue([3, 5, 6]));
    const dims = new Map([...other].map(([name, value]) => [name, value.dims]));
    const samples = samplePlaces(model, info.shapes, dims, [2, 3]);
    const cuts = segments(model, { ...info, samples }).map(({ value }) => value);
    expect(cuts).toEqual(expect.arrayContaining([turned, merged, whole, apart]));
    for (const value of [merged, whole, apart]) {
      const part = subgraph(model, [value], [end], { ...info, samples });
      expect((await readModel(part)).inputs.map((input) => input.name)).toEqual([value]);
      const results = await run(part, pick(other, [value]));
      expect(difference(results[end], other.get(end)!)).toBeLessThan(1e-6);
    }
    const one = subgraph(model, [merged], [end], { ...info, samples, isSingle: true });
    expect((await readModel(one)).nodes.some(({ opType }) => opType === 'Shape')).toBe(false);
  });

  it('takes any batch, whatever the sample run had', async () => {
    const { model, info } = await opened(twoBlocks(), [2, 3, 8, 8]);
    const [first] = model.nodes;
    const bytes = subgraph(model, ['input'], [first.output[0]], info);
    const output = (await run(bytes, { input: randomValue([5, 3, 8, 8]) }))[first.output[0]];
    expect(output.dims).toEqual([5, 6, 8, 8]);
  });

  it('holds only the nodes and weights that are needed', async () => {
    const { model, info } = await opened(twoBlocks(), [2, 3, 8, 8]);
    const last = model.nodes.at(-1)!;
    const part = await readModel(subgraph(model, [last.input[0]], [last.output[0]], info));
    expect(part.nodes.map((node) => node.opType)).toEqual(['Gemm']);
    expect(part.tensors.size).toBe(2);
  });

  it('passes values through that are in both lists', async () => {
    const { model, values, info } = await opened(twoBlocks(), [2, 3, 8, 8]);
    const [first, second] = model.nodes;
    const names = [first.output[0], second.output[0]];
    const results = await run(subgraph(model, [names[0]], names, info), pick(values, [names[0]]));
    for (const name of names) expect(difference(results[name], values.get(name)!)).toBeLessThan(1e-5);
  });

  it('cuts where several values cross, too', async () => {
    const { model, values, info } = await opened(twoBlocks(), [2, 3, 8, 8]);
    const add = model.nodes.find((node) => node.opType === 'Add')!;
    const results = await run(subgraph(model, add.input, add.output, info), pick(values, add.input));
    expect(difference(results[add.output[0]], values.get(add.output[0])!)).toBeLessThan(1e-6);
  });

  it('says what is missing', async () => {
    const { model, info } = await opened(twoBlocks(), [2, 3, 8, 8]);
    expect(() => subgraph(model, [], ['conv_2'], info)).toThrow(
      'subgraph: nothing in "from" leads to "input"',
    );
    expect(() => subgraph(model, ['input'], ['nowhere'], info)).toThrow(/leads to "nowhere"/);
    expect(() => subgraph(model, ['other'], ['conv_2'], info)).toThrow(/leads to "input"/);
    expect(() => subgraph(model, ['input', 'other'], ['conv_2'], info)).toThrow(
      /no shape for the value "other"/,
    );
  });
});

describe('segments and live values', () => {
  /** By the definition: which computed values are made up to a node and read behind it? */
  function naive(model: Model): Live[] {
    return model.nodes.flatMap((_, after) => {
      const made = [
        ...model.inputs.map((i) => i.name),
        ...model.nodes.slice(0, after + 1).flatMap((n) => n.output),
      ];
      const read = new Set(model.nodes.slice(after + 1).flatMap((n) => n.input));
      const values = made.filter((value) => read.has(value));
      return values.some((value) => value !== model.inputs[0].name) ? [{ after, values }] : [];
    });
  }

  it('are found at every place, with one of them or several', async () => {
    const fixtures = ['fashion-resnet', 'fashion-mobilenet'].map((name) =>
      readFileSync(new URL(`../fixtures/${name}.onnx`, import.meta.url)),
    );
    let several = 0;
    for (const bytes of [twoBlocks(), ...fixtures]) {
      const model = await readModel(bytes);
      const places = naive(model);
      expect(liveValues(model)).toEqual(places);
      const single = places.filter(({ values }) => values.length === 1);
      expect(segments(model)).toEqual(single.map(({ after, values: [value] }) => ({ after, value })));
      expect(segments(model).length).toBeGreaterThan(5);
      several += places.length - single.length;
    }
    expect(several).toBeGreaterThan(5);
  });

  it('does not count what depends on constants alone', async () => {
    const b = new OnnxBuilder();
    const doubled = b.node('Mul', [b.weight([4], 1), b.floats([2], [])], {}, { channels: 4 });
    const x = b.relu(b.conv(b.input([3, 4, 4]), 4, 1));
    const model = await readModel(b.output(b.node('Add', [b.relu(x), doubled])).build());
    expect(segments(model).map((cut) => cut.value)).toEqual(['conv_5', 'relu_6', 'relu_7']);
  });
});
