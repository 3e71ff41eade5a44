// The parts of shared operations (share.ts), each made by the kernel that would make the whole.
import { multiply } from './gemm';
import { trmm } from './potri';
import { Kernel, Operation, blocks, stripAt } from './share';
import { at } from './simd';
import { Tableau, rowBytes, scan } from './solve/tableau';
import { trsm } from './trsm';

/** Makes one part of an operation. */
export function part(op: Operation, index: i32, work: usize): void {
  if (op.isSingle) partOf<f32>(op, index, work);
  else partOf<f64>(op, index, work);
}

function partOf<T>(op: Operation, index: i32, work: usize): void {
  if (op.kernel == Kernel.Gemm) {
    const columns = blocks(op.n, op.edge);
    return block<T>(op, index / columns, index % columns, work);
  }
  if (op.kernel == Kernel.Gemmt) {
    let below = index - blocks(op.n, op.edge);
    if (below < 0) return block<T>(op, index, index, work);
    let row = 1;
    while (below >= row) below -= row++;
    return block<T>(op, row, below, work);
  }
  const right = op.first;
  const length = right ? op.m : op.n;
  const first = stripAt(length, op.edge, index);
  const width = stripAt(length, op.edge, index + 1) - first;
  if (op.kernel == Kernel.Scan) {
    const s = changetype<Tableau>(op.A);
    return scan(s, first, first + width, work, work + rowBytes(s), work + 2 * rowBytes(s));
  }
  const B = right ? at<T>(op.B, op.ldb, first, 0) : at<T>(op.B, op.ldb, 0, first);
  if (op.kernel == Kernel.Trmm) return trmm<T>(op.m, width, op.A, op.lda, B, op.ldb, work);
  const m = right ? width : op.m;
  const n = right ? op.n : width;
  trsm<T>(right, op.second, m, n, <T>op.alpha, op.A, op.lda, B, op.ldb, work);
}

/** One block of a product. */
function block<T>(op: Operation, row: i32, column: i32, work: usize): void {
  const i = row * op.edge;
  const j = column * op.edge;
  const A = op.first ? at<T>(op.A, op.lda, 0, i) : at<T>(op.A, op.lda, i, 0);
  const B = op.second ? at<T>(op.B, op.ldb, j, 0) : at<T>(op.B, op.ldb, 0, j);
  const C = at<T>(op.C, op.ldc, i, j);
  const m = min(op.edge, op.m - i);
  const n = min(op.edge, op.n - j);
  const lower = op.kernel == Kernel.Gemmt && i == j;
  multiply<T>(lower, op.first, op.second, m, n, op.k, <T>op.alpha, A, op.lda, B, op.ldb, <T>op.beta, C, op.ldc, work);
}
