// What a session can be asked to compute: plain functions of the kernels and of data. A worker runs them by name,
// a session of one thread calls them.

import { ShapeError } from '../errors.ts';
import type { Kernels } from '../kernel/index.ts';
import { pruneLayer, solveLayers } from '../solve/index.ts';

export const operations = { factorise, inverse, pruneLayer, solveLayers };

export type Operation = keyof typeof operations;
type Tail<F> = F extends (kernels: Kernels, ...args: infer A) => unknown ? A : never;
export type Arguments<N extends Operation> = Tail<(typeof operations)[N]>;
export type Result<N extends Operation> = ReturnType<(typeof operations)[N]>;

export function perform<N extends Operation>(kernels: Kernels, name: N, args: Arguments<N>): Result<N> {
  const run = operations[name] as unknown as (kernels: Kernels, ...args: Arguments<N>) => Result<N>;
  return run(kernels, ...args);
}

/** L with A = L·Lᵀ, zeros above the diagonal; of A (n × n) the lower triangle is read. n³/3 flops. */
function factorise(kernels: Kernels, A: Float64Array, n: number): Float64Array {
  return onMatrix(kernels, 'factorise', A, n, (T) => {
    kernels.potrf(T);
    const L = kernels.read(T);
    for (let i = 0; i < n; i++) L.fill(0, i * n + i + 1, (i + 1) * n);
    return L;
  });
}

/** A⁻¹, both triangles; of A (n × n, symmetric positive definite) the lower triangle is read. n³ flops. */
function inverse(kernels: Kernels, A: Float64Array, n: number): Float64Array {
  return onMatrix(kernels, 'inverse', A, n, (T) => {
    kernels.potrf(T);
    kernels.potri(T);
    kernels.symmetrize(T);
    return kernels.read(T);
  });
}

function onMatrix(
  kernels: Kernels,
  operation: string,
  A: Float64Array,
  n: number,
  run: (T: ReturnType<typeof kernels.matrix<'f64'>>) => Float64Array,
): Float64Array {
  if (A.length !== n * n) {
    throw new ShapeError(`${operation}: "A" expected ${n}×${n} = ${n * n} values, got ${A.length}`);
  }
  const mark = kernels.mark();
  try {
    const T = kernels.matrix(n, n, 'f64');
    kernels.write(T, A);
    return run(T);
  } finally {
    kernels.release(mark);
  }
}
