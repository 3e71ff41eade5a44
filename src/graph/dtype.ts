// Element types of ONNX tensors. Names are those of onnxruntime-web; codes are `TensorProto.DataType`.

const TYPES = [
  { name: 'float32', code: 1, bits: 32 },
  { name: 'uint8', code: 2, bits: 8 },
  { name: 'int8', code: 3, bits: 8 },
  { name: 'uint16', code: 4, bits: 16 },
  { name: 'int16', code: 5, bits: 16 },
  { name: 'int32', code: 6, bits: 32 },
  { name: 'int64', code: 7, bits: 64 },
  { name: 'string', code: 8, bits: 0 }, // no fixed size
  { name: 'bool', code: 9, bits: 8 },
  { name: 'float16', code: 10, bits: 16 },
  { name: 'float64', code: 11, bits: 64 },
  { name: 'uint32', code: 12, bits: 32 },
  { name: 'uint64', code: 13, bits: 64 },
  { name: 'complex64', code: 14, bits: 64 },
  { name: 'complex128', code: 15, bits: 128 },
  { name: 'bfloat16', code: 16, bits: 16 },
  { name: 'float8e4m3fn', code: 17, bits: 8 },
  { name: 'float8e4m3fnuz', code: 18, bits: 8 },
  { name: 'float8e5m2', code: 19, bits: 8 },
  { name: 'float8e5m2fnuz', code: 20, bits: 8 },
  { name: 'uint4', code: 21, bits: 4 },
  { name: 'int4', code: 22, bits: 4 },
  { name: 'float4e2m1', code: 23, bits: 4 },
  { name: 'float8e8m0', code: 24, bits: 8 },
  { name: 'uint2', code: 25, bits: 2 },
  { name: 'int2', code: 26, bits: 2 },
] as const;

/** Name of an element type, as onnxruntime-web spells it. */
export type DataType = (typeof TYPES)[number]['name'];

/** The types that weights can have to be solved for. */
export type FloatType = 'float32' | 'float16' | 'bfloat16' | 'float64';

const byCode = new Map<number, DataType>(TYPES.map(({ code, name }) => [code, name]));
const byName = new Map(TYPES.map((type) => [type.name, type]));

/** The type with this `TensorProto.DataType` code, if there is one. */
export function typeFromCode(code: number): DataType | undefined {
  return byCode.get(code);
}

/** `TensorProto.DataType` code of a type. */
export function typeCode(type: DataType): number {
  return byName.get(type)!.code;
}

/** Bits of one element; 0 for strings. */
export function bitsOf(type: DataType): number {
  return byName.get(type)!.bits;
}

export function isFloat(type: DataType): type is FloatType {
  return type === 'float32' || type === 'float16' || type === 'bfloat16' || type === 'float64';
}
