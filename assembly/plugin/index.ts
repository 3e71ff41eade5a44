/**
 * The plug-in ABI: docs/plugin-abi.md. Plain numbers in and out, no imports, no callbacks, nothing kept between calls
 * but the blocks of osscar_alloc and osscar_problem and the text of the last error.
 *
 * Every export forgets the last error, checks all it is given, takes the scratch it states, and only then computes.
 * Groups and reports are written at the very end, where all has gone well.
 */
import { workBytes } from '../solve/work';
import * as check from './check';
import { eliminate, eliminateBytes, select } from './eliminate';
import { BUFFER, PROBLEM, allocate, free, memoryFor, push, pushBytes, setLimit } from './memory';
import { Problem, fill, layOut, problemBytes } from './problem';
import { prune, pruneBytes, search, searchBytes } from './prune';
import { magnitude, magnitudeBytes, refit, refitBytes } from './refit';
import { REPORT_BYTES, Report, blank } from './report';
import { Statistics, accumulate, accumulateBytes, open, statisticsBytes } from './statistics';
import {
  INVALID_ARGUMENT, NOT_FINITE, OK, begin, detail, length, notPositiveDefinite, outOfMemory, refuse, sayNumber, status,
  text,
} from './status';
import { list } from './support';

/** Rises with every change that a host has to know of. */
const ABI_VERSION: i32 = 1;
const MANY: i32 = i32.MAX_VALUE;

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
  const scratch = accumulateBytes(p, targets, n);
  if (!check.scratch(pushBytes(scratch) + pushBytes(offsetof<Statistics>()))) return status;
  const sums = changetype<Statistics>(push(offsetof<Statistics>()));
  accumulate(statistics, p, targets, n, X, Y, push(<usize>scratch), sums);
  return OK;
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
  const scratch = pushBytes(workBytes(p, m)) + pushBytes(offsetof<Statistics>());
  // Room for both first: a block is not taken where the work then has none.
  if (!check.scratch(blockBytes(p, m) + scratch)) return 0;
  const layer = changetype<Problem>(allocate(<u32>problemBytes(p, m), PROBLEM));
  if (!check.scratch(scratch)) return 0;
  const sums = changetype<Statistics>(push(offsetof<Statistics>()));
  open(statistics, p, m, sums);
  layOut(layer, p, m, b);
  if (sums.n < 1) {
    refuse(INVALID_ARGUMENT, sums.n, 'statistics', 'at least one calibration row');
  } else if (blend > 0 && sums.targets != sums.n) {
    refuse(INVALID_ARGUMENT, sums.targets, 'statistics', 'a target with every row where blend is above 0');
  } else {
    const trace = fill(layer, sums, W0, bias, damping, blend, push(<usize>workBytes(p, m)));
    if (trace - trace != 0) refuse(NOT_FINITE, 0, 'statistics', 'a finite sum of squares');
    else if (check.finite<f64>('G', layer.G, <usize>p * <usize>m)) return changetype<usize>(layer);
  }
  free(changetype<usize>(layer));
  return 0;
}

export function osscar_magnitude(problem: usize, keep: i32, kept: usize): i32 {
  begin('osscar_magnitude');
  if (!chooses(problem, keep, kept, 0)) return status;
  const layer = changetype<Problem>(problem);
  if (!room(layer, magnitudeBytes(layer.groups))) return status;
  const flags = push(layer.groups);
  magnitude(layer, keep, flags);
  list(layer.groups, flags, kept);
  return OK;
}

export function osscar_eliminate(
  problem: usize, keep: i32, groupsPerStep: i32, kept: usize, curve: usize, report: usize,
): i32 {
  begin('osscar_eliminate');
  if (!(chooses(problem, keep, kept, report) && check.range('groups_per_step', groupsPerStep, 1, MANY))) return status;
  const layer = changetype<Problem>(problem);
  if (!check.optional('curve', curve, 8 + 8 * <f64>layer.groups)) return status;
  if (!room(layer, eliminateBytes(layer.p, layer.m, layer.b))) return status;
  const flags = push(layer.groups);
  const found = blank(push(REPORT_BYTES));
  const pivot = eliminate(layer, keep, groupsPerStep, flags, curve, found);
  return finish(pivot, layer, flags, kept, found, report);
}

export function osscar_select(problem: usize, keep: i32, kept: usize, report: usize): i32 {
  begin('osscar_select');
  if (!chooses(problem, keep, kept, report)) return status;
  const layer = changetype<Problem>(problem);
  if (!room(layer, eliminateBytes(layer.p, layer.m, layer.b))) return status;
  const flags = push(layer.groups);
  const found = blank(push(REPORT_BYTES));
  return finish(select<f64>(layer, keep, flags, found), layer, flags, kept, found, report);
}

export function osscar_swap(problem: usize, keep: i32, kept: usize, maxSwaps: i32, report: usize): i32 {
  begin('osscar_swap');
  if (!(chooses(problem, keep, kept, report) && check.range('max_swaps', maxSwaps, 0, MANY))) return status;
  const layer = changetype<Problem>(problem);
  if (!room(layer, searchBytes(layer.p, layer.m, layer.b))) return status;
  const flags = push(layer.groups);
  if (!check.support(layer, keep, kept, flags)) return status;
  const found = blank(push(REPORT_BYTES));
  return finish(search(layer, flags, maxSwaps, found), layer, flags, kept, found, report);
}

export function osscar_refit(problem: usize, keep: i32, kept: usize, W: usize, bias: usize, report: usize): i32 {
  begin('osscar_refit');
  if (!(chooses(problem, keep, kept, report) && solves(problem, W, bias))) return status;
  const layer = changetype<Problem>(problem);
  if (!room(layer, refitBytes(keep * layer.b, layer.m))) return status;
  const flags = push(layer.groups);
  if (!check.support(layer, keep, kept, flags)) return status;
  const found = blank(push(REPORT_BYTES));
  return finish(refit(layer, flags, keep * layer.b, W, bias, found), layer, flags, kept, found, report);
}

export function osscar_prune(problem: usize, keep: i32, kept: usize, W: usize, bias: usize, report: usize): i32 {
  begin('osscar_prune');
  if (!(chooses(problem, keep, kept, report) && solves(problem, W, bias))) return status;
  const layer = changetype<Problem>(problem);
  if (!room(layer, pruneBytes(layer.p, layer.m, layer.b))) return status;
  const flags = push(layer.groups);
  const found = blank(push(REPORT_BYTES));
  return finish(prune(layer, keep, flags, W, bias, found), layer, flags, kept, found, report);
}

/** The block of a problem and all that the largest call on it takes. */
export function osscar_prune_bytes(p: i32, m: i32, b: i32): f64 {
  begin('osscar_prune_bytes');
  return check.shape(p, m, b) ? blockBytes(p, m) + roomBytes(p / b, pruneBytes(p, m, b)) : -1;
}

/** A problem's block with its header. */
function blockBytes(p: i32, m: i32): f64 {
  return 64 + pushBytes(problemBytes(p, m));
}

/** Scratch of a call that takes `bytes`, and with them a set of groups and a report. */
function roomBytes(groups: i32, bytes: f64): f64 {
  return bytes + pushBytes(groups) + pushBytes(REPORT_BYTES);
}

function room(layer: Problem, bytes: f64): bool {
  return check.scratch(roomBytes(layer.groups, bytes));
}

/** What every choice of groups is given. */
function chooses(problem: usize, keep: i32, kept: usize, report: usize): bool {
  return check.problem(problem) && check.range('keep', keep, 0, changetype<Problem>(problem).groups)
    && check.buffer('kept', kept, 4 * <f64>keep) && check.optional('report', report, REPORT_BYTES);
}

/** Where weights go. */
function solves(problem: usize, W: usize, bias: usize): bool {
  const layer = changetype<Problem>(problem);
  if (!check.optional('W', W, 8 * <f64>layer.p * layer.m)) return false;
  if (!bias || layer.centred) return check.optional('bias', bias, 8 * <f64>layer.m);
  refuse(INVALID_ARGUMENT, bias, 'bias', '0, of a problem that was made without one, got the address ');
  sayNumber(bias);
  return false;
}

/** Hands over the groups and the report, or the pivot that has failed. */
function finish(pivot: i32, layer: Problem, flags: usize, kept: usize, found: Report, report: usize): i32 {
  if (pivot) return notPositiveDefinite(pivot);
  list(layer.groups, flags, kept);
  if (report) memory.copy(report, changetype<usize>(found), REPORT_BYTES);
  return OK;
}
