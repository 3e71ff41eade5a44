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

/** One thread's kernels, and those who help. */
interface Shared {
  readonly abi: Abi;
  readonly crew: Crew;
}

/** The kernels' face with its large f64 operations shared out over the crew. `work` belongs to the caller's thread. */
export function parallelAbi(abi: Abi, crew: Crew): Abi {
  const shared = { abi, crew };
  return {
    ...abi,
    dgemm: (...args) => dgemm(shared, ...args),
    dsyrk: (...args) => dsyrk(shared, ...args),
    dtrsm: (...args) => dtrsm(shared, ...args),
    dtrmm: (...args) => dtrmm(shared, ...args),
    dpotrf: (...args) => dpotrf(shared, ...args),
    dtrtri: (...args) => dtrtri(shared, ...args),
    dlauum: (...args) => dlauum(shared, ...args),
    dpotri(n, A, lda, work) {
      dtrtri(shared, n, A, lda, work);
      dlauum(shared, n, A, lda, work);
    },
  };
}

/** Scratch that one task may take: the most that any kernel of `Task` needs at any size. */
export function scratchBytes(abi: Abi): number {
  const large = 2 ** 14; // beyond every block that is packed
  return abi.dtrsmWorkBytes(large, large) >>> 0;
}

// Products and solves: independent blocks of the output.

function dgemm(shared: Shared, ...args: Parameters<Abi['dgemm']>) {
  const [transA, transB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, work] = args;
  if (isAlone(shared, 2 * m * n * k)) return shared.abi.dgemm(...args);
  const edge = blockEdge(shared, m * n);
  const tasks = blocks(m, edge).flatMap(([i, rows]) => {
    const Ai = transA ? at(A, lda, 0, i) : at(A, lda, i, 0);
    return blocks(n, edge).map(([j, cols]): Task => {
      const Bj = transB ? at(B, ldb, j, 0) : at(B, ldb, 0, j);
      return ['dgemm', transA, transB, rows, cols, k, alpha, Ai, lda, Bj, ldb, beta, at(C, ldc, i, j), ldc];
    });
  });
  shared.crew.run(shared.abi, tasks, work);
}

function dsyrk(shared: Shared, ...args: Parameters<Abi['dsyrk']>) {
  const [trans, n, k, alpha, A, lda, beta, C, ldc, work] = args;
  if (isAlone(shared, k * n * n)) return shared.abi.dsyrk(...args);
  const part = (i: number) => (trans ? at(A, lda, 0, i) : at(A, lda, i, 0));
  const rows = blocks(n, blockEdge(shared, (n * n) / 2));
  const below = rows.flatMap(([i, height], block) =>
    rows.slice(0, block).map(([j, width]): Task => {
      const Cij = at(C, ldc, i, j);
      return ['dgemm', trans, !trans, height, width, k, alpha, part(i), lda, part(j), lda, beta, Cij, ldc];
    }),
  );
  const diagonal = rows.map(
    ([i, order]): Task => ['dsyrk', trans, order, k, alpha, part(i), lda, beta, at(C, ldc, i, i), ldc],
  );
  shared.crew.run(shared.abi, [...below, ...diagonal], work); // the smaller ones last
}

function dtrsm(shared: Shared, ...args: Parameters<Abi['dtrsm']>) {
  const [right, trans, m, n, alpha, L, ldl, B, ldb, work] = args;
  if (isAlone(shared, (right ? n : m) * m * n)) return shared.abi.dtrsm(...args);
  const tasks = strips(shared, right ? m : n).map(([first, width]): Task => {
    if (right) return ['dtrsm', right, trans, width, n, alpha, L, ldl, at(B, ldb, first, 0), ldb];
    return ['dtrsm', right, trans, m, width, alpha, L, ldl, at(B, ldb, 0, first), ldb];
  });
  shared.crew.run(shared.abi, tasks, work);
}

function dtrmm(shared: Shared, ...args: Parameters<Abi['dtrmm']>) {
  const [n, w, L, ldl, B, ldb, work] = args;
  if (isAlone(shared, n * n * w)) return shared.abi.dtrmm(...args);
  const tasks = strips(shared, w).map(
    ([first, width]): Task => ['dtrmm', n, width, L, ldl, at(B, ldb, 0, first), ldb],
  );
  shared.crew.run(shared.abi, tasks, work);
}

// Factorisations: the halving of assembly/, down to triangles for one thread.

function dpotrf(shared: Shared, ...args: Parameters<Abi['dpotrf']>): number {
  const [n, A, lda, work] = args;
  if (isLeaf(shared, n)) return shared.abi.dpotrf(...args);
  const n1 = shared.abi.half(n);
  const A21 = at(A, lda, n1, 0);
  const A22 = at(A, lda, n1, n1);
  const first = dpotrf(shared, n1, A, lda, work);
  if (first !== 0) return first;
  dtrsm(shared, true, true, n - n1, n1, 1, A, lda, A21, lda, work);
  dsyrk(shared, false, n - n1, n1, -1, A21, lda, 1, A22, lda, work);
  const second = dpotrf(shared, n - n1, A22, lda, work);
  return second === 0 ? 0 : n1 + second;
}

function dtrtri(shared: Shared, ...args: Parameters<Abi['dtrtri']>) {
  const [n, L, ldl, work] = args;
  if (isLeaf(shared, n)) return shared.abi.dtrtri(...args);
  const n1 = shared.abi.half(n);
  const L21 = at(L, ldl, n1, 0);
  const L22 = at(L, ldl, n1, n1);
  dtrsm(shared, false, false, n - n1, n1, -1, L22, ldl, L21, ldl, work);
  dtrsm(shared, true, false, n - n1, n1, 1, L, ldl, L21, ldl, work);
  dtrtri(shared, n1, L, ldl, work);
  dtrtri(shared, n - n1, L22, ldl, work);
}

function dlauum(shared: Shared, ...args: Parameters<Abi['dlauum']>) {
  const [n, W, ldw, work] = args;
  if (isLeaf(shared, n)) return shared.abi.dlauum(...args);
  const n1 = shared.abi.half(n);
  const W21 = at(W, ldw, n1, 0);
  const W22 = at(W, ldw, n1, n1);
  dlauum(shared, n1, W, ldw, work);
  dsyrk(shared, true, n1, n - n1, 1, W21, ldw, 1, W, ldw, work);
  dtrmm(shared, n - n1, n1, W22, ldw, W21, ldw, work);
  dlauum(shared, n - n1, W22, ldw, work);
}

function isAlone({ crew }: Shared, flops: number): boolean {
  return crew.helpers === 0 || flops < SMALL;
}

function isLeaf({ crew }: Shared, n: number): boolean {
  return crew.helpers === 0 || n <= LEAF;
}

function at(A: number, ld: number, i: number, j: number): number {
  return A + (i * ld + j) * S;
}

/** [first, count] of each block of n. */
function blocks(n: number, edge: number): [first: number, count: number][] {
  return Array.from({ length: Math.ceil(n / edge) }, (_, i) => [i * edge, Math.min(edge, n - i * edge)]);
}

/** Of square blocks that cover an area. */
function blockEdge({ crew }: Shared, area: number): number {
  const tasks = TASKS_PER_MEMBER * (crew.helpers + 1);
  return EDGE * Math.max(1, Math.round(Math.sqrt(area / tasks) / EDGE));
}

/** Blocks of rows, or of columns, that each take a whole triangle. */
function strips({ crew }: Shared, n: number): [first: number, count: number][] {
  return blocks(n, Math.max(EDGE / 5, 4 * Math.ceil(n / (8 * (crew.helpers + 1)))));
}
