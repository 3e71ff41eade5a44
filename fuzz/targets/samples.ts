// Calibration data but for images: arrays, labels, texts, samples of several inputs.

import fc from 'fast-check';
import { decodeUtf8 } from '../../src/json.ts';
import {
  arraySamples,
  decodeNpy,
  decodeNpz,
  type FeedSample,
  feedsDataset,
  jsonSample,
  type ModelInput,
  npyDataset,
  npyTokens,
} from '../../src/pipeline/index.ts';
import { jsonLines } from '../../src/run/arrays.ts';
import { parseLabels } from '../../src/run/labels.ts';
import { documentsOf } from '../../src/run/text.ts';
import { writeZip } from '../../test/support/zip.ts';
import { damaged, jsonBytes } from '../mutate.ts';
import { encoder, oddLines, type Targets } from './target.ts';

export const npyOf = (header: string, data: Uint8Array) => {
  const text = `${header.padEnd(54)}\n`;
  const start = [0x93, ...encoder.encode('NUMPY'), 1, 0, text.length & 255, text.length >> 8];
  return new Uint8Array(Buffer.concat([Uint8Array.from(start), encoder.encode(text), data]));
};
const NPY = ['<f4', '<f2', '<f8', '<i8', '|u1'].map((type) =>
  npyOf(
    `{'descr': '${type}', 'fortran_order': False, 'shape': (2, 3), }`,
    new Uint8Array(6 * (Number(type[2]) || 1)),
  ),
);
const npyHeader = fc
  .record({
    descr: fc.constantFrom('<f4', '<f2', '<i8', '<u2', '>f4', '|O', '|V4', 'f'),
    order: fc.constantFrom('True', 'False', '1'),
    shape: fc.array(fc.oneof(fc.nat(4), fc.constantFrom(2 ** 31, 2 ** 32, 2 ** 53, 1e300)), { maxLength: 4 }),
    data: fc.uint8Array({ maxLength: 64 }),
  })
  .map(({ descr, order, shape, data }) =>
    npyOf(`{'descr': '${descr}', 'fortran_order': ${order}, 'shape': (${shape.join(', ')},), }`, data),
  );

function readArray(bytes: Uint8Array): void {
  const array = decodeNpy(bytes, 'a.npy');
  npyDataset(array, array.shape.slice(1), 'a.npy');
  npyTokens(array, 'a.npy');
}

const INPUT: ModelInput = {
  name: 'x',
  type: 'float32',
  shape: [3],
  open: [true],
  fixedBatch: 0,
  others: [{ name: 'attention_mask', type: 'int64', dims: ['n', 'length'], batchAxis: 0 }],
};
const npzOf = (x: Uint8Array, mask: Uint8Array, deflate: boolean) =>
  writeZip([
    { name: 'x.npy', bytes: x, deflate },
    { name: 'attention_mask.npy', bytes: mask, deflate },
  ]);
const NPZ = [false, true].map((deflate) => npzOf(NPY[0], NPY[3], deflate));
const FEED = { x: [1, 2, 3], attention_mask: [1, 1, 0], label: 4 };

async function readSamples(samples: Iterable<FeedSample>): Promise<void> {
  const dataset = await feedsDataset(samples, INPUT);
  for await (const _ of dataset.batches(1));
}

const label = fc.tuple(
  fc.string(),
  fc.oneof(fc.integer().map(String), fc.string(), fc.constantFrom('1e3', '-1', '٣', '0x10')),
);
const csv = fc
  .array(
    label.map((row) => row.join(',')),
    { maxLength: 8 },
  )
  .map((rows) => encoder.encode(rows.join('\n')));
const CSV = encoder.encode('file,label\na.png,3\n"b,""c"".png",12\r\nsub/d.jpg,0\n');

const JSONL = jsonBytes({ text: 'In the beginning' });

export const samples: Targets = {
  npy: { inputs: fc.oneof(damaged(NPY), npyHeader), parse: readArray },
  npz: {
    inputs: fc.oneof(
      damaged(NPZ),
      fc.tuple(damaged(NPY), damaged(NPY), fc.boolean()).map(([x, mask, deflate]) => npzOf(x, mask, deflate)),
      fc.tuple(npyHeader, npyHeader, fc.boolean()).map(([x, mask, deflate]) => npzOf(x, mask, deflate)),
    ),
    parse: async (bytes) => readSamples(arraySamples(await decodeNpz(bytes, 'a.npz'), INPUT, 'a.npz')),
  },
  feeds: {
    inputs: fc.oneof(damaged([jsonBytes(FEED)]), oddLines(FEED, { minLength: 1, maxLength: 3 })),
    parse: (bytes) => {
      const lines = jsonLines(decodeUtf8(bytes, '"a.jsonl"'), 'a.jsonl');
      return readSamples(Array.from(lines, ({ value, at }) => jsonSample(value, INPUT, at)));
    },
  },
  csv: { inputs: fc.oneof(damaged([CSV]), csv), parse: (bytes) => parseLabels(bytes, 'a.csv') },
  jsonl: {
    inputs: fc.oneof(damaged([JSONL]), oddLines({ text: 'God said' }, { maxLength: 4 })),
    parse: (bytes) => [...documentsOf(decodeUtf8(bytes, '"a.jsonl"'), 'a.jsonl')],
  },
};
