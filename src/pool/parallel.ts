// The large f64 kernels, shared out over a team. Same bits as on one thread: these are the kernels' own recursions
// (assembly/potrf.ts, potri.ts), and only outputs are split, never a sum, so that every element is made of the
// same operations in the same order.

import type { Abi } from '../kernel/index.ts';
import type { Crew, Task } from './team.ts';

const S = 8; // bytes of an f64

/** Triangles up to this order are left to one thread: 0.3 ms each, n / 256 of them in a row. */
const LEAF = 256;
/** Flops below which waking others takes as long as the work: about 0.2 ms. */
const SMALL = 4e6;
/** Tasks for each member: enough to even out, few enough to pack operands seldom. */
const TASKS_PER_MEMBER = 4;
/** Both edges of a block: a multiple of every microkernel's tile, large enough to be worth packing. */
const EDGE = 120;

/** The kernels' face with its large f64 operations shared out over the crew. `work` belongs to the caller's thread. */
export function parallelAbi(abi: Abi, crew: Crew): Abi {
  const at = (A: number, ld: number, i: number, j: number) => A + (i * ld + j) * S;
  const alone = (flops: number) => crew.helpers === 0 || flops < SMALL;
  const members = () => crew.helpers + 1;

  const dgemm: Abi['dgemm'] = (transA, transB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, work) => {
    if (alone(2 * m * n * k)) {
      return abi.dgemm(transA, transB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, work);
    }
    const edge = blockEdge(m * n, members());
    const tasks: Task[] = [];
    for (const [i, rows] of blocks(m, edge)) {
      const Ai = transA ? at(A, lda, 0, i) : at(A, lda, i, 0);
      for (const [j, cols] of blocks(n, edge)) {
        const Bj = transB ? at(B, ldb, j, 0) : at(B, ldb, 0, j);
        const Cij = at(C, ldc, i, j);
        tasks.push(['dgemm', transA, transB, rows, cols, k, alpha, Ai, lda, Bj, ldb, beta, Cij, ldc]);
      }
    }
    crew.run(tasks, work);
  };

  const dsyrk: Abi['dsyrk'] = (trans, n, k, alpha, A, lda, beta, C, ldc, work) => {
    if (alone(k * n * n)) return abi.dsyrk(trans, n, k, alpha, A, lda, beta, C, ldc, work);
    const part = (i: number) => (trans ? at(A, lda, 0, i) : at(A, lda, i, 0));
    const { below, diagonal } = lowerBlocks(n, members());
    crew.run(
      [
        ...below.map(([i, rows, j, cols]): Task => {
          const C_ij = at(C, ldc, i, j);
          return ['dgemm', trans, !trans, rows, cols, k, alpha, part(i), lda, part(j), lda, beta, C_ij, ldc];
        }),
        ...diagonal.map(
          ([i, rows]): Task => ['dsyrk', trans, rows, k, alpha, part(i), lda, beta, at(C, ldc, i, i), ldc],
        ),
      ],
      work,
    );
  };

  const dtrsm: Abi['dtrsm'] = (right, trans, m, n, alpha, L, ldl, B, ldb, work) => {
    if (alone((right ? n : m) * m * n)) return abi.dtrsm(right, trans, m, n, alpha, L, ldl, B, ldb, work);
    const strips = blocks(right ? m : n, stripWidth(right ? m : n, members()));
    crew.run(
      strips.map(([first, width]): Task => {
        if (right) return ['dtrsm', right, trans, width, n, alpha, L, ldl, at(B, ldb, first, 0), ldb];
        return ['dtrsm', right, trans, m, width, alpha, L, ldl, at(B, ldb, 0, first), ldb];
      }),
      work,
    );
  };

  const dtrmm: Abi['dtrmm'] = (n, w, L, ldl, B, ldb, work) => {
    if (alone(n * n * w)) return abi.dtrmm(n, w, L, ldl, B, ldb, work);
    crew.run(
      blocks(w, stripWidth(w, members())).map(
        ([first, width]): Task => ['dtrmm', n, width, L, ldl, at(B, ldb, 0, first), ldb],
      ),
      work,
    );
  };

  const dpotrf: Abi['dpotrf'] = (n, A, lda, work) => {
    if (n <= LEAF || crew.helpers === 0) return abi.dpotrf(n, A, lda, work);
    const n1 = abi.half(n);
    const A21 = at(A, lda, n1, 0);
    const A22 = at(A, lda, n1, n1);
    const first = dpotrf(n1, A, lda, work);
    if (first !== 0) return first;
    dtrsm(true, true, n - n1, n1, 1, A, lda, A21, lda, work);
    dsyrk(false, n - n1, n1, -1, A21, lda, 1, A22, lda, work);
    const second = dpotrf(n - n1, A22, lda, work);
    return second === 0 ? 0 : n1 + second;
  };

  const dtrtri: Abi['dtrtri'] = (n, L, ldl, work) => {
    if (n <= LEAF || crew.helpers === 0) return abi.dtrtri(n, L, ldl, work);
    const n1 = abi.half(n);
    const L21 = at(L, ldl, n1, 0);
    const L22 = at(L, ldl, n1, n1);
    dtrsm(false, false, n - n1, n1, -1, L22, ldl, L21, ldl, work);
    dtrsm(true, false, n - n1, n1, 1, L, ldl, L21, ldl, work);
    dtrtri(n1, L, ldl, work);
    dtrtri(n - n1, L22, ldl, work);
  };

  const dlauum: Abi['dlauum'] = (n, W, ldw, work) => {
    if (n <= LEAF || crew.helpers === 0) return abi.dlauum(n, W, ldw, work);
    const n1 = abi.half(n);
    const W21 = at(W, ldw, n1, 0);
    const W22 = at(W, ldw, n1, n1);
    dlauum(n1, W, ldw, work);
    dsyrk(true, n1, n - n1, 1, W21, ldw, 1, W, ldw, work);
    dtrmm(n - n1, n1, W22, ldw, W21, ldw, work);
    dlauum(n - n1, W22, ldw, work);
  };

  const dpotri: Abi['dpotri'] = (n, A, lda, work) => {
    dtrtri(n, A, lda, work);
    dlauum(n, A, lda, work);
  };

  return { ...abi, dgemm, dsyrk, dtrsm, dtrmm, dpotrf, dtrtri, dlauum, dpotri };
}

/** Scratch that one task may take: the most that any kernel of `Task` needs at any size. */
export function scratchBytes(abi: Abi): number {
  const large = 2 ** 14; // beyond every block that is packed
  return abi.dtrsmWorkBytes(large, large) >>> 0;
}

/** [first, count] of each block of n. */
function blocks(n: number, edge: number): [first: number, count: number][] {
  return Array.from({ length: Math.ceil(n / edge) }, (_, i) => [i * edge, Math.min(edge, n - i * edge)]);
}

function blockEdge(area: number, members: number): number {
  const tasks = TASKS_PER_MEMBER * members;
  return EDGE * Math.max(1, Math.round(Math.sqrt(area / tasks) / EDGE));
}

function stripWidth(n: number, members: number): number {
  return Math.max(EDGE / 5, 4 * Math.ceil(n / (8 * members)));
}

/** A lower triangle in square blocks: those below the diagonal, and the smaller ones on it. */
function lowerBlocks(n: number, members: number) {
  const rows = blocks(n, blockEdge((n * n) / 2, members));
  const below = rows.flatMap(([i, height], at) =>
    rows.slice(0, at).map(([j, width]): [number, number, number, number] => [i, height, j, width]),
  );
  return { below, diagonal: rows };
}
