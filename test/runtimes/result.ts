// What each runtime reports: one line of JSON, the last of its standard output.

import type { Pruned, PrunedLayers } from '../browser/site/job.js';
import type { CoreResult } from './core.ts';

export const THREADS = [1, 2, 4];

export interface RuntimeResult {
  version: string;
  core: CoreResult;
  model: Pruned;
  /** By sessions of each number of threads. */
  layers: PrunedLayers[];
}
