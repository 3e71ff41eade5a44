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

/** Flags that are no options of calls, and what there is instead. */
export const INSTEAD: Readonly<Record<string, string>> = {
  dryRun: '`plan` says what a run takes',
  json: 'calls give what it prints',
  report: 'reportHtml of osscar-wasm/report makes the page of what `prune` gives',
  config: 'an object is given as it is',
};

/** The option that is meant by a name that none has: that of its flag, or one with a slip in it. */
export function meantBy(name: string, known: readonly string[]): string | undefined {
  const flagged = Object.keys(FLAGS).find((option) => plain(FLAGS[option]) === plain(name));
  if (flagged !== undefined) return flagged;
  return nearest(name, known);
}
