// Models too large for memory: written weight by weight, and read back as a graph whose weights are fetched when a part
// of it is to run.

import { fromBinary } from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { FormatError } from '../errors.ts';
import { loadExternal, type ReadExternal } from './external.ts';
import { copyMessage } from './message.ts';
import { Model } from './model.ts';
import {
  GraphProtoSchema,
  ModelProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProtoSchema,
} from './onnx_pb.ts';
import type { Tensor } from './tensor.ts';
import { checkGraph } from './validate.ts';
import { decodeTensor, describe, encodeTensor } from './wire.ts';
import { concat, layOut, pieceBytes, type WriteOptions } from './write.ts';

/** A model whose weights are still to come. */
export interface ModelOutline {
  /** Its constants without bytes are those to come. */
  readonly model: Model;
  /** To be gone through once. */
  readonly weights: AsyncIterable<Tensor>;
}

/** Bytes of the ONNX file, or of the data file beside it. */
export interface StreamedBytes {
  readonly external: boolean;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * What `writeModel` gives, in any order and with one weight in memory at a time.
 *
 * @throws {InputError} if `externalName` leaves the folder
 * @throws {FormatError} if the weights are not those of the model
 */
export async function* streamModel(
  { model, weights }: ModelOutline,
  options: WriteOptions = {},
): AsyncGenerator<StreamedBytes> {
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

/** A model whose weights are still in its files. */
export interface StoredModel {
  /** Its constants without bytes are those to be read. */
  readonly model: Model;
  /** Reads those that a part of the model has; the part is the caller's, and changed. */
  load(part: Model): Promise<Model>;
}

/** Field headers are no longer: a tag and a length. */
const HEADER_BYTES = 20;
/** Initialisers of fewer bytes are read with the graph. */
const MIN_STORED = 4096;

/**
 * Reads what `writeModel` or `streamModel` wrote, all but the weights. `read` is given `file` for the ONNX file itself.
 *
 * @param size  of the ONNX file, in bytes
 * @throws {FormatError} if it is not an ONNX model
 */
export async function openStored(file: string, size: number, read: ReadExternal): Promise<StoredModel> {
  const bytes = ({ from, to }: Field) => read(file, from, to - from);
  const model: Uint8Array[] = [];
  const graph: Uint8Array[] = [];
  const protos: TensorProto[] = [];
  for await (const field of fields(file, 0, size, read)) {
    if (field.number !== ModelProtoSchema.field.graph.number) {
      model.push(await bytes(field));
      continue;
    }
    for await (const inner of fields(file, field.start, field.to, read)) {
      if (inner.number !== GraphProtoSchema.field.initializer.number) graph.push(await bytes(inner));
      else protos.push(await initializer(file, inner, read));
    }
  }
  const proto = fromBinary(ModelProtoSchema, concat(model));
  proto.graph = fromBinary(GraphProtoSchema, concat(graph));
  const where = ({ name }: TensorProto) => `${file}: tensor "${name}"`;
  const isStored = ({ dataLocation }: TensorProto) => dataLocation === TensorProto_DataLocation.EXTERNAL;
  const tensors = protos.map((it) => (isStored(it) ? outlineOf(it, where(it)) : decodeTensor(it, where(it))));
  const outline = new Model(file, proto, new Map(tensors.map((tensor) => [tensor.name, tensor])));
  checkGraph(outline);
  const stored = new Map(protos.filter(isStored).map((it) => [it.name, it]));
  return {
    model: outline,
    async load(part) {
      for (const name of part.tensors.keys()) {
        const message = stored.get(name);
        if (!message) continue;
        const copy = copyMessage(message);
        await loadExternal([copy], file, read);
        part.tensors.set(name, decodeTensor(copy, where(copy)));
      }
      return part;
    },
  };
}

/** A field of a message in a file: from its header to its end. */
interface Field {
  readonly number: number;
  readonly from: number;
  /** Where its content begins. */
  readonly start: number;
  readonly to: number;
}

async function* fields(file: string, from: number, to: number, read: ReadExternal): AsyncGenerator<Field> {
  for (let at = from; at < to; ) {
    const reader = new BinaryReader(await read(file, at, Math.min(HEADER_BYTES, to - at)));
    const [number, type] = reader.tag();
    let length = 0;
    if (type === WireType.LengthDelimited) length = reader.uint32();
    else reader.skip(type);
    const start = at + reader.pos;
    if (start + length > to) throw new FormatError(`${file}: no ONNX model: truncated at byte ${at}`);
    yield { number, from: at, start, to: start + length };
    at = start + length;
  }
}

/** An initialiser; one with much data as if that were in a file beside the model, which is the model itself. */
async function initializer(file: string, field: Field, read: ReadExternal): Promise<TensorProto> {
  const parts: Uint8Array[] = [];
  let external: { location: string; offset: number; length: number } | undefined;
  for await (const { number, from, start, to } of fields(file, field.start, field.to, read)) {
    if (number === TensorProtoSchema.field.rawData.number && to - start >= MIN_STORED) {
      external = { location: file, offset: start, length: to - start };
    } else parts.push(await read(file, from, to - from));
  }
  const proto = fromBinary(TensorProtoSchema, concat(parts));
  return external ? encodeTensor(outlineOf(proto, `${file}: tensor "${proto.name}"`), external) : proto;
}

function outlineOf(source: TensorProto, where: string): Tensor {
  const { type, dims } = describe(source, where);
  return { name: source.name, type, dims, bytes: new Uint8Array(), source };
}
