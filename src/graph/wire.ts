// TensorProto to Tensor and back: raw data, the typed lists and data in a file beside the model become one form,
// little-endian bytes. Where that file is, is the caller's business: this module only decides what may be asked for.

import { clearField, create } from '@bufbuild/protobuf';
import { FormatError } from '../errors.ts';
import { bitsOf, type DataType, typeCode, typeFromCode } from './dtype.ts';
import { copyMessage } from './node.ts';
import {
  type SparseTensorProto,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProtoSchema,
} from './onnx_pb.ts';
import { byteLength, elements, groupBy, sum, type Tensor, toIntegers } from './tensor.ts';

const { EXTERNAL } = TensorProto_DataLocation;
const { field } = TensorProtoSchema;
const DATA_FIELDS = [
  field.rawData,
  field.floatData,
  field.int32Data,
  field.int64Data,
  field.doubleData,
  field.uint64Data,
  field.externalData,
  field.dataLocation,
];

interface ExternalPlace {
  location: string;
  offset: number;
  length: number;
}

/** What a TensorProto says it holds, checked. @throws {FormatError} on an unknown type or impossible dims */
export function describe(proto: TensorProto, where: string) {
  const type = typeFromCode(proto.dataType);
  if (!type) throw new FormatError(`${where}: unknown element type ${proto.dataType}`);
  for (const dim of proto.dims) if (dim < 0n) throw new FormatError(`${where}: negative dimension ${dim}`);
  const count = proto.dims.reduce((product, dim) => product * dim, 1n);
  const limit = BigInt(Number.MAX_SAFE_INTEGER) / 16n; // 16 bytes: the widest element
  if (count > limit || proto.dims.some((dim) => dim > limit)) {
    throw new FormatError(`${where}: dimensions ${proto.dims.join('x')} overflow`);
  }
  return { type, dims: proto.dims.map(Number), bytes: byteLength(type, Number(count)) };
}

/**
 * The tensor in a message whose data is inside it (not external). Raw data is not copied.
 *
 * @throws {FormatError} if the data does not have the length that type and dims ask for
 */
export function decodeTensor(proto: TensorProto, where: string): Tensor {
  const { type, dims, bytes: expected } = describe(proto, where);
  const source = copyMessage(proto);
  for (const data of DATA_FIELDS) clearField(source, data);
  if (type === 'string') {
    const count = elements(dims);
    if (proto.stringData.length !== count) {
      throw new FormatError(
        `${where}: expected ${count} strings for dims [${dims}], got ${proto.stringData.length}`,
      );
    }
    return { name: proto.name, type, dims, bytes: new Uint8Array(), source };
  }
  const bytes =
    proto.rawData.length > 0 ? proto.rawData : new Uint8Array(typedList(proto, type, where).buffer);
  if (bytes.length !== expected) {
    throw new FormatError(`${where}: expected ${expected} bytes for ${type} [${dims}], got ${bytes.length}`);
  }
  return { name: proto.name, type, dims, bytes, source };
}

/**
 * A sparse tensor, with its zeros. Its numbers lie at places of the whole, or at places on each axis.
 *
 * @throws {FormatError} if they do not
 */
export function decodeSparse({ values, indices, dims: extents }: SparseTensorProto, file: string): Tensor {
  const where = `${file}: sparse tensor "${values?.name ?? ''}"`;
  if (!values || !indices) throw new FormatError(`${where}: it has no ${values ? 'places' : 'numbers'}`);
  const given = decodeTensor(values, where);
  const list = decodeTensor(indices, `${where}: its places`);
  const size = bitsOf(given.type) / 8;
  if (!(size >= 1) || list.type !== 'int64')
    throw new FormatError(`${where}: its numbers are ${given.type}, its places ${list.type}`);
  const shape = create(TensorProtoSchema, { dataType: values.dataType, dims: extents });
  const { type, dims, bytes: length } = describe(shape, where);
  const places = toIntegers(list);
  const steps = list.dims.length > 1 ? dims.map((_, axis) => elements(dims.slice(axis + 1))) : [1];
  const ends = list.dims.length > 1 ? dims : [elements(dims)];
  const count = elements(given.dims);
  if (places.length !== count * steps.length)
    throw new FormatError(`${where}: it has ${count} numbers, and places [${list.dims}] for them`);
  const bytes = new Uint8Array(length);
  for (let i = 0; i < count; i++) {
    const own = places.slice(i * steps.length, (i + 1) * steps.length);
    if (own.some((place, axis) => place < 0 || place >= ends[axis]))
      throw new FormatError(`${where}: the place ${own} is outside [${dims}]`);
    const at = sum(own.map((place, axis) => place * steps[axis]));
    bytes.set(given.bytes.subarray(i * size, (i + 1) * size), at * size);
  }
  return { name: given.name, type, dims, bytes };
}

/** The message of a tensor, with raw data, or without data where `external` says in which file it is. */
export function encodeTensor(tensor: Tensor, external?: ExternalPlace): TensorProto {
  const proto = tensor.source ? copyMessage(tensor.source) : create(TensorProtoSchema);
  proto.name = tensor.name;
  proto.dims = tensor.dims.map(BigInt);
  proto.dataType = typeCode(tensor.type);
  if (external) {
    const { dataLocation, externalData } = referenceTo(external);
    Object.assign(proto, { dataLocation, externalData });
  } else if (tensor.type !== 'string') proto.rawData = tensor.bytes;
  return proto;
}

/** A tensor that says nothing but where its data is. */
export function referenceTo(place: ExternalPlace): TensorProto {
  const externalData = Object.entries(place).map(([key, value]) => ({ key, value: String(value) }));
  return create(TensorProtoSchema, { dataLocation: EXTERNAL, externalData });
}

// Which list holds which type is fixed by the ONNX specification.
function typedList(proto: TensorProto, type: DataType, where: string) {
  switch (type) {
    case 'float32':
    case 'complex64':
      return Float32Array.from(proto.floatData);
    case 'float64':
    case 'complex128':
      return Float64Array.from(proto.doubleData);
    case 'int64':
      return BigInt64Array.from(proto.int64Data);
    case 'uint64':
      return BigUint64Array.from(proto.uint64Data);
    case 'uint32':
      return Uint32Array.from(checked(proto.uint64Data.map(Number), 32, where));
    case 'int32':
      return Int32Array.from(proto.int32Data);
    case 'int16':
    case 'uint16':
    case 'float16':
    case 'bfloat16':
      return Uint16Array.from(checked(proto.int32Data, 16, where));
    default:
      return Uint8Array.from(checked(proto.int32Data, 8, where));
  }
}

/** Values of so many bits, signed or not. */
function checked(values: readonly number[], bits: number, where: string): readonly number[] {
  const bad = values.find((value) => value < -(2 ** (bits - 1)) || value >= 2 ** bits);
  if (bad === undefined) return values;
  throw new FormatError(`${where}: ${bad} does not fit into an element of ${bits} bits`);
}

/** Gives `length` bytes from `offset` of the file at `location`, relative to the folder of the model. */
export type ReadExternal = (
  location: string,
  offset: number,
  length: number,
) => Promise<Uint8Array> | Uint8Array;

/** A tensor's place in a file beside the model. */
interface Range {
  readonly tensor: TensorProto;
  readonly where: string;
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** Times that the bytes beside a model may be read: tensors that are tied share them, as four of T5 do. */
const MOST_TIED = 4;

/** Puts external data into the messages. @throws {FormatError} on a bad location, range or short data */
export async function loadExternal(tensors: Iterable<TensorProto>, file: string, read?: ReadExternal) {
  const ranges = rangesOf(tensors, file);
  // A small file could otherwise take any amount of memory.
  const [asked, distinct] = [sum(ranges.map(({ length }) => length)), distinctBytes(ranges)];
  if (asked > MOST_TIED * distinct)
    throw new FormatError(
      `${file}: its tensors take ${asked} bytes of ${distinct} in the files beside it: they share more than tied ones do`,
    );
  for (const { tensor, where, location, offset, length } of ranges) {
    if (!read) throw new FormatError(`${where}: its data is in the file "${location}", which was not given`);
    let data: Uint8Array;
    try {
      data = await read(location, offset, length);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const hint = reason.includes('no such file') ? '; it belongs beside the model' : '';
      throw new FormatError(`${where}: cannot read "${location}": ${reason}${hint}`, { cause: error });
    }
    if (data.length !== length) {
      throw new FormatError(
        `${where}: "${location}" gave ${data.length} bytes at ${offset}, expected ${length}`,
      );
    }
    tensor.rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    clearField(tensor, field.externalData);
    clearField(tensor, field.dataLocation);
  }
}

/** @throws {FormatError} on a bad location or range */
function rangesOf(tensors: Iterable<TensorProto>, file: string): Range[] {
  const ranges: Range[] = [];
  for (const tensor of tensors) {
    if (tensor.dataLocation !== EXTERNAL) continue;
    const where = `${file}: tensor "${tensor.name}"`;
    const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
    // Others read the last of several.
    if (entries.size < tensor.externalData.length)
      throw new FormatError(`${where}: an entry of its external data comes twice`);
    const entry = (key: string) => entries.get(key);
    const location = entry('location') ?? '';
    if (!isInside(location)) {
      throw new FormatError(
        `${where}: external location ${JSON.stringify(location)} is not inside the model's folder`,
      );
    }
    const { type, bytes: expected } = describe(tensor, where);
    if (type === 'string') throw new FormatError(`${where}: strings cannot be external`);
    // Nothing but digits: others read what JavaScript takes for a number, as 1e1 or 0x10, in another way.
    const [offset, length] = [entry('offset') ?? '0', entry('length') ?? String(expected)].map((text) =>
      /^\d+$/.test(text) ? Number(text) : Number.NaN,
    );
    if (!Number.isSafeInteger(offset) || length !== expected) {
      throw new FormatError(
        `${where}: external range ${entry('offset') ?? 0}+${entry('length') ?? expected}, expected ${expected} bytes, and whole numbers`,
      );
    }
    ranges.push({ tensor, where, location, offset, length });
  }
  return ranges;
}

/** Bytes that at least one of the ranges holds. */
function distinctBytes(ranges: readonly Range[]): number {
  // Parts that are dots lead nowhere, and so give a file any number of names.
  const fileOf = ({ location }: Range) => location.replace(/(^|\/)(\.\/)+/g, '$1');
  let distinct = 0;
  for (const inFile of groupBy(ranges, fileOf).values()) {
    let end = 0;
    for (const { offset, length } of inFile.sort((a, b) => a.offset - b.offset)) {
      distinct += Math.max(0, offset + length - Math.max(end, offset));
      end = Math.max(end, offset + length);
    }
  }
  return distinct;
}

/** The file's name without what no location may have, for data beside it. */
export function locationOf(file: string): string {
  return file.replace(/[\\:\0]/g, '_');
}

/** Relative, downwards only, and nothing that some system would read as a drive, a scheme or a stream. */
export function isInside(location: string): boolean {
  if (location === '' || /[\\:\0]/.test(location) || location.startsWith('/')) return false;
  return location.split('/').every((part) => part !== '..' && part !== '');
}
