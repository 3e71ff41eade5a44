// What runs leave behind, read again: the files of a work folder, reports; and the card of the model that was pruned.

import fc from 'fast-check';
import { pruneText } from '../../src/cli/print.ts';
import { FormatError } from '../../src/errors.ts';
import { parseJsonObject } from '../../src/json.ts';
import { decode, encode } from '../../src/pipeline/store/artefact.ts';
import { contentHash } from '../../src/pipeline/store/hash.ts';
import { openRun } from '../../src/pipeline/store/manifest.ts';
import { reportHtml } from '../../src/report/html.ts';
import { parseReport } from '../../src/report/saved.ts';
import { modelCard } from '../../src/run/card.ts';
import { placeOf } from '../../src/run/source.ts';
import { damaged, oddJson } from '../mutate.ts';
import { encoder, jsonInputs, type Targets } from './target.ts';

const MANIFEST = { model: { name: 'm', hash: '0a' }, data: { name: 'd', hash: '0b' }, version: '0.1.0' };

const SIZES = { before: 10, after: 5 };
const REPORT = {
  version: 1,
  recipe: { method: 'osscar', keep: { all: 0.5, layers: { a: 0.25 } } },
  target: { chosen: { kind: 'residual', blend: 0.5 } },
  allocation: {
    of: 'macs',
    limit: 5,
    before: 10,
    after: 5,
    chosen: 'even',
    trials: [{ name: 'even', lost: 0.1 }],
  },
  samples: 4,
  sample: [1, 8, 8],
  parameters: SIZES,
  bytes: SIZES,
  macs: SIZES,
  latencyMs: SIZES,
  metric: { name: 'top-1', samples: 4, data: 'calibration', ...SIZES },
  quality: { relativeError: 0.1, cosine: 0.9, samples: 4, data: 'held-out' },
  maxDifference: 1e-6,
  layers: [
    { name: 'a', kept: [0, 2], groups: 4, relativeError: 0.1, macsSaved: 0.3, curve: [1, null, 0.5, 0.1, 0] },
  ],
  warnings: ['few'],
  notPrunable: [{ name: 'b', reason: 'last' }],
  sizes: [{ heads: 4, kvHeads: 2, ffn: 8 }],
  statement: 'it can be read',
  seconds: 2,
  engine: 'e',
  simd: 'baseline',
  threads: 1,
  stages: [{ stage: 'pruning', seconds: 1, engine: 0.5, statistics: 0.2, solve: 0.3, waiting: 0 }],
  calibration: { path: 'photos', samples: 4, seed: 1 },
  settings: { model: 'm.onnx' },
  model: { path: 'small.onnx', sha256: '0a' },
};

const ARTEFACT = await encode({
  curve: [1, Number.NaN],
  kept: Int32Array.of(0, 2),
  weights: new Float32Array(9),
});
/** The checksum stands behind 8 bytes of magic, and is of all that comes behind it. */
const CHECKSUM = 8;

/** A stranger's artefact has the checksum that it should have. */
async function withChecksum(bytes: Uint8Array): Promise<Uint8Array> {
  const body = bytes.slice(CHECKSUM + 64);
  const sum = encoder.encode(await contentHash([body]));
  return Uint8Array.from([...bytes.subarray(0, CHECKSUM), ...sum, ...body]);
}

const FRONT = { license: 'mit', language: ['en'], pipeline_tag: 'text-generation', tags: ['opt', 'pruned'] };
/** What YAML has and JSON has not: anchors, tags, directives, other ways to write a list. */
const YAML = [
  'license: &it mit\nlanguage: *it\ntags:\n  - a\n  - ? b\n  - !!binary aGk=\n<<: {datasets: [x]}\n',
  '%YAML 1.1\n---\nlicense: 2001-12-14\nlanguage: !!set {en, de}\n',
];
const card = (front: string) => encoder.encode(`---\n${front}\n---\n# A model\n`);

/** A card is left out, and not refused, where it cannot be read. */
async function readCard(bytes: Uint8Array): Promise<void> {
  const text = await modelCard(await placeOf([['README.md', bytes]], 'm'), REPORT as never, 'transformers');
  if (!/^(license|language|datasets):/m.test(text)) throw new FormatError('it says nothing of the model');
}

export const runs: Targets = {
  manifest: {
    inputs: jsonInputs(MANIFEST),
    parse: (bytes) => {
      const store = {
        name: 'w',
        read: async () => bytes,
        list: async () => [],
        write: async () => {},
        remove: async () => {},
      };
      return openRun(store as never, MANIFEST);
    },
  },
  artefact: {
    inputs: damaged([ARTEFACT]),
    parse: async (bytes) => {
      if ((await decode(await withChecksum(bytes))) === undefined)
        throw new FormatError('it does not decode');
    },
  },
  report: {
    inputs: jsonInputs(REPORT),
    parse: async (bytes) => {
      const report = parseReport(parseJsonObject(bytes, 'report.json'), 'report.json');
      pruneText(report, 'small.onnx', Number.POSITIVE_INFINITY);
      await reportHtml(report);
    },
  },
  card: {
    inputs: fc.oneof(
      damaged([card(JSON.stringify(FRONT)), ...YAML.map(card)]),
      oddJson([FRONT]).map((front) => card(JSON.stringify(front))),
    ),
    parse: readCard,
  },
};
