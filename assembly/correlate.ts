// XᵀX of the patches of 3×3 convolutions with stride 1 and a border of one zero, without unfolding them. Column (c, a, b) of X is
// channel c of an image, shifted; so an element of XᵀX is a correlation of two channels under the difference of two shifts, of which
// there are 13 up to symmetry, where XᵀX has 45 blocks. What the patches at an edge lack is known from the edges' own correlations.
//
// Images are laid out as panels of the microkernel, position behind position, with two zeros behind every row: another shift is another
// place to start from then, and nothing is packed for it. Products over at most KC positions are summed in T, those sums in f64.
import { TAPS } from '../src/solve/constants';
import { LINE, triangle } from '../src/solve/memory';
import { KC } from './gemm';
import { packEdge, packRows } from './pack';
import { S, dot } from './rows';
import { at, whole } from './simd';
import { MR, NR, ukr } from './ukr';

/** Squares of sums, channels × channels: 13 shifts of whole images; 3 along their first row, and last; along columns likewise; corners. */
const ROWS: i32 = 13;
const COLUMNS: i32 = ROWS + 6;
const CORNERS: i32 = COLUMNS + 6;
const SQUARES: i32 = CORNERS + 4;
/** Zeros behind a row, and before the first: no shift reaches farther. */
const GAP: i32 = 2;

/** Channels of some images, laid out for the microkernel. */
@unmanaged
class Panels {
  at: usize;
  channels: i32;
  /** Channels that an image has, from one image to the next. */
  planes: i32;
  /** Channels in a panel. */
  W: i32;
  /** Channels before it are asked for with later ones alone. */
  first: i32;
  /** Positions of an image, and of a line of it. */
  size: i32;
  line: i32;
  /** Zeros before the first line; lines above and below those that are summed. */
  lead: i32;
  above: i32;
  below: i32;
}

/** Sums, and where images are laid out for them; at the beginning of `correlationBytes`. */
@unmanaged
export class Correlation {
  first: i32;
  channels: i32;
  planes: i32;
  /** Rows of y: targets, and ones. */
  m: i32;
  /** Bytes of a row of sums; of a square; and of the sums of y with one tap of the images. */
  line: usize;
  square: usize;
  cross: usize;
  /** SQUARES, then TAPS products with y, then Σ of y's rows, in f64 and in whole tiles of the microkernel. */
  squares: usize;
  crosses: usize;
  sumY: usize;
  /** Images that are laid out side by side, as many as make KC positions; or rows of one. */
  images: i32;
  band: i32;
  /** What is not shifted, x, y and a column of x, and what is. */
  x: Panels;
  y: Panels;
  column: Panels;
  shiftedX: Panels;
  shiftedColumn: Panels;
}

const HEAD: usize = <usize>(8 * LINE);
const PANELS: usize = <usize>LINE;

/** @param m  rows of y */
export function correlationBytes(channels: i32, m: i32): f64 {
  const rows = <f64>SQUARES * whole(channels, MR) + <f64>TAPS * whole(m, MR);
  return <f64>HEAD + 8 * (rows * whole(channels, NR<f32>()) + m);
}

/**
 * Sums of nothing.
 * @param first  sums of pairs of channels that both lie before it are not asked for
 * @param planes  channels of an image, of which the first `channels` are summed
 */
export function createCorrelation(address: usize, first: i32, channels: i32, planes: i32, m: i32): Correlation {
  const s = changetype<Correlation>(address);
  memory.fill(address, 0, <usize>correlationBytes(channels, m));
  s.first = first;
  s.channels = channels;
  s.planes = planes;
  s.m = m;
  s.line = <usize>whole(channels, NR<f32>()) * S;
  s.square = s.line * whole(channels, MR);
  s.cross = s.line * whole(m, MR);
  s.squares = address + HEAD;
  s.crosses = s.squares + s.square * SQUARES;
  s.sumY = s.crosses + s.cross * TAPS;
  const panels = address + HEAD - 5 * PANELS;
  s.x = changetype<Panels>(panels);
  s.y = changetype<Panels>(panels + PANELS);
  s.column = changetype<Panels>(panels + 2 * PANELS);
  s.shiftedX = changetype<Panels>(panels + 3 * PANELS);
  s.shiftedColumn = changetype<Panels>(panels + 4 * PANELS);
  return s;
}

/** Prepares for images of a size. @returns where the scratch ends, for values of type T */
function layOut<T>(s: Correlation, height: i32, width: i32, work: usize): usize {
  const line = width + GAP;
  s.band = min(height, max(1, KC<f32>() / line));
  s.images = s.band == height ? max(1, KC<f32>() / (height * line)) : 1;
  let next = describe<T>(s, s.x, s.channels, s.planes, MR, s.first, line, 0, 0, 0, work);
  next = describe<T>(s, s.y, s.m, s.m, MR, i32.MAX_VALUE, line, 0, 0, 0, next);
  next = describe<T>(s, s.column, s.channels, s.planes, MR, s.first, 1, 0, 0, 0, next);
  next = describe<T>(s, s.shiftedX, s.channels, s.planes, NR<T>(), s.first, line, GAP, 1, 2, next);
  return describe<T>(s, s.shiftedColumn, s.channels, s.planes, NR<T>(), s.first, 1, 0, 0, 2, next);
}

/** @returns where they end */
function describe<T>(
  s: Correlation, panels: Panels, channels: i32, planes: i32, W: i32, first: i32, line: i32, lead: i32, above: i32, below: i32, address: usize,
): usize {
  panels.at = address;
  panels.channels = channels;
  panels.planes = planes;
  panels.W = W;
  panels.first = first;
  panels.size = (above + s.band + below) * line + 2 * lead;
  panels.line = line;
  panels.lead = lead;
  panels.above = above;
  panels.below = below;
  return at<T>(address, whole(channels, W), s.images * panels.size, 0);
}

/** Scratch of `correlate`. */
export function correlateBytes(s: Correlation, height: i32, width: i32): f64 {
  return <f64>layOut<f64>(s, height, width, 0);
}

/**
 * Adds images to the sums.
 *
 * @param x  count × planes × (height·width)
 * @param y  count × m × (height·width): targets, and a row of ones
 * @param work  `correlateBytes`
 *
 * About 26 c² + 18 mc flops for each position, where products of unfolded rows take 81 c² + 18 mc.
 */
export function correlate<T>(s: Correlation, count: i32, height: i32, width: i32, x: usize, y: usize, work: usize): void {
  const plane = height * width;
  layOut<T>(s, height, width, work);
  for (let image = 0; image < count; image += s.images) {
    const images = min(s.images, count - image);
    const xs = at<T>(x, plane, image * s.planes, 0);
    const ys = at<T>(y, plane, image * s.m, 0);
    for (let row = 0; row < height; row += s.band) addBand<T>(s, images, height, width, xs, ys, row);
  }
  const ones = at<T>(y, plane, s.m - 1, 0);
  for (let i = 0; i < count * s.m; i++) {
    const sum = s.sumY + <usize>(i % s.m) * S;
    for (let p = 0; p < plane; p += KC<f32>()) {
      const n = min(KC<f32>(), plane - p);
      store<f64>(sum, load<f64>(sum) + dot<T>(n, at<T>(y, plane, i, p), ones));
    }
  }
}

/** Adds a band of the images' rows. */
function addBand<T>(s: Correlation, images: i32, height: i32, width: i32, x: usize, y: usize, row: i32): void {
  const rows = min(s.band, height - row);
  const line = s.x.line;
  lay<T>(s.x, images, height, width, x, row, rows, -1);
  lay<T>(s.y, images, height, width, y, row, rows, -1);
  lay<T>(s.shiftedX, images, height, width, x, row, rows, -1);
  addShifts<T>(s, images, s.x, s.shiftedX, 0, rows * line, 0, 2, 2, s.squares, s.square);
  addShifts<T>(s, images, s.y, s.shiftedX, 0, rows * line, -1, 1, 1, s.crosses, s.cross);
  for (let last = 0; last < 2; last++) {
    const column = last * (width - 1);
    lay<T>(s.column, images, height, width, x, row, rows, column);
    lay<T>(s.shiftedColumn, images, height, width, x, row, rows, column);
    addShifts<T>(s, images, s.column, s.shiftedColumn, 0, rows, 0, 2, 0, squareAt(s, COLUMNS + 3 * last), s.square);
    const edge = last * (height - 1) - row;
    if (edge < 0 || edge >= rows) continue;
    addShifts<T>(s, images, s.x, s.shiftedX, edge * line, width, 0, 0, 2, squareAt(s, ROWS + 3 * last), s.square);
    for (let right = 0; right < 2; right++) {
      const corner = edge * line + right * (width - 1);
      addShifts<T>(s, images, s.x, s.shiftedX, corner, 1, 0, 0, 0, squareAt(s, CORNERS + 2 * last + right), s.square);
    }
  }
}

@inline
function squareAt(s: Correlation, i: i32): usize {
  return s.squares + s.square * i;
}

/** Fills panels with rows of images, or with a column of these (−1: all), and zeros where there are none. */
function lay<T>(to: Panels, images: i32, height: i32, width: i32, from: usize, row: i32, rows: i32, column: i32): void {
  const W = to.W;
  const plane = height * width;
  const length = images * to.size;
  const first = max(row - to.above, 0);
  const end = min(row + rows + to.below, height);
  const lead = to.lead + (first - row + to.above) * to.line;
  memory.fill(to.at, 0, <usize>(whole(to.channels, W) * length) * sizeof<T>());
  for (let c = 0; c < to.channels; c += W) {
    const n = min(W, to.channels - c);
    for (let image = 0; image < images; image++) {
      let source = at<T>(from, plane, image * to.planes + c, first * width);
      let panel = at<T>(to.at, length, c, (image * to.size + lead) * W);
      if (column >= 0) {
        source = at<T>(source, 0, 0, column);
        packEdge<T>(W, n, end - first, 1, source, <usize>plane * sizeof<T>(), <usize>width * sizeof<T>(), panel);
        continue;
      }
      for (let r = first; r < end; r++) {
        packRows<T>(W, n, width, 1, source, plane, panel);
        source = at<T>(source, 0, 0, width);
        panel = at<T>(panel, 0, 0, to.line * W);
      }
    }
  }
}

/**
 * Adds AᵀB of images over `depth` positions from one on, B shifted by u lines and v positions: u from one shift to another, v as far to
 * both sides. From u = 0 on these are the half that leads onwards: the others are the same with A and B exchanged.
 */
function addShifts<T>(
  s: Correlation, images: i32, A: Panels, B: Panels, from: i32, depth: i32, uFirst: i32, uLast: i32, vLast: i32, sums: usize, step: usize,
): void {
  const start = from + B.lead + B.above * B.line;
  for (let j = 0; j < B.channels; j += NR<T>()) {
    const right = at<T>(B.at, images * B.size, j, start * NR<T>());
    for (let i = 0; i < A.channels; i += MR) {
      if (i + MR <= A.first && j + NR<T>() <= B.first) continue;
      const left = at<T>(A.at, images * A.size, i, from * MR);
      let sum = sums + <usize>i * s.line + <usize>j * S;
      for (let u = uFirst; u <= uLast; u++) {
        for (let v = uFirst == 0 && u == 0 ? 0 : -vLast; v <= vLast; v++) {
          const shift = u * B.line + v;
          for (let image = 0; image < images; image++) {
            for (let p = 0; p < depth; p += KC<f32>()) {
              const a = at<T>(left, 0, 0, (image * A.size + p) * MR);
              const b = at<T>(right, 0, 0, (image * B.size + p + shift) * NR<T>());
              ukr<T, f64>(true, min(KC<f32>(), depth - p), a, 0, b, sum, s.line);
            }
          }
          sum += step;
        }
      }
    }
  }
}

/**
 * What the sums say of columns first … end − 1 of X: their rows of the lower triangle of XᵀX one behind the other, their XᵀY (m − 1 wide),
 * their sums and those of y.
 */
export function unfold(s: Correlation, first: i32, end: i32, XtX: usize, XtY: usize, sumX: usize, sumY: usize): void {
  const m = s.m - 1;
  memory.fill(XtX, 0, <usize>(triangle(end) - triangle(first)) * S);
  for (let i = first; i < end; i++) {
    const c = i / TAPS;
    const t = i % TAPS;
    for (let r = 0; r < TAPS; r++) unfoldTap(s, c, t, r, c + i32(r <= t), at<f64>(XtX, 0, 0, r));
    XtX = at<f64>(XtX, 0, 0, i + 1);
    let y = at<f64>(s.crosses + s.cross * t, 0, 0, c);
    for (let q = 0; q < m; q++) {
      store<f64>(XtY, load<f64>(y));
      XtY += S;
      y += s.line;
    }
    store<f64>(sumX, load<f64>(y));
    sumX += S;
  }
  memory.copy(sumY, s.sumY, <usize>m * S);
}

/** To every ninth place, the sums of channel c under tap t with the first n channels under tap r. */
function unfoldTap(s: Correlation, c: i32, t: i32, r: i32, n: i32, to: usize): void {
  const isTurned = r < t; // sums are of the lower tap with the higher
  const tap = min(r, t);
  const row = tap / 3;
  const column = tap % 3;
  const u = max(r, t) / 3 - row;
  const v = max(r, t) % 3 - column;
  const next = isTurned ? s.line : S;
  const at = <usize>c * (isTurned ? S : s.line);
  addTo(n, 1, squareAt(s, u == 0 ? v : 5 * u + v) + at, next, to);
  // Taps above the middle never meet the last row, those below it not the first; and so with columns.
  const lower = i32(row == 0);
  const right = i32(column == 0);
  if (u == 0 && row != 1) addTo(n, -1, squareAt(s, ROWS + 3 * lower + v) + at, next, to);
  if (v == 0 && column != 1) addTo(n, -1, squareAt(s, COLUMNS + 3 * right + u) + at, next, to);
  if (r == t && row != 1 && column != 1) addTo(n, 1, squareAt(s, CORNERS + 2 * lower + right) + at, next, to);
}

/** y ← y + a·x, n values of x some bytes apart, of y a channel's taps. */
function addTo(n: i32, a: f64, x: usize, next: usize, y: usize): void {
  for (let i = 0; i < n; i++) {
    store<f64>(y, load<f64>(y) + a * load<f64>(x));
    x += next;
    y += TAPS * S;
  }
}
