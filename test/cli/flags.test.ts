import { expect, test } from 'vitest';
import { flagged } from '../../src/cli/flags.ts';

test.each([
  ['give it with `size`', 'give it with --size'],
  ["(`resize: 'fit'` resizes, see `labelOffset`)", '(--resize fit resizes, see --label-offset)'],
  ['images: `scale: 1`', 'images: --scale 1'],
  ['leave them (`correct: false`) or `force: true`', 'leave them (--no-correct) or --force'],
  ['one value (`inputs.sr`)', 'one value (--input sr=VALUE)'],
  ['`calibration` and `evaluation`', '--calibrate and --data'],
])('what the library says of options becomes flags: %s', (text, expected) => {
  expect(flagged(text)).toBe(expected);
});
