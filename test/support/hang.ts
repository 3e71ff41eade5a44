/** Nothing takes this long, on a busy machine either: what does hangs. Before the test's own limit, which has no output to show. */
export const HANG_MS = 540_000;
