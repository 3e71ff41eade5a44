// TensorProto to Tensor and back: raw data and the typed lists become one form, little-endian bytes.

import { clearField, create } from '@bufbuild/protobuf';
import { FormatError } from '../errors.ts';
import { type DataType, typeCode, typeFromCode } from './dtype.ts';
import { copyMessage } from './node.ts';
import { type TensorProto, TensorProto_DataLocation, TensorProtoSchema } from './onnx_pb.ts';
import { byteLength, elements, type Tensor } from './tensor.ts';

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
  const bytes = proto.rawData.length > 0 ? proto.rawData : new Uint8Array(typedList(proto, type).buffer);
  if (bytes.length !== expected) {
    throw new FormatError(`${where}: expected ${expected} bytes for ${type} [${dims}], got ${bytes.length}`);
  }
  return { name: proto.name, type, dims, bytes, source };
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
  return create(TensorProtoSchema, { dataLocation: TensorProto_DataLocation.EXTERNAL, externalData });
}

// Which list holds which type is fixed by the ONNX specification.
function typedList(proto: TensorProto, type: DataType) {
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
      return Uint32Array.from(proto.uint64Data, Number);
    case 'int32':
      return Int32Array.from(proto.int32Data);
    case 'int16':
    case 'uint16':
    case 'float16':
    case 'bfloat16':
      return Uint16Array.from(proto.int32Data);
    default:
      return Uint8Array.from(proto.int32Data);
  }
}
