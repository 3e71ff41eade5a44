import { describe, expect, test } from 'vitest';
import { FormatError, InputError } from '../../src/errors.ts';
import type { DecodedImage } from '../../src/pipeline/data/images/frame.ts';
import {
  DEFAULT_PREPROCESSING,
  imageShape,
  type Preprocessing,
  type PreprocessingOptions,
  parsePreprocessing,
  parsePreprocessingJson,
  preprocess,
} from '../../src/pipeline/data/images/preprocessing.ts';
import { parsePreprocessorConfig } from '../../src/pipeline/data/images/preprocessor-config.ts';
import { resizeImage } from '../../src/pipeline/data/images/resample.ts';
import { storedPreprocessing } from '../../src/pipeline/data/images/stored.ts';
import { random as seeded } from '../support/random.ts';

const random = seeded(2);

const gray = (height: number, width: number, data: ArrayLike<number>): DecodedImage => ({
  name: 'a.png',
  width,
  height,
  channels: 1,
  data: Uint8Array.from(data),
});
const rgb = (height: number, width: number, data: ArrayLike<number>): DecodedImage => ({
  ...gray(height, width, data),
  channels: 3,
});
const noise = (height: number, width: number, channels: 1 | 3): DecodedImage => ({
  ...gray(
    height,
    width,
    Array.from({ length: height * width * channels }, () => random() * 256),
  ),
  channels,
});
const p = (part: Partial<Preprocessing> = {}): Preprocessing => ({ ...DEFAULT_PREPROCESSING, ...part });

describe('preprocess', () => {
  test('gives (pixel / scale − mean) / std of a 2×2 gray image', () => {
    const input = preprocess(gray(2, 2, [0, 51, 102, 255]), p({ mean: [0.5], std: [0.25] }), [1, 2, 2]);
    expect(input).toEqual(Float32Array.of(-2, -1.2, -0.4, 2));
  });

  test('takes mean and std per channel, in either layout and order', () => {
    const image = rgb(1, 2, [10, 20, 30, 40, 50, 60]);
    const values = { scale: 1, mean: [1, 2, 3], std: [1, 2, 4] };
    expect([...preprocess(image, p(values), [3, 1, 2])]).toEqual([9, 39, 9, 24, 6.75, 14.25]);
    expect([...preprocess(image, p({ ...values, layout: 'nhwc' }), [1, 2, 3])]).toEqual([
      9, 9, 6.75, 39, 24, 14.25,
    ]);
    expect([...preprocess(image, p({ ...values, color: 'bgr' }), [3, 1, 2])]).toEqual([
      29, 59, 9, 24, 1.75, 9.25,
    ]);
  });

  test('converts RGB to gray by the luma of PIL, if told to', () => {
    const image = rgb(1, 5, [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 100, 150, 200]);
    // 0.299 · 100 + 0.587 · 150 + 0.114 · 200 = 140.75
    expect([...preprocess(image, p({ color: 'gray', scale: 1 }), [1, 1, 5])]).toEqual([
      76, 150, 29, 255, 141,
    ]);
  });

  test('repeats gray for RGB, if told to', () => {
    expect([...preprocess(gray(1, 2, [7, 9]), p({ color: 'rgb', scale: 1 }), [3, 1, 2])]).toEqual([
      7, 9, 7, 9, 7, 9,
    ]);
  });

  test.each<[string, DecodedImage, Partial<Preprocessing>, number[], string]>([
    [
      'an RGB image for a gray model',
      rgb(1, 1, [1, 2, 3]),
      {},
      [1, 1, 1],
      '"a.png": the image has 3 channels, the model expected 1 (`color: \'gray\'` converts)',
    ],
    [
      'a gray image for an RGB model',
      gray(1, 1, [1]),
      {},
      [3, 1, 1],
      '"a.png": the image has 1 channel, the model expected 3 (`color: \'rgb\'` converts)',
    ],
    [
      'another size',
      gray(1, 2, [1, 2]),
      {},
      [1, 28, 28],
      "\"a.png\": the image is 1×2, the model expected 28×28 (`resize: 'fit'` or `resize: 'crop'` resizes)",
    ],
    ['images of another height', gray(29, 28, Array(812)), {}, [1, 28, 28], 'the image is 29×28, the model'],
    ['images of another width', gray(28, 29, Array(812)), {}, [1, 28, 28], 'the image is 28×29, the model'],
    [
      'a size that is not the model’s',
      gray(1, 1, [1]),
      { size: 32 },
      [1, 28, 28],
      '`size`: the model expected 28×28, got 32×32',
    ],
    ['another width', gray(1, 1, [1]), { size: [28, 32] }, [1, 28, 28], 'expected 28×28, got 28×32'],
    ['another height', gray(1, 1, [1]), { size: [32, 28] }, [1, 28, 28], 'expected 28×28, got 32×28'],
    ['no width', gray(1, 1, [1]), {}, [1, 28, 0], 'leaves the image size open'],
    ['no height', gray(1, 1, [1]), {}, [1, 0, 28], 'leaves the image size open'],
    ['no size at all', gray(1, 1, [1]), {}, [1, 0, 0], 'leaves the image size open; give it with `size`'],
    [
      'a model that takes no images',
      gray(1, 1, [1]),
      {},
      [784],
      'expected a model input of 3 dimensions and the batch, got [784]',
    ],
    [
      'a wrong layout',
      rgb(1, 1, [1, 2, 3]),
      {},
      [8, 8, 3],
      "the model's input [8, 8, 3] has 8 (is `layout: 'nhwc'` meant?)",
    ],
    [
      'a colour that the model cannot take',
      rgb(1, 1, [1, 2, 3]),
      { color: 'gray' },
      [3, 1, 1],
      "`color: 'gray'`: the model expected 3 channels",
    ],
    [
      'three means for one channel',
      gray(1, 1, [1]),
      { mean: [1, 2, 3] },
      [1, 1, 1],
      "`mean`: expected one value for the model's 1 channel, got 3",
    ],
  ])('refuses %s in one line', (_, image, part, shape, message) => {
    expect(() => preprocess(image, p(part), shape)).toThrow(InputError);
    expect(() => preprocess(image, p(part), shape)).toThrow(message);
  });
});

describe('imageShape', () => {
  test('fills in what the model leaves open', () => {
    expect(imageShape(p({ size: [4, 6] }), [3, 0, -1])).toEqual([3, 4, 6]);
    expect(imageShape(p({ size: 5, layout: 'nhwc' }), [0, 0, 1])).toEqual([5, 5, 1]);
    expect(imageShape(p({ size: 5 }), [0, 0, 0])).toEqual([3, 5, 5]);
    expect(imageShape(p({ size: 5, color: 'gray' }), [0, 0, 0])).toEqual([1, 5, 5]);
  });
});

describe('resize', () => {
  test('doubles 2 pixels with weights of 1/4 and 3/4', () => {
    expect([...resizeImage(gray(1, 2, [0, 100]), 1, 4).data]).toEqual([0, 25, 75, 100]);
  });

  test('halves 4 pixels with the widened triangle', () => {
    // Centre 1: distances 0.5 0.5 1.5 over support 2 → 3/8 3/8 1/8 of 7/8, so (3·0 + 3·80 + 160) / 7; mirrored at 3.
    expect([...resizeImage(gray(1, 4, [0, 80, 160, 240]), 1, 2).data]).toEqual([57, 183]);
  });

  test('agrees with the weights of the definition, both axes, up to the two roundings', () => {
    const naive = (data: ArrayLike<number>, from: number, to: number, i: number) => {
      const ratio = from / to;
      const support = Math.max(1, ratio);
      let sum = 0;
      let weights = 0;
      for (let k = 0; k < from; k++) {
        const weight = Math.max(0, 1 - Math.abs((k + 0.5 - (i + 0.5) * ratio) / support));
        sum += weight * data[k];
        weights += weight;
      }
      return sum / weights;
    };
    for (const [h, w, toH, toW] of [
      [7, 5, 3, 9],
      [20, 31, 6, 7],
      [3, 4, 8, 8],
    ]) {
      const image = noise(h, w, 1);
      const got = resizeImage(image, toH, toW);
      for (let y = 0; y < toH; y++) {
        for (let x = 0; x < toW; x++) {
          const column = Array.from({ length: h }, (_, row) =>
            naive(image.data.subarray(row * w, (row + 1) * w), w, toW, x),
          );
          // ½ from the first rounding, whose weights sum to 1, and ½ from the second.
          expect(Math.abs(got.data[y * toW + x] - naive(column, h, toH, y))).toBeLessThanOrEqual(1);
        }
      }
    }
  });

  test('keeps channels apart', () => {
    const image = noise(9, 11, 3);
    const whole = resizeImage(image, 4, 6);
    for (let c = 0; c < 3; c++) {
      const plane = resizeImage(
        gray(
          9,
          11,
          image.data.filter((_, i) => i % 3 === c),
        ),
        4,
        6,
      );
      expect(whole.data.filter((_, i) => i % 3 === c)).toEqual(plane.data);
    }
  });

  test('fits straight to the size', () => {
    const image = noise(10, 20, 1);
    const got = preprocess(image, p({ resize: 'fit', scale: 1 }), [1, 4, 4]);
    expect([...got]).toEqual([...resizeImage(image, 4, 4).data]);
  });

  test('crops the centre of the image resized to size / 0.875, as Resize(32) CenterCrop(28)', () => {
    for (const [size, h, w, fullH, fullW, top, left] of [
      [28, 64, 64, 32, 32, 2, 2],
      [28, 64, 100, 32, 50, 2, 11],
      // int(32 · 97 / 64) = 48; round(20 / 2) = 10. int(32 · 91 / 64) = 45; round(8.5) = 8, half to even, and round(9.5) = 10.
      [28, 97, 64, 48, 32, 10, 2],
      [28, 64, 97, 32, 48, 2, 10],
      [28, 91, 64, 45, 32, 8, 2],
      [28, 94, 64, 47, 32, 10, 2],
      [28, 16, 16, 32, 32, 2, 2],
      // int(30 / 0.875) = 34
      [30, 68, 100, 34, 50, 2, 10],
    ]) {
      const image = noise(h, w, 1);
      const full = resizeImage(image, fullH, fullW).data;
      const want = Array.from(
        { length: size ** 2 },
        (_, i) => full[(top + Math.floor(i / size)) * fullW + left + (i % size)],
      );
      expect([...preprocess(image, p({ resize: 'crop', scale: 1 }), [1, size, size])]).toEqual(want);
    }
  });

  test('crops the centre of the image that covers the size, as Resize(28) CenterCrop(28)', () => {
    const image = noise(56, 100, 1);
    const full = resizeImage(image, 28, 50).data;
    const want = Array.from({ length: 28 * 28 }, (_, i) => full[Math.floor(i / 28) * 50 + 11 + (i % 28)]);
    expect([...preprocess(image, p({ resize: 'cover', scale: 1 }), [1, 28, 28])]).toEqual(want);
  });

  test('crops to sizes that are not square', () => {
    const input = preprocess(noise(50, 60, 1), p({ resize: 'crop', size: [14, 28] }), [1, 0, 0]);
    expect(input).toHaveLength(14 * 28);
  });
});

describe('parsePreprocessing', () => {
  test('gives the defaults for no options', () => {
    expect(parsePreprocessing({})).toEqual({
      resize: 'none',
      scale: 255,
      mean: [0],
      std: [1],
      layout: 'nchw',
    });
  });

  const WHISPER = { melBins: 80, fftSize: 400, hopLength: 160, seconds: 30 };

  test('takes every option, one number for all channels too', () => {
    const options: PreprocessingOptions = {
      size: [192, 256],
      multiple: 16,
      resize: 'crop',
      scale: 1,
      mean: [1, 2, 3],
      layout: 'nhwc',
      color: 'bgr',
      samplingRate: 8000,
      normalize: true,
      spectrogram: WHISPER,
    };
    expect(parsePreprocessing({ ...options, std: 4 })).toEqual({ ...options, std: [4] });
  });

  test('lets options count more than defaults', () => {
    const defaults = { mean: [0.5], std: [0.25] };
    expect(parsePreprocessing({ mean: [0.1], std: undefined }, defaults)).toMatchObject({
      mean: [0.1],
      std: [0.25],
    });
  });

  const BEYOND = '(pixel / scale − mean) / std of pixels up to 255 is beyond what float32 holds, got';
  // biome-ignore lint/suspicious/noExplicitAny: what callers without types may give
  test.each<[any, string]>([
    [{ size: 0 }, '`size`: expected pixels up to 16777216, as 224, or height and width, as 192, 256, got 0'],
    [{ size: [1, 2, 3] }, '`size`:'],
    [{ size: 2.5 }, '`size`:'],
    [{ size: '224' }, '`size`:'],
    [{ size: [224, 0] }, '`size`:'],
    [{ size: 2 ** 24 + 1 }, '`size`:'],
    [{ samplingRate: 0 }, '`samplingRate`: expected a whole number from 1 to 4294967296, got 0'],
    [{ normalize: 1 }, '`normalize`: expected true or false, got 1'],
    [
      { spectrogram: 80 },
      '`spectrogram`: expected whole numbers as "melBins" (up to 1024), "fftSize" (even,',
    ],
    [{ spectrogram: { ...WHISPER, fftSize: 401 } }, '`spectrogram`:'],
    ...[{ frameLength: 401 }, { mean: Number.NaN }, { std: 0 }].map(
      (wrong) =>
        [
          { spectrogram: { ...WHISPER, kaldi: { frameLength: 400, mean: 0, std: 1, ...wrong } } },
          '`spectrogram`:',
        ] as [object, string],
    ),
    [{ spectrogram: { ...WHISPER, fftSize: 2 * 17 } }, '`spectrogram`:'],
    [{ spectrogram: { ...WHISPER, fftSize: 2 ** 15 } }, '`spectrogram`:'],
    [{ spectrogram: { ...WHISPER, melBins: 0 } }, '`spectrogram`:'],
    [{ spectrogram: { ...WHISPER, hopLength: 0.5 } }, '`spectrogram`:'],
    [{ spectrogram: { ...WHISPER, seconds: 1e9 } }, '`spectrogram`:'],
    [{ multiple: 0 }, '`multiple`: expected a whole number from 1 to 65535, got 0'],
    [{ multiple: 1e9 }, '`multiple`: expected a whole number from 1 to 65535, got 1000000000'],
    [{ resize: 'stretch' }, '`resize`: expected one of none, fit, crop, cover, got "stretch"'],
    [{ layout: 'NCHW' }, '`layout`: expected one of nchw, nhwc, got "NCHW"'],
    [{ color: 'grey' }, '`color`: expected one of rgb, bgr, gray, got "grey"'],
    [{ mean: '0.4' }, '`mean`: expected one number or one per channel, as 0.485, 0.456, 0.406, got "0.4"'],
    [{ mean: [1, 2] }, '`mean`:'],
    [{ mean: [0.5, Number.NaN, 0.5] }, '`mean`:'],
    [{ mean: Infinity }, '`mean`:'],
    [{ mean: Symbol('half') }, 'as 0.485, 0.456, 0.406, got Symbol(half)'],
    [{ std: 0 }, '`std`: expected one number or one per channel, as 0.485, 0.456, 0.406, above 0, got 0'],
    [{ std: [1, 1, -1] }, '`std`:'],
    [{ std: [1, 2] }, '`std`:'],
    [{ scale: 0 }, '`scale`: expected a number above 0, got 0'],
    [{ scale: null }, '`scale`: expected a number above 0, got null'],
    [{ scale: 1e-50 }, `\`scale\`: ${BEYOND} 1e-50`],
    [{ mean: [0, 0, 1e300] }, `\`mean\`: ${BEYOND} 0,0,1e+300`],
    [{ mean: [0, 0.5, 0], std: 1e-45 }, `\`std\`: ${BEYOND} 1e-45`],
  ])('refuses %o', (options, message) => {
    expect(() => parsePreprocessing(options)).toThrow(InputError);
    expect(() => parsePreprocessing(options)).toThrow(message);
  });
});

describe('preprocessor_config.json', () => {
  const sized = (fields: object) => {
    const { size, resize } = parsePreprocessorConfig(JSON.stringify(fields), 'p.json');
    return { size, resize };
  };
  const crop = { do_center_crop: true, crop_size: { height: 224, width: 224 } };

  test.each([
    ['DINOv2’s', { ...crop, size: { shortest_edge: 256 } }, 'crop'],
    ['CLIP’s', { ...crop, size: { shortest_edge: 224 } }, 'cover'],
    ['SmolVLM’s', { size: { longest_edge: 2048 }, max_image_size: { longest_edge: 224 } }, 'fit'],
    [
      'CLIP’s of old',
      { ...crop, crop_size: 224, size: 224, feature_extractor_type: 'CLIPFeatureExtractor' },
      'cover',
    ],
    ['SigLIP’s', { size: { height: 224, width: 224 }, image_processor_type: 'SiglipImageProcessor' }, 'fit'],
    ['a number', { size: 224 }, 'fit'],
    ['two numbers', { size: [224, 224], do_center_crop: false, crop_size: 196 }, 'fit'],
  ])('says how images get their size: %s', (_, fields, resize) => {
    expect(sized(fields)).toEqual({ size: [224, 224], resize });
  });

  test.each([
    ['of another share', { ...crop, size: { shortest_edge: 248 } }],
    ['of what has lost its aspect', { ...crop, size: 256, image_processor_type: 'DeiTImageProcessor' }],
    ['of the image as it is', { ...crop, size: { shortest_edge: 224 }, do_resize: false }],
    ['not cut out', { size: { shortest_edge: 224 } }],
    ['all of the image', { size: 224, do_resize: false }],
  ])('leaves a centre open that is %s', (_, fields) => {
    expect(sized(fields)).toEqual({});
  });

  const [image_mean, image_std] = [
    [0.5, 0.4, 0.3],
    [0.25, 0.2, 0.1],
  ];
  test.each<[object, object]>([
    [{}, { scale: 255 }],
    [{ rescale_factor: 0.00392156862745098 }, { scale: 255 }],
    [{ rescale_factor: 1 / 127.5 }, { scale: 127.5 }],
    [{ do_rescale: false, rescale_factor: 0.5 }, { scale: 1 }],
    [
      { image_mean, image_std },
      { scale: 255, mean: image_mean, std: image_std },
    ],
    [{ do_normalize: false, image_mean, image_std }, { scale: 255 }],
    [{ image_mean }, { scale: 255 }],
    [{ image_std }, { scale: 255 }],
    [{ do_convert_rgb: true }, { scale: 255, color: 'rgb' }],
    [{ do_convert_rgb: false }, { scale: 255 }],
  ])('says of numbers, %o, what they are divided by and less', (fields, found) => {
    expect(parsePreprocessorConfig(JSON.stringify(fields), 'p.json')).toEqual(found);
  });

  test.each<[object, string]>([
    [[], 'expected a JSON object'],
    [{ rescale_factor: 0 }, '"rescale_factor" expected a number above 0, got 0'],
    [{ rescale_factor: '1' }, '"rescale_factor" expected a number above 0, got "1"'],
    [{ do_resize: 1 }, '"do_resize" expected true or false, got 1'],
    [{ image_mean, image_std: [1, 2] }, '"image_std" expected 1 or 3 numbers, got [1,2]'],
    [{ image_mean, image_std: [0] }, '"image_std" expected a number above 0, got 0'],
    [{ size: { height: 2, width: -1 } }, '"size" expected whole numbers above 0, got -1'],
    [{ size: 2 ** 25 }, '"size": expected pixels up to 16777216, as 224'],
    [{ sampling_rate: 'x' }, '"samplingRate": expected a whole number from 1 to 4294967296, got "x"'],
    [{ crop_size: 2.5 }, '"crop_size" expected whole numbers above 0, got 2.5'],
  ])('refuses %o', (fields, message) => {
    expect(() => parsePreprocessorConfig(JSON.stringify(fields), 'p.json')).toThrow(`"p.json": ${message}`);
  });
});

describe('preprocessing as JSON', () => {
  test('survives the round trip', () => {
    const all = p({
      size: [3, 4],
      resize: 'fit',
      scale: 1,
      mean: [0.1, 0.2, 0.3],
      std: [2],
      layout: 'nhwc',
      color: 'gray',
    });
    for (const one of [p(), p({ size: 28 }), all]) {
      expect(parsePreprocessingJson(JSON.stringify(one))).toEqual(one);
    }
  });

  test.each([
    'no json',
    'null',
    '[]',
    '{"size":0}',
    '{"size":[1]}',
    '{"resize":"x"}',
    '{"scale":"255"}',
    '{"mean":"0"}',
    '{"std":[0]}',
    '{"layout":1}',
    '{"color":null}',
  ])('refuses %s', (json) => {
    expect(() => parsePreprocessingJson(json)).toThrow(FormatError);
  });
});

test('preprocessing that a model has stored is called that of its file where it is malformed', () => {
  const metadata = () => '{ "size": [1e99, -1] }';
  expect(() => storedPreprocessing({ name: 'm.onnx', metadata })).toThrow(
    /^m\.onnx: stored preprocessing: "size": expected pixels/,
  );
});
