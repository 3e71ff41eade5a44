// Arguments of other kinds than theirs, as programs without types hand them over to the pieces.

import { expect, test } from 'vitest';
import { describe } from '../../src/checkpoint/architectures/index.ts';
import { blobFolder, openCheckpoint } from '../../src/checkpoint/index.ts';
import { openEngine } from '../../src/engine/index.ts';
import { InputError } from '../../src/errors.ts';
import { said } from '../../src/expect.ts';
import { shrink, writeModel } from '../../src/graph/index.ts';
import {
  analyze,
  arraySamples,
  compareMethods,
  consecutiveWindows,
  datasetOf,
  decodeImage,
  decodeNpy,
  decodeNpz,
  describeFolder,
  drawEvenly,
  evaluate,
  feedsDataset,
  imageDataset,
  imageShape,
  inputOf,
  iterableDataset,
  jsonSample,
  latencies,
  measureLatency,
  measureRates,
  npyDataset,
  npyTokens,
  openLanguageModel,
  openModel,
  openTokenizer,
  parseLatencyTable,
  parsePreprocessing,
  parsePreprocessingJson,
  parseRecipe,
  pinnedOf,
  plan,
  planMachines,
  preprocess,
  prune,
  sampleEvenly,
  selectSamples,
  sharesOf,
  storedPreprocessing,
  tokenWindows,
} from '../../src/pipeline/index.ts';
import { targetOf } from '../../src/pipeline/recipe.ts';
import { reportHtml, showReport } from '../../src/report/index.ts';
import { engine, fashion, fixtureBytes } from './fixtures.ts';

const bytes = fixtureBytes('fashion-mobilenet');
const model = await openModel(bytes, { engine });
const calibration = await fashion('calib', 4);
const pieces = { engine, calibration, keep: 0.5 };

const one = new Float32Array(1);
const load = () => ({ data: one });
const read = async () => bytes;
/** A data set of one sample, as a caller may write it. */
const own = (batch: object, changes: object = {}) => ({
  name: 'own',
  size: 1,
  shape: [1, 28, 28],
  async *batches() {
    yield { inputs: new Float32Array(784), count: 1, names: ['a'], labels: Int32Array.of(1), ...batch };
  },
  ...changes,
});

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
    'openEngine: "threads" expected a whole number from 1 to 128, got "2"',
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
  [
    'blobFolder: "files" expected files, or pairs of a name and bytes, got "a.json"',
    () => untyped(blobFolder)(['a.json']),
  ],
  ['pairs of a name and bytes, got [a list]', () => untyped(blobFolder)([[['a.json', '{}']]])],
  ['pairs of a name and bytes, got ["a.json", "{}"]', () => untyped(blobFolder)([['a.json', '{}']])],
  ['pairs of a name and bytes, got null', () => untyped(blobFolder)([null])],
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
    'parsePreprocessing: there is no option "means"; is "mean" meant?',
    () => untyped(parsePreprocessing)({ means: 0.5 }),
  ],
  ['there is no option "stds"; is "std" meant?', () => untyped(parsePreprocessing)({}, { stds: 1 })],
  ['parseRecipe: "options" expected an object', () => untyped(parseRecipe)()],
  ['parseRecipe: there is no option "kep"; is "keep" meant?', () => untyped(parseRecipe)({ kep: 0.5 })],
  [
    'parseRecipe: "correct" expected true or false, got "no"',
    () => untyped(parseRecipe)({ keep: 0.5, correct: 'no' }),
  ],
  ['prune: there is no option "calibratio"; is', () => untyped(prune)(model, { ...pieces, calibratio: 1 })],
  ['prune: there is no option "samples"', () => untyped(prune)(model, { ...pieces, samples: 5 })],
  ['prune: "signal" expected an AbortSignal, got 1', () => untyped(prune)(model, { ...pieces, signal: 1 })],
  ['"onProgress" expected a function', () => untyped(prune)(model, { ...pieces, onProgress: 1 })],
  ['prune: "store" expected a run store', () => untyped(prune)(model, { ...pieces, store: 'run/' })],
  ['analyze: there is no option "out"', () => untyped(analyze)(model, { ...pieces, out: 1 })],
  [
    'evaluate: there is no option "keep"; expected activationBytes, scratch, signal, engine',
    () => untyped(evaluate)(model, calibration, { engine, keep: 0.5 }),
  ],
  ['plan: there is no option "sampels"; is "samples" meant?', () => untyped(plan)(model, { sampels: 5 })],
  [
    'plan: "samples" expected a whole number from 1 on, got undefined',
    () => untyped(plan)(model, { keep: 0.5 }),
  ],
  [
    'planMachines: there is no option "machine"; is "machines" meant?',
    () => untyped(planMachines)(model, { keep: 0.5, samples: 5 }, {}, { machine: 2 }),
  ],
  [
    'planMachines: "machines" expected a whole number from 1 on, got undefined',
    () => untyped(planMachines)(model, { keep: 0.5, samples: 5 }, {}, {}),
  ],
  ['latencies: there is no option "threads"', () => untyped(latencies)([model], calibration, { threads: 2 })],
  ['measureLatency: "engine" expected an engine', () => untyped(measureLatency)(model, {})],
  [
    'openModel: there is no option "nam"; is "name" meant?',
    () => untyped(openModel)(bytes, { engine, nam: 'x' }),
  ],
  [
    'openModel: "residual" expected true or false',
    () => untyped(openModel)(bytes, { engine, residual: 'yes' }),
  ],
  ['openModel: "operators" expected a list', () => untyped(openModel)(bytes, { engine, operators: 5 })],
  ['openEngine: "runtime" expected onnxruntime', () => untyped(openEngine)({ runtime: {} })],
  ['imageDataset: "inputShape" expected a list of dims', () => untyped(imageDataset)([], {})],
  [
    'imageDataset: "entries[0]" expected a name and `read`',
    () => untyped(imageDataset)([{}], parsePreprocessing({}), [1, 28, 28]),
  ],
  [
    'imageDataset: there is no option "extent"',
    () => untyped(imageDataset)([], parsePreprocessing({}), [1, 28, 28], { extent: 1 }),
  ],
  ['iterableDataset: "source" expected a list or an iterator', () => untyped(iterableDataset)(5, [1])],
  ['iterableDataset: there is no option "nme"', () => untyped(iterableDataset)([], [1], { nme: 'x' })],
  ['feedsDataset: there is no option "label"', () => untyped(feedsDataset)([], model.input, { label: 'x' })],
  [
    'tokenWindows: there is no option "windows"',
    () => untyped(tokenWindows)(new Int32Array(9), { windows: 5 }),
  ],
  ['tokenWindows: "samples" expected a whole', () => untyped(tokenWindows)(new Int32Array(9), { seqlen: 5 })],
  [
    '"a": there is no field "lable"; is "label" meant?',
    () => untyped(datasetOf)([{ name: 'a', lable: 1 }], [1], load, {}),
  ],
  [
    '"sample 0": there is no field "lable"; is',
    () => untyped(iterableDataset)([{ data: one, lable: 1 }], [1]),
  ],
  [
    '"sample 0": there is no field "lable"; is',
    () => untyped(feedsDataset)([{ inputs: {}, lable: 1 }], model.input),
  ],
  [
    'imageDataset: "entries[0]": there is no field "labels"; is "label" meant?',
    () => untyped(imageDataset)([{ name: 'a', labels: 1, read }], parsePreprocessing({}), [1, 28, 28]),
  ],
  [
    'prune: "calibration": there is no field "class"; is "classes" meant?',
    () => untyped(prune)(model, { ...pieces, calibration: own({}, { class: ['a'] }) }),
  ],
  [
    'prune: "size" of "calibration" expected a number of samples, got undefined',
    () => untyped(prune)(model, { ...pieces, calibration: own({}, { size: undefined }) }),
  ],
  [
    'prune: "shape" of "calibration" expected the dims of a sample, got "28x28"',
    () => untyped(prune)(model, { ...pieces, calibration: own({}, { shape: '28x28' }) }),
  ],
  ...[
    [1, 0, 28],
    [1, 28.5, 28],
  ].map(
    (shape) =>
      [
        `prune: "shape" of "calibration" expected the dims of a sample, got [${shape.join(', ')}]`,
        () => untyped(prune)(model, { ...pieces, calibration: own({}, { shape }) }),
      ] as const,
  ),
  [
    '"own": batch: there is no field "label"; is "labels" meant?',
    () => untyped(evaluate)(model, own({ labels: undefined, label: 1 }), { engine }),
  ],
  [
    '"own": "inputs" of a batch expected a Float32Array, got [1]',
    () => untyped(evaluate)(model, own({ inputs: [1] }), { engine }),
  ],
  [
    '"own": a batch of 2 samples expected 1568 values for shape [1, 28, 28], got 784',
    () => untyped(evaluate)(model, own({ count: 2 }), { engine }),
  ],
  [
    '"own": "others" of a batch expected the token ids "ids"',
    () => untyped(evaluate)(model, own({}, { tokens: 'ids' }), { engine }),
  ],
  [
    '"own": a batch of 0 samples expected 0 values',
    () => untyped(evaluate)(model, own({ count: 0, inputs: new Float32Array(0) }), { engine }),
  ],
  [
    '"own": expected 5 samples, its batches hold 1',
    () => untyped(evaluate)(model, own({}, { size: 5 }), { engine }),
  ],
  ['datasetOf: "samples" expected an array', () => untyped(datasetOf)('a', [1], load, {})],
  ['datasetOf: "shape" expected a list of dims', () => untyped(datasetOf)([{ name: 'a' }], '1', load, {})],
  [
    '"a": expected a class number as label, got "1"',
    () => untyped(datasetOf)([{ name: 'a', label: '1' }], [1], load, {}),
  ],
  ['datasetOf: "load" expected a function', () => untyped(datasetOf)([{ name: 'a' }], [1], 5, {})],
  ['selectSamples: "samples" expected a data set', () => untyped(selectSamples)([])],
  ['selectSamples: "select" expected a function', () => untyped(selectSamples)(calibration)],
  ['iterableDataset: "shape" expected a list of dims', () => untyped(iterableDataset)([one])],
  ['feedsDataset: "source" expected a list', () => untyped(feedsDataset)({}, model.input)],
  ['feedsDataset: "samples[0]" expected an object, got 5', () => untyped(feedsDataset)([5], model.input)],
  ['"sample 0": "inputs" expected an object', () => untyped(feedsDataset)([{}], model.input)],
  ['feedsDataset: "input" expected that of an opened model', () => untyped(feedsDataset)([], model)],
  ['jsonSample: "value" expected an object', () => untyped(jsonSample)()],
  ['jsonSample: "input" expected that', () => untyped(jsonSample)({})],
  [
    'arraySamples: "arrays" expected a Map',
    async () => [...(arraySamples as never as (it: object) => [])({})],
  ],
  ['reportHtml: "report" expected the report of `prune`', () => untyped(reportHtml)(undefined)],
  ['got an object; give its `report`', () => untyped(reportHtml)({ report: {}, files: new Map() })],
  ['got "{}"; parse the JSON first', () => untyped(reportHtml)('{}')],
  ['showReport: "element" expected an element of the page, got null', () => untyped(showReport)(null, {})],
  ['showReport: "report" expected', () => untyped(showReport)({ querySelector() {} }, {})],
  ['npyDataset: "array" expected an object', () => untyped(npyDataset)()],
  ['npyDataset: "data" expected a Float32Array', () => untyped(npyDataset)({ shape: [1], data: [1] })],
  [
    'npyTokens: "data" expected 4 values for shape [2, 2], got 1',
    () => untyped(npyTokens)({ shape: [2, 2], data: one }),
  ],
  ['npyDataset: "inputShape" expected a list', () => untyped(npyDataset)({ shape: [1], data: one }, 1)],
  ['decodeNpz: "name" expected text, got undefined', () => untyped(decodeNpz)(bytes)],
  [
    '"preprocessing" expected what parsePreprocessing(…) gives, got an object',
    () => untyped(imageDataset)([{ name: 'a', read }], { mean: 0.5, std: 0.5 }, [1, 28, 28]),
  ],
  ['"preprocessing" expected what', () => untyped(imageShape)()],
  ['images: "inputShape" expected a list of dims', () => untyped(imageShape)(parsePreprocessing({}))],
  ['preprocess: "image" expected an object', () => untyped(preprocess)()],
  ['storedPreprocessing: "model" expected a model', () => untyped(storedPreprocessing)()],
  ['sampleEvenly: "files" expected an array', () => untyped(sampleEvenly)()],
  [
    'drawEvenly: "n" expected a whole number from 0 on, got 2.5',
    () => untyped(sampleEvenly)([{ path: 'a' }, { path: 'b' }, { path: 'c' }], 2.5, 0),
  ],
  ['drawEvenly: "n" expected a whole number from 0 on, got -1', () => untyped(drawEvenly)([0, 1], -1, 0)],
  [
    'measureLatency: "model" expected one of openModel(bytes, …)',
    () => untyped(measureLatency)({}, { engine }),
  ],
  ['latencies: "models" expected an array', () => untyped(latencies)(model, calibration, { engine })],
  ['latencies: "model" expected one of', () => untyped(latencies)([bytes], calibration, { engine })],
  ['latencies: "samples" expected a data set', () => untyped(latencies)([model], [], { engine })],
  ['pinnedOf: "model" expected one of', () => untyped(pinnedOf)(null)],
  ['sharesOf: "model" expected one of', () => untyped(sharesOf)({})],
  ['inputOf: "model" expected one of openLanguageModel(folder), got an object', () => untyped(inputOf)({})],
  ['inputOf: "model" expected an object', () => untyped(inputOf)()],
  ['measureRates: "engine" expected an engine', () => untyped(measureRates)()],
  ['measureRates: "kernels" expected kernels', () => untyped(measureRates)(engine)],
  ['compareMethods: "report" expected an object', () => untyped(compareMethods)(model)],
  ['compareMethods: "report.layers" expected an array', () => untyped(compareMethods)(model, {})],
  [
    'compareMethods: "methods" expected a list',
    () => untyped(compareMethods)(model, { layers: [] }, 'ziplm'),
  ],
  ['compareMethods: "options" expected', () => untyped(compareMethods)(model, { layers: [] }, ['ziplm'])],
  ['shrink: "model" expected a model', () => untyped(shrink)(bytes)],
  ['shrink: "cuts" expected a Map', () => untyped(shrink)(model.model, {})],
  ['writeModel: "model" expected a model', () => untyped(writeModel)(bytes)],
  ['describe: "config" expected an object', () => untyped(describe)()],
  ['describeFolder: "folder" expected a folder', () => untyped(describeFolder)('opt')],
  ['openTokenizer: "tokenizer" expected an object', () => untyped(openTokenizer)()],
  ['decodeNpy: "bytes" expected a Uint8Array, got undefined', () => untyped(decodeNpy)()],
  ['decodeNpz: "bytes" expected a Uint8Array, got "a.npz"', () => untyped(decodeNpz)('a.npz', 'a.npz')],
  ['decodeImage: "bytes" expected a Uint8Array', () => untyped(decodeImage)(new ArrayBuffer(8), 'a.png')],
  ['latency table: expected JSON as text, got an object', () => untyped(parseLatencyTable)({})],
  ['preprocessing: expected JSON as text', () => untyped(parsePreprocessingJson)()],
  ['consecutiveWindows: "seqlen" expected', () => untyped(consecutiveWindows)(new Int32Array(9))],
  [
    '"text": expected an Int32Array of token ids, got "In the',
    () => untyped(tokenWindows)('In the beginning', { samples: 1, seqlen: 4 }),
  ],
];

const { spend } = parseRecipe({ macs: 0.5 });
const recipes: readonly (readonly [options: object, message: string])[] = [
  [{ method: {} }, '`method` must be one of osscar, ziplm, magnitude, magnitude-refit, got an object'],
  [
    { search: Symbol('x') },
    '`search` must be one of greedy, swap, thorough, halving, published, got Symbol(x)',
  ],
  [{ target: Number.NaN }, "or such as { kind: 'residual', blend: 0.5 }, got NaN"],
  [{ target: {} }, 'got { kind: undefined, blend: undefined }'],
  [{ target: { kind: 'auto', blend: 1 } }, 'got { kind: "auto", blend: 1 }'],
  [{ target: { kind: 'dense', blend: 2 } }, 'got { kind: "dense", blend: 2 }'],
  [{ keep: undefined, macs: 0.5, effort: [] }, '`effort` must be one of low, medium, high, got []'],
  [
    { keep: undefined, macs: 0.5, exclude: 'a*' },
    '`exclude`: expected a list of names or patterns, got "a*"',
  ],
  [{ keep: undefined, macs: 0.5, exclude: [5] }, '`exclude`: expected a list of names or patterns, got [5]'],
  [{ keep: undefined, spend: {} }, '`spend`: expected what a recipe says of its budget, got an object'],
  [{ keep: undefined, spend: 0 }, '`spend`: expected what a recipe says of its budget, got 0'],
  ...[{ limit: 0 }, { isFraction: 1 }, { widths: 8 }, { effort: 'none' }].map(
    (wrong) =>
      [
        { keep: undefined, spend: { ...spend, ...wrong } },
        '`spend`: expected what a recipe says of its budget',
      ] as const,
  ),
  [{ damping: Number.POSITIVE_INFINITY }, '`damping` must be at least 0, got Infinity'],
  [{ round: 8 }, '`round` is for budgets'],
  [{ effort: 'low' }, '`effort` is for budgets'],
  [{ of: 'macs' }, '`of` is for `maxLoss`'],
  [{ keep: undefined, macs: 0.5, of: 'macs' }, '`of` is for `maxLoss`'],
  [{ keep: undefined, maxLoss: 0.1, of: 'all' }, '`of` must be one of '],
];

test.each(recipes)('a recipe is refused: %j', (options, message) => {
  const parse = () => parseRecipe({ keep: 0.5, ...options });
  expect(parse).toThrow(InputError);
  expect(parse).toThrow(message);
});

test('a target by its name is all of it, and towards itself nothing', () => {
  const blends = (['self', 'dense', 'residual'] as const).map((kind) => targetOf(kind));
  expect(blends.map(({ blend }) => blend)).toEqual([0, 1, 1]);
});

test('a recipe that was parsed is one', () => {
  for (const options of [
    { keep: 0.5, min: {}, exclude: [] },
    { keep: 0.5, target: 'self' },
    { macs: 0.5, exclude: ['a*'] },
    { maxLoss: 0.1, of: 'params' },
  ] as const) {
    const recipe = parseRecipe(options);
    expect(parseRecipe(recipe)).toEqual(recipe);
  }
});

test('what was given is called by its kind, however it is made', () => {
  const list: unknown[] = [null, 'a', undefined];
  list.push(list);
  expect(said(list)).toBe('[null, "a", undefined, a list]');
  expect(said(Array(11).fill(1))).toBe('[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, …]');
  expect(() => parsePreprocessing({ size: 10n as never })).toThrow(InputError);
});

test.each(calls)('%s', async (message, call) => {
  const error = await call().catch((error: unknown) => error);
  expect(error).toBeInstanceOf(InputError);
  expect((error as Error).message).toContain(message);
});
