/**
 * The ABI: raw pointers, usable from any wasm host.
 *
 * - The memory is imported, as `env.memory`. `env.helpers` and `env.share` say who helps with large operations (share.ts); a host of one thread answers 0,
 *   and is never asked for the other. `env.tiles` is what an elimination in tiles asks for (solve/tiles.ts), and nobody else.
 * - Matrices are row-major; leading dimensions count elements. The prefix is s for f32 and d for f64.
 * - The host owns the memory from heapBase() on. `work` is scratch of at least `workBytes` of the largest size that a
 *   function is given. Matrices and work are best aligned to 16 bytes.
 * - Nothing is checked and nothing throws. Outputs must not overlap inputs or work.
 */
import { Correlation, correlate } from './correlate';
import { gemm } from './gemm';
import { potrf } from './potrf';
import { lauum, potri, trmm, trtri } from './potri';
import { nonFiniteAt } from './rows';
import { createElimination, gramBlocks } from './solve/elimination';
import { eliminationOf } from './solve/greedy';
import { Problem } from './solve/problem';
import { Tableau } from './solve/tableau';
import { symmetrize, transpose } from './transpose';
import { syrk } from './syrk';
import { trsm } from './trsm';

/** First byte that the host may use, a multiple of 16. */
export function heapBase(): usize { return (__heap_base + 15) & ~15; }

export function sgemm(
  transA: bool, transB: bool, m: i32, n: i32, k: i32,
  alpha: f32, A: usize, lda: i32, B: usize, ldb: i32, beta: f32, C: usize, ldc: i32, work: usize,
): void {
  gemm<f32>(transA, transB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, work);
}
export function dgemm(
  transA: bool, transB: bool, m: i32, n: i32, k: i32,
  alpha: f64, A: usize, lda: i32, B: usize, ldb: i32, beta: f64, C: usize, ldc: i32, work: usize,
): void {
  gemm<f64>(transA, transB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, work);
}

export function ssyrk(
  trans: bool, n: i32, k: i32, alpha: f32, A: usize, lda: i32, beta: f32, C: usize, ldc: i32, work: usize,
): void {
  syrk<f32>(trans, n, k, alpha, A, lda, beta, C, ldc, work);
}
export function dsyrk(
  trans: bool, n: i32, k: i32, alpha: f64, A: usize, lda: i32, beta: f64, C: usize, ldc: i32, work: usize,
): void {
  syrk<f64>(trans, n, k, alpha, A, lda, beta, C, ldc, work);
}

export function strsm(
  right: bool, trans: bool, m: i32, n: i32, alpha: f32, L: usize, ldl: i32, B: usize, ldb: i32, work: usize,
): void {
  trsm<f32>(right, trans, m, n, alpha, L, ldl, B, ldb, work);
}
export function dtrsm(
  right: bool, trans: bool, m: i32, n: i32, alpha: f64, L: usize, ldl: i32, B: usize, ldb: i32, work: usize,
): void {
  trsm<f64>(right, trans, m, n, alpha, L, ldl, B, ldb, work);
}

export function spotrf(n: i32, A: usize, lda: i32, work: usize): i32 { return potrf<f32>(n, A, lda, work); }
export function dpotrf(n: i32, A: usize, lda: i32, work: usize): i32 { return potrf<f64>(n, A, lda, work); }

export function spotri(n: i32, A: usize, lda: i32, work: usize): void { potri<f32>(n, A, lda, work); }
export function dpotri(n: i32, A: usize, lda: i32, work: usize): void { potri<f64>(n, A, lda, work); }

export function ssymmetrize(n: i32, A: usize, lda: i32): void { symmetrize<f32>(n, A, lda); }
export function dsymmetrize(n: i32, A: usize, lda: i32): void { symmetrize<f64>(n, A, lda); }

export function dnonFiniteAt(n: i32, x: usize): i32 { return nonFiniteAt<f64>(n, x); }

export { createProblem, formProblem, gather, join, multiplyByH, workIn } from './solve/problem';
export { factor, solve, solveRounded, refitted, objectiveOf, keepLargest } from './solve/refit';
export { greedy, eliminated, select } from './solve/greedy';
export { prune } from './solve/prune';

// Steps of an inverse, and of an elimination, whose matrices are in tiles.
export function strtri(n: i32, L: usize, ldl: i32, work: usize): void { trtri<f32>(n, L, ldl, work); }
export function dtrtri(n: i32, L: usize, ldl: i32, work: usize): void { trtri<f64>(n, L, ldl, work); }
export function slauum(n: i32, W: usize, ldw: i32, work: usize): void { lauum<f32>(n, W, ldw, work); }
export function dlauum(n: i32, W: usize, ldw: i32, work: usize): void { lauum<f64>(n, W, ldw, work); }
export function stranspose(m: i32, n: i32, A: usize, lda: i32, B: usize, ldb: i32): void {
  transpose<f32>(m, n, A, lda, B, ldb);
}
export function dtranspose(m: i32, n: i32, A: usize, lda: i32, B: usize, ldb: i32): void {
  transpose<f64>(m, n, A, lda, B, ldb);
}
export function strmm(n: i32, w: i32, L: usize, ldl: i32, B: usize, ldb: i32, work: usize): void {
  trmm<f32>(n, w, L, ldl, B, ldb, work);
}
export function dtrmm(n: i32, w: i32, L: usize, ldl: i32, B: usize, ldb: i32, work: usize): void {
  trmm<f64>(n, w, L, ldl, B, ldb, work);
}

// The elimination itself, from a support and in a precision that are the host's business: created, then given `report.dense`, the
// diagonal blocks of T, at `tiledBlocks`, and those of WWᵀ by `tiledGramBlocks`, and run.
export function createTiled(s: Problem, isSingle: bool): void {
  s.isSingle = isSingle;
  createElimination(s, isSingle, false);
}
export function tiledBlocks(s: Problem): usize { return eliminationOf(s).D; }
export function tiledGramBlocks(s: Problem, first: i32, end: i32, W: usize): void {
  if (s.isSingle) gramBlocks<f32>(eliminationOf(s), first, end, W);
  else gramBlocks<f64>(eliminationOf(s), first, end, W);
}
export { removeGroups as eliminateTiled } from './solve/greedy';

// What a host writes of a problem, and reads.
export function problemH(s: Problem): usize { return s.H; }
export function problemG(s: Problem): usize { return s.G; }
export function problemW0(s: Problem): usize { return s.W0; }
export function problemRho(s: Problem): usize { return s.rho; }
export function problemX(s: Problem): usize { return s.x; }
export function problemY(s: Problem): usize { return s.y; }
export function problemRows(s: Problem): usize { return s.rows; }
export function problemKept(s: Problem): usize { return s.kept; }
export function problemIsProtected(s: Problem): usize { return s.isProtected; }
export function problemOrder(s: Problem): usize { return s.order; }
export function problemCurve(s: Problem): usize { return s.curve; }
export function problemWorkspace(s: Problem): usize { return s.workspace; }
export function problemReport(s: Problem): usize { return changetype<usize>(s.report); }
export function problemIsSingle(s: Problem): bool { return s.isSingle; }

export {
  createTableau, build as tableauBuild, costs as tableauCosts, bestSwap as tableauBestSwap, swap as tableauSwap,
  move as tableauMove, complete as tableauComplete,
} from './solve/tableau';
export { exchangeWhileBetter, swapWhileBetter } from './solve/search';

// The steps of a search by themselves. What is read of a tableau, and written: groups that are to move.
export function tableauT(s: Tableau): usize { return s.T; }
export function tableauK(s: Tableau): usize { return s.K; }
export function tableauRow(s: Tableau): usize { return s.row; }
export function tableauList(s: Tableau): usize { return s.list; }
export function tableauObjective(s: Tableau): f64 { return s.objective; }
export function tableauChange(s: Tableau): f64 { return s.change; }
export function tableauOut(s: Tableau): i32 { return s.out; }
export function tableauInto(s: Tableau): i32 { return s.into; }
export function tableauIsOptimal(s: Tableau): bool { return s.isOptimal; }

export { schurComplement } from './solve/schur';
export { workBytes } from './gemm';

export { gram, gramBytes, isFlat, isFlatImages } from './gram';
export { correlateBytes, correlationBytes, createCorrelation, unfold } from './correlate';
export function scorrelate(s: Correlation, count: i32, height: i32, width: i32, x: usize, y: usize, work: usize): void {
  correlate<f32>(s, count, height, width, x, y, work);
}
export function dcorrelate(s: Correlation, count: i32, height: i32, width: i32, x: usize, y: usize, work: usize): void {
  correlate<f64>(s, count, height, width, x, y, work);
}
export { im2col } from './im2col';
export { part } from './part';
