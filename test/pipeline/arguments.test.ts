// Arguments of other kinds than theirs, as programs without types hand them over to the pieces.

import { expect, test } from 'vitest';
import { blobFolder, openCheckpoint } from '../../src/checkpoint/index.ts';
import { openEngine } from '../../src/engine/index.ts';
import { InputError } from '../../src/errors.ts';
import {
  analyze,
  evaluate,
  imageDataset,
  openLanguageModel,
  openModel,
  parsePreprocessing,
  prune,
  tokenWindows,
} from '../../src/pipeline/index.ts';
import { engine, fashion, fixtureBytes } from './fixtures.ts';

const bytes = fixtureBytes('fashion-mobilenet');
const model = await openModel(bytes, { engine });
const calibration = await fashion('calib', 4);
const pieces = { engine, calibration, keep: 0.5 };

/** Without the types that would not let it pass. */
const untyped =
  (call: (...args: never[]) => unknown) =>
  async (...args: unknown[]) =>
    call(...(args as never[]));
const calls: readonly (readonly [message: string, call: () => Promise<unknown>])[] = [
  ['readModel: "bytes" expected a Uint8Array, got "m.onnx"', () => untyped(openModel)('m.onnx', { engine })],
  ['openModel: "options" expected an object, got undefined', () => untyped(openModel)(bytes)],
  [
    'openModel: "engine" expected an engine (openEngine()), got a promise; await it',
    () => untyped(openModel)(bytes, { engine: Promise.resolve(engine) }),
  ],
  [
    'openEngine: "threads" expected a whole number above 0, got "2"',
    () => untyped(openEngine)({ threads: '2' }),
  ],
  [
    'openCheckpoint: "folder" expected a folder (openFolder(path), blobFolder(files)), got "opt"',
    () => untyped(openCheckpoint)('opt'),
  ],
  ['openCheckpoint: "folder" expected a folder', () => untyped(openLanguageModel)('opt')],
  [
    'blobFolder: "files" expected files, or a Map of their names and bytes, got "opt"',
    () => untyped(blobFolder)('opt'),
  ],
  ['blobFolder: "files" expected files', () => untyped(blobFolder)(null)],
  ['expected a model (of openModel(bytes, …) or', () => untyped(prune)('m.onnx', pieces)],
  ['openLanguageModel(folder)), got null', () => untyped(analyze)(null, pieces)],
  ['expected a model', () => untyped(evaluate)(bytes, calibration, { engine })],
  ['prune: "options" expected an object, got undefined', () => untyped(prune)(model)],
  ['prune: "engine" expected an engine', () => untyped(prune)(model, { ...pieces, engine: undefined })],
  [
    'prune: "calibration" expected a data set (such as of imageDataset(…)), got undefined',
    () => untyped(prune)(model, { ...pieces, calibration: undefined }),
  ],
  [
    'prune: "evaluation" expected a data set',
    () => untyped(prune)(model, { ...pieces, evaluation: 'test/' }),
  ],
  [
    'prune: "session" expected a session (openSession(…)), got a promise; await it',
    () => untyped(prune)(model, { ...pieces, session: Promise.resolve() }),
  ],
  ['analyze: "calibration" expected a data set', () => untyped(analyze)(model, { engine, macs: 0.5 })],
  ['evaluate: "samples" expected a data set', () => untyped(evaluate)(model, 'test/', { engine })],
  ['evaluate: "options" expected an object', () => untyped(evaluate)(model, calibration)],
  ['evaluate: "engine" expected an engine', () => untyped(evaluate)(model, calibration, {})],
  [
    'imageDataset: "entries" expected an array, got "photos/"',
    () => untyped(imageDataset)('photos/', {}, [1, 28, 28]),
  ],
  [
    'imageDataset: "preprocessing" expected an object',
    () => untyped(imageDataset)([], undefined, [1, 28, 28]),
  ],
  ['parsePreprocessing: "options" expected an object', () => untyped(parsePreprocessing)()],
  [
    '"text": expected an Int32Array of token ids, got "In the',
    () => untyped(tokenWindows)('In the beginning', { samples: 1, seqlen: 4 }),
  ],
];

test.each(calls)('%s', async (message, call) => {
  const error = await call().catch((error: unknown) => error);
  expect(error).toBeInstanceOf(InputError);
  expect((error as Error).message).toContain(message);
});
