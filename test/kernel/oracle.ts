// Naive oracles in f64. Matrices are row-major arrays.

export type Sizes = readonly [m: number, n: number, k: number];

/** op(A)·op(B), m × n. */
export function multiply(
  transA: boolean,
  transB: boolean,
  [m, n, k]: Sizes,
  A: ArrayLike<number>,
  B: ArrayLike<number>,
): Float64Array {
  const C = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let p = 0; p < k; p++) {
      const a = transA ? A[p * m + i] : A[i * k + p];
      for (let j = 0; j < n; j++) C[i * n + j] += a * (transB ? B[j * k + p] : B[p * n + j]);
    }
  }
  return C;
}

/** The same, and |op(A)|·|op(B)|, of which every error bound of a product is a multiple. */
export function product(...[transA, transB, sizes, A, B]: Parameters<typeof multiply>) {
  return {
    value: multiply(transA, transB, sizes, A, B),
    magnitude: multiply(transA, transB, sizes, absolute(A), absolute(B)),
  };
}

export function transpose(m: number, n: number, A: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: m * n }, (_, i) => A[(i % m) * n + Math.floor(i / m)]);
}

export function absolute(A: ArrayLike<number>): Float64Array {
  return Float64Array.from(A, Math.abs);
}

/** Whether element i of an n × n matrix is above the diagonal. */
export function isUpper(n: number, i: number): boolean {
  return i % n > Math.floor(i / n);
}

/** Sets the strict upper triangle. */
export function withUpper(n: number, A: ArrayLike<number>, value: number): Float64Array {
  return Float64Array.from(A, (a, i) => (isUpper(n, i) ? value : a));
}

/** X with L·X = B by forward substitution; L lower n × n, B n × w. */
export function forwardSubstitution(
  n: number,
  w: number,
  L: ArrayLike<number>,
  B: ArrayLike<number>,
): Float64Array {
  const X = Float64Array.from(B);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < w; j++) {
      for (let p = 0; p < i; p++) X[i * w + j] -= L[i * n + p] * X[p * w + j];
      X[i * w + j] /= L[i * n + i];
    }
  }
  return X;
}

export function identity(n: number): Float64Array {
  return Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
}
