// A layer by the default method, as src/solve/prune.ts and search.ts: the best of three starts, single swaps, refit.
import { SEARCHABLE_ROWS, swapsAtMost } from '../../src/solve/constants';
import { lines, tableauBytes } from '../../src/solve/memory';
import { entry, put, value } from '../solve/array';
import { Tableau, arrange, createTableau, factorise, search as swapWhileBetter } from '../solve/tableau';
import { workBytes } from '../solve/work';
import { eliminateBytes, eliminateInDouble, eliminateInSingle, select } from './eliminate';
import { mark, push, pushBytes, release } from './memory';
import { Problem } from './problem';
import { magnitude, magnitudeBytes, refit, refitBytes } from './refit';
import { REPORT_BYTES, Report, blank } from './report';

/** Scratch of `search`. */
export function searchBytes(p: i32, m: i32, b: i32): f64 {
  return lines(tableauBytes(p, m, b)) + lines(workBytes(p, m));
}

/** Scratch of `prune`. */
export function pruneBytes(p: i32, m: i32, b: i32): f64 {
  const search = p <= SEARCHABLE_ROWS ? searchBytes(p, m, b) : 0;
  const largest = max(max(eliminateBytes(p, m, b), search), max(refitBytes(p, m), magnitudeBytes(p / b)));
  return largest + pushBytes(p / b) + pushBytes(REPORT_BYTES);
}

/**
 * The best single swap again and again, at most `maxSwaps` times.
 * @param flags  the kept groups, in and out; @returns 0, or the pivot at which H is not positive definite
 */
export function search(layer: Problem, flags: usize, maxSwaps: i32, report: Report): i32 {
  const from = mark();
  const p = layer.p;
  const m = layer.m;
  const products = push(<usize>workBytes(p, m));
  const s = createTableau(push(<usize>tableauBytes(p, m, layer.b)), products, p, m, layer.b);
  memory.copy(s.isKept, flags, layer.groups);
  let steps: f64 = NaN;
  while (steps != steps) {
    if (s.failures > 1) return 1;
    const info = build(layer, s);
    if (info) return info;
    steps = swapWhileBetter(s, maxSwaps);
  }
  memory.copy(flags, s.isKept, layer.groups);
  report.objective = s.objective;
  report.swaps = steps;
  report.optimal = s.isOptimal ? 1 : 0;
  report.remaining = s.change;
  release(from);
  return 0;
}

/** The tableau of the kept groups, from H and G. @returns 0, or the pivot that is not positive */
function build(layer: Problem, s: Tableau): i32 {
  const p = layer.p;
  const b = layer.b;
  const line = <usize>layer.m * 8;
  arrange(s);
  for (let i = 0; i < p; i++) {
    const source = entry(s.order, i / b) * b + i % b;
    const h = layer.H + <usize>source * <usize>p * 8;
    for (let j = 0; j <= i; j++) put(s.T, i * p + j, value(h, entry(s.order, j / b) * b + j % b));
    memory.copy(s.R + <usize>i * line, layer.G + <usize>source * line, line);
  }
  return factorise(s);
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
