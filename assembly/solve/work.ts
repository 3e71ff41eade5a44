// Scratch of the kernels.
import { gemmWorkBytes } from '../gemm';
import { blockBytes } from '../triangle';

/** Of every product, solve and factorisation, in either type, of matrices none of whose sizes is beyond p and m. */
export function workBytes(p: i32, m: i32): f64 {
  const n = max(p, m);
  const double = blockBytes<f64>(n) + gemmWorkBytes<f64>(n, n, n);
  const single = blockBytes<f32>(n) + gemmWorkBytes<f32>(n, n, n);
  return <f64>max(double, single) + 64;
}
