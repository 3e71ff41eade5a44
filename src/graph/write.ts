// A Model to the bytes of an ONNX file and, for large models, of a data file beside it. One layout serves models that
// are in memory (here) and those whose weights come one by one (stream.ts).

import { clearField, type DescMessage, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { FormatError, InputError } from '../errors.ts';
import { expectModel, type Model } from './model.ts';
import { copyMessage } from './node.ts';
import { GraphProtoSchema, ModelProtoSchema, TensorProtoSchema } from './onnx_pb.ts';
import { byteLength, concatenate, elements, sum, type Tensor } from './tensor.ts';
import { encodeTensor, isInside } from './wire.ts';

// Readers refuse messages of 2 GiB; nodes and names need room too.
export const LARGEST_FILE = 2 ** 31 - 2 ** 26;
const ALIGNMENT = 4096; // what the specification recommends, so that files can be memory mapped
const MIN_EXTERNAL = 1024; // smaller tensors stay in the model, where shape inference can see them

export interface WriteOptions {
  /** Weights of more bytes than this go to a data file; 0 makes all do. Default: just below 2 GiB. */
  externalThreshold?: number;
  /** Name of the data file, relative to the model; default "model.onnx.data". */
  externalName?: string;
}

/** The bytes of an ONNX file, and of the data file beside it. */
export interface WrittenModel {
  model: Uint8Array;
  /** The data file, in parts to be written one after the other; absent if the model needs none. */
  external?: Uint8Array[];
  /** Where the model says that the data file is, relative to itself. */
  externalName?: string;
}

/** Some bytes of a file: as they are, or those of a tensor. */
export type Piece = Uint8Array | Tensor;

/**
 * @throws {InputError} if `externalName` leaves the folder
 *
 * @example
 * const { model: written, external } = writeModel(source, { externalName: 'model.onnx.data' });
 */
export function writeModel(model: Model, options: WriteOptions = {}): WrittenModel {
  expectModel('writeModel', model);
  const { model: pieces, external, externalName } = layOut(model, options);
  const bytes = concat(pieces.map(bytesOf));
  return external.length > 0
    ? { model: bytes, external: external.map(bytesOf), externalName }
    : { model: bytes };
}

/** Bytes that a model's file has besides those of its tensors. */
export function graphBytes(model: Model): number {
  const { model: pieces } = layOut(model, { externalThreshold: Number.POSITIVE_INFINITY });
  return sum(pieces.map((piece) => (piece instanceof Uint8Array ? piece.length : 0)));
}

/**
 * What is in the file of a model and in its data file (nothing, if it needs none), from the first bytes to the last.
 * Types and dims say it all: tensors need not have their bytes yet.
 *
 * @throws {InputError} if `externalName` leaves the folder
 */
export function layOut(
  model: Model,
  { externalName = 'model.onnx.data', externalThreshold = LARGEST_FILE }: WriteOptions,
) {
  if (!isInside(externalName)) {
    const given = JSON.stringify(externalName);
    throw new InputError(`writeModel: "externalName" expected a file name, got ${given}`);
  }
  const tensors = [...model.tensors.values()];
  const outside = bytesIn(tensors) > externalThreshold;
  const external: Piece[] = [];
  let end = 0;
  const initializers = tensors.map((tensor) => {
    const length = pieceBytes(tensor);
    if (!outside || length < MIN_EXTERNAL) {
      const data = tensor.type === 'string' ? [] : [[tensor]]; // strings are in the message already
      return around(TensorProtoSchema, encodeTensor(tensor), 'rawData', data);
    }
    const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    if (offset > end) external.push(new Uint8Array(offset - end));
    external.push(tensor);
    end = offset + length;
    return [toBinary(TensorProtoSchema, encodeTensor(tensor, { location: externalName, offset, length }))];
  });
  try {
    const graph = around(GraphProtoSchema, model.graph, 'initializer', initializers);
    const pieces = around(ModelProtoSchema, model.proto, 'graph', [graph]);
    return { model: pieces, external, externalName };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new FormatError(`${model.name}: cannot be written: ${reason}`, { cause: error });
  }
}

export function pieceBytes(piece: Piece): number {
  return piece instanceof Uint8Array ? piece.length : byteLength(piece.type, elements(piece.dims));
}

const bytesIn = (pieces: readonly Piece[]) => sum(pieces.map(pieceBytes));

/** @returns the part itself, no copy, where there is one only: a vocabulary's matrix need not be there twice */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0] : concatenate(Uint8Array, parts);
}

const bytesOf = (piece: Piece) => (piece instanceof Uint8Array ? piece : piece.bytes);

/** A message as `toBinary` writes it, fields in the order of their numbers, with other values of one field. */
function around<D extends DescMessage>(
  schema: D,
  message: MessageShape<D>,
  name: keyof D['field'],
  values: readonly (readonly Piece[])[],
): Piece[] {
  const field = schema.field[name as string];
  const before = copyMessage(message);
  const behind = copyMessage(message);
  for (const other of schema.fields) {
    if (other.number >= field.number) clearField(before, other);
    if (other.number <= field.number) clearField(behind, other);
  }
  before.$unknown = undefined; // unknown fields come last
  const prefix = (value: readonly Piece[]) =>
    new BinaryWriter().tag(field.number, WireType.LengthDelimited).uint32(bytesIn(value)).finish();
  return [
    toBinary(schema, before),
    ...values.flatMap((value) => [prefix(value), ...value]),
    toBinary(schema, behind),
  ];
}
