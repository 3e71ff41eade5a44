// Sets of groups: one byte a group, 1 where it is in.
import { enter } from '../solve/array';

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
