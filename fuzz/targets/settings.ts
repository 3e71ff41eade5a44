// What says how a model is run and pruned: options, preprocessing, a latency table.

import { Command } from 'commander';
import fc from 'fast-check';
import { setOptions } from '../../src/cli/config.ts';
import { addDataFlags, addKeepFlags, addModelFlags, addRunFlags } from '../../src/cli/options.ts';
import { decodeUtf8, parseJsonObject } from '../../src/json.ts';
import {
  parseLatencyTable,
  parsePreprocessingJson,
  parsePreprocessorConfig,
} from '../../src/pipeline/index.ts';
import { damaged, jsonBytes, oddJson, oddValue } from '../mutate.ts';
import { jsonInputs, type Targets } from './target.ts';

const TABLE = {
  version: 1,
  model: 'm',
  engine: 'e',
  structures: { a: 8 },
  terms: [{ value: 1, of: ['a'] }],
  denseMs: 1,
  macs: 5,
  sample: [1],
};
const PREPROCESSING = {
  size: [8, 8],
  resize: 'fit',
  scale: 255,
  mean: [0.5],
  std: [0.5, 1, 2],
  layout: 'nchw',
  color: 'rgb',
};

const PREPROCESSOR = {
  do_resize: true,
  size: { height: 8, width: 8 },
  do_center_crop: true,
  crop_size: { height: 7, width: 7 },
  do_rescale: true,
  rescale_factor: 1 / 255,
  do_normalize: true,
  do_convert_rgb: true,
  image_mean: [0.5, 0.5, 0.5],
  image_std: [0.5, 0.5, 0.5],
};
const OPTIONS = {
  model: 'm.onnx',
  calibrate: 'photos',
  keep: 0.5,
  'keep-layer': { a: 0.5 },
  mean: [0.5],
  std: 0.3,
  samples: 40,
  method: 'magnitude',
  correct: false,
  seed: 1,
  input: { b: 2 },
  threads: 1,
  size: '28x28',
};

/** What is typed, or read from a file in its place. */
function commands(): [Command, Command] {
  const program = new Command();
  const prune = addKeepFlags(addRunFlags(addModelFlags(program.command('prune'))));
  addDataFlags(addModelFlags(program.command('eval')));
  return [program, prune];
}

export const settings: Targets = {
  options: {
    inputs: jsonInputs(OPTIONS),
    parse: (bytes) =>
      setOptions(...commands(), { path: 'c.json', options: parseJsonObject(bytes, 'c.json') }),
  },
  preprocessor: {
    inputs: jsonInputs(PREPROCESSOR),
    parse: (bytes) => parsePreprocessorConfig(decodeUtf8(bytes, '"p.json"'), 'p.json'),
  },
  metadata: {
    inputs: fc.oneof(
      damaged([jsonBytes(TABLE), jsonBytes(PREPROCESSING)]),
      oddJson([TABLE, PREPROCESSING]).map(jsonBytes),
      oddValue.map(jsonBytes),
    ),
    parse: (bytes) => {
      const text = new TextDecoder().decode(bytes);
      return text.includes('structures') ? parseLatencyTable(text) : parsePreprocessingJson(text);
    },
  },
};
