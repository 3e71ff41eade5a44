// For each parser a file that takes as much memory for each of its bytes as is known, or as much as limits let it. What is
// read is held to the multiples of docs/security.md.

import { create, toBinary } from '@bufbuild/protobuf';
import { encode as encodePng } from 'fast-png';
import { encode as encodeJpeg } from 'jpeg-js';
import { ModelProtoSchema, NodeProtoSchema } from '../src/graph/onnx_pb.ts';
import { limits } from '../src/limits.ts';
import { encodeAvif, encodeWebp } from '../test/support/encoders.ts';
import { Pickle, torchFile } from '../test/support/torch.ts';
import { writeZip } from '../test/support/zip.ts';
import { safetensorsOf } from './targets/checkpoint.ts';
import { npyOf } from './targets/samples.ts';

const MIB = 2 ** 20;
const encoder = new TextEncoder();

/** `part` again and again, up to a MiB, between two ends. */
const repeated = (part: string, start = '', end = '') =>
  encoder.encode(start + part.repeat(Math.floor(MIB / part.length)) + end);
/** Other keys each time. */
const entries = (part: (i: number) => string) => {
  const count = Math.floor(MIB / part(1e5).length);
  return Array.from({ length: count }, (_, i) => part(i)).join(',');
};
const object = (part: (i: number) => string, start = '', end = '') =>
  encoder.encode(`${start}{${entries(part)}}${end}`);
/** Empty lists: the most values for each byte of JSON. */
const lists = (key: string) => repeated('[],', `{"${key}":[`, '[]]}');

/** As many nodes as a MiB holds, each behind the one before. */
function chain(): Uint8Array {
  const node = Array.from({ length: MIB / 30 }, (_, i) =>
    create(NodeProtoSchema, { opType: 'Relu', input: [`${i}`], output: [`${i + 1}`] }),
  );
  const graph = { node, input: [{ name: '0' }], output: [{ name: `${node.length}` }] };
  const opsetImport = [{ version: 17n }];
  return toBinary(ModelProtoSchema, create(ModelProtoSchema, { irVersion: 8n, opsetImport, graph }));
}

/** A ModelProto whose only field is a graph with a MiB of empty nodes. */
function emptyNodes(): Uint8Array {
  const length = MIB & ~1;
  const varint = [(length & 127) | 128, ((length >> 7) & 127) | 128, length >> 14];
  const nodes = Uint8Array.from({ length }, (_, i) => (i % 2 === 0 ? 0x0a : 0));
  return Uint8Array.from([0x3a, ...varint, ...nodes]);
}

const side = 2500;
const pixels = side * side;
const blank = (channels: 1 | 4, depth: 8 | 16) => {
  const length = pixels * channels;
  return depth === 8 ? new Uint8Array(length) : new Uint16Array(length);
};

const array = (length: number) =>
  npyOf(`{'descr': '|u1', 'fortran_order': False, 'shape': (1, ${length}), }`, new Uint8Array(length));
const npz = (length: number, deflate: boolean) =>
  writeZip(['x.npy', 'attention_mask.npy'].map((name) => ({ name, bytes: array(length), deflate })));

const scalars = () =>
  safetensorsOf(
    object((i) => `"${i.toString(36)}":{"dtype":"I8","shape":[],"data_offsets":[${i},${i + 1}]}`),
    17_500,
  );
const dictionaries = (count: number) =>
  torchFile(new Pickle().raw(new Uint8Array(count).fill(0x7d)).end(), {}, { deflate: true });
/** Names are all that the entries have: of each zip.js makes 8 kB. */
const archive = () =>
  writeZip(
    ['archive/data.pkl', ...Array.from({ length: limits.zipEntries - 1 }, (_, i) => `${i}`)].map(
      (name, i) => ({
        name,
        bytes: i === 0 ? new Pickle().raw(Uint8Array.of(0x7d)).end() : new Uint8Array(0),
      }),
    ),
  );
const png = () => encodePng({ width: side, height: side, channels: 4, depth: 16, data: blank(4, 16) });
const rgba = () => ({ width: side, height: side, data: blank(4, 8) as Uint8Array });
const tenBits = () =>
  encodeAvif({ ...rgba(), data: new Uint8Array(2 * 4 * pixels) }, { bitDepth: 10, subsample: 3, speed: 10 });
const jpeg = () => new Uint8Array(encodeJpeg(rgba(), 1).data);

/** YAML in which each byte is an error, as much as is looked at. */
function braces(): Uint8Array {
  const [start, end] = ['---\n', '\n---'];
  return encoder.encode(start + '}'.repeat(limits.cardBytes - start.length - end.length) + end);
}

interface Worst {
  /** Of targets/. */
  readonly parser: string;
  /** What the file is full of. */
  readonly of: string;
  readonly make: () => Uint8Array | Promise<Uint8Array>;
  /** How many of these there are, where memory does not go by the bytes of the file; `limits` bounds them. */
  readonly count?: number;
  /** Bytes of memory for each, at most. */
  readonly most: number;
}

/** Bytes of memory for each byte of a file, whatever is in it. */
const PLAIN = 150;

export const WORST: readonly Worst[] = [
  { parser: 'onnx', of: 'empty nodes', make: emptyNodes, most: PLAIN },
  { parser: 'onnx', of: 'a chain of nodes', make: chain, most: PLAIN },
  { parser: 'safetensors', of: 'empty tensors', make: scalars, most: PLAIN },
  {
    parser: 'index',
    of: 'names of tensors',
    make: () => object((i) => `"${i.toString(36)}":"a.safetensors"`, '{"weight_map":', '}'),
    most: PLAIN,
  },
  {
    parser: 'torch',
    of: 'empty dictionaries, deflated',
    make: () => dictionaries(MIB - 100),
    count: MIB,
    most: 400,
  },
  { parser: 'torch', of: 'empty entries', make: archive, count: limits.zipEntries, most: 2000 },
  { parser: 'npy', of: 'bytes', make: () => array(MIB), most: PLAIN },
  { parser: 'npz', of: 'bytes', make: () => npz(MIB, false), most: PLAIN },
  { parser: 'npz', of: 'bytes, deflated', make: () => npz(16 * MIB, true), count: 32 * MIB, most: 15 },
  { parser: 'png', of: 'pixels of 4 × 16 bits', make: png, count: pixels, most: 60 },
  { parser: 'jpeg', of: 'pixels', make: jpeg, count: pixels, most: 30 },
  {
    parser: 'webp',
    of: 'pixels',
    make: () => encodeWebp(rgba(), { lossless: 1, method: 0 }),
    count: pixels,
    most: 30,
  },
  {
    parser: 'avif',
    of: 'pixels of 4 × 10 bits',
    make: tenBits,
    count: pixels,
    most: 70,
  },
  { parser: 'csv', of: 'labels', make: () => repeated('a,1\n'), most: PLAIN },
  { parser: 'jsonl', of: 'empty texts', make: () => repeated('{"text":""}\n'), most: PLAIN },
  {
    parser: 'feeds',
    of: 'samples of one value',
    make: () => repeated('{"x":[1],"attention_mask":[1]}\n'),
    most: PLAIN,
  },
  { parser: 'card', of: 'closing braces', make: braces, most: 2000 },
  { parser: 'tokenizer', of: 'empty lists', make: () => lists('model'), most: PLAIN },
  { parser: 'config', of: 'empty lists', make: () => lists('model_type'), most: PLAIN },
  { parser: 'manifest', of: 'empty lists', make: () => lists('model'), most: PLAIN },
  { parser: 'preprocessor', of: 'empty lists', make: () => lists('size'), most: PLAIN },
  { parser: 'options', of: 'empty lists', make: () => lists('keep'), most: PLAIN },
  { parser: 'report', of: 'empty lists', make: () => lists('layers'), most: PLAIN },
  { parser: 'metadata', of: 'empty lists', make: () => lists('structures'), most: PLAIN },
];
