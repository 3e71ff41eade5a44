// Rankings by selection, equal values by group number, so that runs agree everywhere.
import { enter, entry, value } from './array';

/**
 * The `count` positions of the least values (sign 1) or the greatest (−1), best first.
 * @param order  group by position, for ties
 * @param taken  n bytes, 1 where a position is not to be ranked; on return it is 1 for those of out too
 * @param out  count positions
 */
export function rank(n: i32, values: usize, order: usize, count: i32, sign: f64, taken: usize, out: usize): void {
  for (let k = 0; k < count; k++) {
    let best = -1;
    let least: f64 = 0;
    for (let i = 0; i < n; i++) {
      const x = sign * value(values, i);
      if (best >= 0 && !(x <= least)) continue; // most end here
      if (load<u8>(taken + i)) continue;
      if (best >= 0 && x == least && entry(order, i) > entry(order, best)) continue;
      best = i;
      least = x;
    }
    store<u8>(taken + best, 1);
    enter(out, k, best);
  }
}
