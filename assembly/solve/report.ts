// What a call has found out beside the groups: doubles, NaN where the call does not say.

@unmanaged
export class Report {
  /** f on the kept groups. */
  objective: f64;
  /** f on all groups. */
  dense: f64;
  /** Swaps that improved. */
  swaps: f64;
  /** 1 where it is certain that no single swap improves, else 0. */
  optimal: f64;
  /** Change of the objective by the best swap that remains; NaN where there is none or none was looked for. */
  remaining: f64;
  /** 0 greedy elimination, 1 magnitude, 2 forward selection. */
  start: f64;
  /** What of f on the kept groups is damping. */
  damping: f64;
  /** What of f on all groups is damping. */
  denseDamping: f64;
  /** f on the groups of each start. */
  greedy: f64;
  magnitude: f64;
  forward: f64;
}

export const REPORT_BYTES: usize = offsetof<Report>();

/** A report at the address that says nothing yet. */
export function blank(address: usize): Report {
  for (let i: usize = 0; i < REPORT_BYTES; i += 8) store<f64>(address + i, NaN);
  return changetype<Report>(address);
}
