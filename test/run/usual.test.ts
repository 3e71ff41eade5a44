import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode as encodePng } from 'fast-png';
import { describe, expect, test } from 'vitest';
import { openEngine } from '../../src/engine/onnxruntime.ts';
import { readModel, writeModel } from '../../src/graph/index.ts';
import { evaluate } from '../../src/node.ts';
import {
  type Dataset,
  imageDataset,
  type OpenedModel,
  openModel,
  parsePreprocessing,
  preprocessingMetadata,
} from '../../src/pipeline/index.ts';
import { tellBetter, warningHandler } from '../../src/run/doubt.ts';
import { betterPreprocessing } from '../../src/run/usual.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random as seeded } from '../support/random.ts';

const FIXTURES = new URL('../fixtures/', import.meta.url).pathname;
const engine = await openEngine();

/** Some of the calibration images, and the model that was trained on them with mean 0.286 and std 0.353. */
async function fashion({ isLabeled = true } = {}) {
  const model = await openModel(readFileSync(join(FIXTURES, 'fashion-mobilenet.onnx')), { engine });
  const entries = readdirSync(join(FIXTURES, 'calib')).flatMap((name, label) =>
    readdirSync(join(FIXTURES, 'calib', name))
      .slice(0, 4)
      .map((file) => {
        const read = async () => readFileSync(join(FIXTURES, 'calib', name, file));
        return { name: file, ...(isLabeled && { label }), read };
      }),
  );
  return (options: object) => {
    const preprocessing = parsePreprocessing(options);
    const samples = imageDataset(entries, preprocessing, model.input.shape);
    return { found: { model, engine, preprocessing } as never, samples };
  };
}

const MEAN = [0, 0.5, 1];

/** Class c of images in which channel c is the brightest, told from the means of the channels, of inputs less `MEAN`. */
async function colours(layout: 'nchw' | 'nhwc') {
  const builder = new OnnxBuilder();
  const pixels = builder.input(layout === 'nchw' ? [3, 4, 5] : [4, 5, 3]);
  const axes = layout === 'nchw' ? [2, 3] : [1, 2];
  const means = builder.node('ReduceMean', [pixels], { axes, keepdims: 0 });
  const bytes = builder.output(builder.node('Add', [means, builder.floats(MEAN)])).build();
  const model = await openModel(bytes, { engine });
  const random = seeded(5);
  const entries = Array.from({ length: 30 }, (_, i) => {
    const data = Uint8Array.from(
      { length: 4 * 5 * 3 },
      (_, j) => 60 * random() + (j % 3 === i % 3 ? 120 : 0),
    );
    const bytes = encodePng({ width: 5, height: 4, channels: 3, data });
    return { name: `${i}.png`, label: i % 3, read: async () => bytes };
  });
  return (options: object) => {
    const preprocessing = parsePreprocessing({ layout, ...options });
    const samples = imageDataset(entries, preprocessing, model.input.shape);
    return { found: { model, engine, preprocessing } as never, samples };
  };
}

type Units = { scale: number; mean: number[]; std: number[] };

/** Six levels of gray, told apart by which of them is nearest in these units; @param isReversed  of a reddish one, by their BGR */
async function levels({ scale, mean, std }: Units, channels: 1 | 3, images = 30, isReversed = false) {
  const grays = [0, 51, 102, 153, 204, 255];
  const pixel = (gray: number, c: number) => (isReversed && c === 2 ? Math.round(0.4 * gray) : gray);
  const input = (x: number, c: number) => (x / scale - mean[c % mean.length]) / std[c % std.length];
  const each = Array.from({ length: channels }, (_, c) =>
    grays.map((gray) => input(pixel(gray, isReversed ? 2 - c : c), c)),
  );
  const builder = new OnnxBuilder();
  const pixels = builder.input([channels, 2, 2]);
  const means = builder.node('ReduceMean', [pixels], { axes: [2, 3], keepdims: 0 });
  // −|x − t|² but for |x|², which all levels have.
  const twice = builder.floats(
    each.flat().map((t) => 2 * t),
    [channels, grays.length],
  );
  const squares = builder.floats(grays.map((_, k) => -each.reduce((sum, own) => sum + own[k] ** 2, 0)));
  const scores = builder.node('Add', [builder.node('MatMul', [means, twice]), squares]);
  const model = await openModel(builder.output(scores).build(), { engine });
  const entries = Array.from({ length: images }, (_, i) => {
    const gray = grays[i % grays.length];
    const data = Uint8Array.from({ length: 4 * channels }, (_, at) => pixel(gray, at % channels));
    const bytes = encodePng({ width: 2, height: 2, channels, data });
    return { name: `${i}.png`, label: i % grays.length, read: async () => bytes };
  });
  const preprocessing = parsePreprocessing({ mean: 9 });
  const samples = imageDataset(entries, preprocessing, model.input.shape);
  return { found: { model, engine, preprocessing } as never, samples };
}

describe('preprocessing that does better', () => {
  test('is found among the usual ones, with both accuracies', async () => {
    const { found, samples } = (await fashion())({ mean: [0.6], std: [0.353] });
    const better = await betterPreprocessing(found, samples);
    expect(better?.flags).toBe('`mean: 0.286` `std: 0.353`');
    expect(better?.given).toMatchObject({ samples: 40 });
    expect(better?.given.value).toBeLessThan(0.4);
    expect(better?.accuracy).toBeGreaterThan(0.9);
  });

  test('names the scale where that is another', async () => {
    const { found, samples } = (await fashion())({ scale: 1, mean: [73], std: [9] });
    expect((await betterPreprocessing(found, samples))?.flags).toBe(
      '`scale: 255` `mean: 0.286` `std: 0.353`',
    );
  });

  test.each<[channels: 1 | 3, ...units: [scale: number, mean: number[], std: number[]]]>([
    [3, 255, [0], [1]],
    [3, 255, [0.5], [0.5]],
    [3, 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]],
    [3, 1, [0], [1]],
    [3, 1, [103.939, 116.779, 123.68], [1]],
    [1, 255, [0], [1]],
    [1, 255, [0.5], [0.5]],
    [1, 255, [0.1307], [0.3081]],
    [1, 255, [0.286], [0.353]],
    [1, 1, [0], [1]],
  ])('of %i channels may be scale %d, mean %j and std %j', async (channels, scale, mean, std) => {
    const { found, samples } = await levels({ scale, mean, std }, channels);
    const better = await betterPreprocessing(found, samples);
    const flags = [...(scale === 255 ? [] : [`\`scale: ${scale}\``]), `\`mean: ${mean}\``, `\`std: ${std}\``];
    expect(better?.flags).toBe(flags.join(' '));
    expect(better?.accuracy).toBe(1);
  });

  test.each(['nchw', 'nhwc'] as const)('is the other order of channels, %s', async (layout) => {
    const given = (await colours(layout))({ color: 'bgr', mean: MEAN });
    const better = await betterPreprocessing(given.found, given.samples);
    expect(better?.flags).toBe('`mean: 0,0.5,1` `std: 1` `color: rgb`');
    expect([better?.given.value, better?.accuracy]).toEqual([1 / 3, 1]);
    const right = (await colours(layout))({ mean: MEAN });
    expect(await betterPreprocessing(right.found, right.samples)).toBeUndefined();
  });

  test('is other units in the other order of channels', async () => {
    const units = { scale: 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    const { found, samples } = await levels(units, 3, 30, true);
    const better = await betterPreprocessing(found, samples);
    expect(better?.flags).toBe('`mean: 0.485,0.456,0.406` `std: 0.229,0.224,0.225` `color: bgr`');
    expect(better?.accuracy).toBe(1);
  });

  test('is none where the given does well, nothing tells, or inputs are no pixels', async () => {
    const right = (await fashion())({ mean: [0.286], std: [0.353] });
    expect(await betterPreprocessing(right.found, right.samples)).toBeUndefined();
    const unlabeled = (await fashion({ isLabeled: false }))({});
    expect(await betterPreprocessing(unlabeled.found, unlabeled.samples)).toBeUndefined();
    const wrong = (await fashion())({});
    const arrays: Dataset = {
      ...wrong.samples,
      async *batches(size) {
        for await (const batch of wrong.samples.batches(size))
          yield { ...batch, inputs: batch.inputs.map((value) => value + 0.001) };
      },
    };
    expect(await betterPreprocessing(wrong.found, wrong.samples)).toBeDefined();
    expect(await betterPreprocessing(wrong.found, arrays)).toBeUndefined();
  });

  test('is none where it does better on as few images as luck does', async () => {
    const units = { scale: 255, mean: [0.5], std: [0.5] };
    const [few, more] = [await levels(units, 1, 2), await levels(units, 1, 6)];
    expect(await betterPreprocessing(few.found, few.samples)).toBeUndefined();
    expect((await betterPreprocessing(more.found, more.samples))?.accuracy).toBe(1);
  });

  test('is looked for on 64 images at most, and on fewer for a network of many multiply-adds', async () => {
    const { found, samples } = await levels({ scale: 255, mean: [0.5], std: [0.5] }, 1, 90);
    const lookedAt = async (macs: number) => {
      const { model, ...place } = found as { model: OpenedModel };
      return (await betterPreprocessing({ ...place, model: { ...model, macs } } as never, samples))?.given
        .samples;
    };
    expect(await Promise.all([1, 5e8, 1e12].map(lookedAt))).toEqual([64, 40, 16]);
  });

  test('is not looked for where the file says how its inputs are made, unless something else is said', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'osscar-usual-'));
    try {
      const source = await readModel(readFileSync(join(FIXTURES, 'fashion-mobilenet.onnx')));
      const said = preprocessingMetadata(parsePreprocessing({ mean: [0.6], std: [0.353] }));
      for (const [key, value] of Object.entries(said)) source.setMetadata(key, value);
      const file = join(folder, 'said.onnx');
      writeFileSync(file, writeModel(source).model);
      const notes: string[] = [];
      const onNote = (text: string) => notes.push(text);
      const { value } = await evaluate(file, join(FIXTURES, 'calib'), { engine, onNote });
      expect(value).toBeLessThan(0.4);
      expect(notes.join()).not.toContain('0.286');
      await evaluate(file, join(FIXTURES, 'calib'), { engine, onNote, mean: [0.7] });
      expect(notes.join()).toContain('with `mean: 0.286` `std: 0.353`');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('what does better', () => {
  const better = {
    flags: '`mean: 0.286` `std: 0.353`',
    given: { name: 'accuracy', value: 0.4, samples: 64 },
    accuracy: 0.95,
  } as const;
  const bare = parsePreprocessing({});
  const text = 'on 64 of the images accuracy is 0.400, with `mean: 0.286` `std: 0.353` 0.950';

  test('ends a run that was told nothing of how inputs are made', () => {
    expect(() => tellBetter(better, { preprocessing: bare }, {})).toThrow(
      `neither \`mean\` nor \`std\` is given: ${text} (\`force: true\` goes on)`,
    );
  });

  test.each([
    ['a flag', bare, { mean: 0 }],
    ['another flag', bare, { scale: 1 }],
    ['a file beside the model', parsePreprocessing({ mean: 0.5 }), {}],
  ])('is told where %s says it', (_, preprocessing, settings) => {
    const notes: string[] = [];
    tellBetter(better, { preprocessing }, { ...settings, onNote: (note) => notes.push(note) });
    expect(notes).toEqual([`warning: ${text}`]);
  });
});

test('what a run and the methods that it is compared with all warn of is said once', () => {
  const notes: string[] = [];
  const warn = warningHandler({ isRemembered: false }, { onNote: (text) => notes.push(text) });
  for (const text of ['few', 'few', 'fewer']) warn({ kind: 'few-samples', text });
  expect(notes).toEqual(['warning: few (`samples`)', 'warning: fewer (`samples`)']);
});
