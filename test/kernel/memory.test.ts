import { describe, expect, test } from 'vitest';
import { InputError, OutOfMemoryError, ShapeError } from '../../src/errors.ts';
import { openKernels } from '../../src/kernel/index.ts';
import { randomArray } from '../support/random.ts';
import { types } from './support.ts';

describe('openKernels', () => {
  test('takes the fastest binary that the engine accepts', async () => {
    expect((await openKernels()).simd).toBe('relaxed');
    expect((await openKernels({ simd: 'baseline' })).simd).toBe('baseline');
  });

  test('refuses an unknown binary', async () => {
    await expect(openKernels({ simd: 'scalar' as 'auto' })).rejects.toThrow(
      new InputError('openKernels: "simd" expected one of auto, baseline, relaxed, got "scalar"'),
    );
  });

  test('gives every caller a memory of its own', async () => {
    const [a, b] = [await openKernels(), await openKernels()];
    const ones = a.matrix(1, 3, 'f64');
    const zeros = b.matrix(1, 3, 'f64');
    b.zero(zeros);
    a.write(ones, [1, 1, 1]);
    expect(Array.from(b.read(zeros))).toEqual([0, 0, 0]);
  });
});

describe('memory', () => {
  test('is a stack: released space is handed out again', async () => {
    const kernels = await openKernels();
    const mark = kernels.mark();
    const first = kernels.matrix(5, 7, 'f32');
    expect(kernels.matrix(5, 7, 'f32').ptr).toBeGreaterThanOrEqual(first.ptr + 4 * 5 * 7);
    kernels.release(mark);
    expect(kernels.matrix(2, 2, 'f64').ptr).toBe(first.ptr);
  });

  test('aligns matrices to 64 bytes', async () => {
    const kernels = await openKernels();
    for (const length of [1, 3, 16, 17]) expect(kernels.matrix(1, length, 'f32').ptr % 64).toBe(0);
  });

  test('grows when a matrix needs it and leaves the stack as it was after a kernel', async () => {
    const kernels = await openKernels();
    const A = kernels.matrix(600, 600, 'f64');
    expect(kernels.bytes).toBeGreaterThanOrEqual(A.ptr + 8 * 600 * 600);
    kernels.write(A, randomArray(600 * 600, 1));
    const C = kernels.matrix(600, 600, 'f64');
    const mark = kernels.mark();
    kernels.gemm(false, false, 1, A, A, 0, C);
    expect(kernels.mark()).toBe(mark);
  });

  test('says how many bytes are missing, above the limit and above what the engine has', async () => {
    const limited = await openKernels({ maximumBytes: 2 ** 20 });
    const before = limited.mark();
    expect(() => limited.matrix(1024, 1024, 'f64')).toThrow(
      expect.objectContaining({ name: 'OutOfMemoryError', code: 'ERR_OSSCAR_OUT_OF_MEMORY' }),
    );
    expect(limited.mark()).toBe(before);
    try {
      limited.matrix(1024, 1024, 'f64');
    } catch (error) {
      expect(error).toBeInstanceOf(OutOfMemoryError);
      const { bytes } = error as OutOfMemoryError;
      expect(bytes).toBeGreaterThanOrEqual(2 ** 23);
      expect(bytes).toBeLessThan(2 ** 23 + 2 ** 16);
    }
    const unlimited = await openKernels();
    expect(() => unlimited.matrix(2 ** 20, 2 ** 20, 'f64')).toThrow(OutOfMemoryError);
  });

  test('counts the scratch memory of kernels against the limit', async () => {
    const kernels = await openKernels({ maximumBytes: 2 ** 20 });
    const A = kernels.matrix(200, 200, 'f64');
    const C = kernels.matrix(200, 200, 'f64');
    expect(() => kernels.gemm(false, false, 1, A, A, 0, C)).toThrow(OutOfMemoryError);
  });

  test('refuses a mark that is not below the top', async () => {
    const kernels = await openKernels();
    expect(() => kernels.release(kernels.mark() + 64)).toThrow(InputError);
    expect(() => kernels.release(0)).toThrow(InputError);
  });
});

describe.each(types)('matrix (%s)', (type) => {
  test('reads back what was written, contiguous or not', async () => {
    const kernels = await openKernels();
    const outer = kernels.matrix(4, 5, type);
    kernels.zero(outer);
    const inner = kernels.submatrix(outer, 1, 2, 2, 3);
    kernels.write(inner, [1, 2, 3, 4, 5, 6]);
    expect(Array.from(kernels.read(inner))).toEqual([1, 2, 3, 4, 5, 6]);
    const rows = [0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 4, 5, 6, 0, 0, 0, 0, 0];
    expect(Array.from(kernels.read(outer))).toEqual(rows);
    kernels.zero(inner);
    expect(Array.from(kernels.view(outer))).toEqual(new Array(20).fill(0));
  });

  test('refuses a view of rows with gaps, parts outside and data of another length', async () => {
    const kernels = await openKernels();
    const m = kernels.matrix(4, 5, type);
    expect(() => kernels.view(kernels.submatrix(m, 0, 0, 4, 4))).toThrow(ShapeError);
    expect(() => kernels.submatrix(m, 1, 0, 4, 5)).toThrow(
      new ShapeError('submatrix: expected a part of 4×5, got 4×5 at (1, 0)'),
    );
    expect(() => kernels.write(m, [1])).toThrow(
      new ShapeError('write: "data" expected 4×5 = 20 elements, got 1'),
    );
    expect(() => kernels.matrix(-1, 2, type)).toThrow(ShapeError);
    expect(() => kernels.matrix(1.5, 2, type)).toThrow(ShapeError);
  });
});
