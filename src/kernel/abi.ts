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

type CreateElimination = (
  ...args: [
    ...[workspace: number, products: number, p: number, m: number, b: number],
    ...[path: number, dearest: boolean],
  ]
) => void;

type TableauPart =
  | ('T' | 'K' | 'R' | 'Order' | 'Kept' | 'Protected' | 'List')
  | ('Objective' | 'Change' | 'Out' | 'Into' | 'IsOptimal' | 'Failures');

/** The kernels whose last argument is scratch memory, of as many bytes as `…WorkBytes` says. */
export type ScratchKernel = `${Prefix}${'gemm' | 'syrk' | 'trsm' | 'potrf' | 'potri'}` | 'gram' | 'cross';

export interface Abi
  extends Record<`${ScratchKernel}WorkBytes`, (...sizes: readonly number[]) => number>,
    Record<`${Prefix}gemm`, Gemm>,
    Record<`${Prefix}syrk`, Syrk>,
    Record<`${Prefix}trsm`, Trsm>,
    Record<`${Prefix}potrf`, (n: number, A: number, lda: number, work: number) => number>,
    Record<`${Prefix}potri`, (n: number, A: number, lda: number, work: number) => void>,
    Record<`${Prefix}symmetrize`, (n: number, A: number, lda: number) => void>,
    // As in assembly/solve/eliminate.ts, on the address of its workspace.
    Record<`${Prefix}createElimination`, CreateElimination>,
    Record<`${Prefix}eliminateStart`, (state: number) => void>,
    Record<`${Prefix}eliminate`, (state: number, n: number, groupsPerStep: number) => number>,
    Record<`${Prefix}eliminateGroup`, (state: number, group: number) => number>,
    Record<`elimination${'T' | 'W' | 'Protected' | 'Costs' | 'Order' | 'Live'}`, (state: number) => number>,
    // As in assembly/solve/tableau.ts.
    Record<
      `tableau${TableauPart | 'Arrange' | 'Factorise' | 'BestSwap' | 'Costs'}`,
      (state: number) => number
    > {
  readonly memory: WebAssembly.Memory;
  heapBase(): number;
  /** Scratch of all products, solves and factorisations of matrices with up to p rows and p or m columns. */
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
      ...[p: number, m: number, k: number, sign: number, T: number, R: number],
      ...[objective: number, work: number],
    ]
  ): number;
  createTableau(workspace: number, products: number, p: number, m: number, b: number): void;
  tableauSwap(state: number, out: number, into: number): number;
  tableauMove(state: number, count: number, isLeaving: boolean): number;
  tableauSearch(state: number, maxSwaps: number): number;

  dswapSymmetric(n: number, b: number, a: number, z: number, A: number, lda: number): void;
}
