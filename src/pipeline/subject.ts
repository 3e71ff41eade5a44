// What the pipeline asks of a model, whichever kind it is: a file (onnx.ts) or a folder (folder.ts).

import type { BlockSizes, ModelPart } from '../checkpoint/architectures/index.ts';
import type { Engine, FloatTensor } from '../engine/index.ts';
import type { HeadsMode, StoredType, WrittenModel } from '../graph/index.ts';
import { version } from '../version.ts';
import type { Chain } from './chain.ts';
import type { Dataset } from './data/index.ts';
import type { Sizes } from './keep.ts';
import type { Pinned } from './models/pinned.ts';
import type { ModelSize, OpenedModel, Reopening } from './open/open.ts';
import type { PrunedPart } from './pass/pruned.ts';
import type { Plannable } from './profile.ts';
import type { Recipe, Target } from './recipe.ts';
import type { Hashable } from './store/hash.ts';

/** A model, opened. */
export interface Subject extends ModelSize, Plannable {
  readonly name: string;
  /** What goes of attention. */
  readonly heads?: HeadsMode;
  /** What of it stays, by kind. */
  readonly pinned: readonly Pinned[];
  readonly notPrunable: readonly { readonly name: string; readonly reason: string }[];
  /** Whether a layer that is pruned feeds a shortcut. */
  readonly hasShortcuts: boolean;
  /** How far outputs may be off when the model is written and read again, as a part of their range. */
  readonly tolerance: number;
  /** An ONNX file's. */
  readonly file?: OpenedModel;
  /** @param samples  whatever goes through it */
  chain(engine: Engine, samples: Dataset): Chain;
  /** Where it was asked for: the recipe with sizes that stock loaders can read, for samples with these dims. */
  readonly loadable?: (recipe: Recipe, sample: readonly number[]) => Recipe;
  /** @throws {InputError} where samples do not go with the model */
  check(samples: Dataset): Promise<void>;
  /** Everything that tells it from other models. */
  contents(): AsyncIterable<Hashable>;
  /** For those who work on it elsewhere. @throws {InputError} where it cannot be sent */
  shipment(): Promise<Shipment>;
  writer(recipe: Recipe, sizes: Sizes, engine: Engine): Promise<Writer>;
}

/** A model as it is opened elsewhere, out of files that are in this form. */
export type Opening<File> = { readonly name: string; readonly files: readonly File[] } & (
  | {
      readonly kind: 'folder';
      readonly heads?: HeadsMode;
      readonly image?: number;
      readonly part?: ModelPart;
    }
  /** Of the files the first is the model, the others are its external data. */
  | { readonly kind: 'file'; readonly how: Reopening }
);

/** A file on its way to a store. */
export interface FileToShip {
  readonly name: string;
  readonly size: number;
  read(at: number, length: number): Promise<Uint8Array>;
}

/** A model on its way to a store. */
export type Shipment = Opening<FileToShip>;

/** Where the smaller model goes, part by part. */
export interface Writer {
  part(index: number, pruned: PrunedPart): Promise<void>;
  /** Completes what was written, has it proven, and only then gives it its name. */
  finish<R>(how: Provenance, to: Finishing<R>): Promise<R>;
  /** Leaves nothing behind. Harmless after `finish`. */
  abort(): Promise<void>;
}

/** Puts the weights of a model's layers on whole steps. It stays as it is: `onPart` is given what comes of each part. */
export type Round = (
  subject: Subject,
  onPart: (index: number, pruned: PrunedPart) => Promise<void>,
) => Promise<void>;

/** What a model goes through before it gets its name. */
interface Finishing<R> {
  readonly round: Round;
  prove(written: Written): Promise<R>;
}

/** In the metadata of ONNX files. */
export const PRUNING = 'osscar.pruning';
/** In a model's contents: features of its heads go. What is known of the same model with fewer heads is not of it. */
export const NARROW_HEADS = 'narrow heads';

/** How a model was pruned, for its metadata. */
interface Provenance {
  /** What weights are stored as, where that is not what they are. */
  readonly weights?: StoredType;
  readonly target: Target;
  readonly samples: number;
  /** SHA-256 of the calibration samples, where it can be had. */
  readonly calibration?: string;
}

/** The same for the metadata of an ONNX file, where whoever has nothing but the file finds it. */
export function provenanceText(
  { method, keep, spend }: Recipe,
  { before, after }: { readonly before: number; readonly after: number },
  how: Provenance,
): string {
  const parameters = Number((after / before).toPrecision(6));
  const budget = spend && { of: spend.of, limit: spend.limit, maxLoss: spend.maxLoss };
  return JSON.stringify({ version, method, keep, budget, parameters, ...how });
}

export interface Written {
  readonly subject: Subject;
  /** ONNX bytes, of a file. */
  readonly model?: WrittenModel;
  /** Who can read it, and the sizes of its blocks, of a folder. */
  readonly statement?: string;
  readonly sizes?: readonly BlockSizes[];
  /** Whether config.json says them. */
  readonly isLoadable?: boolean;
  /** The file before its weights were stored as these: how far that takes the outputs says little of the graph. */
  readonly exact?: Subject;
  readonly rounding?: StoredType;
  /** What was written beside it. */
  readonly copies: readonly Copy[];
  /** Of these the one that was asked for, of a folder whose own weights are as they were. */
  readonly stored?: StoredCopy;
}

/** The same model in another form. */
export interface Copy {
  /** For some samples. */
  outputs(samples: Dataset): AsyncIterable<FloatTensor>;
  /** What its weights were rounded to. */
  readonly rounding?: StoredType;
}

/** One with smaller weights, in a file of the folder. */
export interface StoredCopy extends Copy {
  readonly file: string;
  readonly bytes: number;
  readonly rounding: StoredType;
}
