// Weights on whole steps (int4): a pass over the smaller network in which every layer is fitted, on what the layers rounded before it
// give it, to what it gives unrounded.

import { STEPS } from '../../graph/index.ts';
import { type Pass, roundingOf, type Target } from '../recipe.ts';
import type { Run } from '../run.ts';
import { Findings } from '../store/findings.ts';
import type { Round } from '../subject.ts';
import { passOver } from './pass.ts';
import { hereWork } from './work.ts';

const TARGET: Target = { kind: 'dense', blend: 1 };

/** @param run  that has made the model */
export function rounding(run: Run): Round {
  return (subject, onPart) =>
    run.clock.stage('rounding', async () => {
      const { engine, calibration } = run;
      const pass: Pass = {
        label: 'rounding',
        sizes: new Map(subject.structures.map(({ name, groups }) => [name, groups])),
        target: TARGET,
        search: 'greedy',
        samples: 'all',
        steps: STEPS.int4,
      };
      const own: Run = {
        ...run,
        subject,
        chain: subject.chain(engine, calibration),
        recipe: roundingOf(run.recipe),
        findings: new Findings(),
        work: hereWork(),
      };
      const last = await passOver(own, pass, { onPart });
      await last.close();
    });
}
