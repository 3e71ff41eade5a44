// WAV files that are edited anywhere, and chunks that are well formed and say odd things of what is in them.

import fc from 'fast-check';
import { audioDataset } from '../../src/pipeline/index.ts';
import { chunk, fmt, riff, wav } from '../../test/support/wav.ts';
import { damaged } from '../mutate.ts';
import type { Targets } from './target.ts';

const RATE = 16000;
/** Whole numbers of 8 to 32 bits, and floats. */
const KINDS = [
  [1, 8],
  [1, 16],
  [1, 24],
  [1, 32],
  [3, 32],
  [3, 64],
].map(([tag, bits]) => ({ tag, bits }));
const WAVS = KINDS.flatMap(({ tag, bits }) =>
  [1, 2].map((channels) => {
    const data = new Uint8Array((24 * channels * bits) / 8).fill(bits === 64 ? 63 : 61);
    return riff(fmt({ tag, channels, bits }), chunk('data', data));
  }),
);

const format = fc
  .record({
    tag: fc.constantFrom(1, 3, 2, 6, 7, 17, 85, 0xfffe),
    channels: fc.constantFrom(1, 2, 0, 255, 65535),
    rate: fc.constantFrom(RATE, RATE, 0, 2 ** 32 - 1),
    bits: fc.constantFrom(8, 16, 24, 32, 64, 0, 12, 65535),
    frame: fc.constantFrom(undefined, 0, 1, 4, 65535),
  })
  .map(({ frame, ...of }) => fmt({ ...of, frame: frame ?? ((of.channels * of.bits) / 8) & 65535 }));
/** What a chunk says of its length, and what there is of it. */
const stated = fc.option(fc.constantFrom(0, 1, 15, 2 ** 31, 0x7ffff000, 2 ** 32 - 1), { nil: undefined });
const body = fc
  .tuple(fc.constantFrom('data', 'LIST', 'fact', 'fmt '), fc.uint8Array({ maxLength: 96 }), stated)
  .map(([name, data, length]) => chunk(name, data, length));
const data = fc.uint8Array({ maxLength: 96 }).map((bytes) => chunk('data', bytes));
const chunks = fc
  .tuple(format, fc.array(body, { maxLength: 2 }), data)
  .map(([head, others, samples]) => riff(head, ...others, samples));

const spectrogram = { melBins: 4, fftSize: 20, hopLength: 5, seconds: 1 };

/** As the samples of a model that leaves the length open, of one that takes windows, and of one that takes spectrograms of these. */
async function readAll(bytes: Uint8Array): Promise<void> {
  const file = { name: 'a.wav', read: async () => bytes };
  const models = [
    [[0], { normalize: true }],
    [[1, 7], { normalize: true }],
    [[4, 3], { spectrogram }],
  ] as const;
  for (const [shape, preprocessing] of models) {
    const dataset = await audioDataset([file], preprocessing, shape, { name: 'a.wav' });
    for await (const _ of dataset.batches(4));
  }
}

export const audio: Targets = {
  wav: { inputs: fc.oneof(damaged([...WAVS, wav([1, 2, 3])]), chunks), parse: readAll },
};
