// What options are called: in the library, on a command line, and by mistake.

import { nearest, plain } from '../options.ts';

/** Options whose flags have other names. */
export const FLAGS: Readonly<Record<string, string>> = {
  calibration: 'calibrate',
  evaluation: 'data',
  evaluationLabels: 'data-labels',
  inputs: 'input',
  'keep.heads': 'keep-heads',
  'keep.channels': 'keep-mlp',
  'keep.layers': 'keep-layer',
};

/** The option that is meant by a name that none has: that of its flag, or one with a slip in it. */
export function meantBy(name: string, known: readonly string[]): string | undefined {
  const flagged = Object.keys(FLAGS).find((option) => plain(FLAGS[option]) === plain(name));
  if (flagged !== undefined) return flagged;
  return nearest(name, known);
}
