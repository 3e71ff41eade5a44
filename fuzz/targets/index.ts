// What is fuzzed, by the names that the fuzzer knows it by.

import { audio } from './audio.ts';
import { checkpoint } from './checkpoint.ts';
import { images } from './images.ts';
import { onnx } from './onnx.ts';
import { runs } from './runs.ts';
import { samples } from './samples.ts';
import { settings } from './settings.ts';
import type { Targets } from './target.ts';
import { tokenizers } from './tokenizers.ts';

export const TARGETS: Targets = {
  ...onnx,
  ...checkpoint,
  ...tokenizers,
  ...samples,
  ...images,
  ...audio,
  ...settings,
  ...runs,
};
