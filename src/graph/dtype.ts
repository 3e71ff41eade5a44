// Element types of ONNX tensors. Names are those of onnxruntime-web; codes are `TensorProto.DataType`.

/** Bits of one element, in the order of the codes from 1 on. */
const BITS = {
  float32: 32,
  uint8: 8,
  int8: 8,
  uint16: 16,
  int16: 16,
  int32: 32,
  int64: 64,
  string: 0, // no fixed size
  bool: 8,
  float16: 16,
  float64: 64,
  uint32: 32,
  uint64: 64,
  complex64: 64,
  complex128: 128,
  bfloat16: 16,
  float8e4m3fn: 8,
  float8e4m3fnuz: 8,
  float8e5m2: 8,
  float8e5m2fnuz: 8,
  uint4: 4,
  int4: 4,
  float4e2m1: 4,
  float8e8m0: 8,
  uint2: 2,
  int2: 2,
};

/** Name of an element type, as onnxruntime-web spells it. */
export type DataType = keyof typeof BITS;

/** The types that weights can have to be solved for. */
export type FloatType = 'float32' | 'float16' | 'bfloat16' | 'float64';

const NAMES = Object.keys(BITS) as DataType[];

/** The type with this `TensorProto.DataType` code, if there is one. */
export function typeFromCode(code: number): DataType | undefined {
  return NAMES[code - 1];
}

/** `TensorProto.DataType` code of a type. */
export function typeCode(type: DataType): number {
  return NAMES.indexOf(type) + 1;
}

/** Bits of one element; 0 for strings. */
export function bitsOf(type: DataType): number {
  return BITS[type];
}

export function isFloat(type: DataType): type is FloatType {
  return type === 'float32' || type === 'float16' || type === 'bfloat16' || type === 'float64';
}

/** Whether the engine gives values of this type, `non-tensor` for sequences and the like, as numbers. */
export function isNumeric(type: string): boolean {
  return !/^(non-tensor|string)$/.test(type);
}
