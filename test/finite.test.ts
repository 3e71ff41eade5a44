import { expect, test } from 'vitest';
import { nonFiniteAt } from '../src/finite.ts';

test.each([Float32Array, Float64Array])(
  '%o: the first number that is not finite is found at any place',
  (Of) => {
    for (let length = 0; length < 6; length++) {
      const values = new Of(length).fill(-2);
      expect(nonFiniteAt(values)).toBe(-1);
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
        for (let at = 0; at < length; at++) expect(nonFiniteAt(values.with(at, bad))).toBe(at);
    }
    expect(nonFiniteAt(Of.of(0, Number.NaN, 0, Number.POSITIVE_INFINITY))).toBe(1);
  },
);
