// Rates of the kernels against the machine's 128-bit peak and a naive loop:
//   npm run bench -- kernels
// Every result is checked against the oracle before it is timed.

import { cpus } from 'node:os';
import { type ElementType, type Kernels, type Matrix, openKernels, type Simd } from '../src/kernel/index.ts';
import { randomArray } from '../test/support/random.ts';

const sizes = [512, 1024, 2048];

interface Timing {
  /** ms */
  readonly min: number;
  readonly median: number;
}

/** Runs until V8's optimising tier has the code and for at least half a second then; `prepare` is not timed. */
function time(run: () => void, prepare: () => void = () => {}): Timing {
  const once = () => {
    prepare();
    const start = performance.now();
    run();
    return performance.now() - start;
  };
  once();
  once();
  const times: number[] = [];
  for (let total = 0; total < 500 || times.length < 5; total += times.at(-1)!) times.push(once());
  times.sort((a, b) => a - b);
  return { min: times[0], median: times[times.length >> 1] };
}

/**
 * Clock in GHz from a chain of dependent integer additions, one cycle each (all x86 and Arm cores of note).
 * The wasm is written out here: a loop of 8 × `x = x + n` on i64.
 */
function clock(): number {
  const add = [0x20, 1, 0x20, 0, 0x7c, 0x21, 1];
  const loop = [
    3,
    0x40,
    ...Array(8).fill(add).flat(),
    0x20,
    0,
    0x42,
    1,
    0x7d,
    0x22,
    0,
    0x50,
    0x45,
    0x0d,
    0,
    0x0b,
  ];
  const code = [1, 1, 0x7e, ...loop, 0x20, 1, 0x0b];
  const sections = [
    [1, 6, 1, 0x60, 1, 0x7e, 1, 0x7e],
    [3, 2, 1, 0],
    [7, 5, 1, 1, 0x66, 0, 0],
    [10, code.length + 2, 1, code.length, ...code],
  ];
  const bytes = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections.flat()]);
  const { f } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
  const rounds = 1_000_000;
  const chain = f as (rounds: bigint) => bigint;
  return (8 * rounds) / time(() => void chain(BigInt(rounds))).min / 1e6;
}

/** C = A·B by three loops in JavaScript, in the order that reads memory row by row. */
function naive(n: number, A: Float64Array, B: Float64Array): Float64Array {
  const C = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let p = 0; p < n; p++) {
      const a = A[i * n + p];
      for (let j = 0; j < n; j++) C[i * n + j] += a * B[p * n + j];
    }
  }
  return C;
}

function check(name: string, actual: ArrayLike<number>, expected: ArrayLike<number>, bound: number): void {
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(actual[i] - expected[i]) <= bound)) {
      throw new Error(`${name}: element ${i} expected ${expected[i]} ± ${bound}, got ${actual[i]}`);
    }
  }
}

/** Everything against the naive product at one small size; random entries in [−1, 1) bound |A||B| by n. */
function checkAll(kernels: Kernels, type: ElementType): void {
  const n = 193;
  const unit = type === 'f32' ? 2 ** -24 : 2 ** -53;
  const bound = 2 * n * n * unit;
  const { A, B, C } = problem(kernels, type, n);
  const product = naive(n, Float64Array.from(kernels.read(A)), Float64Array.from(kernels.read(B)));
  kernels.gemm(false, false, 1, A, B, 0, C);
  check('gemm', kernels.read(C), product, bound);
  spd(kernels, A, C);
  const H = Float64Array.from(kernels.read(C));
  kernels.potrf(C);
  kernels.potri(C);
  kernels.symmetrize(C);
  const one = naive(n, H, Float64Array.from(kernels.read(C)));
  const identity = Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
  check('SPD inverse', one, identity, bound);
}

function problem(kernels: Kernels, type: ElementType, n: number) {
  const [A, B, C, L] = [0, 1, 2, 3].map(() => kernels.matrix(n, n, type));
  kernels.write(A, randomArray(n * n, 1));
  kernels.write(B, randomArray(n * n, 2));
  return { A, B, C, L };
}

/** C ← AᵀA + n·I, both triangles. */
function spd(kernels: Kernels, A: Matrix, C: Matrix): void {
  kernels.syrk(true, 1, A, 0, C);
  const view = kernels.view(C);
  for (let i = 0; i < C.rows; i++) view[i * (C.cols + 1)] += C.rows;
  kernels.symmetrize(C);
}

function bench(kernels: Kernels, type: ElementType, n: number, peak: number): void {
  const mark = kernels.mark();
  const { A, B, C, L } = problem(kernels, type, n);
  let gemmRate = 0;
  const report = (name: string, flops: number, { min, median }: Timing) => {
    const rate = flops / min / 1e6;
    gemmRate ||= rate;
    const columns = [
      `${kernels.simd} ${type} ${n}`.padEnd(18),
      name.padEnd(12),
      rate.toFixed(1).padStart(7),
      (flops / median / 1e6).toFixed(1).padStart(7),
      `${((100 * rate) / peak).toFixed(0)} %`.padStart(7),
      (rate / gemmRate).toFixed(2).padStart(7),
    ];
    console.log(columns.join(' '));
  };
  report(
    'gemm',
    2 * n ** 3,
    time(() => kernels.gemm(false, false, 1, A, B, 0, C)),
  );
  report(
    'syrk',
    n ** 3,
    time(() => kernels.syrk(true, 1, A, 0, C)),
  );
  spd(kernels, A, C);
  const restore = () => kernels.view(L).set(kernels.view(C));
  const inverse = () => {
    kernels.potrf(L);
    kernels.potri(L);
    kernels.symmetrize(L);
  };
  report(
    'potrf',
    n ** 3 / 3,
    time(() => kernels.potrf(L), restore),
  );
  report('SPD inverse', n ** 3, time(inverse, restore));
  if (type === 'f32') {
    const H = kernels.matrix(n, n, 'f64');
    kernels.zero(H);
    report(
      'gram',
      n ** 3,
      time(() => kernels.gram(A as Matrix<'f32'>, H)),
    );
  }
  kernels.release(mark);
}

const gigahertz = clock();
console.log(
  `${cpus()[0].model}, ${gigahertz.toFixed(2)} GHz; V8 ${process.versions.v8}, Node ${process.version}`,
);
console.log('GFLOP/s; peak: 2 fused multiply-adds on 128 bits per cycle\n');

{
  const n = 512;
  const [A, B] = [randomArray(n * n, 1), randomArray(n * n, 2)];
  let sink = 0;
  const timing = time(() => {
    sink += naive(n, A, B)[n];
  });
  console.log(
    `naive JavaScript, f64 ${n}: ${((2 * n ** 3) / timing.min / 1e6).toFixed(1)} (sink ${sink.toFixed(3)})\n`,
  );
}

console.log(`${'binary'.padEnd(18)} ${'kernel'.padEnd(12)}     min  median    peak   /gemm`);
for (const simd of ['baseline', 'relaxed'] satisfies Simd[]) {
  const kernels = await openKernels({ simd });
  for (const type of ['f32', 'f64'] satisfies ElementType[]) {
    checkAll(kernels, type);
    const peak = gigahertz * 2 * 2 * (type === 'f32' ? 4 : 2);
    for (const n of sizes) bench(kernels, type, n, peak);
  }
}
