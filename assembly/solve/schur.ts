// What is left of H and G when the first rows have their best weights.
import { gemm } from '../gemm';
import { potrf } from '../potrf';
import { at } from '../simd';
import { syrk } from '../syrk';
import { trsm } from '../trsm';
import { value } from './array';
import { square } from './square';

/**
 * With the first k rows S and the others P, in place: T_PP ← ±(H_PP − H_PS H_SS⁻¹ H_SP) (lower triangle), R_P ← ±(G_P −
 * H_PS H_SS⁻¹ G_S), and of the rest H_SS = L·Lᵀ, T_PS ← H_PS L⁻ᵀ, R_S ← L⁻¹G_S.
 *
 * @param b  if not 0, of T_PP the tiles that hold the diagonal blocks of b rows alone
 * @param sign  1 or −1
 * @param T  H, p × p, lower triangle; @param R  G, p × m
 * @param objective  out, of the best weights on S alone, −½‖L⁻¹G_S‖²
 * @returns 0, or the pivot at which H_SS is not positive definite
 *
 * k³/3 + k²(p − k) + k(p − k)² + k²m + 2k(p − k)m flops.
 */
export function schurComplement(
  p: i32, m: i32, k: i32, b: i32, sign: f64, T: usize, R: usize, objective: usize, work: usize,
): i32 {
  const q = p - k;
  const PS = at<f64>(T, p, k, 0);
  let f: f64 = 0;
  if (k > 0) {
    const info = potrf<f64>(k, T, p, work);
    if (info) return info;
    trsm<f64>(false, false, k, m, 1, T, p, R, m, work);
    for (let i = 0, e = k * m; i < e; i++) f -= 0.5 * value(R, i) * value(R, i);
    trsm<f64>(true, true, q, k, 1, T, p, PS, p, work);
  }
  const PP = at<f64>(PS, 0, 0, k);
  if (b) square(true, false, b, q, k, -sign, PS, p, sign, PP, p, work);
  else syrk<f64>(false, q, k, -sign, PS, p, sign, PP, p, work);
  gemm<f64>(false, false, q, m, k, -sign, PS, p, R, m, sign, at<f64>(R, m, k, 0), m, work);
  store<f64>(objective, f);
  return 0;
}
