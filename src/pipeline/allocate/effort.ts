// How much time a budget is worth.

/** How long may be searched for the best sizes. */
export const EFFORTS = ['low', 'medium', 'high'] as const;
/** One of {@link EFFORTS}. */
export type Effort = (typeof EFFORTS)[number];
