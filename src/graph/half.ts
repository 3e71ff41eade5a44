// float16 and bfloat16 to and from numbers; round to nearest, ties to even.

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);
const f64 = new Float64Array(1);
const words = new Uint32Array(f64.buffer);

/** The value of an IEEE binary16 bit pattern; exact. */
export function float16ToFloat32(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 0) return sign * mantissa * 2 ** -24; // zero and subnormals
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** The IEEE binary16 bit pattern nearest to a number. Rounds once, from the double. */
export function float32ToFloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const a = Math.abs(value);
  if (a >= 65520) return sign | 0x7c00; // half of the last step past 65504 rounds to infinity
  // Below 2^-14 numbers are multiples of 2^-24. A carry out of the mantissa lands in the exponent, as it should.
  if (a < 2 ** -14) return sign | roundEven(a * 2 ** 24);
  // The step between neighbours, 2^(exponent - 10), from the bits of the double: Math.log2 and ** took five times as long.
  f64[0] = a;
  const exponent = (words[1] >>> 20) - 1023;
  words[0] = 0;
  words[1] = (exponent - 10 + 1023) << 20;
  return sign | (((exponent + 14) << 10) + roundEven(a / f64[0]));
}

/** The value of a bfloat16 bit pattern: the upper half of a float32. */
export function bfloat16ToFloat32(bits: number): number {
  u32[0] = bits << 16;
  return f32[0];
}

/** The bfloat16 bit pattern nearest to a number that is first rounded to float32. */
export function float32ToBfloat16(value: number): number {
  f32[0] = value;
  if (Number.isNaN(value)) return 0x7fc0;
  const bits = u32[0];
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** The types of 16 bits. */
type HalfType = 'float16' | 'bfloat16';

// 65,536 values are quicker to look up than to compute, and the arithmetic stays in one place.
const tables: { float16?: Float32Array; bfloat16?: Float32Array } = {};

/** The values of many bit patterns. @param to  as long */
export function fromHalves(
  bits: Uint16Array,
  type: HalfType,
  to: Float32Array = new Float32Array(bits.length),
): Float32Array {
  const decode = type === 'float16' ? float16ToFloat32 : bfloat16ToFloat32;
  tables[type] ??= Float32Array.from({ length: 65536 }, (_, pattern) => decode(pattern));
  const values = tables[type];
  for (let i = 0; i < bits.length; i++) to[i] = values[bits[i]];
  return to;
}

/** The bit patterns nearest to many numbers. */
export function toHalves(values: Float32Array | Float64Array, type: HalfType): Uint16Array {
  const encode = type === 'float16' ? float32ToFloat16 : float32ToBfloat16;
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) bits[i] = encode(values[i]);
  return bits;
}

function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}
