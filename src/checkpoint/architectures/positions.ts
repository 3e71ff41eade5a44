// Learned positions of squares for images of another size than they were learned on: bicubic, as torch has it.

/** Number of squares on each side, as they were learned and as they are asked for. */
export interface Resampling {
  readonly from: number;
  readonly to: number;
  /** Positions of no square, before the others. */
  readonly before: number;
  /** Whether the filter is as wide as what it makes one of. */
  readonly isAntialiased: boolean;
}

/** torch's `upsample_bicubic2d`, and with antialiasing PIL's. */
const SHARPNESS = { plain: -0.75, antialiased: -0.5 };

/** @param data  rows of features, those before first, then squares row by row */
export function resampled(
  data: Float32Array,
  hidden: number,
  { from, to, before, isAntialiased }: Resampling,
): Float32Array {
  const result = new Float32Array((before + to * to) * hidden);
  const head = before * hidden;
  result.set(data.subarray(0, head));
  const taps = Array.from({ length: to }, (_, i) => tapsOf(i, from, to, isAntialiased));
  for (const [y, rows] of taps.entries())
    for (const [x, columns] of taps.entries()) {
      const at = head + (y * to + x) * hidden;
      for (const [row, down] of rows)
        for (const [column, across] of columns) {
          const source = head + (row * from + column) * hidden;
          for (let c = 0; c < hidden; c++) result[at + c] += down * across * data[source + c];
        }
    }
  return result;
}

/** Which of the learned ones are in the i-th, and how much. */
function tapsOf(
  i: number,
  from: number,
  to: number,
  isAntialiased: boolean,
): [index: number, share: number][] {
  const ratio = from / to;
  const stretch = isAntialiased ? Math.max(1, ratio) : 1;
  const a = isAntialiased ? SHARPNESS.antialiased : SHARPNESS.plain;
  const center = ratio * (i + 0.5) - 0.5;
  const first = Math.floor(center - 2 * stretch) + 1;
  const last = Math.ceil(center + 2 * stretch) - 1;
  const all = Array.from({ length: last - first + 1 }, (_, k): [number, number] => [
    first + k,
    cubic(Math.abs(first + k - center) / stretch, a),
  ]);
  // Beyond the edge it is as at the edge, or with antialiasing nothing, and the others are more.
  if (!isAntialiased) return all.map(([index, share]) => [Math.min(from - 1, Math.max(0, index)), share]);
  const inside = all.filter(([index]) => index >= 0 && index < from);
  const total = inside.reduce((sum, [, share]) => sum + share, 0);
  return inside.map(([index, share]) => [index, share / total]);
}

/** Keys' cubic convolution (1981), x ≥ 0. */
function cubic(x: number, a: number): number {
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** A table of positions: sines of each at frequencies 10000^−exponent(c), and then cosines. */
export function waves(exponent: (c: number, half: number) => number) {
  return (rows: number, width: number): Float32Array => {
    const half = width / 2;
    return Float32Array.from({ length: rows * width }, (_, at) => {
      const [position, column] = [Math.floor(at / width), at % width];
      const angle = position / 10_000 ** exponent(column % half, half);
      return column < half ? Math.sin(angle) : Math.cos(angle);
    });
  };
}
