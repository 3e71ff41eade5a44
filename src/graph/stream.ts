// Models too large for memory: written weight by weight, and read back as a graph whose weights are fetched when a part
// of it is to run.

import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { FormatError } from '../errors.ts';
import { checkGraph, Model } from './model.ts';
import { copyMessage } from './node.ts';
import {
  GraphProtoSchema,
  ModelProtoSchema,
  TensorProto_DataLocation,
  TensorProtoSchema,
} from './onnx_pb.ts';
import type { Tensor } from './tensor.ts';
import { decodeTensor, describe, loadExternal, type ReadExternal, referenceTo } from './wire.ts';
import { concat, layOut, pieceBytes, type WriteOptions } from './write.ts';

const { EXTERNAL } = TensorProto_DataLocation;

/** A model whose weights are still to come. */
export interface ModelOutline {
  /** Its constants without bytes are those to come. */
  readonly model: Model;
  /** To be gone through once. */
  readonly weights: AsyncIterable<Tensor>;
}

/**
 * What `writeModel` gives, in any order and with one weight in memory at a time: bytes of the ONNX file, or of the data
 * file beside it.
 *
 * @throws {InputError} if `externalName` leaves the folder
 * @throws {FormatError} if the weights are not those of the model
 */
export async function* streamModel(
  { model, weights }: ModelOutline,
  options: WriteOptions = {},
): AsyncGenerator<{ external: boolean; offset: number; bytes: Uint8Array }> {
  const layout = layOut(model, options);
  const places = new Map<string, { external: boolean; offset: number; length: number }>();
  for (const external of [false, true]) {
    let offset = 0;
    for (const piece of external ? layout.external : layout.model) {
      const length = pieceBytes(piece);
      if (piece instanceof Uint8Array) yield { external, offset, bytes: piece };
      else if (piece.bytes.length === length) yield { external, offset, bytes: piece.bytes };
      else places.set(piece.name, { external, offset, length });
      offset += length;
    }
  }
  const fail = (problem: string) => new FormatError(`${model.name}: cannot be written: ${problem}`);
  for await (const { name, bytes } of weights) {
    const place = places.get(name);
    if (place?.length !== bytes.length) throw fail(`"${name}", ${bytes.length} bytes, was not expected`);
    places.delete(name);
    yield { external: place.external, offset: place.offset, bytes };
  }
  for (const name of places.keys()) throw fail(`"${name}" never came`);
}

/** Field headers are no longer: a tag and a length. */
const HEADER_BYTES = 20;
/** Weights of fewer bytes are read with the graph. */
const MIN_STORED = 4096;
/** Fields are read so many bytes at a time: there are thousands, most of them small. */
const AHEAD = MIN_STORED - 1;
/** Where an ONNX file has the data of its weights. */
const RAW_DATA = [
  ModelProtoSchema.field.graph.number,
  GraphProtoSchema.field.initializer.number,
  TensorProtoSchema.field.rawData.number,
];

/**
 * Reads what `writeModel` or `streamModel` wrote, without the bytes of the weights: `loadStored` reads those.
 *
 * @param read  given `file`, reads from the ONNX file itself
 * @param size  of the ONNX file, in bytes
 * @throws {FormatError} if it is cut short or its parts contradict each other
 */
export async function openStored(file: string, size: number, read: ReadExternal): Promise<Model> {
  const proto = fromBinary(
    ModelProtoSchema,
    await skim(file, readingAhead(file, read, size), 0, size, RAW_DATA),
  );
  const tensors = proto.graph!.initializer.map((message): Tensor => {
    const where = `${file}: tensor "${message.name}"`;
    if (message.dataLocation !== EXTERNAL) return decodeTensor(message, where);
    const { type, dims } = describe(message, where);
    return { name: message.name, type, dims, bytes: new Uint8Array(), source: message };
  });
  proto.graph!.initializer = [];
  const model = new Model(file, proto, new Map(tensors.map((tensor) => [tensor.name, tensor])));
  checkGraph(model);
  return model;
}

/** Reads the weights that a part of such a model has. It is changed and returned. */
export async function loadStored(part: Model, read: ReadExternal): Promise<Model> {
  for (const { name, source } of part.tensors.values()) {
    if (source?.dataLocation !== EXTERNAL) continue;
    const message = copyMessage(source);
    await loadExternal([message], part.name, read);
    part.tensors.set(name, decodeTensor(message, `${part.name}: tensor "${name}"`));
  }
  return part;
}

type Read = (offset: number, length: number) => Promise<Uint8Array>;

function readingAhead(file: string, read: ReadExternal, size: number): Read {
  let start = 0;
  let bytes: Uint8Array = new Uint8Array();
  return async (offset, length) => {
    if (offset < start || offset + length > start + bytes.length) {
      bytes = await read(file, offset, Math.min(Math.max(length, AHEAD), size - offset));
      start = offset;
    }
    return bytes.subarray(offset - start, offset - start + length);
  };
}

/**
 * A message of a file. Tensors whose data, the last field on the path, is long come as if it were in a file beside the
 * model, which is the model itself.
 */
async function skim(
  file: string,
  read: Read,
  from: number,
  to: number,
  [next, ...path]: readonly number[],
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (let at = from, end: number; at < to; at = end) {
    const reader = new BinaryReader(await read(at, Math.min(HEADER_BYTES, to - at)));
    const [number, type] = reader.tag();
    if (type !== WireType.LengthDelimited) reader.skip(type);
    const length = type === WireType.LengthDelimited ? reader.uint32() : 0;
    const offset = at + reader.pos;
    end = offset + length;
    if (end > to) throw new FormatError(`${file}: no ONNX model: truncated at byte ${at}`);
    if (number !== next || length < MIN_STORED) parts.push(await read(at, end - at));
    else if (path.length === 0)
      parts.push(toBinary(TensorProtoSchema, referenceTo({ location: file, offset, length })));
    else {
      const inner = await skim(file, read, offset, end, path);
      parts.push(new BinaryWriter().tag(number, type).bytes(inner).finish());
    }
  }
  return concat(parts);
}
