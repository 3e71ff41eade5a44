import { expect, test } from 'vitest';
import { fewSamples, type Warning } from '../../src/pipeline/measure/plausible.ts';
import type { Profile } from '../../src/pipeline/profile.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { noise, prune } from './fixtures.ts';

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

// A detector's outputs for what is not there are all alike.
test.each([
  [
    'all outputs hardly vary',
    [1e-4, 1e-5],
    [/^dense outputs hardly vary: from sample to sample by 0\.00\d+ %/],
  ],
  ['one of them does', [1e-5, 1], []],
])('it is told where %s', async (_, factors, expected) => {
  const b = new OnnxBuilder({ seed: 3 });
  const x = b.globalAveragePool(b.relu(b.conv(b.input([3, 8, 8]), 8, 3)));
  for (const factor of factors)
    b.output(b.add(b.mul(b.gemm(b.flatten(x), 5), b.floats([factor])), b.floats([1])));
  const told: Warning[] = [];
  await prune(b.build(), await noise(16, [3, 8, 8]), {
    onWarning: (it) => it.kind === 'implausible' && told.push(it),
  });
  expect(told).toEqual(expected.map((text) => ({ kind: 'implausible', text: expect.stringMatching(text) })));
});
