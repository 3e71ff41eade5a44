// A part of a model whose channels were chosen.

import { type Model, maskInner, type OnSteps, type Structure, shrink } from '../../graph/index.ts';
import type { SolvedLayers } from '../../solve/index.ts';
import type { Named } from '../keep.ts';

/** A structure whose channels were chosen. */
export interface SolvedCut extends Pick<SolvedLayers, 'kept' | 'relativeError' | 'curve'> {
  /** λ of each consumer. */
  readonly damping: readonly number[];
}

export interface PrunedLayer extends Named, SolvedCut {
  readonly structure: Structure;
  /** Why the layers that make its channels were not refitted: what the engine says of the derivatives. */
  readonly refused?: string;
}

export interface PrunedPart {
  /** The part's graph with its new weights, those of removed channels zero. */
  readonly weighted: Model;
  readonly layers: readonly PrunedLayer[];
  /** Weights that were put on whole steps. */
  readonly onSteps?: OnSteps;
}

/** The part without its removed channels. */
export function shrunk({ weighted, layers }: PrunedPart): Model {
  return shrink(weighted, cutsOf(layers));
}

/** The smaller network's function at the dense one's shapes. */
export function masked({ weighted, layers }: PrunedPart): Model {
  return maskInner(weighted, cutsOf(layers));
}

export function cutsOf(layers: readonly PrunedLayer[]) {
  return new Map(layers.map(({ structure, kept }) => [structure, kept]));
}
