// What all of a run shares.

import type { Engine } from '../engine/index.ts';
import type { Session } from '../pool/index.ts';
import type { Chain, RunOptions } from './chain.ts';
import type { Clock } from './clock.ts';
import type { ProgressStep } from './course.ts';
import type { Dataset } from './data/index.ts';
import type { Work } from './pass/work.ts';
import type { Recipe } from './recipe.ts';
import type { Findings } from './store/findings.ts';
import type { Subject } from './subject.ts';

export interface Run extends RunOptions {
  readonly engine: Engine;
  readonly session: Session;
  readonly calibration: Dataset;
  readonly evaluation: Dataset;
  readonly onProgress?: (step: ProgressStep) => void;
  readonly subject: Subject;
  /** The subject's, for the calibration samples. */
  readonly chain: Chain;
  readonly recipe: Recipe;
  readonly findings: Findings;
  readonly clock: Clock;
  readonly work: Work;
  /** Bytes that a layer in tiles may take. Default: no bound. */
  readonly layerBytes?: number;
  /** Of the calibration samples, where it can be had. */
  readonly calibrationHash?: string;
}
