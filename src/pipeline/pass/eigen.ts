// Eigenvectors of small symmetric matrices, by Jacobi's rotations: as many bits are right as the matrix has, and the same in every runtime.

/** Λ descending, and the eigenvectors as columns. */
interface Eigen {
  readonly values: Float64Array;
  /** n × n, row-major. */
  readonly vectors: Float64Array;
}

/** Sweeps after which nothing is left to turn, of any size. */
const MOST_SWEEPS = 40;

/** @param A  n × n, symmetric, row-major */
export function eigen(A: Float64Array, n: number): Eigen {
  const a = Float64Array.from(A);
  const v = Float64Array.from({ length: n * n }, (_, at) => (at % (n + 1) === 0 ? 1 : 0));
  const isSmall = (p: number, q: number) =>
    Math.abs(a[p * n + q]) <= Number.EPSILON * Math.sqrt(Math.abs(a[p * n + p] * a[q * n + q]));
  let left = 1;
  for (let sweep = 0; sweep < MOST_SWEEPS && left > 0; sweep++) {
    left = 0;
    for (let p = 0; p < n; p++)
      for (let q = p + 1; q < n; q++) {
        if (isSmall(p, q)) continue;
        left++;
        turn(a, v, n, p, q);
      }
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => a[j * n + j] - a[i * n + i]);
  const vectors = new Float64Array(n * n);
  for (const [to, from] of order.entries())
    for (let row = 0; row < n; row++) vectors[row * n + to] = v[row * n + from];
  return { values: Float64Array.from(order, (i) => a[i * n + i]), vectors };
}

/** Makes a_pq zero, by a rotation in the plane of p and q. */
function turn(a: Float64Array, v: Float64Array, n: number, p: number, q: number): void {
  const theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  const rotate = (matrix: Float64Array, i: number, j: number) => {
    const [x, y] = [matrix[i], matrix[j]];
    matrix[i] = c * x - s * y;
    matrix[j] = s * x + c * y;
  };
  for (let k = 0; k < n; k++) rotate(a, k * n + p, k * n + q);
  for (let k = 0; k < n; k++) rotate(a, p * n + k, q * n + k);
  for (let k = 0; k < n; k++) rotate(v, k * n + p, k * n + q);
}
