// What is left of H and G when the first rows have their best weights.

import type { Kernels, Matrix } from '../kernel/index.ts';

/**
 * With the first k rows S and the others P, in place: T_PP ← ±(H_PP − H_PS H_SS⁻¹ H_SP) (lower triangle), R_P ← ±(G_P −
 * H_PS H_SS⁻¹ G_S), and of the rest H_SS = L·Lᵀ, T_PS ← H_PS L⁻ᵀ, R_S ← L⁻¹G_S.
 *
 * @param T  H, lower triangle
 * @param R  G
 * @returns the objective of the best weights on S alone, −½‖L⁻¹G_S‖²
 * @throws {NotPositiveDefiniteError} where H_SS is not positive definite
 *
 * k³/3 + k²(p − k) + k(p − k)² + k²m + 2k(p − k)m flops.
 */
export function schurComplement(
  kernels: Kernels,
  T: Matrix<'f64'>,
  R: Matrix<'f64'>,
  k: number,
  sign: 1 | -1 = 1,
): number {
  const [p, m] = [T.rows, R.cols];
  const SS = kernels.submatrix(T, 0, 0, k, k);
  const PS = kernels.submatrix(T, k, 0, p - k, k);
  const RS = kernels.submatrix(R, 0, 0, k, m);
  let objective = 0;
  if (k > 0) {
    kernels.potrf(SS);
    kernels.trsm('left', false, 1, SS, RS);
    for (const y of kernels.view(RS)) objective -= 0.5 * y * y;
    kernels.trsm('right', true, 1, SS, PS);
  }
  kernels.syrk(false, -sign, PS, sign, kernels.submatrix(T, k, k, p - k, p - k));
  kernels.gemm(false, false, -sign, PS, RS, sign, kernels.submatrix(R, k, 0, p - k, m));
  return objective;
}
