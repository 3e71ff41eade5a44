/**
 * The plug-in ABI: docs/plugin-abi.md. Plain numbers in and out, no imports, no callbacks, nothing kept between calls
 * but the blocks of osscar_alloc and osscar_problem and the text of the last error.
 *
 * Every export forgets the last error, checks all it is given, takes the scratch it states, and only then computes.
 * Groups and reports are written at the very end, where all has gone well.
 */
import { GREEDY, SWAP, THOROUGH, swapsAtMost } from '../../src/solve/constants';
import { formBytes, lines, problemBytes, pruneBytes, refitBytes, tableauBytes } from '../../src/solve/memory';
import { workBytes } from '../gemm';
import { widen } from '../rows';
import { enter, entry, put, value } from '../solve/array';
import { greedy, select } from '../solve/greedy';
import { Problem, createProblem, formProblem, rowOfH, workIn } from '../solve/problem';
import { prune, searchFrom } from '../solve/prune';
import { keepLargest, refit, refitted } from '../solve/refit';
import { Report, blank } from '../solve/report';
import * as check from './check';
import { BUFFER, PROBLEM, allocate, free, memoryFor, setLimit } from './memory';
import { XtXOf, XtYOf, accumulate, accumulateBytes, statisticsBytes, sumXOf, sumYOf } from './statistics';
import {
  INVALID_ARGUMENT, NOT_FINITE, OK, begin, detail, length, notPositiveDefinite, outOfMemory, refuse, sayNumber, status,
  text,
} from './status';

/** Rises with every change that a host has to know of. */
const ABI_VERSION: i32 = 1;
const MANY: i32 = i32.MAX_VALUE;
/** A report as the host has it: as far as the starts. */
const REPORT_BYTES: usize = offsetof<Report>('greedy');

export function osscar_version(): i32 {
  return ABI_VERSION;
}

export function osscar_last_status(): i32 {
  return status;
}

export function osscar_last_error(): usize {
  return text;
}

export function osscar_last_error_length(): i32 {
  return length;
}

export function osscar_last_error_detail(): f64 {
  return detail;
}

export function osscar_memory_limit(bytes: u32): i32 {
  begin('osscar_memory_limit');
  setLimit(bytes);
  return OK;
}

export function osscar_alloc(bytes: u32): usize {
  begin('osscar_alloc');
  const address = allocate(bytes, BUFFER);
  if (address == 0) outOfMemory(memoryFor(bytes));
  return address;
}

export function osscar_free(address: usize): i32 {
  begin('osscar_free');
  if (address == 0 || free(address)) return OK;
  refuse(INVALID_ARGUMENT, address, 'address', 'a block not yet freed, got ');
  sayNumber(address);
  return status;
}

export function osscar_statistics_bytes(p: i32, m: i32): f64 {
  begin('osscar_statistics_bytes');
  if (!(check.range('p', p, 1, MANY) && check.range('m', m, 0, MANY))) return -1;
  return statisticsBytes(p, m);
}

export function osscar_accumulate(statistics: usize, p: i32, m: i32, n: i32, X: usize, Y: usize): i32 {
  begin('osscar_accumulate');
  const targets = Y ? m : 0;
  if (!(
    check.range('p', p, 1, MANY) && check.range('m', m, Y ? 1 : 0, MANY) && check.range('n', n, 0, MANY)
    && check.buffer('statistics', statistics, statisticsBytes(p, targets))
    && check.buffer('X', X, 4 * <f64>n * p) && check.buffer('Y', Y, 4 * <f64>n * targets)
    && check.finite<f32>('X', X, <usize>n * <usize>p) && check.finite<f32>('Y', Y, <usize>n * <usize>targets)
  )) return status;
  const scratch = check.scratch(accumulateBytes(p, targets));
  if (scratch) accumulate(statistics, p, targets, n, X, Y, scratch);
  return status;
}

export function osscar_problem(
  p: i32, m: i32, b: i32, statistics: usize, W0: usize, bias: usize, damping: f64, blend: f64,
): usize {
  begin('osscar_problem');
  if (!(
    check.shape(p, m, b)
    && check.between('damping', damping, 0, f64.MAX_VALUE, 'a finite number of at least 0')
    && check.between('blend', blend, 0, 1, 'a number from 0 to 1')
  )) return 0;
  const bytes = statisticsBytes(p, blend > 0 ? m : 0);
  if (!(
    check.buffer('statistics', statistics, bytes)
    && check.buffer('W0', W0, 4 * <f64>p * m) && check.optional('bias', bias, 4 * <f64>m)
    && check.finite<f64>('statistics', statistics, <usize>bytes / 8)
    && check.finite<f32>('W0', W0, <usize>p * <usize>m) && check.finite<f32>('bias', bias, bias ? <usize>m : 0)
  )) return 0;
  const n = value(statistics, 0);
  const targets = value(statistics, 1);
  if (n < 1) {
    refuse(INVALID_ARGUMENT, n, 'statistics', 'at least one calibration row');
    return 0;
  }
  if (blend > 0 && targets != n) {
    refuse(INVALID_ARGUMENT, targets, 'statistics', 'a target with every row where blend is above 0');
    return 0;
  }
  const workspace = formBytes(p, m);
  // Room for both first: a block is not taken where the work then has none.
  if (!check.scratch(blockBytes(p, m, b) + scratchBytes(p, m, workspace))) return 0;
  const layer = createProblem(allocate(<u32>problemBytes(p, m, b), PROBLEM), p, m, b, false, 0, false);
  if (!room(layer, workspace)) return 0;
  widen(p, m, W0, m, layer.W0, m);
  if (bias) widen(1, m, bias, m, layer.y, m);
  const XtX = XtXOf(statistics, p);
  for (let i = 0; i < p; i++) memory.copy(rowOfH(layer, i), XtX + <usize>i * <usize>p * 8, <usize>(i + 1) * 8);
  if (blend > 0) memory.copy(layer.G, XtYOf(statistics, p, m), <usize>p * <usize>m * 8);
  const sumY = sumYOf(statistics, p);
  const trace = formProblem(layer, n, sumXOf(statistics), sumY, bias != 0, damping, blend, false);
  if (trace - trace != 0) refuse(NOT_FINITE, 0, 'statistics', 'a finite sum of squares');
  else if (check.finite<f64>('G', layer.G, <usize>p * <usize>m)) return changetype<usize>(layer);
  free(changetype<usize>(layer));
  return 0;
}

export function osscar_magnitude(layer: Problem, keep: i32, kept: usize): i32 {
  begin('osscar_magnitude');
  if (!chooses(layer, keep, kept, 0)) return status;
  keepLargest(layer, keep);
  return finish(0, layer, kept, 0);
}

export function osscar_eliminate(
  layer: Problem, keep: i32, groupsPerStep: i32, kept: usize, curve: usize, report: usize,
): i32 {
  begin('osscar_eliminate');
  if (!(chooses(layer, keep, kept, report) && check.range('groups_per_step', groupsPerStep, 1, MANY))) return status;
  const points = layer.groups + 1;
  if (!check.optional('curve', curve, 8 * <f64>points)) return status;
  if (!room(layer, pruneBytes(layer.p, layer.m, layer.b, GREEDY))) return status;
  const pivot = greedy(layer, keep, groupsPerStep, true, false);
  if (curve && pivot == 0) memory.copy(curve, layer.curve, <usize>points * 8);
  return finish(pivot, layer, kept, report);
}

export function osscar_select(layer: Problem, keep: i32, kept: usize, report: usize): i32 {
  begin('osscar_select');
  if (!chooses(layer, keep, kept, report)) return status;
  if (!room(layer, pruneBytes(layer.p, layer.m, layer.b, GREEDY))) return status;
  return finish(select(layer, keep, false), layer, kept, report);
}

export function osscar_swap(layer: Problem, keep: i32, kept: usize, maxSwaps: i32, report: usize): i32 {
  begin('osscar_swap');
  if (!(chooses(layer, keep, kept, report) && check.range('max_swaps', maxSwaps, 0, MANY))) return status;
  if (!room(layer, tableauBytes(layer.p, layer.m, layer.b))) return status;
  if (!check.support(layer, keep, kept)) return status;
  return finish(searchFrom(layer, THOROUGH, maxSwaps, 0), layer, kept, report);
}

export function osscar_refit(layer: Problem, keep: i32, kept: usize, W: usize, bias: usize, report: usize): i32 {
  begin('osscar_refit');
  if (!(chooses(layer, keep, kept, report) && solves(layer, W, bias))) return status;
  if (!room(layer, refitBytes(keep * layer.b, layer.m))) return status;
  if (!check.support(layer, keep, kept)) return status;
  const pivot = refit(layer);
  if (pivot == 0) spread(layer, keep * layer.b, W, bias);
  return finish(pivot, layer, kept, report);
}

export function osscar_prune(layer: Problem, keep: i32, kept: usize, W: usize, bias: usize, report: usize): i32 {
  begin('osscar_prune');
  if (!(chooses(layer, keep, kept, report) && solves(layer, W, bias))) return status;
  if (!room(layer, pruneBytes(layer.p, layer.m, layer.b, SWAP))) return status;
  const pivot = prune(layer, keep, 1, true, false, SWAP, swapsAtMost(layer.groups, layer.b), 0);
  if (pivot == 0) spread(layer, keep * layer.b, W, bias);
  return finish(pivot, layer, kept, report);
}

/** The block of a problem and all that the largest call on it takes. */
export function osscar_prune_bytes(p: i32, m: i32, b: i32): f64 {
  begin('osscar_prune_bytes');
  return check.shape(p, m, b) ? blockBytes(p, m, b) + scratchBytes(p, m, pruneBytes(p, m, b, SWAP)) : -1;
}

/** A problem's block with its header. */
function blockBytes(p: i32, m: i32, b: i32): f64 {
  return 64 + lines(problemBytes(p, m, b));
}

/** Of a call: the scratch of its products and its workspace. */
function scratchBytes(p: i32, m: i32, workspace: f64): f64 {
  return lines(workBytes(p, m)) + workspace;
}

/** Scratch of a call, all of which the problem works in; nothing is reported yet. */
function room(layer: Problem, workspace: f64): bool {
  const scratch = check.scratch(scratchBytes(layer.p, layer.m, workspace));
  if (scratch == 0) return false;
  workIn(layer, scratch, scratch + <usize>lines(workBytes(layer.p, layer.m)));
  blank(changetype<usize>(layer.report));
  return true;
}

/** What every choice of groups is given. */
function chooses(layer: Problem, keep: i32, kept: usize, report: usize): bool {
  return check.problem(changetype<usize>(layer)) && check.range('keep', keep, 0, layer.groups)
    && check.buffer('kept', kept, 4 * <f64>keep) && check.optional('report', report, REPORT_BYTES);
}

/** Where weights go. */
function solves(layer: Problem, W: usize, bias: usize): bool {
  if (!check.optional('W', W, 8 * <f64>layer.p * layer.m)) return false;
  if (!bias || layer.centred) return check.optional('bias', bias, 8 * <f64>layer.m);
  refuse(INVALID_ARGUMENT, bias, 'bias', '0, of a problem that was made without one, got the address ');
  sayNumber(bias);
  return false;
}

/** Hands over the groups and the report, or the pivot that has failed. */
function finish(pivot: i32, layer: Problem, kept: usize, report: usize): i32 {
  if (pivot) return notPositiveDefinite(pivot);
  for (let g = 0, at = 0; g < layer.groups; g++) if (load<u8>(layer.kept + g)) enter(kept, at++, g);
  if (report) memory.copy(report, changetype<usize>(layer.report), REPORT_BYTES);
  return OK;
}

/** Hands over the weights of a refit of k rows, zeros elsewhere, and the bias ȳ − Wᵀx̄ that goes with them. */
function spread(layer: Problem, k: i32, W: usize, bias: usize): void {
  const m = layer.m;
  const line = <usize>m * 8;
  const weights = refitted(layer, k);
  if (W) memory.fill(W, 0, <usize>layer.p * line);
  if (bias) memory.copy(bias, layer.y, line);
  for (let i = 0; i < k; i++) {
    const row = entry(layer.rows, i);
    const w = weights + <usize>i * line;
    if (W) memory.copy(W + <usize>row * line, w, line);
    if (!bias) continue;
    for (let j = 0; j < m; j++) put(bias, j, value(bias, j) - value(w, j) * value(layer.x, row));
  }
}
