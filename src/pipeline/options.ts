// What a run is told.

import type { Engine } from '../engine/index.ts';
import { WEIGHT_TYPES } from '../graph/index.ts';
import {
  AMOUNT,
  BYTES,
  FUNCTION,
  having,
  LATER,
  OBJECT,
  type Options,
  oneOf,
  SIGNAL,
  SWITCH,
  TEXT,
} from '../options.ts';
import type { Session } from '../pool/index.ts';
import type { Amount } from './budget.ts';
import type { RunOptions } from './chain.ts';
import type { Progress } from './course.ts';
import type { Dataset } from './data/index.ts';
import type { LatencyTable } from './measure/latency.ts';
import type { Warning } from './measure/plausible.ts';
import type { FolderOptions } from './models/folder.ts';
import type { FileOptions } from './models/onnx.ts';
import type { Queue } from './queue/queue.ts';
import { RECIPE_OPTIONS, type RecipeOptions } from './recipe.ts';
import type { RunStore } from './store/store.ts';

/** What running a model takes. */
export interface EvaluateOptions extends RunOptions {
  readonly engine: Engine;
}

export interface PruneOptions extends EvaluateOptions, RecipeOptions, FileOptions, FolderOptions {
  /** Threads that the layers are solved on. Default: the calling one. */
  readonly session?: Session;
  /** Images, or windows of token ids. */
  readonly calibration: Dataset;
  /** Samples for the accuracy or perplexity before and after. Default: the calibration samples. */
  readonly evaluation?: Dataset;
  /** For a budget of latency, as measured wherever the model is to run. Default: measured here, and held to here. */
  readonly latencyTable?: LatencyTable;
  /** Keeps what the run finds: it can be continued, and other runs need not find it again. */
  readonly store?: RunStore;
  /**
   * Bytes that the run may take at its peak, as `'8GiB'` or a number, as the plan states them: activations go to files as far as it takes, then the sums of layers
   * that are solved in tiles. Default: no bound.
   */
  readonly memory?: Amount;
  /**
   * Parts of the calibration samples that are summed one by one, for as many workers to share. The last bits depend on
   * it, and on nothing else of who does the work. Default 1; with a queue 8, or fewer where samples are few.
   */
  readonly shards?: number;
  /** Has the passes over the model done by workers, which share the `store`. */
  readonly queue?: Queue;
  /**
   * Called as every stage begins, and after each part, or each step of a model of one part. It is not waited for; what it throws, or
   * its promise is rejected with, ends the run.
   */
  readonly onProgress?: (progress: Progress) => void;
  /**
   * Called before the long work with what the report's `warnings` will say: a dense model that answers by chance on these
   * data, too few calibration samples. As with `onProgress`, what it throws or is rejected with ends the run.
   */
  readonly onWarning?: (warning: Warning) => void;
}

/** Of another kind, engines, sessions and data sets are told in more words. */
const RUN_OPTIONS: Options<RunOptions> = { activationBytes: BYTES, scratch: FUNCTION, signal: SIGNAL };
export const EVALUATE_OPTIONS: Options<EvaluateOptions> = { ...RUN_OPTIONS, engine: LATER };
export const PRUNE_OPTIONS: Options<PruneOptions> = {
  ...EVALUATE_OPTIONS,
  ...RECIPE_OPTIONS,
  metadata: OBJECT,
  externalName: TEXT,
  maxShardBytes: BYTES,
  output: having('an output folder (memoryOutput())', 'writeAt', 'commit', 'abort'),
  onnx: oneOf('beside', 'transformers.js'),
  weights: oneOf(...WEIGHT_TYPES),
  loadable: SWITCH,
  session: LATER,
  calibration: LATER,
  evaluation: LATER,
  latencyTable: LATER,
  store: having('a run store (memoryStore())', 'read', 'write', 'list'),
  memory: AMOUNT,
  shards: LATER,
  queue: having('a queue', 'run'),
  onProgress: FUNCTION,
  onWarning: FUNCTION,
};
