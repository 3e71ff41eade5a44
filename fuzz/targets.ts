// What is fuzzed: for each parser how its inputs are made, and how one of them is read as the command reads it.

import { readFileSync } from 'node:fs';
import { crc32, deflateSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import { Command } from 'commander';
import fc from 'fast-check';
import { encode as encodePng } from 'fast-png';
import { encode as encodeJpeg } from 'jpeg-js';
import { blobFolder, openCheckpoint } from '../src/checkpoint/index.ts';
import { setOptions } from '../src/cli/config.ts';
import { addDataFlags, addKeepFlags, addModelFlags, addRunFlags } from '../src/cli/options.ts';
import { pruneText } from '../src/cli/print.ts';
import { FormatError } from '../src/errors.ts';
import {
  analyse,
  countParameters,
  foldBatchNormalization,
  foldConstants,
  readModel,
  writeModel,
} from '../src/graph/index.ts';
import {
  AttributeProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  TensorProtoSchema,
} from '../src/graph/onnx_pb.ts';
import { decodeUtf8, parseJsonObject } from '../src/json.ts';
import {
  arraySamples,
  decodeImage,
  decodeNpy,
  decodeNpz,
  describeFolder,
  type FeedSample,
  feedsDataset,
  jsonSample,
  type ModelInput,
  npyDataset,
  npyTokens,
  openTokenizer,
  parseLatencyTable,
  parsePreprocessingJson,
  parsePreprocessorConfig,
} from '../src/pipeline/index.ts';
import { decode, encode } from '../src/pipeline/store/artefact.ts';
import { contentHash } from '../src/pipeline/store/hash.ts';
import { openRun } from '../src/pipeline/store/manifest.ts';
import { reportHtml } from '../src/report/html.ts';
import { parseReport } from '../src/report/saved.ts';
import { jsonLines } from '../src/run/arrays.ts';
import { parseLabels } from '../src/run/labels.ts';
import { documentsOf } from '../src/run/text.ts';
import { OnnxBuilder } from '../test/support/onnx-builder.ts';
import { Pickle, pickleTensors, rowMajor, torchFile } from '../test/support/torch.ts';
import { writeZip } from '../test/support/zip.ts';
import { damaged, jsonBytes, oddJson, oddValue } from './mutate.ts';

/** A parser and its inputs. */
export interface Target {
  readonly inputs: fc.Arbitrary<Uint8Array>;
  parse(bytes: Uint8Array): unknown;
}

const encoder = new TextEncoder();
const FIXTURES = 'test/fixtures';
const fixture = (path: string) => new Uint8Array(readFileSync(`${FIXTURES}/${path}`));
const half = (...inputs: fc.Arbitrary<Uint8Array>[]) => fc.oneof(...inputs);

// ONNX

function network(): Uint8Array {
  const b = new OnnxBuilder({ seed: 7 });
  const x = b.relu(b.batchNormalization(b.conv(b.input([1, 8, 8]), 4, 3)));
  const y = b.add(b.conv(x, 4, 3), x);
  return b.output(b.gemm(b.flatten(b.globalAveragePool(b.relu(y))), 3)).build();
}

const OPERATORS = [
  'Conv',
  'Gemm',
  'MatMul',
  'Add',
  'Mul',
  'Relu',
  'Reshape',
  'Transpose',
  'Concat',
  'Split',
  'Slice',
].concat(
  [
    'Gather',
    'Squeeze',
    'Unsqueeze',
    'Flatten',
    'Shape',
    'Constant',
    'Identity',
    'BatchNormalization',
    'Softmax',
    'Expand',
  ],
  [
    'LayerNormalization',
    'GroupQueryAttention',
    'MultiHeadAttention',
    'Attention',
    'Clip',
    'Pad',
    'MaxPool',
    'Cast',
    'Loop',
  ],
);
const ATTRIBUTES = [
  'axis',
  'axes',
  'perm',
  'group',
  'kernel_shape',
  'pads',
  'strides',
  'transB',
  'num_heads',
  'value',
  'epsilon',
  'shape',
  'split',
  'to',
];
const VALUES = ['x', 'a', 'b', 'c', 'd', 'w', 'v', ''];
const int64 = fc.oneof(
  fc.bigInt(-3n, 9n),
  fc.constantFrom(-(2n ** 63n), 2n ** 31n, 2n ** 32n, 2n ** 62n, 2n ** 63n - 1n),
);
const tensor = fc
  .record({
    name: fc.constantFrom('w', 'v', 'b', ''),
    dataType: fc.nat(27),
    dims: fc.array(int64, { maxLength: 4 }),
    rawData: fc.uint8Array({ maxLength: 64 }),
    floatData: fc.array(fc.float(), { maxLength: 3 }),
    int32Data: fc.array(fc.integer(), { maxLength: 3 }),
  })
  .map((fields) => create(TensorProtoSchema, fields));
const attribute = fc
  .record({
    name: fc.constantFrom(...ATTRIBUTES),
    i: int64,
    ints: fc.array(int64, { maxLength: 5 }),
    f: fc.float(),
    t: fc.option(tensor, { nil: undefined }),
  })
  .map((fields) => create(AttributeProtoSchema, fields));
const node = fc
  .record({
    name: fc.string({ maxLength: 4 }),
    opType: fc.constantFrom(...OPERATORS),
    input: fc.array(fc.constantFrom(...VALUES), { maxLength: 5 }),
    output: fc.array(fc.constantFrom(...VALUES), { maxLength: 2 }),
    attribute: fc.array(attribute, { maxLength: 3 }),
  })
  .map((fields) => create(NodeProtoSchema, fields));
const graph = fc
  .record({
    node: fc.array(node, { maxLength: 5 }),
    initializer: fc.array(tensor, { maxLength: 3 }),
    irVersion: int64,
    version: int64,
    outputs: fc.array(fc.constantFrom(...VALUES), { maxLength: 2 }),
  })
  .map(({ irVersion, version, outputs, ...fields }) =>
    toBinary(
      ModelProtoSchema,
      create(ModelProtoSchema, {
        irVersion,
        opsetImport: [{ domain: '', version }],
        graph: { ...fields, input: [{ name: 'x' }], output: outputs.map((name) => ({ name })) },
      }),
    ),
  );

async function readNetwork(bytes: Uint8Array): Promise<void> {
  const model = foldBatchNormalization(foldConstants(await readModel(bytes, { name: 'm' })));
  countParameters(model);
  analyse(model, new Map());
  writeModel(model);
}

// Checkpoints

export const safetensorsOf = (header: Uint8Array, data: number) => {
  const out = new Uint8Array(8 + header.length + data);
  new DataView(out.buffer).setBigUint64(0, BigInt(header.length), true);
  out.set(header, 8);
  return out;
};
const HEADER = {
  __metadata__: { format: 'pt' },
  'layer.weight': { dtype: 'F32', shape: [8, 16], data_offsets: [0, 512] },
  'layer.bias': { dtype: 'F16', shape: [3], data_offsets: [512, 518] },
  scalar: { dtype: 'I64', shape: [], data_offsets: [518, 526] },
};
const SAFETENSORS = safetensorsOf(jsonBytes(HEADER), 526);
const TENSORS = [
  { name: 'w', kind: 'Float', storage: '0', length: 6, shape: [2, 3], strides: rowMajor([2, 3]) },
  { name: 'v', kind: 'Half', storage: '1', length: 6, shape: [3, 2], strides: [1, 3] },
];
const STORAGES = { 0: new Uint8Array(24), 1: new Uint8Array(12) };
const OPCODES = [...'(.NJKMXhjqrcRQb)}tsu'].map((char) => char.charCodeAt(0));
const opcode = fc.oneof(
  fc.constantFrom(...OPCODES, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x8d, 0x93, 0x94, 0x95),
  fc.nat(8),
);

async function readAll(files: Record<string, Uint8Array>): Promise<void> {
  const checkpoint = await openCheckpoint(
    blobFolder(Object.entries({ 'config.json': jsonBytes({}), ...files }), 'm'),
  );
  for (const name of checkpoint.tensors.keys()) await checkpoint.readRaw(name);
}

const CONFIGS = [
  JSON.parse(readFileSync(`${FIXTURES}/opt-kjv/config.json`, 'utf8')),
  {
    ...{
      model_type: 'llama',
      hidden_size: 16,
      intermediate_size: 12,
      num_hidden_layers: 2,
      num_attention_heads: 4,
    },
    ...{
      num_key_value_heads: 2,
      head_dim: 4,
      vocab_size: 32,
      max_position_embeddings: 16,
      rms_norm_eps: 1e-5,
    },
    rope_scaling: {
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8,
    },
  },
  {
    model_type: 'gpt2',
    n_embd: 8,
    n_head: 2,
    n_layer: 2,
    n_positions: 16,
    vocab_size: 32,
    activation_function: 'gelu_new',
  },
];

async function readConfig(bytes: Uint8Array): Promise<void> {
  const model = await describeFolder(blobFolder([['config.json', bytes]], 'm'));
  model.configOf(model.sizes);
  model.tensors({ tensors: new Map() });
}

// Samples

export const npyOf = (header: string, data: Uint8Array) => {
  const text = `${header.padEnd(54)}\n`;
  return Uint8Array.from([
    0x93,
    ...encoder.encode('NUMPY'),
    1,
    0,
    text.length & 255,
    text.length >> 8,
    ...encoder.encode(text),
    ...data,
  ]);
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

// Samples of several inputs

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

// Images

const PNGS = [1, 2, 3, 4].flatMap((channels) =>
  ([8, 16] as const).map((depth) => {
    const length = 5 * 3 * channels;
    const data = depth === 8 ? new Uint8Array(length).fill(77) : new Uint16Array(length).fill(7777);
    return encodePng({ width: 5, height: 3, channels: channels as 1, depth, data });
  }),
);
function chunk(type: string, data: Uint8Array): Uint8Array {
  const body = Uint8Array.from([...encoder.encode(type), ...data]);
  const number = (value: number) => [value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255];
  return Uint8Array.from([...number(data.length), ...body, ...number(crc32(body))]);
}
const chunkData = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.uint8Array({ maxLength: 200 }).map((data) => new Uint8Array(deflateSync(data))),
  fc.nat(2 ** 18).map((length) => new Uint8Array(deflateSync(new Uint8Array(length)))),
);
/** Sound chunks with sound checksums, in any order. */
const chunks = fc
  .tuple(
    fc.tuple(fc.nat(40), fc.nat(40), fc.constantFrom(1, 2, 4, 8, 16, 3), fc.nat(7), fc.nat(2)),
    fc.array(
      fc.tuple(fc.constantFrom('IDAT', 'PLTE', 'tRNS', 'iCCP', 'zTXt', 'IHDR', 'acTL', 'fdAT'), chunkData),
      { maxLength: 4 },
    ),
  )
  .map(([[width, height, depth, color, interlace], parts]) => {
    const header = Uint8Array.from([0, 0, 0, width, 0, 0, 0, height, depth, color, 0, 0, interlace]);
    const all = [
      chunk('IHDR', header),
      ...parts.map(([type, data]) => chunk(type, data)),
      chunk('IEND', new Uint8Array()),
    ];
    return Uint8Array.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, ...all.flatMap((it) => [...it])]);
  });
const JPEGS = [30, 90].map((quality) => {
  const data = Uint8Array.from({ length: 16 * 16 * 4 }, (_, i) => (i * 37) & 255);
  return new Uint8Array(encodeJpeg({ width: 16, height: 16, data }, quality).data);
});

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
const jsonl = fc
  .array(oddJson([{ text: 'God said' }]), { maxLength: 4 })
  .map((rows) => encoder.encode(rows.map((it) => JSON.stringify(it)).join('\n')));

// Small, so that thousands take seconds: the parts that the fixture's has, and those of other models.
const BYTES = Object.fromEntries(
  Array.from({ length: 256 }, (_, byte) => byte).map((byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
    const others = [...Array(byte).keys()].filter(
      (it) => !((it >= 33 && it <= 126) || (it >= 161 && it !== 173)),
    ).length;
    return [String.fromCharCode(printable ? byte : 256 + others), byte];
  }),
);
const TOKENIZERS = [
  {
    added_tokens: [{ id: 256, content: '</s>', special: true }],
    normalizer: {
      type: 'Sequence',
      normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { String: 'x' }, content: 'y' }],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: '\\w+|\\s' }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '</s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    },
    model: { type: 'BPE', unk_token: null, vocab: { ...BYTES, '</s>': 256, th: 257 }, merges: [['t', 'h']] },
  },
  {
    added_tokens: [],
    normalizer: { type: 'Prepend', prepend: '▁' },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
    post_processor: null,
    model: {
      type: 'Unigram',
      unk_id: 0,
      vocab: [
        ['<unk>', 0],
        ['▁', -1],
        ['a', -2],
        ['th', -2.5],
      ],
    },
  },
  {
    added_tokens: [],
    normalizer: { type: 'BertNormalizer', lowercase: true },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: { type: 'BertProcessing', sep: ['[SEP]', 1], cls: ['[CLS]', 2] },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: { '[UNK]': 0, '[SEP]': 1, '[CLS]': 2, a: 3, '##b': 4 },
    },
  },
];

const MANIFEST = { model: { name: 'm', hash: '0a' }, data: { name: 'd', hash: '0b' }, version: '0.1.0' };
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
  ...{
    do_resize: true,
    size: { height: 8, width: 8 },
    do_center_crop: true,
    crop_size: { height: 7, width: 7 },
  },
  ...{ do_rescale: true, rescale_factor: 1 / 255, do_normalize: true, do_convert_rgb: true },
  ...{ image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] },
};
const OPTIONS = {
  ...{ model: 'm.onnx', calibrate: 'photos', keep: 0.5, 'keep-layer': { a: 0.5 }, mean: [0.5], std: 0.3 },
  ...{
    samples: 40,
    method: 'magnitude',
    correct: false,
    seed: 1,
    input: { b: 2 },
    threads: 1,
    size: '28x28',
  },
};

/** What is typed, or read from a file in its place. */
function commands(): [Command, Command] {
  const program = new Command();
  const prune = addKeepFlags(addRunFlags(addModelFlags(program.command('prune'))));
  addDataFlags(addModelFlags(program.command('eval')));
  return [program, prune];
}

const SIZES = { before: 10, after: 5 };
const REPORT = {
  version: 1,
  recipe: { method: 'osscar', keep: { all: 0.5, layers: { a: 0.25 } } },
  target: { chosen: { kind: 'residual', blend: 0.5 } },
  allocation: {
    ...{ of: 'macs', limit: 5, before: 10, after: 5, chosen: 'even' },
    trials: [{ name: 'even', lost: 0.1 }],
  },
  samples: 4,
  sample: [1, 8, 8],
  ...{ parameters: SIZES, bytes: SIZES, macs: SIZES, latencyMs: SIZES },
  metric: { name: 'top-1', samples: 4, data: 'calibration', ...SIZES },
  quality: { relativeError: 0.1, cosine: 0.9, samples: 4, data: 'held-out' },
  maxDifference: 1e-6,
  layers: [
    { name: 'a', kept: [0, 2], groups: 4, relativeError: 0.1, macsSaved: 0.3, curve: [1, null, 0.5, 0.1, 0] },
  ],
  ...{ warnings: ['few'], notPrunable: [{ name: 'b', reason: 'last' }] },
  sizes: [{ heads: 4, kvHeads: 2, ffn: 8 }],
  ...{ statement: 'it can be read', seconds: 2, engine: 'e', simd: 'baseline', threads: 1 },
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

/** By name. */
export const TARGETS: Readonly<Record<string, Target>> = {
  onnx: { inputs: half(damaged([network()]), graph), parse: readNetwork },
  safetensors: {
    inputs: half(
      damaged([SAFETENSORS]),
      oddJson([HEADER]).map((header) => safetensorsOf(jsonBytes(header), 526)),
    ),
    parse: (bytes) => readAll({ 'model.safetensors': bytes }),
  },
  index: {
    inputs: half(
      damaged([jsonBytes({ weight_map: { scalar: 'a.safetensors', 'layer.bias': 'a.safetensors' } })]),
      oddJson([{ metadata: {}, weight_map: { scalar: 'a.safetensors', 'layer.bias': 'a.safetensors' } }]).map(
        jsonBytes,
      ),
    ),
    parse: (bytes) => readAll({ 'model.safetensors.index.json': bytes, 'a.safetensors': SAFETENSORS }),
  },
  torch: {
    inputs: half(
      damaged([
        torchFile(pickleTensors(TENSORS), STORAGES, { zip64: true }),
        fixture('checkpoint/protocol5.bin'),
        fixture('checkpoint/deflated.bin'),
      ]),
      damaged([pickleTensors(TENSORS)]).map((pickle) => torchFile(pickle, STORAGES)),
      fc
        .array(opcode, { maxLength: 80 })
        .map((body) => torchFile(new Pickle().raw(Uint8Array.from(body)).end(), STORAGES)),
    ),
    parse: (bytes) => readAll({ 'pytorch_model.bin': bytes }),
  },
  npy: { inputs: half(damaged(NPY), npyHeader), parse: readArray },
  png: { inputs: half(damaged(PNGS), chunks), parse: (bytes) => decodeImage(bytes, 'a.png') },
  jpeg: { inputs: damaged(JPEGS), parse: (bytes) => decodeImage(bytes, 'a.jpg') },
  csv: { inputs: half(damaged([CSV]), csv), parse: (bytes) => parseLabels(bytes, 'a.csv') },
  jsonl: {
    inputs: half(damaged([JSONL]), jsonl),
    parse: (bytes) => [...documentsOf(decodeUtf8(bytes, '"a.jsonl"'), 'a.jsonl')],
  },
  npz: {
    inputs: half(
      damaged(NPZ),
      fc.tuple(damaged(NPY), damaged(NPY), fc.boolean()).map(([x, mask, deflate]) => npzOf(x, mask, deflate)),
      fc.tuple(npyHeader, npyHeader, fc.boolean()).map(([x, mask, deflate]) => npzOf(x, mask, deflate)),
    ),
    parse: async (bytes) => readSamples(arraySamples(await decodeNpz(bytes, 'a.npz'), INPUT, 'a.npz')),
  },
  feeds: {
    inputs: half(
      damaged([jsonBytes(FEED)]),
      fc
        .array(oddJson([FEED]), { minLength: 1, maxLength: 3 })
        .map((rows) => encoder.encode(rows.map((it) => JSON.stringify(it)).join('\n'))),
    ),
    parse: (bytes) => {
      const lines = jsonLines(decodeUtf8(bytes, '"a.jsonl"'), 'a.jsonl');
      return readSamples(Array.from(lines, ({ value, at }) => jsonSample(value, INPUT, at)));
    },
  },
  tokenizer: {
    inputs: half(damaged(TOKENIZERS.map(jsonBytes)), oddJson(TOKENIZERS).map(jsonBytes)),
    parse: (bytes) => openTokenizer(parseJsonObject(bytes, 'tokenizer.json'))('the abacus\n😀'),
  },
  config: {
    inputs: half(damaged(CONFIGS.map(jsonBytes)), oddJson(CONFIGS).map(jsonBytes)),
    parse: readConfig,
  },
  manifest: {
    inputs: half(damaged([jsonBytes(MANIFEST)]), oddJson([MANIFEST]).map(jsonBytes)),
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
  preprocessor: {
    inputs: half(damaged([jsonBytes(PREPROCESSOR)]), oddJson([PREPROCESSOR]).map(jsonBytes)),
    parse: (bytes) => parsePreprocessorConfig(decodeUtf8(bytes, '"p.json"'), 'p.json'),
  },
  options: {
    inputs: half(damaged([jsonBytes(OPTIONS)]), oddJson([OPTIONS]).map(jsonBytes)),
    parse: (bytes) =>
      setOptions(...commands(), { path: 'c.json', options: parseJsonObject(bytes, 'c.json') }),
  },
  report: {
    inputs: half(damaged([jsonBytes(REPORT)]), oddJson([REPORT]).map(jsonBytes)),
    parse: async (bytes) => {
      const report = parseReport(parseJsonObject(bytes, 'report.json'), 'report.json');
      pruneText(report, 'small.onnx', true);
      await reportHtml(report);
    },
  },
  metadata: {
    inputs: half(
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
