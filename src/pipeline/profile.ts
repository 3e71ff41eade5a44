// What a plan asks of a model: what can be pruned of it, and what comes of that.

import type { BlockSizes } from '../checkpoint/architectures/index.ts';
import type { StoredType, Term } from '../graph/index.ts';
import type { SizeKind } from './budget.ts';
import type { Prunable, Sizes } from './keep.ts';
import type { PlannedStep } from './pass/steps.ts';
import type { Recipe } from './recipe.ts';

/** Of the dense model and of the pruned one. */
export interface BeforeAfter {
  readonly before: number;
  readonly after: number;
}

/** What a plan needs to know of a model. */
export interface Profile {
  /** Its name or architecture. */
  readonly model: string;
  readonly parameters: BeforeAfter;
  readonly steps: readonly PlannedStep[];
  readonly weights: {
    /** Parameters of the largest part that is pruned, and of all that are not. */
    readonly largest: number;
    readonly outside: number;
    /** Bytes of whole files in memory. */
    readonly files: number;
  };
  /** Values of a sample that one part hands on to the next, of one network. */
  readonly between: number;
  /** Values of a sample that are held within a part, of the two networks on an average, at most. */
  readonly held: number;
  /** Values of a batch that the engine has at once, where a plan's constants do not cover them. */
  readonly batch: number;
  /** Values of a sample, all that one network gives; absent: more than are kept. */
  readonly all?: number;
  /** Values that the last part gives for a batch. */
  readonly scores: number;
  /** Multiply-adds for a sample: of the parts that are pruned, and of what comes behind them. */
  readonly macs: { readonly parts: number; readonly last: number };
  /** Of a language model's blocks. */
  readonly sizes?: { readonly before: readonly BlockSizes[]; readonly after: readonly BlockSizes[] };
  /** Who can read the result. */
  readonly statement?: string;
}

/** A model as far as its description goes. */
export interface Plannable {
  /** All that can be pruned. */
  readonly structures: readonly Prunable[];
  /** A size as a function of what structures keep; macs of a sample with these dims. @throws {InputError} where it is not known */
  terms(of: SizeKind, sample: readonly number[]): readonly Term[];
  /** What weights of ONNX files will be stored as, where that is not what the network computes with. */
  readonly stored?: StoredType;
  /** Where the terms of bytes are of weights that are stored otherwise: those of the dense model. */
  readonly denseBytes?: number;
  profile(recipe: Recipe, sizes: Sizes, sample: readonly number[]): Profile;
}
