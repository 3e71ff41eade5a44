// How much time a budget is worth.

/** How long may be searched for the best sizes. */
export const EFFORTS = ['low', 'medium', 'high'] as const;
/** One of {@link EFFORTS}. */
export type Effort = (typeof EFFORTS)[number];

/** Networks that are pruned at most: once for all budgets, and within the one that is asked for. */
export const TRIALS: Readonly<Record<Effort, { readonly before: number; readonly within: number }>> = {
  low: { before: 0, within: 2 },
  medium: { before: 16, within: 4 },
  high: { before: 24, within: 24 },
};
