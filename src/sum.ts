/** Of all of them, in their order. */
export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Σ aᵢbᵢ, as many as `a` has. */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let result = 0;
  for (let i = 0; i < a.length; i++) result += a[i] * b[i];
  return result;
}
