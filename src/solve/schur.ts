// What is left of H and G when the first rows have their best weights.

import { NotPositiveDefiniteError } from '../errors.ts';
import type { Kernels, Matrix } from '../kernel/index.ts';

/**
 * With the first k rows S and the others P, in place: T_PP ← H_PP − H_PS H_SS⁻¹ H_SP (lower triangle), R_P ← G_P −
 * H_PS H_SS⁻¹ G_S (assembly/solve/schur.ts).
 *
 * @param T  H, lower triangle
 * @param R  G
 * @returns the objective of the best weights on S alone
 * @throws {NotPositiveDefiniteError} where H_SS is not positive definite
 */
export function schurComplement(kernels: Kernels, T: Matrix<'f64'>, R: Matrix<'f64'>, k: number): number {
  const [p, m] = [T.rows, R.cols];
  const { abi } = kernels;
  return kernels.scoped(() => {
    const objective = kernels.matrix(1, 1, 'f64');
    const work = kernels.allocate(abi.workBytes(p, m));
    const pivot = abi.schurComplement(p, m, k, 1, T.ptr, R.ptr, objective.ptr, work);
    if (pivot === 0) return kernels.view(objective)[0];
    const value = kernels.view(T)[(pivot - 1) * (p + 1)];
    const message = `problem: expected a positive pivot ${pivot} of H on the rows that stay, got ${value}`;
    throw new NotPositiveDefiniteError(message, pivot, { value });
  });
}
