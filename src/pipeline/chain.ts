// A model as parts that hand one activation on: an ONNX file has one, a folder has embedding, blocks and head. Only one
// part is in memory at a time.

import type { Engine } from '../engine/index.ts';
import type { Gain, Model, Structure } from '../graph/index.ts';
import type { AbortOptions } from '../pool/index.ts';
import type { Named } from './keep.ts';
import type { ModelInput } from './open/inputs.ts';
import type { OpenedModel } from './open/open.ts';
import type { ActivationLimits } from './store/activations.ts';

export interface Chain {
  /** For messages. */
  readonly name: string;
  /** Runs the parts. */
  readonly engine: Engine;
  /** What samples are to the first part. */
  readonly input: ModelInput;
  /** Whether the first output has a score of every token of the vocabulary for every position. */
  readonly predictsTokens: boolean;
  /** Whether labels of samples can be held against it: it is known not to be features. */
  readonly takesLabels: boolean;
  readonly parts: number;
  /** Inputs that go along with samples to the parts behind the first, too. */
  readonly along?: readonly string[];
  /** Dims of what one part hands on to the next, for one sample; where they vary, the largest. */
  readonly between: readonly number[];
  open(part: number): Promise<Part>;
}

export interface Part {
  /** The part as it is written, which counts where outputs are looked at; not to be held on to where it is large. */
  read(): Promise<Model>;
  /** With its shapes; absent where nothing can be pruned. */
  readonly opened?: OpenedModel;
  /** Samples that go through it at a time, of the parts behind the first. */
  readonly batch: number;
  /** What ratios and reports call a structure. */
  named(structure: Structure): Named;
  /** Of the last part, where that is all of it that can be refitted. */
  readonly gain?: Gain;
}

/** What running a chain takes. */
export interface RunOptions extends ActivationLimits, AbortOptions {}
