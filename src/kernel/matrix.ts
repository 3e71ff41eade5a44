// A matrix in wasm memory: a description, not a container. Row-major; ld counts elements.

import { ShapeError } from '../errors.ts';

export type ElementType = 'f32' | 'f64';

export interface Matrix<T extends ElementType = ElementType> {
  readonly type: T;
  /** Address of the first element in linear memory. */
  readonly ptr: number;
  readonly rows: number;
  readonly cols: number;
  /** Elements from one row to the next. */
  readonly ld: number;
}

export type View<T extends ElementType> = T extends 'f32'
  ? Float32Array<ArrayBuffer>
  : Float64Array<ArrayBuffer>;

export function elementBytes(type: ElementType): number {
  return type === 'f32' ? 4 : 8;
}

/** Of the kernels for its type: BLAS's s and d. */
export function prefixOf(type: ElementType): 's' | 'd' {
  return type === 'f32' ? 's' : 'd';
}

export function isContiguous(m: Matrix): boolean {
  return m.ld === m.cols || m.rows <= 1;
}

/** @throws {ShapeError} `operation: "name" expected 3×3, got 3×4`, or `expected f64, got f32` */
export function expectShape(
  operation: string,
  name: string,
  m: Matrix,
  rows: number,
  cols: number,
  type: ElementType = m.type,
): void {
  if (m.type !== type) throw new ShapeError(`${operation}: "${name}" expected ${type}, got ${m.type}`);
  if (m.rows !== rows || m.cols !== cols) {
    throw new ShapeError(`${operation}: "${name}" expected ${rows}×${cols}, got ${m.rows}×${m.cols}`);
  }
}

/** @throws {ShapeError} where rows do not follow one another without a gap */
export function expectContiguous(operation: string, name: string, m: Matrix): void {
  if (!isContiguous(m)) {
    throw new ShapeError(`${operation}: "${name}" expected contiguous rows (ld ${m.cols}), got ld ${m.ld}`);
  }
}
