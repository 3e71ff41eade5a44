// Numbers of the solver that both TypeScript and AssemblyScript read: asc compiles this file too, so it imports nothing.

/**
 * How ill-conditioned H may be for a search in f32: the largest variance inflation factor H_jj·(H⁻¹)_jj, which no scaling
 * of the inputs changes. Costs of removals are then good to 1e-4: off by 0.15·2⁻²⁴ times the factor (median), at
 * most 20 times as much (measured). Of real layers it is at most some 300 at the default damping.
 */
export const WELL_CONDITIONED: f64 = 500;

/**
 * How far an f32 search may be off in what its removals cost in all: relative to that, and to f, of which f32 knows the
 * eighth digit at best. Rounding that misleads a choice shows here: what is taken by mistake costs more than was thought.
 */
export const CONFIRMED: f64 = 1e-4;
export const NEGLIGIBLE: f64 = 1e-7;

/** What counts as an improvement by an exchange, relative to the objective: above rounding, far below anything of use. */
export const IMPROVEMENT: f64 = 1e-10;

/** Pivots between two factorisations of a tableau from H: rounding grows by about one unit a pivot. */
export const PIVOTS: i32 = 128;

/** Rows of one pivot where many groups move: enough for its products to run near GEMM speed; more gain nothing (measured). */
const PIVOT_ROWS: f64 = 32;

/** Groups that move in one pivot at most. */
export function groupsPerPivot(b: f64): f64 {
  return Math.max(1, Math.floor(PIVOT_ROWS / b));
}

/** Above it searches stay with their start, but for the thorough one: a tableau would take more than 1 GiB. */
const SEARCHABLE_ROWS: f64 = 8192;

// What follows the greedy elimination, by its place among SEARCHES.
export const GREEDY: i32 = 0;
export const SWAP: i32 = 1;
export const THOROUGH: i32 = 2;
export const HALVING: i32 = 3;
export const PUBLISHED: i32 = 4;

/** Whether a search of p rows has a tableau. */
export function hasTableau(search: i32, p: f64): boolean {
  return search === THOROUGH || (search !== GREEDY && p <= SEARCHABLE_ROWS);
}

/** Rows per chunk of statistics: the depth that the f32 kernels sum before they add to f64 (KC of the GEMM). */
export const CHUNK_ROWS: i32 = 512;
/** Rows of those that are summed in f64, at a time. */
export const WIDE_ROWS: i32 = 64;

/** Weights of a 3×3 kernel for each channel. */
export const TAPS: i32 = 9;

/**
 * Rows and columns of a tile, a multiple of both KC of the GEMM. Matrices of more rows are factored and inverted tile by tile,
 * so that it makes no difference to any sum whether all tiles are in one memory.
 */
export const TILE: i32 = 2048;

/** The first row of the last tile of n rows; 0 where there is one tile only. */
export function lastTile(n: i32, edge: i32): i32 {
  return n > edge ? (((n - 1) / edge) | 0) * edge : 0;
}

/**
 * Damping of dead inputs, relative to that of others, 2⁻⁴⁰: enough for a definite H and for an order among them, far
 * below the ½ρ|w|² that any live group costs at least.
 */
export const DEAD_DAMPING: f64 = 9.094947017729282e-13;

/**
 * How much of Σx² a variance of rounding may be, 3·2⁻²⁴ for each row of a chunk: in f32 sums Σx² is off by 2⁻²⁴ a row,
 * (Σx)²/n by twice that, and chunks are added in f64. With 512 rows that is 9e-5; constant inputs had up to 2.2e-5, live
 * ones of five networks at least 1.8e-2 (measured).
 */
export const VARIANCE_ROUNDING: f64 = 1.7881393432617188e-7;

/**
 * Swaps of the default search at most. A swap costs 1–2 % of the elimination for groups of one row (measured);
 * of larger groups the scan of all pairs is what costs, about 8/J of it.
 */
export function swapsAtMost(groups: f64, b: f64): f64 {
  return b === 1 ? 32 : Math.max(4, Math.min(32, Math.floor(groups / 16)));
}

/** Removals that are deferred: few enough for what each owes those before it, enough for products at GEMM speed. With 80 an elimination takes 1 to 2 % longer. */
const PANEL_ROWS: f64 = 48;
/**
 * Rows staged at a time: more are better products and fewer passes over tiles, fewer are better foresight. 16 to 40 take the same time to 2 %
 * where foresight is easy; where it is not, 16, 24, 36 and 40 stage 1.6, 2.1, 2.5 and 2.8 rows for one that goes (measured, 3072 inputs).
 */
export const STAGED_ROWS: f64 = 16;
/** Rows staged in a panel at most, per row of the panel. */
export const CAPACITY: f64 = 2;

/** Rows of a panel. */
export function panelRows(b: f64): f64 {
  return multipleOf(b, PANEL_ROWS);
}

/** About so many rows, in whole groups. */
export function multipleOf(b: f64, rows: f64): f64 {
  return b * Math.max(1, Math.floor(rows / b + 0.5));
}
