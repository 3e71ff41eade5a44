// A tokenizer as strangers would send it.

import { readFileSync } from 'node:fs';
import { fixture } from '../cli/osscar.ts';

export const whole = JSON.parse(readFileSync(fixture('opt-kjv/tokenizer.json'), 'utf8'));

/** Takes for ever on a row of `a` that ends otherwise. */
export const endless = {
  ...whole,
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex: '(a+)+$' }, behavior: 'Isolated', invert: false },
      whole.pre_tokenizer,
    ],
  },
};
export const TEXT = `${'a'.repeat(64)}!`;
