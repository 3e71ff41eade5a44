import { expect, test } from 'vitest';
import { fewSamples } from '../../src/pipeline/measure/plausible.ts';
import type { Profile } from '../../src/pipeline/profile.ts';

test.each([
  [[8, 2], 4, '4 calibration samples are few: 1 of 2 layers has fewer rows than inputs; 8 samples or more'],
  [[8, 6], 1, '1 calibration sample is few: 2 of 2 layers have fewer rows than inputs; 8 samples or more'],
  [[8], 7, '7 calibration samples are few: 1 of 1 layer has fewer rows than inputs; 8 samples or more'],
])('layers of %j inputs and %i samples, a row each, are counted', (inputs, samples, text) => {
  const maps = inputs.map((p) => ({ p, rows: 1 }));
  const profile = { steps: [{ maps }] } as unknown as Pick<Profile, 'steps'>;
  expect(fewSamples(profile, samples)?.text).toMatch(new RegExp(`^${text}`));
});
