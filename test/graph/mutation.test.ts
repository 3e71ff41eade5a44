// Whatever number stands in a graph: it is cut right or kept. `npm run fuzz -- graphs 10000 1` tries more of them.

import { describe, expect, it } from 'vitest';
import { PATTERNS, tryMutation } from './mutated.ts';

const TRIALS = 60;

describe('a graph with a number changed', () => {
  for (const graph of PATTERNS) {
    it(`is cut right or kept: ${graph}`, async () => {
      let compared = 0;
      for (let seed = 1; seed <= TRIALS; seed++) {
        const { isAlike, cuts } = await tryMutation(graph, seed);
        expect(isAlike, `seed ${seed}`).toBe(true);
        compared += cuts;
      }
      expect(compared).toBeGreaterThan(20);
    });
  }
});
