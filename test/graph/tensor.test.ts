import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { type TensorProto, TensorProtoSchema } from '../../src/graph/onnx_pb.ts';
import {
  fromFloat32,
  fromIntegers,
  gather,
  type Tensor,
  toFloat32,
  toFloat64,
  toIntegers,
} from '../../src/graph/tensor.ts';
import { decodeTensor, encodeTensor } from '../../src/graph/wire.ts';

const tensor = (init: Partial<TensorProto>): Tensor =>
  decodeTensor(create(TensorProtoSchema, { name: 't', ...init } as never), 't');

describe('tensor', () => {
  it('reads the same numbers from raw and from typed data', () => {
    const dims = [3n];
    const floats = [tensor({ dims, dataType: 1, floatData: [1.5, -2, 0] })];
    floats.push(tensor({ dims, dataType: 1, rawData: new Uint8Array(Float32Array.of(1.5, -2, 0).buffer) }));
    floats.push(tensor({ dims, dataType: 11, doubleData: [1.5, -2, 0] }));
    floats.push(tensor({ dims, dataType: 10, int32Data: [0x3e00, 0xc000, 0] }));
    floats.push(tensor({ dims, dataType: 16, int32Data: [0x3fc0, 0xc000, 0] }));
    for (const t of floats) expect([...toFloat32(t)], t.type).toEqual([1.5, -2, 0]);
    const integers = [tensor({ dims, dataType: 7, int64Data: [5n, -1n, 2n ** 62n] })];
    integers.push(
      tensor({ dims, dataType: 7, rawData: new Uint8Array(BigInt64Array.of(5n, -1n, 2n ** 62n).buffer) }),
    );
    for (const t of integers) expect(toIntegers(t)).toEqual([5, -1, Number.MAX_SAFE_INTEGER]);
    expect(toIntegers(tensor({ dims, dataType: 6, int32Data: [5, -1, 7] }))).toEqual([5, -1, 7]);
    expect([...tensor({ dims, dataType: 3, int32Data: [5, -1, 7] }).bytes]).toEqual([5, 255, 7]);
    expect([...tensor({ dims, dataType: 22, int32Data: [0x21, 0x03] }).bytes]).toEqual([0x21, 0x03]);
    expect([
      ...tensor({ dims, dataType: 12, uint64Data: [1n, 2n, 2n ** 32n - 1n] }).bytes.subarray(8),
    ]).toEqual([255, 255, 255, 255]);
  });

  it('keeps its type through float32 and back', () => {
    const values = Float32Array.of(0.5, -3, 1024, 0);
    for (const type of ['float32', 'float16', 'bfloat16', 'float64'] as const) {
      const t = fromFloat32(values, [2, 2], { name: 't', type });
      expect(t.type).toBe(type);
      expect([...toFloat32(t)]).toEqual([...values]);
      const again = decodeTensor(encodeTensor(t), 't');
      expect(again.bytes).toEqual(t.bytes);
      expect([...toFloat64(again)]).toEqual([...values]);
    }
  });

  it('reads numbers at any alignment', () => {
    for (const [type, size] of [
      ['float32', 4],
      ['float64', 8],
      ['float16', 2],
    ] as const) {
      const aligned = fromFloat32(Float32Array.of(1, 2, 3), [3], { name: 't', type });
      for (let shift = 0; shift < size; shift++) {
        // Node's files come as Buffers, whose slices share their memory.
        const memory = typeof Buffer === 'function' ? Buffer.alloc(64) : new Uint8Array(64);
        memory.set(aligned.bytes, shift);
        const bytes = memory.subarray(shift, shift + aligned.bytes.length);
        expect([...toFloat32({ ...aligned, bytes })]).toEqual([1, 2, 3]);
      }
    }
  });

  it('keeps the chosen positions of an axis', () => {
    const t = fromIntegers('t', [0, 1, 2, 3, 4, 5], [1, 3, 2]);
    expect(toIntegers(gather(t, 1, [0, 2]))).toEqual([0, 1, 4, 5]);
    expect(toIntegers(gather(t, 2, [1]))).toEqual([1, 3, 5]);
    expect(gather(t, 1, [0, 2]).dims).toEqual([1, 2, 2]);
  });

  it('refuses numbers of the wrong kind or number', () => {
    expect(() => toFloat32(fromIntegers('k', [1], []))).toThrow(
      'tensor "k": expected floating point, got int64',
    );
    expect(() => toIntegers(fromFloat32(Float32Array.of(1), [], { name: 'k', type: 'float32' }))).toThrow(
      /int64/,
    );
    expect(() => fromFloat32(Float32Array.of(1), [2], { name: 'k', type: 'float32' })).toThrow(
      /expected 2 values, got 1/,
    );
  });
});
