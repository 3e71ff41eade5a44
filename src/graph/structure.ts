// What the analysis says of the channels of a model. Plain data: names of nodes and numbers.

import type { LinearKind, LinearMap } from './linear.ts';

/** A layer whose output channels are channels of the structure. */
export interface LinearRef {
  node: string;
  kind: LinearKind | 'convtranspose';
  weight: string;
  bias?: string;
  output: string;
}

/**
 * A constant to be cut with the channels: channel c owns positions c·block … (c+1)·block − 1 of the axis.
 * The place where it is read counts, not the tensor alone: another node may need the same tensor whole.
 */
export interface Slice {
  tensor: string;
  axis: number;
  block: number;
  node: string;
  /** `tensor` is this input of the node. */
  input: number;
}

/** A number in the graph that becomes `unit` × channels kept. */
export type Edit =
  | { kind: 'attribute'; node: string; name: 'group'; unit: number }
  | { kind: 'constant'; node: string; input: number; index: number; unit: number };

/** Channels that live and die together: layers that make them, layers that read them, all that is tied to them. */
export interface Structure {
  /** Unique and stable: the first producing node. */
  name: string;
  /** The first consuming layer; empty if there is none. */
  layer: string;
  /** Number of channels. */
  groups: number;
  /** Rows of the first consumer's weights per channel. */
  groupSize: number;
  prunable: boolean;
  /** Why it is not prunable. */
  reason?: string;
  /** Tied by a shortcut: it could be cut, but every layer of the stream would have to agree. */
  isResidual: boolean;
  /** In topological order, as the consumers. */
  producers: LinearRef[];
  consumers: LinearMap[];
  slices: Slice[];
  edits: Edit[];
}

export interface Analysis {
  /** Every set of tied channels that a layer makes, prunable or not, in topological order of the first consumer. */
  structures: Structure[];
}
