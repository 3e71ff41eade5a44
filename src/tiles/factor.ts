// Cholesky factorisation, inverse and solves of matrices in tiles, left-looking: the tile that is made stays in wasm memory while what
// it is made of passes by. Every sum is taken in the order in which assembly/ takes it of the whole matrix.

import type { ElementType, Kernels, Matrix } from '../kernel/index.ts';
import { panelColumns } from './memory.ts';
import type { Floats, RowBlocks, SymmetricTiles } from './storage.ts';

/** A ← L with A = L·Lᵀ. @returns 0, or the 1-based pivot that is not positive. n³/3 flops. */
export function potrf<T extends ElementType>(kernels: Kernels, A: SymmetricTiles<T>): number {
  for (let j = 0; j < A.count; j++) {
    for (let i = j; i < A.count; i++) {
      const info = kernels.scoped(() => {
        const C = A.bring(kernels, i, j);
        for (let k = 0; k < j; k++) {
          kernels.scoped(() => {
            const left = A.bring(kernels, i, k);
            if (i === j) kernels.syrk(false, -1, left, 1, C);
            else kernels.gemm(false, true, -1, left, A.bring(kernels, j, k), 1, C);
          });
        }
        let info = 0;
        if (i === j) info = kernels.run('potrf', C.rows, C);
        else kernels.trsm('right', true, 1, A.bring(kernels, j, j), C);
        A.keep(kernels, C, i, j);
        return info;
      });
      if (info) return A.starts[j] + info;
    }
  }
  return 0;
}

/** From L, as `potrf` left it, to A⁻¹. 2n³/3 flops. */
export function potri<T extends ElementType>(kernels: Kernels, A: SymmetricTiles<T>): void {
  for (let i = A.count - 1; i >= 0; i--) invertRow(kernels, A, i);
  for (let i = 0; i < A.count; i++) squareRow(kernels, A, i);
}

/** Row i of L ← L⁻¹, of which the rows before are still those of L. */
function invertRow<T extends ElementType>(kernels: Kernels, A: SymmetricTiles<T>, i: number): void {
  kernels.scoped(() => {
    const diagonal = A.bring(kernels, i, i);
    for (let j = i - 1; j >= 0; j--) {
      kernels.scoped(() => {
        const C = A.bring(kernels, i, j);
        kernels.trsm('left', false, -1, diagonal, C);
        for (let k = i - 1; k > j; k--) {
          kernels.scoped(() =>
            kernels.gemm(false, false, -1, A.bring(kernels, i, k), A.bring(kernels, k, j), 1, C),
          );
        }
        kernels.trsm('right', false, 1, A.bring(kernels, j, j), C);
        A.keep(kernels, C, i, j);
      });
    }
    kernels.run('trtri', diagonal.rows, diagonal);
    A.keep(kernels, diagonal, i, i);
  });
}

/** Row i of W ← WᵀW, of which the rows behind are still those of W. */
function squareRow<T extends ElementType>(kernels: Kernels, A: SymmetricTiles<T>, i: number): void {
  for (let j = 0; j <= i; j++) {
    kernels.scoped(() => {
      const C = A.bring(kernels, i, j);
      if (i === j) kernels.run('lauum', C.rows, C);
      else kernels.scoped(() => kernels.run('trmm', C.rows, C.cols, A.bring(kernels, i, i), C));
      for (let k = i + 1; k < A.count; k++) {
        kernels.scoped(() => {
          const left = A.bring(kernels, k, i);
          if (i === j) kernels.syrk(true, 1, left, 1, C);
          else kernels.gemm(true, false, 1, left, A.bring(kernels, k, j), 1, C);
        });
      }
      A.keep(kernels, C, i, j);
    });
  }
}

/** B ← L⁻¹B, or L⁻ᵀB if trans; by panels of columns, to which all of L comes. n²m flops. */
export function solve<T extends ElementType>(
  kernels: Kernels,
  trans: boolean,
  L: SymmetricTiles<T>,
  B: RowBlocks<T>,
): void {
  const rows = Array.from({ length: L.count }, (_, i) => i);
  if (trans) rows.reverse();
  onPanels(kernels, B, (panel) => {
    const part = (i: number) => kernels.submatrix(panel, L.starts[i], 0, L.rows(i), panel.cols);
    rows.forEach((i, at) => {
      for (const k of rows.slice(0, at)) {
        kernels.scoped(() => {
          const tile = trans ? L.bring(kernels, k, i) : L.bring(kernels, i, k);
          kernels.gemm(trans, false, -1, tile, part(k), 1, part(i));
        });
      }
      kernels.scoped(() => kernels.trsm('left', trans, 1, L.bring(kernels, i, i), part(i)));
    });
  });
}

/** C ← mix(A·B, C), element by element, for B n × m. 2n²m flops. */
export function multiply<T extends ElementType>(
  kernels: Kernels,
  A: SymmetricTiles<T>,
  B: Floats,
  C: RowBlocks<T>,
  mix = (product: number, _old: number) => product,
): void {
  eachPanel(C, (first, cols) => {
    kernels.scoped(() => {
      const [from, to] = [kernels.matrix(A.n, cols, A.type), kernels.matrix(A.n, cols, A.type)];
      const inside = kernels.view(from);
      for (let i = 0; i < A.n; i++) {
        inside.set(B.subarray(i * C.m + first, i * C.m + first + cols), i * cols);
      }
      for (let i = 0; i < A.count; i++) {
        for (let k = 0; k < A.count; k++) {
          kernels.scoped(() => {
            const tile = k <= i ? A.bring(kernels, i, k) : A.bring(kernels, k, i);
            if (i === k) kernels.symmetrize(tile);
            const source = kernels.submatrix(from, A.starts[k], 0, A.rows(k), cols);
            const target = kernels.submatrix(to, A.starts[i], 0, A.rows(i), cols);
            kernels.gemm(k > i, false, 1, tile, source, k === 0 ? 0 : 1, target);
          });
        }
      }
      const products = kernels.view(to);
      C.each(true, (values, start, rows) => {
        for (let r = 0; r < rows; r++) {
          const [at, product] = [r * C.m + first, (start + r) * cols];
          for (let c = 0; c < cols; c++) values[at + c] = mix(products[product + c], values[at + c]);
        }
      });
    });
  });
}

function onPanels<T extends ElementType>(kernels: Kernels, B: RowBlocks<T>, run: (panel: Matrix<T>) => void) {
  eachPanel(B, (first, cols) => {
    kernels.scoped(() => {
      const panel = kernels.matrix(B.n, cols, B.type);
      copyPanel(kernels, B, first, panel, false);
      run(panel);
      copyPanel(kernels, B, first, panel, true);
    });
  });
}

function eachPanel(B: RowBlocks, run: (first: number, cols: number) => void): void {
  const width = panelColumns(B.n, B.m, B.type);
  for (let first = 0; first < B.m; first += width) run(first, Math.min(width, B.m - first));
}

/** Copies columns first … of B to the panel, or back. */
function copyPanel(kernels: Kernels, B: RowBlocks, first: number, panel: Matrix, back: boolean): void {
  B.each(back, (values, start, rows) => {
    const view = kernels.view(panel);
    for (let r = 0; r < rows; r++) {
      const outside = values.subarray(r * B.m + first, r * B.m + first + panel.cols);
      const inside = view.subarray((start + r) * panel.cols, (start + r + 1) * panel.cols);
      if (back) outside.set(inside);
      else inside.set(outside);
    }
  });
}
