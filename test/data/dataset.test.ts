import { encode as encodePng } from 'fast-png';
import { describe, expect, test } from 'vitest';
import { FormatError, InputError } from '../../src/errors.ts';
import {
  type Batch,
  type Dataset,
  imageDataset,
  iterableDataset,
  npyDataset,
} from '../../src/pipeline/data/dataset.ts';
import { DEFAULT_PREPROCESSING } from '../../src/pipeline/data/images/preprocessing.ts';

const raw = { ...DEFAULT_PREPROCESSING, scale: 1 };

async function collect(dataset: Dataset, batchSize: number): Promise<Batch[]> {
  const out: Batch[] = [];
  for await (const batch of dataset.batches(batchSize)) out.push(batch);
  return out;
}

/** n images of 1×2, pixels 10·i and 10·i + 1, that count how often they are read. */
function images(n: number, labeled = true) {
  let reads = 0;
  const entries = Array.from({ length: n }, (_, i) => ({
    name: `${i}.png`,
    ...(labeled && { label: i % 2 }),
    read: async () => {
      reads++;
      return encodePng({ width: 2, height: 1, channels: 1, data: Uint8Array.of(10 * i, 10 * i + 1) });
    },
  }));
  return { entries, reads: () => reads };
}

describe('imageDataset', () => {
  test('gives the samples in order, in contiguous batches, the last one smaller', async () => {
    const dataset = imageDataset(images(5).entries, raw, [1, 1, 2], { classes: ['a', 'b'] });
    expect(dataset).toMatchObject({ size: 5, shape: [1, 1, 2], classes: ['a', 'b'] });
    const batches = await collect(dataset, 2);
    expect(batches.map(({ count }) => count)).toEqual([2, 2, 1]);
    expect(batches.map(({ inputs }) => [...inputs])).toEqual([
      [0, 1, 10, 11],
      [20, 21, 30, 31],
      [40, 41],
    ]);
    expect(batches.map(({ labels }) => [...labels!])).toEqual([[0, 1], [0, 1], [0]]);
    expect(batches[1].names).toEqual(['2.png', '3.png']);
  });

  test('reads every image once for several passes of any batch size', async () => {
    const { entries, reads } = images(4);
    const dataset = imageDataset(entries, raw, [1, 1, 2]);
    const [first] = await collect(dataset, 4);
    first.inputs.fill(-1);
    expect((await collect(dataset, 1)).map(({ inputs }) => inputs[0])).toEqual([0, 10, 20, 30]);
    expect(reads()).toBe(4);
  });

  test('decodes anew on every pass where the samples exceed the limit, with the same values', async () => {
    const { entries, reads } = images(4);
    const dataset = imageDataset(entries, raw, [1, 1, 2], { keepBytes: 4 * 2 * 4 - 1 });
    expect(await collect(dataset, 4)).toEqual(await collect(dataset, 4));
    expect(reads()).toBe(8);
  });

  test('has labels only where every sample has one', async () => {
    const { entries } = images(2);
    const [batch] = await collect(
      imageDataset([entries[0], { ...entries[1], label: undefined }], raw, [1, 1, 2]),
      2,
    );
    expect(batch).not.toHaveProperty('labels');
  });

  test('makes views of each image, one behind the other: itself, its mirror image, and crops', async () => {
    const [width, height] = [40, 30];
    const pixels = Uint8Array.from(
      { length: width * height },
      (_, i) => 5 * (i % width) + Math.floor(i / width),
    );
    const read = async () => encodePng({ width, height, channels: 1, data: pixels });
    const entries = ['a.png', 'b.png'].map((name, label) => ({ name, label, read }));
    const dataset = imageDataset(entries, raw, [1, height, width], { views: 4 });
    expect(dataset).toMatchObject({ size: 8, views: 4 });
    const [{ inputs, labels, names }] = await collect(dataset, 8);
    const view = (i: number) => [...inputs.subarray(i * pixels.length, (i + 1) * pixels.length)];
    const mirrored = [...pixels].map((_, i) => pixels[i - (i % width) + (width - 1 - (i % width))]);
    for (const image of [0, 4]) {
      expect(view(image)).toEqual([...pixels]);
      expect(view(image + 1)).toEqual(mirrored);
    }
    // Pixels grow from left to right, and so do those of a crop; those of its mirror image fall.
    const rises = (i: number) => view(i)[1] - view(i)[0];
    expect([rises(2) > 0, rises(3) < 0]).toEqual([true, true]);
    // At most as far apart as the image's, at least as those of the smallest crop, 0.6 of it.
    const range = (i: number) => Math.max(...view(i)) - Math.min(...view(i));
    for (const crop of [2, 3, 6, 7]) {
      expect(range(crop)).toBeLessThan(range(0));
      expect(range(crop)).toBeGreaterThan(0.5 * range(0));
    }
    expect(view(6)).not.toEqual(view(2)); // of the second image another part
    expect([...labels!]).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
    expect(names.slice(2, 6)).toEqual(['a.png', 'a.png', 'b.png', 'b.png']);
    expect((await collect(dataset, 3))[0].inputs).toEqual(inputs.subarray(0, 3 * pixels.length));
  });

  test('takes files as a page is handed them, by the paths within the folder that was picked', async () => {
    const bytes = encodePng({ width: 2, height: 1, channels: 1, data: Uint8Array.of(1, 2) });
    const [one, other] = ['1.png', '2.png'].map((name) => new File([bytes as Uint8Array<ArrayBuffer>], name));
    Object.defineProperty(other, 'webkitRelativePath', { value: 'photos/cats/2.png' });
    const [{ inputs, names }] = await collect(imageDataset([one, other], raw, [1, 1, 2]), 2);
    expect([...inputs]).toEqual([1, 2, 1, 2]);
    expect(names).toEqual(['1.png', 'cats/2.png']);
  });

  test('refuses no images, a wrong shape and a wrong batch size', async () => {
    expect(() => imageDataset([], raw, [1, 1, 2])).toThrow(new InputError('the data set is empty'));
    expect(() => imageDataset(images(1).entries, raw, [2])).toThrow(InputError);
    const dataset = imageDataset(images(1).entries, raw, [1, 1, 2]);
    for (const size of [0, -1, 1.5, Number.NaN])
      await expect(collect(dataset, size)).rejects.toThrow('batch size');
  });

  test('names the image that fails', async () => {
    const { entries } = images(2);
    entries[1].read = async () => new Uint8Array(3);
    await expect(collect(imageDataset(entries, raw, [1, 1, 2]), 2)).rejects.toThrow(FormatError);
    await expect(collect(imageDataset(entries, raw, [1, 1, 2]), 2)).rejects.toThrow('"1.png"');
    await expect(collect(imageDataset(images(1).entries, raw, [1, 2, 2]), 1)).rejects.toThrow(
      '"0.png": the image is 1×2',
    );
  });
});

describe('npyDataset', () => {
  const array = { shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) };

  test('gives the rows, with labels if there are any', async () => {
    const batches = await collect(npyDataset(array, [2], 'a.npy', [7, 8, 9]), 2);
    expect(batches.map(({ inputs }) => [...inputs])).toEqual([
      [1, 2, 3, 4],
      [5, 6],
    ]);
    expect(batches.map(({ labels }) => [...labels!])).toEqual([[7, 8], [9]]);
    expect((await collect(npyDataset(array, [0], 'a.npy'), 3))[0]).not.toHaveProperty('labels');
  });

  test('takes the dimensions that the model leaves open from the array', () => {
    expect(npyDataset({ shape: [1, 3, 2], data: array.data }, [3, 0], 'a').shape).toEqual([3, 2]);
  });

  test.each([
    [[5, 4, 3], [3, 4], 'its axes are in another order, which x.transpose(0, 2, 1) mends'],
    [[1, 3, 3, 2], [2, 3, 3], 'its axes are in another order, which x.transpose(0, 3, 1, 2) mends'],
    [[2, 12], [3, 4], 'where only the shape is another, x.reshape(-1, 3, 4) mends it'],
    [[2, 1, 12], [12], 'where only the shape is another, x.reshape(-1, 12) mends it'],
    [[3, 4], [3, 4], 'where it is one sample, x[None] makes that of it'],
    [[3, 4], [3, 0], 'where it is one sample, x[None] makes that of it'],
  ])('says how %j becomes samples of %j', (shape, inputShape, hint) => {
    const data = new Float32Array(shape.reduce((product, dim) => product * dim));
    const text = `got [${shape.join(', ')}]; ${hint}`;
    expect(() => npyDataset({ shape, data }, inputShape, 'a.npy')).toThrow(text);
  });

  test('refuses another shape, an empty array, other labels, NaN', () => {
    expect(() => npyDataset(array, [1, 28, 28], 'a.npy')).toThrow(
      new InputError('"a.npy": expected an array of shape [n, 1, 28, 28], got [3, 2]'),
    );
    expect(() => npyDataset({ shape: [], data: Float32Array.of(1) }, [2], 'a.npy')).toThrow(InputError);
    expect(() => npyDataset({ shape: [0, 2], data: new Float32Array(0) }, [2], 'a.npy')).toThrow(
      'the array is empty',
    );
    expect(() => npyDataset(array, [2], 'a.npy', [1])).toThrow('expected 3 labels, got 1');
    const bad = { shape: [2, 2], data: Float32Array.of(1, 2, 3, Number.NaN) };
    expect(() => npyDataset(bad, [2], 'a.npy')).toThrow(
      new InputError('"a.npy[1]": value 1 of the input is NaN'),
    );
  });
});

describe('iterableDataset', () => {
  test('keeps what a stream gives, though the stream reuses its buffer', async () => {
    async function* stream() {
      const data = new Float32Array(2);
      for (let i = 0; i < 3; i++) {
        data.fill(i);
        yield { data, label: i };
      }
    }
    const dataset = await iterableDataset(stream(), [2]);
    expect(dataset).toMatchObject({ size: 3, shape: [2] });
    for (let pass = 0; pass < 2; pass++) {
      const [batch] = await collect(dataset, 8);
      expect([...batch.inputs]).toEqual([0, 0, 1, 1, 2, 2]);
      expect([...batch.labels!]).toEqual([0, 1, 2]);
    }
  });

  test('takes a plain array of inputs', async () => {
    const [batch] = await collect(await iterableDataset([Float32Array.of(1), Float32Array.of(2)], [1]), 2);
    expect(batch).toEqual({ inputs: Float32Array.of(1, 2), count: 2, names: ['sample 0', 'sample 1'] });
  });

  test('refuses an empty source, another length, infinite values and what is no Float32Array', async () => {
    await expect(iterableDataset([], [1])).rejects.toThrow(new InputError('the data set is empty'));
    await expect(iterableDataset([new Float32Array(3)], [2, 2])).rejects.toThrow(
      new InputError('"sample 0": expected 4 values for shape [2, 2], got 3'),
    );
    await expect(iterableDataset([Float32Array.of(1 / 0)], [1])).rejects.toThrow(
      'value 0 of the input is Infinity',
    );
    await expect(iterableDataset([[1] as never], [1])).rejects.toThrow(
      new InputError('"sample 0": expected a Float32Array, or one as `data`, got [1]'),
    );
  });
});
