// The typed, checked face of the kernels. Shapes are checked here, once; the kernels themselves trust.
//
// Memory is a stack: `mark`, allocate, compute, read out, `release`. Outputs must not overlap inputs.

import { instantiate } from '@assemblyscript/loader';
import { InputError, NotPositiveDefiniteError, OutOfMemoryError, ShapeError } from '../errors.ts';
import { expectOptions, numberFrom, type Options, oneOf } from '../options.ts';
import type { Abi, TilesHost } from './abi.ts';
import { chooseSimd, compile, SIMDS, type Simd, type SimdChoice } from './binary.ts';
import {
  type ElementType,
  elementBytes,
  expectContiguous,
  expectShape,
  isContiguous,
  type Matrix,
  prefixOf,
  type View,
} from './matrix.ts';

const PAGE_BYTES = 65536;
/** All that 32-bit addresses reach: 4 GiB. */
export const ADDRESS_SPACE_BYTES = 65536 * PAGE_BYTES;
/** A cache line: a packed panel or a row of vectors then never straddles one more than it must. */
const ALIGNMENT = 64;

/** Which binary, and how much memory it may take. */
export interface KernelOptions {
  /** Default `auto`, the fastest that the engine accepts. */
  readonly simd?: SimdChoice;
  /** Linear memory never grows beyond this. Default 4 GiB. */
  readonly maximumBytes?: number;
}

export const KERNEL_OPTIONS: Options<KernelOptions> = {
  simd: oneOf('auto', ...SIMDS),
  maximumBytes: numberFrom(1),
};

/** Where the taps of a convolution lie in its input; the field names are those of ONNX `Conv`. */
export interface ConvGeometry {
  readonly height: number;
  readonly width: number;
  readonly kernel: readonly [height: number, width: number];
  readonly strides: readonly [height: number, width: number];
  readonly dilations: readonly [height: number, width: number];
  /** ONNX order; the padding at the bottom and right follows from the output size and is not read. */
  readonly pads: readonly [top: number, left: number, ...end: number[]];
  readonly outHeight: number;
  readonly outWidth: number;
}

/**
 * @throws {InputError} if this engine cannot run the chosen binary
 *
 * @example
 * const kernels = await openKernels({ simd: 'baseline' }); // the same bits on every machine
 */
export async function openKernels(options: KernelOptions = {}): Promise<Kernels> {
  expectOptions('openKernels', options, KERNEL_OPTIONS);
  const { simd: choice = 'auto', maximumBytes = ADDRESS_SPACE_BYTES } = options;
  const simd = await chooseSimd(choice);
  return new Kernels(await instance(await compile(simd)), simd, maximumBytes);
}

/** Threads that make parts of large operations on the memory of the one that asks (assembly/share.ts). */
export interface Crew {
  /** Who is there beside the one that asks. */
  readonly helpers: number;
  /** Has `abi.part` called once for each part of an operation, in any order; returns when all are made. */
  run(abi: Pick<Abi, 'part'>, operation: number, parts: number, work: number): void;
}

const NOBODY: Crew = { helpers: 0, run() {} };

/** What a module imports, of all that it can address. */
export function linearMemory(shared = false): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial: 1, maximum: ADDRESS_SPACE_BYTES / PAGE_BYTES, shared });
}

/** @param memory  shared, of a module that shares it; else it gets its own */
export async function instance(
  module: WebAssembly.Module,
  memory = linearMemory(),
  crew = NOBODY,
): Promise<Abi> {
  const host: Abi['host'] = {};
  const env = {
    memory,
    helpers: () => crew.helpers,
    share: (operation: number, parts: number, work: number) => crew.run(abi, operation, parts, work),
    tiles: (...event: Parameters<TilesHost>) => host.tiles!(...event),
  };
  const { exports } = await instantiate(module, { env });
  const abi = Object.assign(exports, { host }) as unknown as Abi;
  return abi;
}

/** The kernels of both types whose last argument is scratch memory. */
type ScratchKernel = 'gemm' | 'syrk' | 'trsm' | 'potrf' | 'potri' | 'trtri' | 'lauum' | 'trmm';

/** An instance of the binary: its memory, a stack of matrices, and the kernels that work on them. */
export class Kernels {
  readonly simd: Simd;
  /** The raw exports, for kernels that have no wrapper here. */
  readonly abi: Abi;
  /** Linear memory never grows beyond this. */
  readonly maximumBytes: number;
  readonly #base: number;
  /** First free byte. */
  #top: number;

  constructor(abi: Abi, simd: Simd, maximumBytes: number) {
    this.abi = abi;
    this.simd = simd;
    this.maximumBytes = Math.min(maximumBytes, ADDRESS_SPACE_BYTES);
    this.#base = abi.heapBase() >>> 0;
    this.#top = this.#base;
  }

  /** Size of the linear memory now. It never shrinks. */
  get bytes(): number {
    return this.abi.memory.buffer.byteLength;
  }

  /** The state of the stack, to `release` to. */
  mark(): number {
    return this.#top;
  }

  /** Gives back everything allocated since the mark. */
  release(mark: number): void {
    if (!(mark >= this.#base && mark <= this.#top)) {
      throw new InputError(`release: "mark" expected a mark not yet released, got ${mark}`);
    }
    this.#top = mark;
  }

  /**
   * Raw bytes on the stack, aligned to a cache line, not zeroed. Views die where the memory grows.
   * @throws {OutOfMemoryError}
   */
  allocate(bytes: number): number {
    const ptr = Math.ceil(this.#top / ALIGNMENT) * ALIGNMENT;
    const needed = ptr + bytes;
    const { memory } = this.abi;
    const missing = Math.ceil(needed / PAGE_BYTES) - memory.buffer.byteLength / PAGE_BYTES;
    if (needed > this.maximumBytes) throw outOfMemory(needed, this.maximumBytes);
    if (missing > 0) {
      try {
        memory.grow(missing);
      } catch (cause) {
        throw outOfMemory(needed, memory.buffer.byteLength, { cause });
      }
    }
    this.#top = needed;
    return ptr;
  }

  /** Runs, and gives back everything that was allocated meanwhile. */
  scoped<R>(run: () => R): R {
    const mark = this.mark();
    try {
      return run();
    } finally {
      this.release(mark);
    }
  }

  /**
   * A contiguous matrix on the stack.
   * @param data  what to `write` to it; without, it is not zeroed
   * @throws {OutOfMemoryError}
   */
  matrix<T extends ElementType>(rows: number, cols: number, type: T, data?: ArrayLike<number>): Matrix<T> {
    if (!isSize(rows) || !isSize(cols)) {
      throw new ShapeError(`matrix: expected whole numbers of rows and columns, got ${rows}×${cols}`);
    }
    const m = { type, ptr: this.allocate(rows * cols * elementBytes(type)), rows, cols, ld: cols };
    if (data) this.write(m, data);
    return m;
  }

  /** The rows × cols elements of m from (row, col) on, in place. */
  submatrix<T extends ElementType>(
    m: Matrix<T>,
    row: number,
    col: number,
    rows: number,
    cols: number,
  ): Matrix<T> {
    const inside = [row, col, rows, cols].every(isSize) && row + rows <= m.rows && col + cols <= m.cols;
    if (!inside) {
      throw new ShapeError(
        `submatrix: expected a part of ${m.rows}×${m.cols}, got ${rows}×${cols} at (${row}, ${col})`,
      );
    }
    return { type: m.type, ptr: m.ptr + (row * m.ld + col) * elementBytes(m.type), rows, cols, ld: m.ld };
  }

  /** The elements themselves, of a contiguous matrix. Dies at the next growth of the memory: never keep one. */
  view<T extends ElementType>(m: Matrix<T>): View<T> {
    expectContiguous('view', 'm', m);
    return this.#elements(m, m.ptr, m.rows * m.cols);
  }

  /** Copies rows · cols elements in, row by row. */
  write(m: Matrix, data: ArrayLike<number>): void {
    const { rows, cols } = m;
    if (data.length !== rows * cols) {
      throw new ShapeError(
        `write: "data" expected ${rows}×${cols} = ${rows * cols} elements, got ${data.length}`,
      );
    }
    if (isContiguous(m)) {
      this.view(m).set(data);
    } else {
      const source = ArrayBuffer.isView(data) ? (data as Float64Array) : Float64Array.from(data);
      for (let i = 0; i < rows; i++) this.#row(m, i).set(source.subarray(i * cols, (i + 1) * cols));
    }
  }

  /** Copies all elements out, row by row. */
  read<T extends ElementType>(m: Matrix<T>): View<T> {
    if (isContiguous(m)) return this.view(m).slice() as View<T>;
    const { rows, cols } = m;
    const data = new (arrayOf(m))(rows * cols) as View<T>;
    for (let i = 0; i < rows; i++) data.set(this.#row(m, i), i * cols);
    return data;
  }

  /** m ← 0. */
  zero(m: Matrix): void {
    for (let i = 0; i < m.rows; i++) this.#row(m, i).fill(0);
  }

  /** C ← β·C + α·op(A)·op(B). β = 0 overwrites C, even NaN. 2·m·n·k flops. */
  gemm(transA: boolean, transB: boolean, alpha: number, A: Matrix, B: Matrix, beta: number, C: Matrix): void {
    const [m, k] = transA ? [A.cols, A.rows] : [A.rows, A.cols];
    const n = transB ? B.rows : B.cols;
    expectShape('gemm', 'B', B, transB ? n : k, transB ? k : n, A.type);
    expectShape('gemm', 'C', C, m, n, A.type);
    this.run('gemm', transA, transB, m, n, k, alpha, A, B, beta, C);
  }

  /**
   * C ← β·C + α·AᵀA (trans) or α·AAᵀ, lower triangle only; the strict upper triangle is neither read nor
   * written. β = 0 overwrites C, even NaN. k·n² flops.
   */
  syrk(trans: boolean, alpha: number, A: Matrix, beta: number, C: Matrix): void {
    const [n, k] = trans ? [A.cols, A.rows] : [A.rows, A.cols];
    expectShape('syrk', 'C', C, n, n, A.type);
    this.run('syrk', trans, n, k, alpha, A, beta, C);
  }

  /**
   * A = L·Lᵀ: overwrites the lower triangle of A by L; the strict upper triangle is neither read nor written.
   * n³/3 flops.
   * @throws {NotPositiveDefiniteError} and leaves A half factored
   */
  potrf(A: Matrix): void {
    const n = A.rows;
    expectShape('potrf', 'A', A, n, n);
    const pivot = this.run('potrf', n, A);
    if (pivot !== 0) {
      const value = this.#row(A, pivot - 1)[pivot - 1];
      const message = `potrf: "A" expected a positive pivot ${pivot} of ${n}, got ${value}`;
      throw new NotPositiveDefiniteError(message, pivot, { value });
    }
  }

  /**
   * From L, as `potrf` left it, to the lower triangle of A⁻¹ = (L·Lᵀ)⁻¹, in place; the strict upper triangle
   * is neither read nor written. 2n³/3 flops.
   */
  potri(A: Matrix): void {
    const n = A.rows;
    expectShape('potri', 'A', A, n, n);
    this.run('potri', n, A);
  }

  /** Mirrors the lower triangle into the upper one. */
  symmetrize(A: Matrix): void {
    const n = A.rows;
    expectShape('symmetrize', 'A', A, n, n);
    this.abi[`${prefixOf(A.type)}symmetrize` as const](n, A.ptr, A.ld);
  }

  /**
   * B ← α·op(L)⁻¹·B (left) or α·B·op(L)⁻¹ (right); op(L) = Lᵀ if trans. L is lower triangular, its strict
   * upper triangle is not read. n² flops per column (left) or row (right) of B.
   */
  trsm(side: 'left' | 'right', trans: boolean, alpha: number, L: Matrix, B: Matrix): void {
    const right = side === 'right';
    const n = right ? B.cols : B.rows;
    expectShape('trsm', 'B', B, B.rows, B.cols, L.type);
    expectShape('trsm', 'L', L, n, n);
    this.run('trsm', right, trans, B.rows, B.cols, alpha, L, B);
  }

  /**
   * Fills row r of out with what the convolution sees at output position first + r (row-major over the output
   * image), zeros outside the input; columns in the order of ONNX weights, (channel, ky, kx).
   *
   * @param image  channels × (height·width), one image of an NCHW tensor
   * @param out    any number of positions × (channels·kh·kw)
   */
  im2col(image: Matrix<'f32'>, geometry: ConvGeometry, first: number, out: Matrix<'f32'>): void {
    const { height, width, kernel, strides, dilations, pads, outHeight, outWidth } = geometry;
    const channels = image.rows;
    const positions = outHeight * outWidth;
    expectShape('im2col', 'image', image, channels, height * width, 'f32');
    expectContiguous('im2col', 'image', image);
    expectShape('im2col', 'out', out, out.rows, channels * kernel[0] * kernel[1], 'f32');
    if (![...kernel, ...strides, ...dilations].every((n) => isSize(n) && n > 0) || !pads.every(isSize)) {
      throw new ShapeError(
        `im2col: expected positive kernel, strides and dilations and no negative pads, got ${kernel}, ${strides}, ${dilations}, ${pads}`,
      );
    }
    for (const axis of [0, 1]) {
      const reach =
        (axis ? outWidth : outHeight) * strides[axis] + kernel[axis] * dilations[axis] + pads[axis];
      if (!(reach < 2 ** 31)) throw new ShapeError(`im2col: expected coordinates below 2³¹, got ${reach}`);
    }
    if (!(isSize(first) && first + out.rows <= positions)) {
      throw new ShapeError(
        `im2col: "out" expected positions within ${outHeight}×${outWidth}, got ${first} to ${first + out.rows}`,
      );
    }
    const [top, left] = pads;
    const taps = [...kernel, ...strides, top, left, ...dilations] as const;
    this.abi.im2col(channels, height, width, ...taps, outWidth, first, out.rows, image.ptr, out.ptr, out.ld);
  }

  /**
   * Calls a kernel with scratch memory that is given back afterwards.
   * @param args  as in assembly/index.ts, without the scratch; a matrix for its address and ld
   * @returns what the kernel returns, if anything
   */
  run(kernel: ScratchKernel, ...args: readonly (number | boolean | Matrix)[]): number {
    const matrices = args.filter((arg) => typeof arg === 'object');
    const size = Math.max(...matrices.flatMap(({ rows, cols }) => [rows, cols]));
    const call = this.abi[`${prefixOf(matrices[0].type)}${kernel}`] as (...args: unknown[]) => number;
    const flat = args.flatMap((arg) => (typeof arg === 'object' ? [arg.ptr, arg.ld] : arg));
    return this.scoped(() => call(...flat, this.allocate(this.abi.workBytes(size, 0))));
  }

  #elements<T extends ElementType>(m: Matrix<T>, ptr: number, length: number): View<T> {
    return new (arrayOf(m))(this.abi.memory.buffer, ptr, length) as View<T>;
  }

  #row<T extends ElementType>(m: Matrix<T>, i: number): View<T> {
    return this.#elements(m, m.ptr + i * m.ld * elementBytes(m.type), m.cols);
  }
}

function arrayOf({ type }: Matrix): Float32ArrayConstructor | Float64ArrayConstructor {
  return type === 'f32' ? Float32Array : Float64Array;
}

function isSize(n: number): boolean {
  return Number.isSafeInteger(n) && n >= 0;
}

function outOfMemory(bytes: number, limit: number, options?: ErrorOptions): OutOfMemoryError {
  const message = `allocate: "memory" expected at most ${limit} bytes, got ${bytes}`;
  return new OutOfMemoryError(message, bytes, options);
}
