import { describe, expect, it } from 'vitest';
import { UnsupportedModelError } from '../../src/errors.ts';
import { ifsOf, readModel, writeModel } from '../../src/graph/index.ts';
import { branchTexts, feedsDataset, type OpenedModel, openModel, prune } from '../../src/pipeline/index.ts';
import { memoryStore } from '../../src/pipeline/store/store.ts';
import { difference, randomValue, run } from '../graph/running.ts';
import { byRate, either, same, twoLayers } from '../support/branches.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { engine, noise, session } from './fixtures.ts';

/** What an exporter makes of a squeeze: an If by whether an axis has one element. */
function byExtent(axis: number, extents: readonly number[] | readonly string[]): Uint8Array {
  const b = new OnnxBuilder();
  const images = b.feed('images', ['n', 3, ...extents]);
  const pixels = b.node('Shape', [images], {}, { channels: 1 });
  const isOne = b.node('Equal', [b.node('Gather', [pixels, b.index(axis)]), b.index(1)]);
  const mean = b.node('ReduceMean', [images], { axes: [2, 3], keepdims: 0 }, { channels: 3 });
  const x = b.gemm(mean, 8);
  return b.output(either(b, isOne, x, same, twoLayers), 'y').build();
}

/** By what a sample holds. */
function bySample(): Uint8Array {
  const b = new OnnxBuilder();
  const x = b.node('Identity', [b.input([8])]);
  const isLarge = b.node(
    'Greater',
    [b.node('ReduceMax', [x], { keepdims: 0 }), b.floats([0.5], [])],
    {},
    { channels: 1 },
  );
  return b.output(b.relu(either(b, isLarge, x, twoLayers, twoLayers)), 'y').build();
}

const groups = ({ analysis }: OpenedModel) =>
  analysis.structures.filter(({ prunable }) => prunable).map((structure) => structure.groups);

describe('Ifs that inputs decide that are said once for all', () => {
  it.each([
    [16000, 'then'],
    [8000, 'else'],
  ] as const)('have the branch of %i pruned, and the file has only that', async (sr, taken) => {
    const bytes = byRate();
    const opened = await openModel(bytes, { engine, inputs: { sr } });
    expect(opened.branches).toMatchObject([{ taken, by: ['sr'], bySize: false }]);
    expect(groups(opened)).toEqual([12]);
    const calibration = await noise(64, [8]);
    const { written, report } = await prune(opened, { engine, session, calibration, keep: 0.5 });
    expect(report.warnings).toEqual([
      expect.stringMatching(/^If "if_\d+" is decided by input "sr": a pruned model has only the branch/),
    ]);
    const small = await readModel(written.model);
    expect(ifsOf(small)).toEqual([]);
    expect(small.inputs.map(({ name }) => name).sort()).toEqual(['input', 'sr']); // to be given as before
    const given = { input: randomValue([5, 8]), sr: { dims: [], data: BigInt64Array.of(BigInt(sr)) } };
    const [wanted, got] = [await run(bytes, given), await run(writeModel(opened.model).model, given)];
    expect(difference(wanted.y, got.y)).toBeLessThan(1e-6);
  });

  it('are of another model for another value, whose work folder is not gone on with', async () => {
    const [store, calibration] = [memoryStore(), await noise(64, [8])];
    const pruned = async (sr: number) => {
      const opened = await openModel(byRate(), { engine, inputs: { sr } });
      return (await prune(opened, { engine, session, calibration, keep: 0.5, store })).written.model;
    };
    const first = await pruned(16000);
    await expect(pruned(8000)).rejects.toThrow('holds a run of model');
    expect(await pruned(16000)).toEqual(first);
  });

  it('stay where nothing has been said, which is told', async () => {
    const opened = await openModel(byRate(), { engine });
    expect(ifsOf(opened.model).length).toBe(1);
    const [text] = branchTexts(opened.branches);
    expect(text).toMatch(
      /^If "if_\d+" is decided by input "sr": where that is the same for all samples \(`inputs.sr`\), the branch/,
    );
    const calibration = await noise(16, [8]);
    const attempt = prune(opened, { engine, session, calibration, keep: 0.5 });
    await expect(attempt).rejects.toThrow(UnsupportedModelError);
    await expect(attempt).rejects.toThrow(text);
  });
});

describe('Ifs that extents decide', () => {
  it('are decided by the size that samples have', async () => {
    const fixed = await openModel(byExtent(2, [4, 4]), { engine });
    expect(groups(fixed)).toEqual([8, 12]);
    expect(fixed.branches).toMatchObject([{ taken: 'else', by: [], bySize: true }]);
    const open = await openModel(byExtent(2, ['h', 'w']), { engine, size: [1, 4] });
    expect(open.branches).toMatchObject([{ taken: 'then', bySize: true }]);
    expect(branchTexts(open.branches)[0]).toContain('decided by the size of samples');
  });

  /** A data set of images as wide as high, of some sizes. */
  const images = ({ input }: OpenedModel, sizes: readonly number[]) =>
    feedsDataset(
      sizes.map((size) => ({ inputs: { images: randomValue([3, size, size], size) } })),
      input,
    );

  it('are decided for samples of several sizes by the smallest and the largest one', async () => {
    const bytes = byExtent(2, ['h', 'w']);
    const two = await openModel(bytes, { engine, size: [4, 4], smallest: [2, 2] });
    expect(two.branches).toMatchObject([{ taken: 'else', bySize: true }]);
    const calibration = await images(
      two,
      Array.from({ length: 32 }, (_, i) => 2 + (i % 3)),
    );
    const { report } = await prune(two, { engine, session, calibration, keep: 0.5 });
    expect(report.layers.length).toBe(2);
    const one = await openModel(bytes, { engine, size: [4, 4], smallest: [1, 1] });
    expect(one.branches).toEqual([]);
    expect(ifsOf(one.model).length).toBe(1);
  });

  it('are refused where nothing is known of smaller samples', async () => {
    const opened = await openModel(byExtent(2, ['h', 'w']), { engine, size: [4, 4] });
    const calibration = await images(opened, [1, 2, 3, 4]);
    await expect(prune(opened, { engine, session, calibration, keep: 0.5 })).rejects.toThrow(
      /^model: samples have several sizes, and If "if_\d+" is decided by these; give them one \(`size`\)$/,
    );
  });

  it('are decided where the model takes a single sample, whatever it declares', async () => {
    const b = new OnnxBuilder();
    const row = b.node('Squeeze', [b.feed('input', ['n', 't']), b.integers([0])], {}, { channels: 8 });
    const isOne = b.node('Equal', [b.node('Gather', [b.node('Shape', [row]), b.index(0)]), b.index(1)]);
    const x = b.gemm(b.node('Unsqueeze', [row, b.integers([0])]), 8);
    const bytes = b.output(either(b, isOne, x, same, twoLayers)).build();
    const { branches } = await openModel(bytes, { engine, size: [8] });
    expect(branches).toMatchObject([{ taken: 'else', bySize: true }]);
  });

  it('are decided where the engine refuses what the other branches make of these extents', async () => {
    const b = new OnnxBuilder();
    const fourWide = (b: OnnxBuilder, x: string) => b.node('MatMul', [x, b.weight([4, 8], 0.3)]);
    const unlessFour = (x: string) => {
      const width = b.node('Gather', [b.node('Shape', [x], {}, { channels: 1 }), b.index(1)]);
      return either(b, b.node('Equal', [width, b.index(4)]), x, fourWide, twoLayers);
    };
    // the second one is behind the first
    const bytes = b.output(unlessFour(unlessFour(b.feed('input', ['n', 't'])))).build();
    const opened = await openModel(bytes, { engine, size: [8] });
    expect(opened.branches).toMatchObject([{ taken: 'else' }, { taken: 'else' }]);
    expect(groups(opened)).toEqual([12, 8, 12]);
  });

  it('stay where it is the number of samples', async () => {
    const opened = await openModel(byExtent(0, [4, 4]), { engine });
    expect(ifsOf(opened.model).length).toBe(1);
    expect(opened.branches).toEqual([]);
  });
});

it('a network without prunable structures is refused for that, whatever became of its Ifs', async () => {
  const b = new OnnxBuilder();
  const x = b.node('Tanh', [b.input([8])]);
  const y = either(b, b.feed('flag', [], 'bool'), x, same, same);
  const opened = await openModel(b.output(b.relu(y), 'y').build(), { engine, inputs: { flag: 1 } });
  const calibration = await noise(16, [8]);
  await expect(prune(opened, { engine, session, calibration, keep: 0.5 })).rejects.toThrow(
    'no prunable structure',
  );
});

it('Ifs that a constant decides, or an input that is the condition itself, are decided', async () => {
  const b = new OnnxBuilder();
  const x = b.node('Tanh', [b.input([8])]);
  const never = b.node('Cast', [b.floats([0], [])], { to: 9 }, { channels: 1 });
  const y = either(b, b.feed('flag', [], 'bool'), either(b, never, x, same, twoLayers), twoLayers, same);
  const opened = await openModel(b.output(b.relu(y), 'y').build(), { engine, inputs: { flag: 1 } });
  expect(opened.branches.map(({ taken, by }) => [taken, ...by]).sort()).toEqual([['else'], ['then', 'flag']]);
  expect(branchTexts(opened.branches)).toEqual([
    expect.stringContaining('decided by input "flag": a pruned'),
  ]);
  expect(groups(opened)).toEqual([12, 8, 12]);
});

it('Ifs that samples decide stay, and nothing is said of them', async () => {
  const opened = await openModel(bySample(), { engine });
  expect(ifsOf(opened.model).length).toBe(1);
  expect(opened.branches).toEqual([]);
});
