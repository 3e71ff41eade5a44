// A layer by the default method, as src/solve/prune.ts and search.ts: the best of three starts, single swaps, refit.
import { IMPROVEMENT, SEARCHABLE_ROWS, swapsAtMost } from '../../src/solve/constants';
import { eliminateBytes, eliminateInDouble, eliminateInSingle, select } from './eliminate';
import { mark, push, pushBytes, release } from './memory';
import { Problem } from './problem';
import { magnitude, magnitudeBytes, refit, refitBytes } from './refit';
import { REPORT_BYTES, Report, blank } from './report';
import { bestSwap, createTableau, keptOf, swap, tableauBytes } from './tableau';

/** Scratch of `prune`. */
export function pruneBytes(p: i32, m: i32, b: i32): f64 {
  const search = p <= SEARCHABLE_ROWS ? tableauBytes(p, m, b) : 0;
  const largest = max(max(eliminateBytes(p, m, b), search), max(refitBytes(p, m), magnitudeBytes(p / b)));
  return largest + pushBytes(p / b) + pushBytes(REPORT_BYTES);
}

/**
 * The best single swap again and again, at most `maxSwaps` times.
 * @param flags  the kept groups, in and out; @returns 0, or the pivot at which H is not positive definite
 */
export function search(layer: Problem, flags: usize, maxSwaps: i32, report: Report): i32 {
  const from = mark();
  const s = createTableau(layer, flags);
  if (s.info) return s.info;
  let swaps = 0;
  let optimal = true;
  while (bestSwap(s)) {
    report.remaining = s.change;
    if (!(s.change < -IMPROVEMENT * abs(s.objective))) break;
    if (swaps >= maxSwaps) {
      optimal = false;
      break;
    }
    // Only what the pivot itself confirms is kept: rounding may have promised more.
    const out = s.out;
    const into = s.into;
    if (!(swap(s, out, into) < 0)) {
      if (s.info == 0) swap(s, into, out);
      if (s.info) return s.info;
      break;
    }
    report.remaining = NaN;
    swaps++;
  }
  keptOf(s, flags);
  report.objective = s.objective;
  report.swaps = swaps;
  report.optimal = optimal ? 1 : 0;
  release(from);
  return 0;
}

/**
 * @param flags  out, the kept groups; @param W, bias  out, or 0
 * @returns 0, or the pivot at which H is not positive definite
 */
export function prune(layer: Problem, keep: i32, flags: usize, W: usize, bias: usize, report: Report): i32 {
  const groups = layer.groups;
  const k = keep * layer.b;
  const single = eliminateInSingle(layer, keep, 1, flags, 0, report);
  let info = single ? 0 : eliminateInDouble(layer, keep, 1, flags, 0, report);
  if (info) return info;
  report.start = 0;
  if (keep > 0 && keep < groups) {
    const other = push(groups);
    const tried = blank(push(REPORT_BYTES));
    let best = report.objective;
    magnitude(layer, keep, other);
    info = refit(layer, other, k, 0, 0, tried);
    if (info) return info;
    if (tried.objective < best) {
      best = tried.objective;
      report.start = 1;
      memory.copy(flags, other, groups);
    }
    if (2 * keep <= groups) {
      info = single ? select<f32>(layer, keep, other, tried) : select<f64>(layer, keep, other, tried);
      if (info) return info;
      info = refit(layer, other, k, 0, 0, tried);
      if (info) return info;
      if (tried.objective < best) {
        report.start = 2;
        memory.copy(flags, other, groups);
      }
    }
    report.swaps = 0;
    report.optimal = 0;
    if (layer.p <= SEARCHABLE_ROWS) {
      info = search(layer, flags, <i32>swapsAtMost(groups, layer.b), report);
      if (info) return info;
    }
  }
  return refit(layer, flags, k, W, bias, report);
}
