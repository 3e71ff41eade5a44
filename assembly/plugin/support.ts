// Sets of groups: one byte a group, 1 where it is in. Rankings are by selection, equal values by group number, so
// that runs agree everywhere.
import { enter, entry, value } from './array';

/** Writes the groups of a set, ascending. @returns how many */
export function list(groups: i32, flags: usize, out: usize): i32 {
  let count = 0;
  for (let g = 0; g < groups; g++) {
    if (load<u8>(flags + g)) enter(out, count++, g);
  }
  return count;
}

/** Adds the rows of the set's groups (b each) to out. @returns how many */
export function rowsOf(groups: i32, b: i32, flags: usize, out: usize): i32 {
  let count = 0;
  for (let g = 0; g < groups; g++) {
    if (!load<u8>(flags + g)) continue;
    for (let r = 0; r < b; r++) enter(out, count++, g * b + r);
  }
  return count;
}

/**
 * The `count` positions of the least values (sign 1) or the greatest (−1), best first.
 * @param order  group by position, for ties; @param taken  n bytes of work; @param out  count positions
 */
export function rank(n: i32, values: usize, order: usize, count: i32, sign: f64, taken: usize, out: usize): void {
  memory.fill(taken, 0, n);
  for (let k = 0; k < count; k++) {
    let best = -1;
    for (let i = 0; i < n; i++) {
      if (load<u8>(taken + i)) continue;
      if (best < 0 || before(i, best, values, order, sign)) best = i;
    }
    store<u8>(taken + best, 1);
    enter(out, k, best);
  }
}

// @ts-ignore: decorator
@inline
function before(i: i32, j: i32, values: usize, order: usize, sign: f64): bool {
  const x = sign * value(values, i);
  const y = sign * value(values, j);
  return x < y || (x == y && entry(order, i) < entry(order, j));
}
