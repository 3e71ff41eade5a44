// V8 alone counts what it runs, so this is no test of the core in other runtimes.

import { expect, test } from 'vitest';
import { readModel } from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { type Graph, work } from './work.ts';

test('the analysis takes work in proportion to the length of a residual stream', async () => {
  const stream = async (blocks: number) => {
    const b = new OnnxBuilder();
    let x = b.conv(b.input([2, 1, 1]), 4, 1);
    const shapes = new Map([['input', [1, 2, 1, 1]]]);
    const values = [x];
    for (let i = 0; i < blocks; i++) {
      const branch = b.conv(x, 4, 1);
      x = b.add(branch, x);
      values.push(branch, x);
    }
    for (const value of values) shapes.set(value, [1, 4, 1, 1]);
    const model = await readModel(b.output(x).build());
    return (graph: Graph) => {
      const { structures } = graph.analyse(model, shapes);
      expect(structures.map((s) => s.producers.length)).toEqual([blocks + 1]);
    };
  };
  const [short, long] = await work([await stream(500), await stream(5000)]);
  expect(short).toBeGreaterThan(500);
  expect(long / short).toBeLessThan(12);
});
