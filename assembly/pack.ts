// Packing: copies a block of a matrix into panels, in the order in which the microkernel reads them.
// A panel is W rows of op(A), or W columns of op(B), stored k-major: k groups of W elements. The last panel
// is filled up with zeros.
import { LANES, at } from './simd';
import { storeColumns } from './transpose';

/** Rows of a block that go into its panels together: enough to fill cache lines. */
const ROWS: i32 = 8;

/**
 * Panels across the columns of a k × w block, times alpha. A few rows at a time through all panels: they are read from
 * end to end, which hardware prefetches, and the panels are written by whole cache lines.
 */
@inline
export function packColumns<T>(W: i32, w: i32, k: i32, alpha: T, A: usize, lda: i32, panels: usize): void {
  const step = <usize>lda * sizeof<T>();
  const whole = w / W;
  for (let p = 0; p < k; p += ROWS) {
    const rows = min(ROWS, k - p);
    let src = at<T>(A, lda, p, 0);
    let panel = at<T>(panels, 0, 0, p * W);
    for (let j = 0; j < whole; j++) {
      copyRows<T>(W, rows, alpha, src, step, panel);
      src += <usize>W * sizeof<T>();
      panel += <usize>W * <usize>k * sizeof<T>();
    }
  }
  const rest = w - whole * W;
  if (rest > 0) {
    packEdge<T>(W, rest, k, alpha, at<T>(A, 0, 0, whole * W), sizeof<T>(), step, at<T>(panels, W, whole * k, 0));
  }
}

/** W columns of so many rows into one panel. */
@inline
function copyRows<T>(W: i32, rows: i32, alpha: T, src: usize, step: usize, panel: usize): void {
  const scale = v128.splat<T>(alpha);
  // The last vector overlaps the one before where W is no multiple of the lanes.
  const last = <usize>(W - LANES<T>()) * sizeof<T>();
  for (let r = 0; r < rows; r++) {
    v128.store(panel, v128.mul<T>(v128.load(src), scale));
    if (W > 2 * LANES<T>()) v128.store(panel, v128.mul<T>(v128.load(src, 16), scale), 16);
    v128.store(panel + last, v128.mul<T>(v128.load(src + last), scale));
    panel += <usize>W * sizeof<T>();
    src += step;
  }
}

/** Panels across the rows of a w × k block, times alpha: a transposition. */
@inline
export function packRows<T>(W: i32, w: i32, k: i32, alpha: T, A: usize, lda: i32, panels: usize): void {
  for (let i = 0; i < w; i += W) {
    const src = at<T>(A, lda, i, 0);
    if (i + W <= w) {
      packLanes<T>(W, k, alpha, src, lda, panels);
      if (W > 2 * LANES<T>()) {
        packLanes<T>(W, k, alpha, at<T>(src, lda, LANES<T>(), 0), lda, panels + 16);
      }
      // Again the last vector overlaps the one before.
      const last = W - LANES<T>();
      packLanes<T>(W, k, alpha, at<T>(src, lda, last, 0), lda, at<T>(panels, 0, 0, last));
    } else {
      packEdge<T>(W, w - i, k, alpha, src, <usize>lda * sizeof<T>(), sizeof<T>(), panels);
    }
    panels += <usize>W * <usize>k * sizeof<T>();
  }
}

/** One vector's worth of rows of a panel: k steps of 4 (f32) or 2 (f64) rows. */
function packLanes<T>(W: i32, k: i32, alpha: T, src: usize, lda: i32, dst: usize): void {
  const scale = v128.splat<T>(alpha);
  const row = <usize>lda * sizeof<T>();
  const step = <usize>W * sizeof<T>();
  let p = LANES<T>();
  for (; p <= k; p += LANES<T>()) {
    const r0 = v128.mul<T>(v128.load(src), scale);
    const r1 = v128.mul<T>(v128.load(src + row), scale);
    if (sizeof<T>() == 8) storeColumns<T>(r0, r1, r0, r1, dst, step);
    else {
      const r2 = v128.mul<T>(v128.load(src + 2 * row), scale);
      const r3 = v128.mul<T>(v128.load(src + 3 * row), scale);
      storeColumns<T>(r0, r1, r2, r3, dst, step);
    }
    dst += <usize>LANES<T>() * step;
    src += 16;
  }
  for (p -= LANES<T>(); p < k; p++) {
    for (let q = 0; q < LANES<T>(); q++) {
      store<T>(at<T>(dst, 0, 0, q), <T>(load<T>(at<T>(src, lda, q, 0)) * alpha));
    }
    src += sizeof<T>();
    dst += step;
  }
}

/** The last panel: `rest` elements a step, zeros from there to W. Elements are `next` bytes apart, steps `step`. */
export function packEdge<T>(
  W: i32, rest: i32, k: i32, alpha: T, src: usize, next: usize, step: usize, panel: usize,
): void {
  for (let p = 0; p < k; p++) {
    let from = src;
    for (let q = 0; q < rest; q++) {
      store<T>(at<T>(panel, 0, 0, q), <T>(load<T>(from) * alpha));
      from += next;
    }
    for (let q = rest; q < W; q++) store<T>(at<T>(panel, 0, 0, q), <T>0);
    src += step;
    panel += <usize>W * sizeof<T>();
  }
}
