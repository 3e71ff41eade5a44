import { basename } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FormatError, InputError } from '../../src/errors.ts';
import type { Dataset } from '../../src/pipeline/data/dataset.ts';
import { parsePreprocessing, type Spectrogram } from '../../src/pipeline/data/images/preprocessing.ts';
import { parsePreprocessorConfig } from '../../src/pipeline/data/images/preprocessor-config.ts';
import { type ImageOptions, openDataset } from '../../src/run/images.ts';
import { placeOf } from '../../src/run/source.ts';
import { chunk, fmt, riff, wav } from '../support/wav.ts';

type Files = readonly (readonly [string, Uint8Array<ArrayBuffer> | Uint8Array])[];

/** Of files by their names, for a model that leaves the length open. */
async function open(files: Files, options: Partial<ImageOptions> = {}): Promise<Dataset> {
  const how = { preprocessing: parsePreprocessing({}), inputShape: [0] };
  return openDataset(await placeOf(files as never, 'audio'), { ...how, ...options });
}

async function read(dataset: Dataset) {
  const samples: { name: string; label?: number; dims: readonly number[]; values: number[] }[] = [];
  for await (const { inputs, dims = dataset.shape, labels, names } of dataset.batches(1))
    samples.push({ name: names[0], dims, values: [...inputs], ...(labels && { label: labels[0] }) });
  return samples;
}

const valuesOf = async (bytes: Uint8Array) => (await read(await open([['a.wav', bytes]])))[0].values;
const data = (...bytes: number[]) => chunk('data', Uint8Array.from(bytes));
const floats = (array: Float32Array | Float64Array) => chunk('data', new Uint8Array(array.buffer));

describe('WAV', () => {
  test.each<[string, Uint8Array, number[]]>([
    ['8 bits', riff(fmt({ bits: 8 }), data(0, 64, 128, 192)), [-1, -0.5, 0, 0.5]],
    ['16 bits', wav([-32768, 0, 16384]), [-1, 0, 0.5]],
    ['24 bits', riff(fmt({ bits: 24 }), data(0, 0, 0x80, 0, 0, 0x40, 1, 0, 0)), [-1, 0.5, 2 ** -23]],
    ['32 bits', riff(fmt({ bits: 32 }), data(0, 0, 0, 0x80, 0, 0, 0, 0x40)), [-1, 0.5]],
    ['floats', riff(fmt({ tag: 3, bits: 32 }), floats(Float32Array.of(-1.5, 0.25))), [-1.5, 0.25]],
    ['doubles', riff(fmt({ tag: 3, bits: 64 }), floats(Float64Array.of(-1.5, 0.25))), [-1.5, 0.25]],
    ['the mean of channels', wav([100, 300, -200, 0], { channels: 2 }), [200 / 32768, -100 / 32768]],
    ['chunks of an odd length before', riff(fmt(), chunk('LIST', new Uint8Array(7)), data(0, 0x40)), [0.5]],
    ['chunks behind', riff(fmt(), data(0, 0x40), chunk('LIST', new Uint8Array(7))), [0.5]],
    ['half a sample at the end', riff(fmt(), data(0, 0x40, 1)), [0.5]],
    ['a length that nobody knew', riff(fmt(), chunk('data', Uint8Array.of(0, 0x40), 2 ** 32 - 1)), [0.5]],
    ['silence', wav([0, 0]), [0, 0]],
  ])('has the numbers of libsndfile: %s', async (_, bytes, values) => {
    expect(await valuesOf(bytes)).toEqual(values);
  });

  test('says what it is in its extension too', async () => {
    const extended = Buffer.alloc(40);
    fmt({ tag: 0xfffe, bits: 24 }).copy(extended, 0, 8);
    extended.writeUInt16LE(1, 24);
    expect(await valuesOf(riff(chunk('fmt ', extended), data(0, 0, 0x40)))).toEqual([0.5]);
  });

  const text = (value: string) => new Uint8Array(Buffer.from(value, 'latin1'));
  test.each<[string, Uint8Array, string]>([
    ['an empty file', new Uint8Array(), 'expected a WAV file, got an empty file'],
    [
      'a pointer',
      text('version https://git-lfs.github.com'),
      'expected a WAV file, got a pointer of Git LFS',
    ],
    ['an MP3', text('ID3\x04\0\0'), 'expected a WAV file, got an MP3; convert it'],
    ['an MP3 without a tag', text('\xff\xfb\x90\x64'), 'expected a WAV file, got an MP3; convert it'],
    ['FLAC', text('fLaC\0\0'), 'expected a WAV file, got a FLAC file; convert it'],
    ['something else', text('hello'), 'expected a WAV file, got something else'],
    [
      'a header that is cut off',
      riff(fmt().subarray(0, 12)),
      'cannot read the WAV file: it is truncated in its header',
    ],
    ['no data', riff(fmt()), 'cannot read the WAV file: it is truncated before its audio'],
    ['nothing', riff(), 'cannot read the WAV file: it is damaged'],
    ['no samples', riff(fmt(), data()), 'cannot read the WAV file: there are no samples in it'],
    [
      'data that are cut off',
      riff(fmt(), chunk('data', new Uint8Array(4), 1000)),
      'cannot read the WAV file: it is truncated: 4 of 1000 bytes of audio are there',
    ],
    ['data before the header', riff(data(1, 2), fmt()), 'its data come before what they are'],
    ['no channels', riff(fmt({ channels: 0 }), data(1, 2)), 'it has 0 channels of 16000 Hz'],
    ['no rate', wav([1], { rate: 0 }), 'it has 1 channels of 0 Hz'],
    ['frames of other sizes', wav([1], { frame: 1 }), 'it has 1 bytes for 1 samples of 16 bits'],
    ['µ-law', wav([1], { tag: 7, bits: 8 }), 'it is µ-law of 8 bits, and PCM of 8, 16, 24 or 32'],
    ['ADPCM', wav([1], { tag: 17, bits: 4 }), 'it is ADPCM of 4 bits, and'],
    ['a format of no name', wav([1], { tag: 999 }), 'it is of format 999 of 16 bits, and'],
  ])('is refused by its name: %s', async (_, bytes, message) => {
    const refused = open([['a.wav', bytes]]);
    await expect(refused).rejects.toThrow(FormatError);
    await expect(refused).rejects.toThrow(/^"audio\/a\.wav": /);
    await expect(refused).rejects.toThrow(message);
  });

  test('is refused with numbers that are none, and at another rate', async () => {
    const nan = riff(fmt({ tag: 3, bits: 32 }), floats(Float32Array.of(0, Number.NaN)));
    await expect(valuesOf(nan)).rejects.toThrow(new InputError('"audio/a.wav": value 1 of the input is NaN'));
    await expect(open([['a.wav', wav([1], { rate: 22050 })]])).rejects.toThrow(
      new InputError(
        '"audio/a.wav": it has 22050 samples a second, and the model takes 16000 (`samplingRate`); convert it: ffmpeg -i IN.wav -ar 16000 OUT.wav',
      ),
    );
    const preprocessing = parsePreprocessing({ samplingRate: 22050 });
    expect(await open([['a.wav', wav([1], { rate: 22050 })]], { preprocessing })).toMatchObject({ size: 1 });
  });
});

describe('a folder of audio', () => {
  const two: Files = [
    ['no/2.wav', wav([1, 2, 3])],
    ['yes/1.WAV', wav([4, 5])],
  ];

  test('has classes, and samples of their own lengths', async () => {
    const dataset = await open(two, { inputShape: [1, 0] });
    expect(dataset).toMatchObject({ shape: [1, 3], smallest: [1, 2], classes: ['no', 'yes'] });
    const of = (...values: number[]) => values.map((value) => value / 32768);
    expect(await read(dataset)).toEqual([
      { name: 'audio/no/2.wav', label: 0, dims: [1, 3], values: of(1, 2, 3) },
      { name: 'audio/yes/1.WAV', label: 1, dims: [1, 2], values: of(4, 5) },
    ]);
    expect((await open(two, { inputShape: [0, 1] })).shape).toEqual([3, 1]);
  });

  test('has labels of a file', async () => {
    const labels = await placeOf([['l.csv', new TextEncoder().encode('file,label\n2.wav,7\n1.WAV,9')]], 'l');
    const samples = await read(await open(two, { labels: labels.at('l.csv') }));
    expect(samples.map(({ label }) => label)).toEqual([7, 9]);
  });

  test('is cut into windows of the length that a model takes, and what is shorter gets zeros behind it', async () => {
    const notes: string[] = [];
    const files: Files = [
      ['a.wav', wav([1, 2, 3, 4, 5])],
      ['b.wav', wav([6, 8], { channels: 2 })],
    ];
    const how = { inputShape: [2], onNote: (note: string) => void notes.push(note) };
    const samples = await read(await open(files, how));
    expect(samples.map(({ name }) => name)).toEqual([
      'audio/a.wav',
      'audio/a.wav from sample 2 on',
      'audio/b.wav',
    ]);
    expect(samples.map(({ values }) => values.map((value) => value * 32768))).toEqual([
      [1, 2],
      [3, 4],
      [7, 0],
    ]);
    expect(notes).toEqual([
      '"audio": the channels of 1 file are mixed to one; 1 file cut into windows of 2 samples; 1 file shorter than 2 samples, with zeros behind',
    ]);
    const [, second] = await read(await open(files, { inputShape: [1], samples: 2 }));
    expect(second).toMatchObject({ name: 'audio/a.wav from sample 3 on' });
  });

  test('is normalised as Wav2Vec2FeatureExtractor does, before zeros are put behind', async () => {
    const preprocessing = parsePreprocessing({ normalize: true });
    const [{ values }] = await read(
      await open([['a.wav', wav([-300, 300])]], { preprocessing, inputShape: [3] }),
    );
    const scaled = 300 / 32768 / Math.sqrt((300 / 32768) ** 2 + 1e-7);
    expect(values).toEqual([Math.fround(-scaled), Math.fround(scaled), 0]);
  });

  test('are those that pairs name beside them, with what is said of each or its class', async () => {
    const all: Files = [
      ['a.wav', wav([1])],
      ['b.wav', wav([2, 3])],
      ['c.wav', wav([4])],
    ];
    const opened = async (name: string, text: string) => {
      const place = await placeOf([...all, [name, Buffer.from(text)]] as never, 'audio');
      const how = { preprocessing: parsePreprocessing({}), inputShape: [0] };
      return (await read(await openDataset(place.at(name), how))).map(({ name, label, values }) => [
        name,
        label,
        values.length,
      ]);
    };
    const rows = [
      ['audio/b.wav', undefined, 2],
      ['audio/a.wav', undefined, 1],
    ];
    expect(await opened('said.tsv', 'b.wav\tgood morning\na.wav\t7 men')).toEqual(rows);
    expect(
      await opened(
        'said.jsonl',
        rows.map(([name]) => JSON.stringify({ source: basename(String(name)), target: 'x' })).join('\n'),
      ),
    ).toEqual(rows);
    expect(await opened('classes.tsv', 'b.wav\t3\na.wav\t0')).toEqual([
      ['audio/b.wav', 3, 2],
      ['audio/a.wav', 0, 1],
    ]);
    await expect(opened('none.tsv', 'd.wav\t3')).rejects.toThrow(
      'none.tsv line 1": there is no file "d.wav" beside it, and what the model reads is no text',
    );
  });

  test('may be one recording', async () => {
    const place = await placeOf(new File([wav([1, 2])], 'long.wav'), 'audio');
    const how = { preprocessing: parsePreprocessing({}), inputShape: [1] };
    expect(await openDataset(place, how)).toMatchObject({ size: 2, shape: [1] });
  });

  test.each<[string, Files, Partial<ImageOptions>, string]>([
    ['without audio', [['a.png', wav([1])]], {}, '"audio": no WAV audio files in the folder, but 1 .png'],
    [
      'for a model of features',
      [['a.wav', wav([1])]],
      { inputShape: [80, 0] },
      "the model's input [80, ?] is no waveform but features of audio: of WhisperFeatureExtractor and ASTFeatureExtractor they are made by",
    ],
    [
      'for spectrograms of other bins',
      [['a.wav', wav([1])]],
      { inputShape: [128, 3000], preprocessing: parsePreprocessing({ spectrogram: SPECTROGRAM }) },
      "the model's input [128, 3000] takes no spectrograms of 4 bins, as preprocessor_config.json says",
    ],
    [
      'for spectrograms of more than there is memory for',
      [['a.wav', wav([1])]],
      {
        inputShape: [4, 2 ** 20],
        preprocessing: parsePreprocessing({ spectrogram: { ...SPECTROGRAM, hopLength: 2 ** 14 } }),
      },
      'a window of [17179869184] has 17179869184 values, more than',
    ],
  ])('is refused: %s', async (_, files, options, message) => {
    await expect(open(files, options)).rejects.toThrow(message);
  });

  test('says of what is given for images that it changes nothing', async () => {
    const notes: string[] = [];
    const given = ['mean', 'samplingRate'];
    await open([['a.wav', wav([1])]], { given, onNote: (note) => notes.push(note) });
    expect(notes).toEqual(['warning: "audio" holds audio files; `mean` changed nothing in it']);
  });
});

const SPECTROGRAM = { melBins: 4, fftSize: 400, hopLength: 160, seconds: 30 };

describe('log-mel spectrograms', () => {
  /** A tone that rises until it is beyond what the rate holds. */
  const rising = wav(Array.from({ length: 1200 }, (_, i) => Math.round(8000 * Math.sin((i * i) / 400))));
  const of = async (spectrogram: Spectrogram, inputShape: number[], samplingRate = 16000, file = rising) => {
    const preprocessing = parsePreprocessing({ spectrogram, samplingRate });
    return read(await open([['a.wav', file]], { preprocessing, inputShape }));
  };

  test('are those of WhisperFeatureExtractor', async () => {
    // By transformers.js 4.3.2: windows of 400 samples, of which the last are zeros.
    const [{ values, dims }] = await of(SPECTROGRAM, [4, 10]);
    expect(dims).toEqual([4, 10]);
    const expected = [
      [0.95202, 0.73785, -0.96513, -1.04798, -1.04798, -1.04798, -0.61936, 0.72958, 0.65597, -1.04798],
      [0.83441, 0.87598, 0.18073, -1.04798, -1.04798, -1.04798, 0.38027, 0.89721, 0.66857, -1.04798],
      [0.51116, 0.87455, 0.7713, 0.01047, -1.04798, 0.22113, 0.81337, 0.85244, 0.28729, -1.04798],
      [-0.51133, 0.61178, 0.84136, 0.80099, 0.67434, 0.81655, 0.8296, 0.53873, -0.24485, -1.04798],
    ];
    for (const [i, value] of expected.flat().entries()) expect(values[i]).toBeCloseTo(value, 4);
  });

  test('of Kaldi’s kind are those of ASTFeatureExtractor, with frames behind those that are filled', async () => {
    // By transformers.js 4.3.2.
    const told = { feature_extractor_type: 'ASTFeatureExtractor', num_mel_bins: 4, max_length: 7 };
    const preprocessing = parsePreprocessorConfig(
      JSON.stringify({ ...told, sampling_rate: 16000 }),
      'p.json',
    );
    const [{ values, dims }] = await of(preprocessing.spectrogram!, [0, 4]);
    expect(dims).toEqual([7, 4]);
    const expected = [
      [0.49113, 0.9599, 1.18097, 1.08523],
      [-1.10101, 0.05617, 1.06756, 1.30454],
      [-1.19861, -1.27212, 0.15648, 1.2594],
      [-1.27759, -1.2616, -0.75708, 1.19959],
      [-1.19798, -0.83878, 0.89838, 1.31093],
      [-0.00782, 0.80665, 1.18817, 1.20698],
      [0.46703, 0.46703, 0.46703, 0.46703],
    ];
    for (const [i, value] of expected.flat().entries()) expect(values[i]).toBeCloseTo(value, 4);
    const many = wav(Array.from({ length: 3000 }, (_, i) => i % 100));
    const windows = await of(preprocessing.spectrogram!, [3, 4], 16000, many);
    expect(windows.map(({ name }) => name)).toEqual(
      [0, 720, 1440, 2160].map((at) => `audio/a.wav${at > 0 ? ` from sample ${at} on` : ''}`),
    );
  });

  test('of an odd number of frames, with other factors, at another rate', async () => {
    const slow = wav(
      Array.from({ length: 100 }, (_, i) => Math.round(8000 * Math.sin((i * i) / 400))),
      { rate: 8000 },
    );
    const spectrogram = { melBins: 3, fftSize: 60, hopLength: 20, seconds: 1 };
    const [{ values }] = await of(spectrogram, [0, 5], 8000, slow);
    const expected = [
      [0.15244, 0.39271, 0.47703, 0.52045, 0.54995],
      [-1.13039, -0.94378, -0.79841, -0.58182, -0.14217],
      [-1.45005, -1.45005, -1.45005, -1.45005, -0.49343],
    ];
    for (const [i, value] of expected.flat().entries()) expect(values[i]).toBeCloseTo(value, 4);
  });

  test('are of windows that the model leaves open as long as is said', async () => {
    const long = wav(new Array(2000).fill(1), { rate: 1000 });
    const [first, ...others] = await of({ ...SPECTROGRAM, seconds: 1 }, [0, 0], 1000, long);
    expect(first.dims).toEqual([4, 6]);
    expect(others.map(({ name }) => name)).toEqual(['audio/a.wav from sample 960 on']);
  });
});

test.each<[object, object]>([
  [
    {
      feature_extractor_type: 'WhisperFeatureExtractor',
      feature_size: 128,
      hop_length: 100,
      chunk_length: 10,
    },
    { spectrogram: { melBins: 128, fftSize: 400, hopLength: 100, seconds: 10 }, normalize: false },
  ],
  [
    { sampling_rate: 8000, do_normalize: true },
    { samplingRate: 8000, normalize: true },
  ],
  [{ sampling_rate: 16000, feature_extractor_type: 'Wav2Vec2FeatureExtractor' }, { normalize: true }],
  [{ sampling_rate: 24000, feature_extractor_type: 'EncodecFeatureExtractor' }, { normalize: false }],
  [{ feature_size: 1, do_normalize: false }, { normalize: false }],
  [
    {
      feature_extractor_type: 'ASTFeatureExtractor',
      feature_size: 1,
      do_normalize: true,
      sampling_rate: 8000,
    },
    {
      ...{ samplingRate: 8000, normalize: false },
      spectrogram: {
        ...{ melBins: 128, fftSize: 256, hopLength: 80, seconds: 10.24 },
        kaldi: { frameLength: 200, mean: -4.2677393, std: 4.5689974 },
      },
    },
  ],
  [
    { feature_extractor_type: 'ASTFeatureExtractor', do_normalize: false, feature_size: 1 },
    { spectrogram: { kaldi: { mean: 0, std: 0.5 } } },
  ],
])('preprocessor_config.json says it of waveforms: %o', (fields, expected) => {
  expect(parsePreprocessorConfig(JSON.stringify(fields), 'p.json')).toMatchObject(expected);
});
