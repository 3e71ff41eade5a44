// The exports of assembly/index.ts as TypeScript sees them. Pointers come back signed: apply >>> 0.

type Prefix = 's' | 'd';

type Gemm = (
  ...args: [
    ...[transA: boolean, transB: boolean, m: number, n: number, k: number],
    ...[alpha: number, A: number, lda: number, B: number, ldb: number],
    ...[beta: number, C: number, ldc: number, work: number],
  ]
) => void;

type Syrk = (
  ...args: [
    ...[trans: boolean, n: number, k: number, alpha: number, A: number, lda: number],
    ...[beta: number, C: number, ldc: number, work: number],
  ]
) => void;

type Trsm = (
  ...args: [
    ...[right: boolean, trans: boolean, m: number, n: number, alpha: number],
    ...[L: number, ldl: number, B: number, ldb: number, work: number],
  ]
) => void;

type Transpose = (m: number, n: number, A: number, lda: number, B: number, ldb: number) => void;

type Trmm = (n: number, w: number, L: number, ldl: number, B: number, ldb: number, work: number) => void;

type EliminateTiled = (problem: number, keep: number, groupsPerStep: number, wholeCurve: boolean) => number;

/** What an elimination in tiles asks for (assembly/solve/tiles.ts). */
export type TilesHost = (event: number, a: number, z: number, x: number, y: number) => void;

type Eliminate = (
  ...args: [problem: number, keep: number, groupsPerStep: number, path: number, wholeCurve: boolean]
) => number;

export type ProblemPart =
  | ('H' | 'G' | 'W0' | 'Rho' | 'X' | 'Y' | 'Rows' | 'Protected')
  | ('Kept' | 'Order' | 'Curve' | 'Report' | 'Workspace');
type TableauPart =
  | 'T'
  | 'K'
  | 'Weights'
  | 'Order'
  | 'Kept'
  | 'List'
  | 'Objective'
  | 'Change'
  | 'Out'
  | 'Into'
  | 'IsOptimal';

/** The kernels whose last argument is scratch memory. */
export type ScratchKernel = `${Prefix}${'gemm' | 'syrk' | 'trsm' | 'potrf' | 'potri'}` | 'gram' | 'cross';

export interface Abi
  extends Record<`${Prefix}gemm`, Gemm>,
    Record<`${Prefix}syrk`, Syrk>,
    Record<`${Prefix}trsm`, Trsm>,
    Record<`${Prefix}potrf`, (n: number, A: number, lda: number, work: number) => number>,
    Record<`${Prefix}potri`, (n: number, A: number, lda: number, work: number) => void>,
    Record<`${Prefix}symmetrize`, (n: number, A: number, lda: number) => void>,
    // As in assembly/solve/, on the addresses of a problem and a tableau.
    Record<`problem${ProblemPart}` | 'eliminated' | 'tiledBlocks', (problem: number) => number>,
    Record<`${Prefix}trtri` | `${Prefix}lauum`, (n: number, A: number, lda: number, work: number) => void>,
    Record<`${Prefix}trmm`, Trmm>,
    Record<`${Prefix}transpose`, Transpose>,
    Record<`${Prefix}createTiled`, (problem: number) => void>,
    Record<`${Prefix}gramBlocks`, (problem: number, first: number, end: number, W: number) => void>,
    Record<`${Prefix}eliminateTiled`, EliminateTiled>,
    Record<`${Prefix}select`, (problem: number, keep: number) => number>,
    Record<`eliminateIn${'Single' | 'Double'}`, Eliminate>,
    Record<`tableau${TableauPart | 'Build' | 'BestSwap' | 'Costs'}`, (tableau: number) => number> {
  readonly memory: WebAssembly.Memory;
  /** Who answers the module's calls: `tiles` for as long as an elimination in tiles runs. */
  readonly host: { tiles?: TilesHost };
  heapBase(): number;
  /** Scratch of all products, solves and factorisations of matrices none of whose sizes is beyond p and m. */
  workBytes(p: number, m: number): number;
  /** Makes one part of an operation that is shared out, as in assembly/share.ts. */
  part(operation: number, index: number, work: number): void;
  gram(
    ...args: [...[rows: number, p: number, X: number, ldx: number], ...[H: number, ldh: number, work: number]]
  ): void;
  cross(
    ...args: [
      ...[rows: number, p: number, m: number, X: number, ldx: number, Y: number, ldy: number],
      ...[C: number, ldc: number, work: number],
    ]
  ): void;
  addRows(
    ...args: [
      ...[rows: number, p: number, m: number, first: number, end: number, X: number, Y: number],
      ...[XtX: number, sumX: number, XtY: number, sumY: number, scratch: number],
    ]
  ): void;
  addRowsBytes(p: number, m: number): number;
  isFlat(rows: number, p: number, X: number, ldx: number): number;
  widen(rows: number, columns: number, A: number, lda: number, B: number, ldb: number): void;
  im2col(
    ...args: [
      ...[channels: number, height: number, width: number, kh: number, kw: number, sh: number, sw: number],
      ...[top: number, left: number, dh: number, dw: number, ow: number],
      ...[first: number, count: number, image: number, out: number, ldo: number],
    ]
  ): void;

  schurComplement(
    ...args: [
      ...[p: number, m: number, k: number, b: number, sign: number, T: number, R: number],
      ...[objective: number, work: number],
    ]
  ): number;
  createProblem(
    ...args: [
      ...[address: number, p: number, m: number, b: number],
      ...[own: boolean, settled: number, tiled: boolean],
    ]
  ): void;
  workIn(problem: number, scratch: number): void;
  formProblem(
    ...args: [
      ...[problem: number, n: number, sumX: number, sumY: number, centred: boolean],
      ...[damping: number, blend: number, dampDead: boolean],
    ]
  ): number;
  multiplyByH(problem: number, B: number, C: number): void;
  gather(problem: number, rows: number, k: number, H: number, ld: number, G: number): void;
  keepLargest(problem: number, keep: number): void;
  factor(problem: number, k: number): number;
  solve(problem: number, k: number): void;
  objectiveOf(problem: number, k: number): number;
  refitted(problem: number, k: number): number;
  createTableau(workspace: number, products: number, problem: number): void;
  tableauComplete(tableau: number): void;
  tableauSwap(tableau: number, out: number, into: number): number;
  tableauMove(tableau: number, count: number, isLeaving: boolean): number;
  tableauSearch(tableau: number, maxSwaps: number): number;

  dswapSymmetric(n: number, b: number, a: number, z: number, A: number, lda: number): void;
}
