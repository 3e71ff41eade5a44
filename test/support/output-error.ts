import type { FloatTensor } from '../../src/engine/index.ts';
import { errorShares } from '../../src/pipeline/target.ts';

/** Σ‖y − ŷ‖² / Σ‖y − ȳ‖²: 0 for a perfect copy, 1 for what is no better than the mean answer. */
export function outputError(dense: readonly FloatTensor[], pruned: readonly FloatTensor[]): number {
  return errorShares(dense, pruned).reduce((sum, share) => sum + share, 0);
}
