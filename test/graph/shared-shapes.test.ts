import { describe, expect, it } from 'vitest';
import { analyse, readModel, separateShapes } from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random } from '../support/random.ts';
import { attend, concat, linear, merge, SIZE, size, split, transpose, WIDTH } from './attention-graphs.ts';
import { cutDifference } from './masking.ts';
import { difference, randomChannels, randomValue, runModel, shapesOf } from './running.ts';

type Block = (x: string) => string;

/** Two blocks of attention, one behind the other, and which heads can be pruned before and after their shapes are apart. */
async function separated(b: OnnxBuilder, block: Block) {
  const before = await readModel(b.output(linear(b, block(block(b.sequence(WIDTH))), WIDTH)).build());
  const input = randomValue([3, 5, WIDTH]);
  const shapes = await shapesOf(before, input);
  const { structures, shared = [] } = analyse(before, shapes);
  const model = separateShapes(before, shared);
  expect(difference(await runModel(before, input), await runModel(model, input))).toBe(0);
  const after = analyse(model, await shapesOf(model, input));
  expect(after.shared).toBeUndefined();
  const [old, prunable] = [structures, after.structures].map((list) =>
    list.filter((structure) => structure.prunable && structure.kind === 'head'),
  );
  const next = random(3);
  for (const structure of prunable) {
    const cut = new Map([[structure, randomChannels(structure, next)]]);
    expect(await cutDifference(model, cut, input)).toBeLessThan(2e-5);
  }
  const more = model.nodes.length - before.nodes.length;
  return { before: old.length, prunable, shared, more };
}

describe('separateShapes', () => {
  it('gives each of two attentions that have heads by one Concat a shape of its own', async () => {
    const b = new OnnxBuilder();
    let shape: string | undefined;
    const block: Block = (x) => {
      shape ??= concat(b, [size(b, x, 0), b.integers([-1]), b.integers([6]), b.integers([SIZE])]);
      const [q, k, v] = [0, 1, 2].map(() =>
        transpose(b, b.node('Reshape', [linear(b, x, WIDTH), shape!]), 0, 2, 1, 3),
      );
      return linear(b, merge(b, attend(b, q, k, v), WIDTH), WIDTH);
    };
    const { before, prunable, shared, more } = await separated(b, block);
    expect(before).toBe(0);
    expect(prunable.map(({ kind, groups }) => [kind, groups])).toEqual([
      ['head', 6],
      ['head', 6],
    ]);
    expect([shared.length, more]).toEqual([1, 5]); // of six Reshapes one reads it as before
  });

  it('goes back to a product that several shapes are put together of', async () => {
    const b = new OnnxBuilder();
    let merged: string | undefined;
    const block: Block = (x) => {
      merged ??= b.node('Mul', [size(b, x, 0), b.integers([6])], {}, { channels: 1 });
      const [q, k, v] = [0, 1, 2].map(() => {
        const heads = split(b, linear(b, x, WIDTH), 6);
        return b.node('Reshape', [heads, concat(b, [merged!, size(b, x, 1), b.integers([SIZE])])]);
      });
      const weights = b.node('Softmax', [b.node('MatMul', [q, transpose(b, k, 0, 2, 1)])], { axis: -1 });
      const apart = concat(b, [size(b, x, 0), b.integers([6]), size(b, x, 1), b.integers([SIZE])]);
      const y = b.node('Reshape', [b.node('MatMul', [weights, v]), apart]);
      return linear(b, merge(b, y, WIDTH), WIDTH);
    };
    const { before, prunable, shared } = await separated(b, block);
    expect([before, prunable.length, shared.length]).toEqual([0, 2, 1]);
  });

  it('leaves shapes that lie behind too many nodes', async () => {
    const b = new OnnxBuilder();
    let shape: string | undefined;
    const block: Block = (x) => {
      shape ??= Array.from({ length: 20 }).reduce<string>(
        (it) => b.node('Identity', [it]),
        concat(b, [size(b, x, 0), b.integers([-1]), b.integers([6]), b.integers([SIZE])]),
      );
      return b.node('Reshape', [linear(b, x, WIDTH), shape], {}, { channels: WIDTH });
    };
    const model = await readModel(b.output(block(block(b.sequence(WIDTH)))).build());
    const { name } = model.nodes.find(({ opType }) => opType === 'Concat')!;
    expect(separateShapes(model, [name]).nodes.length).toBe(model.nodes.length);
  });
});
