import { expect, test } from 'vitest';
import { fewSamples } from '../../src/pipeline/measure/plausible.ts';
import type { Profile } from '../../src/pipeline/profile.ts';

function warning(inputs: readonly number[], rows: number, samples: number): string | undefined {
  const maps = inputs.map((p) => ({ p, rows }));
  return fewSamples({ steps: [{ maps }] } as unknown as Pick<Profile, 'steps'>, samples)?.text;
}

test.each([
  [[8, 2], 4, '4 calibration samples are few: 1 of 2 layers has fewer rows than inputs; 8 samples or more'],
  [[8, 6], 1, '1 calibration sample is few: 2 of 2 layers have fewer rows than inputs; 8 samples or more'],
  [[8], 7, '7 calibration samples are few: 1 of 1 layer has fewer rows than inputs; 8 samples or more'],
])('layers of %j inputs and %i samples, a row each, are counted', (inputs, samples, text) => {
  expect(warning(inputs, 1, samples)).toMatch(new RegExp(`^${text}`));
});

test('as many rows as inputs are enough, and no part of a sample is taken', () => {
  expect(warning([8], 2, 4)).toBeUndefined();
  expect(warning([9], 2, 4)).toMatch('5 samples or more');
});
