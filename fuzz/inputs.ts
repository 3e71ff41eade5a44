// The inputs of a parser, one after the other.

import fc from 'fast-check';
import { TARGETS } from './targets/index.ts';

/** Drawn at a time: any input can be drawn again without those of other draws. */
const DRAWN = 250;

/** The inputs from some index on, the same for the same seed. */
export function* inputsOf(parser: string, seed: number, from: number, to: number) {
  for (let draw = Math.floor(from / DRAWN); draw * DRAWN < to; draw++) {
    const inputs = fc.sample(TARGETS[parser].inputs, { seed: (seed * 1_000_003 + draw) | 0, numRuns: DRAWN });
    for (const [i, bytes] of inputs.entries()) {
      const index = draw * DRAWN + i;
      if (index >= from && index < to) yield { index, bytes };
    }
  }
}
