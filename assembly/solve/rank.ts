// Rankings by selection, equal values by group number, so that runs agree everywhere.
import { enter, entry, value } from './array';

/**
 * The `count` positions of the least values (sign 1) or the greatest (−1), best first.
 * @param order  group by position, for ties; 0 where positions are groups
 * @param taken  n bytes, 1 where a position is not to be ranked; on return it is 1 for those of out too
 * @param out  count positions
 */
export function rank(n: i32, values: usize, order: usize, count: i32, sign: f64, taken: usize, out: usize): void {
  for (let k = 0; k < count; k++) {
    const best = least(n, values, order, sign, taken);
    store<u8>(taken + best, 1);
    enter(out, k, best);
  }
}

/** The position of the least value (sign 1) or the greatest (−1). @param taken  as of `rank`, or 0 */
export function least(n: i32, values: usize, order: usize, sign: f64 = 1, taken: usize = 0): i32 {
  let best = -1;
  let bound: f64 = 0;
  const signs = f64x2.splat(sign);
  for (let i = 0; i < n; i++) {
    if (best >= 0) {
      // Most are passed over here, by pairs.
      const bounds = f64x2.splat(bound);
      const end = n - 1;
      while (i < end && !v128.any_true(f64x2.le(f64x2.mul(signs, v128.load(values + (<usize>i << 3))), bounds))) i += 2;
      if (i == n) break;
    }
    const x = sign * value(values, i);
    if (best >= 0 && !(x <= bound)) continue;
    if (taken && load<u8>(taken + i)) continue;
    if (best >= 0 && x == bound && (order == 0 || entry(order, i) > entry(order, best))) continue;
    best = i;
    bound = x;
  }
  return best;
}
