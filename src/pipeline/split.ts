// Calibration samples that a fit does not see, by which its options are chosen.

/** Samples that a search looks at: more make it slower and choose the same target (measured, docs/architecture.md). */
const SEARCH_SAMPLES = 192;
/** One sample in so many is held out from a fit. */
export const HELD_OUT = 4;
/** Fewer samples than this leave too few on either side of the split; all of them then serve both. */
export const FEWEST_TO_SPLIT = 12;

/**
 * Splits `samples` positions into those a search fits on and those it measures on, both spread evenly, so
 * that of a folder sorted by class every class is in both.
 */
export function splitSamples(samples: number): {
  isFit(index: number): boolean;
  isHeldOut(index: number): boolean;
} {
  if (samples < FEWEST_TO_SPLIT) return { isFit: () => true, isHeldOut: () => true };
  const used = Math.min(samples, SEARCH_SAMPLES);
  const role = new Uint8Array(samples);
  for (let i = 0; i < used; i++)
    role[Math.floor((i * samples) / used)] = i % HELD_OUT === HELD_OUT - 1 ? 2 : 1;
  return { isFit: (index) => role[index] === 1, isHeldOut: (index) => role[index] === 2 };
}

/** Holds out a quarter of all samples. */
export function quarterHeldOut(samples: number): ReturnType<typeof splitSamples> {
  if (samples < FEWEST_TO_SPLIT) return { isFit: () => true, isHeldOut: () => true };
  const isHeldOut = (index: number) => index % HELD_OUT === HELD_OUT - 1;
  return { isFit: (index) => !isHeldOut(index), isHeldOut };
}
