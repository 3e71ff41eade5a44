// Greedy backward elimination and forward selection, as src/solve/eliminate.ts.
import { deliminateStart } from '../eliminate';
import { potrf } from '../potrf';
import { potri } from '../potri';
import { trsm } from '../trsm';
import { entry, put, value } from './array';
import { choose, create, remove } from './elimination';
import { mark, release } from './memory';
import { Problem } from './problem';
import { Report } from './report';

/**
 * From all groups, removes the cheapest `groupsPerStep` at a time until `keep` are left; the schedule of n removals is
 * the published one: s = max(1, ⌊n / t⌋) steps of ⌊n / s⌋ groups, the first n mod s of them one larger.
 *
 * @param flags  out, the kept groups; @param curve  out, J + 1 relative errors by groups kept, or 0
 * @returns 0, or the pivot at which H is not positive definite
 */
export function eliminate(
  layer: Problem, keep: i32, groupsPerStep: i32, flags: usize, curve: usize, report: Report,
): i32 {
  const p = layer.p;
  const m = layer.m;
  const groups = layer.groups;
  const from = mark();
  const host = create(layer, false);
  const s = host.state;
  const work = host.work;
  memory.copy(s.T, layer.H, <usize>p * <usize>p * 8);
  memory.copy(s.W, layer.own ? layer.W0 : layer.G, <usize>p * <usize>m * 8);
  let info = potrf<f64>(p, s.T, p, work);
  if (info) return info;
  if (!layer.own) {
    trsm<f64>(false, false, p, m, 1, s.T, p, s.W, m, work);
    trsm<f64>(false, true, p, m, 1, s.T, p, s.W, m, work);
  }
  potri<f64>(p, s.T, p, work);
  let inner: f64 = 0;
  for (let i = 0, e = p * m; i < e; i++) inner += value(s.W, i) * value(layer.G, i);
  const dense = -0.5 * inner;
  deliminateStart(s);

  if (curve) for (let k = 0; k <= groups; k++) put(curve, k, k == groups ? 0 : NaN);
  const n = groups - keep;
  const steps = max(1, n / groupsPerStep);
  let lost: f64 = 0;
  for (let step = 0; step < steps && n > 0; step++) {
    const count = n / steps + i32(step < n % steps);
    choose(host, count, 1);
    for (let i = 0; i < count; i++) {
      info = remove(host, entry(host.chosen, i));
      if (info) return info;
      lost += host.paid;
      if (curve) put(curve, s.live, dense < 0 ? lost / -dense : 0);
    }
  }
  memory.fill(flags, 0, groups);
  for (let i = 0; i < s.live; i++) store<u8>(flags + entry(s.order, i), 1);
  report.objective = dense + lost;
  report.dense = dense;
  release(from);
  return 0;
}

/** From nothing, adds the group with the largest gain until `keep` are in. As `eliminate`. */
export function select(layer: Problem, keep: i32, flags: usize, report: Report): i32 {
  const from = mark();
  const host = create(layer, true);
  const s = host.state;
  memory.copy(s.T, layer.H, <usize>layer.p * <usize>layer.p * 8);
  memory.copy(s.W, layer.G, <usize>layer.p * <usize>layer.m * 8);
  deliminateStart(s);
  memory.fill(flags, 0, layer.groups);
  let objective: f64 = 0;
  for (let kept = 0; kept < keep; kept++) {
    choose(host, 1, -1);
    const group = entry(host.chosen, 0);
    const info = remove(host, group);
    if (info) return info;
    objective -= host.paid;
    store<u8>(flags + group, 1);
  }
  report.objective = objective;
  release(from);
  return 0;
}
