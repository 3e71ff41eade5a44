// Elements of arrays in linear memory: doubles by `value` and `put`, i32 by `entry` and `enter`.
import { lines } from '../../src/solve/memory';

@inline
export function value(array: usize, i: i32): f64 {
  return load<f64>(array + (<usize>i << 3));
}

@inline
export function put(array: usize, i: i32, x: f64): void {
  store<f64>(array + (<usize>i << 3), x);
}

@inline
export function entry(array: usize, i: i32): i32 {
  return load<i32>(array + (<usize>i << 2));
}

@inline
export function enter(array: usize, i: i32, x: i32): void {
  store<i32>(array + (<usize>i << 2), x);
}

/** The first line behind rows × cols elements. */
export function after<T>(array: usize, rows: i32, cols: i32): usize {
  return array + <usize>lines(<f64>rows * cols * sizeof<T>());
}

/** Behind whose fields arrays lie, one after the other, each from a line on. */
@unmanaged
export class Layout {
  /** Behind the last of them. */
  end: usize;

  /** Room for rows × cols elements of `size` bytes: doubles, where nothing is said. */
  take(rows: i32, cols: i32, size: f64 = 8): usize {
    const array = this.end;
    this.end = array + <usize>lines(<f64>rows * cols * size);
    return array;
  }
}
