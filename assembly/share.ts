// Large operations, made by several threads at once: outputs are cut into parts, sums never are, so every element is made
// of the same operations in the same order, whoever makes it. Who is there knows the host. It is handed an operation and
// has each part made once (part.ts), by any member on the same memory, with scratch of the member's own.
// Modules that import nothing (the plug-in's) are built without the feature `threads` and do everything alone.

/** Threads beside this one that would make parts; 0 while parts are made. */
@external('env', 'helpers')
declare function helpers(): i32;

/** Returns when `part` has run for 0 … parts − 1, the last ones first. @param work  for the parts of this thread */
@external('env', 'share')
declare function share(operation: Operation, parts: i32, work: usize): void;

/** Flops in f64, or twice as many in f32, below which what helps one size delays another: about 0.07 ms. From 0.2 ms on takes 1 % longer. */
const SMALL: f64 = 1.5e6;
/** Blocks for each member: enough to even out, few enough to pack operands seldom. 4 take 1 % longer (two threads, 3072 inputs). */
const PARTS: i32 = 8;
/** Both edges of a block: a multiple of every microkernel's tile, large enough to be worth packing. */
const EDGE: i32 = 120;

export const enum Kernel {
  Gemm,
  /** The lower triangle of a product. */
  Gemmt,
  Trsm,
  Trmm,
  Scan,
}

/** An operation that is shared out: the arguments of its kernel, or what they are derived from, and how its output is cut. */
@unmanaged
export class Operation {
  kernel: Kernel;
  isSingle: bool;
  /** transA, or `right`. */
  first: bool;
  /** transB, or `trans`. */
  second: bool;
  m: i32;
  n: i32;
  k: i32;
  lda: i32;
  ldb: i32;
  ldc: i32;
  /** Rows and columns of a block, or the width of a narrow strip. */
  edge: i32;
  alpha: f64;
  beta: f64;
  A: usize;
  B: usize;
  C: usize;
}

/** Bytes at the beginning of `work` that a shared operation takes itself. */
export const OPERATION_BYTES: usize = ASC_FEATURE_THREADS ? 128 : 0;

/** How many threads an operation of so many flops is for. */
export function membersFor<T>(flops: f64): i32 {
  if (ASC_FEATURE_THREADS) {
    if (flops * sizeof<T>() >= 8 * SMALL) return 1 + helpers();
  }
  return 1;
}

/** `multiply`, by blocks of C: those on the diagonal of a triangle, which take half as long, are made last. */
export function shareGemm<T>(
  members: i32, lower: bool, transA: bool, transB: bool, m: i32, n: i32, k: i32,
  alpha: T, A: usize, lda: i32, B: usize, ldb: i32, beta: T, C: usize, ldc: i32, work: usize,
): void {
  const kernel = lower ? Kernel.Gemmt : Kernel.Gemm;
  const op = operation<T>(kernel, transA, transB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, work);
  op.edge = blockEdge(lower ? 2 * members : members, m, n);
  const rows = blocks(m, op.edge);
  publish(op, lower ? rows * (rows + 1) / 2 : rows * blocks(n, op.edge));
}

/** `trsm` or `trmm`, by strips of B that each take all of the triangle. */
export function shareStrips<T>(
  kernel: Kernel, members: i32, right: bool, trans: bool, m: i32, n: i32,
  alpha: T, L: usize, ldl: i32, B: usize, ldb: i32, work: usize,
): void {
  const op = operation<T>(kernel, right, trans, m, n, 0, alpha, L, ldl, B, ldb, <T>0, 0, 0, work);
  const length = right ? m : n;
  op.edge = max(EDGE / 15, 4 * blocks(length, 16 * members));
  let strips = 0;
  while (stripAt(length, op.edge, strips) < length) strips++;
  publish(op, strips);
}

/** Where a strip of so many rows or columns begins: a quarter of all is in narrow ones, which are made last and even out what the wide ones leave. */
export function stripAt(length: i32, edge: i32, index: i32): i32 {
  const narrow = blocks(length, edge) / 4;
  return min(length, (index < narrow ? index : narrow + 3 * (index - narrow)) * edge);
}

/** The scan of all swaps on a tableau, by removed groups. */
export function shareScan(members: i32, tableau: usize, removed: i32, work: usize): void {
  shareStrips<f64>(Kernel.Scan, members, false, false, 0, removed, 0, tableau, 0, 0, 0, work);
}

function operation<T>(
  kernel: Kernel, first: bool, second: bool, m: i32, n: i32, k: i32,
  alpha: T, A: usize, lda: i32, B: usize, ldb: i32, beta: T, C: usize, ldc: i32, work: usize,
): Operation {
  const op = changetype<Operation>(work);
  op.kernel = kernel;
  op.isSingle = sizeof<T>() == 4;
  op.first = first;
  op.second = second;
  op.m = m;
  op.n = n;
  op.k = k;
  op.lda = lda;
  op.ldb = ldb;
  op.ldc = ldc;
  op.alpha = alpha;
  op.beta = beta;
  op.A = A;
  op.B = B;
  op.C = C;
  return op;
}

function publish(op: Operation, parts: i32): void {
  if (ASC_FEATURE_THREADS) share(op, parts, changetype<usize>(op) + OPERATION_BYTES);
}

/** Blocks of so many rows in n, the last one perhaps smaller. */
@inline
export function blocks(n: i32, edge: i32): i32 {
  return (n + edge - 1) / edge;
}

/** Of square blocks that cover m × n, or of strips where that is narrower than a block. */
function blockEdge(members: i32, m: i32, n: i32): i32 {
  const parts = <f64>PARTS * members;
  const edge = sqrt(<f64>m * n / parts);
  const length = min(m, n) < edge ? max(m, n) / parts : edge;
  return EDGE * max(1, <i32>(length / EDGE + 0.5));
}
