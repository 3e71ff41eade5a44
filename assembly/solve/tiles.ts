// An elimination whose large matrices lie outside linear memory, in tiles of the host's: T (by group), W and Vᵀ of
// panels before (both by position). The host brings what is to be staged up to date.
import { Problem } from './problem';

/** What the host is to do, with positions and counts in rows but for Swap. */
export const enum Event {
  /** Exchange groups a and z in W and V. */
  Swap,
  /** Fill z staged rows, those of positions a …, as far as groups live: C at x, of T, and K at y, of WWᵀ, less what panels before owe. */
  Stage,
  /** The last live group, rows a … a + z − 1, is removed: copy these rows of W to x. */
  Remove,
  /** Take over V at x, z rows p apart, bring W up to date with U at y, m apart; a rows are left. */
  Panel,
}

@external('env', 'tiles')
declare function ask(event: i32, a: i32, z: i32, x: usize, y: usize): void;

export function tiles(event: Event, a: i32, z: i32, x: usize, y: usize): void {
  if (ASC_FEATURE_THREADS) ask(event, a, z, x, y);
}

// Modules that import nothing have no tiles.
@inline
export function isTiled(s: Problem): bool {
  return ASC_FEATURE_THREADS && s.tiled;
}
