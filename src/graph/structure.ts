// What the analysis says of the channels of a model. Plain data: names of nodes and numbers.

import type { LinearMap, LinearRef } from './linear.ts';

/**
 * Rows of a layer's weights, or positions of another axis: channel c owns `block` of them from offset + c·block on. The offset is more
 * than 0 where structures lie side by side, as in a fused query, key and value projection.
 */
export interface RowBlock {
  offset: number;
  block: number;
  /** All of them, channel by channel, where they are not one behind the other, as behind a shuffle of channels. */
  places?: readonly number[];
}

/**
 * A constant to be cut with the channels. The place where it is read counts, not the tensor alone: another node may need the same
 * tensor whole.
 */
export interface Slice extends RowBlock {
  tensor: string;
  axis: number;
  node: string;
  /** `tensor` is this input of the node. */
  input: number;
  /** By these weights the node that makes the channels reads them, as a recurrent layer does. */
  isRead?: boolean;
  /** Positions of the axis, where it is no constant: channels that stay are gathered from a value that has them all. */
  whole?: number;
  /** What the node gives are these positions of the axis of `tensor`, in this order: it becomes a Gather of those that stay. */
  picks?: readonly number[];
  /**
   * It is a value of so many axes that a state is made of, which stays as large: zeros are put in the place of what goes before the node
   * reads it, or where `input` is −1 behind the node that makes it.
   */
  state?: { readonly rank: number };
}

/**
 * A number in the graph that falls by `unit` with every channel removed, or rises where that is negative, as bounds that are counted from
 * the end. `index` is for lists; `values` is such a list where it is not written down: the pieces of an even Split, or what a Slice
 * computes from the number of channels.
 */
export type Edit =
  | {
      kind: 'attribute';
      node: string;
      name: string;
      index?: number;
      values?: readonly number[];
      unit: number;
    }
  | {
      kind: 'constant';
      node: string;
      input: number;
      index: number;
      values?: readonly number[];
      unit: number;
    }
  /** The size that this input of a Concat adds to the target of a Reshape is left to be inferred: it becomes −1. */
  | { kind: 'infer'; node: string; input: number; unit: 0 }
  /** A number that the node computes from that of the channels stays as it is: its output becomes a constant. */
  | { kind: 'hold'; node: string; value: number; rank: number; unit: number }
  /** The declared extent of an axis of a graph input or output. */
  | { kind: 'dim'; value: string; index: number; unit: number };

/** An axis of an input or output of a node. */
export interface Port {
  readonly index: number;
  readonly axis: number;
}

/**
 * A node that computes over the channels: a normalisation, or a reduction that is part of one. What it makes of those that
 * stay depends on which go.
 */
export interface Norm extends RowBlock {
  node: string;
  /** Where the channels are; an axis has `whole` positions. */
  inputs: readonly Port[];
  outputs: readonly Port[];
  whole: number;
  /** The axis, which is the last one, has more or fewer positions in other runs, each channel as many. */
  isOpen?: boolean;
}

/** Axes of values on which the channels lie. */
export interface ValueAxis extends RowBlock {
  value: string;
  axis: number;
}

/**
 * A layer that reads the channels, all of its rows or some of them: a concatenation has rows of other structures too, and
 * of channels that stay; of features of queries and keys it reads what these have mixed, and has no rows. `groupSize` is what a channel has of all blocks.
 */
export interface Reader extends LinearMap {
  blocks: RowBlock[];
}

/** Whether all rows of a reader are the structure's. */
export function isReadAlone(
  { p, blocks, groupSize }: Reader,
  { groups }: Pick<Structure, 'groups'>,
): boolean {
  return blocks.length === 1 && groups * groupSize === p;
}

/** The rows of W, or positions of another axis, that belong to channels, channel by channel. */
export function rowsOf(
  { blocks }: { readonly blocks: readonly RowBlock[] },
  channels: readonly number[],
): number[] {
  return channels.flatMap((c) =>
    blocks.flatMap(({ offset, block, places }) =>
      Array.from({ length: block }, (_, i) => places?.[c * block + i] ?? offset + c * block + i),
    ),
  );
}

/** The channels that do not stay, ascending. */
export function removedOf({ groups }: Pick<Structure, 'groups'>, kept: readonly number[]): number[] {
  const stays = new Set(kept);
  return Array.from({ length: groups }, (_, c) => c).filter((c) => !stays.has(c));
}

/** What goes of attention: heads, or features of each of them. */
export const HEADS = ['fewer', 'narrow'] as const;
/** One of {@link HEADS}. */
export type HeadsMode = (typeof HEADS)[number];

/** Features that a layer makes, and where those of each head begin among all that it makes. */
export interface MadeFeatures {
  readonly node: string;
  readonly heads: readonly number[];
}

/** The features that scores are made of. */
export interface QueriesAndKeys {
  readonly queries: MadeFeatures;
  readonly keys: MadeFeatures;
}

/**
 * Channels that are features of attention's heads, each head with one of every channel. Rotated within a head, they give the same. An attention
 * has two such structures, of queries and keys and of values, and one where the graph ties these.
 */
export interface Features {
  /** Absent where these are of values alone. */
  readonly scores?: QueriesAndKeys;
  /** Absent where these are of queries and keys alone, of which no layer reads a feature. */
  readonly mixture?: {
    readonly values: MadeFeatures;
    /** Where in the input of the layer that reads what was mixed each head begins. */
    readonly read: readonly number[];
  };
}

/** What layers make of them. */
export function madeOf({ scores, mixture }: Features): readonly MadeFeatures[] {
  return [scores?.queries, scores?.keys, mixture?.values].filter((it) => it !== undefined);
}

/** Channels that live and die together: layers that make them, layers that read them, all that is tied to them. */
export interface Structure {
  /** Unique and stable: the first producing node, and where it makes several structures, which of them. */
  name: string;
  /** The first consuming layer; empty if there is none. */
  layer: string;
  /** What a channel is: `head` where attention runs on each apart (a head, or a key-value group with its query heads). */
  kind: 'channel' | 'head';
  /** Number of channels. */
  groups: number;
  /** Rows of the first consumer's weights per channel. */
  groupSize: number;
  prunable: boolean;
  /** Why it is not prunable. */
  reason?: string;
  /** Tied by a shortcut: it could be cut, but every layer of the stream would have to agree. */
  isResidual: boolean;
  /** Whether it can go whole: its readers lead to sums that do without them. Absent where not. */
  canGo?: boolean;
  /** In topological order, as the consumers. */
  producers: LinearRef[];
  consumers: Reader[];
  values: ValueAxis[];
  slices: Slice[];
  edits: Edit[];
  norms: Norm[];
  /** Where a channel is a feature of every head. */
  features?: Features;
  /** Why it is whole heads that go where features were to go. */
  wholeHeads?: string;
}

/** What comes of the channels that stay depends at these places, before any layer reads it, on which go. */
export function insideOf({ norms, slices }: Structure): readonly { readonly node: string }[] {
  return [...norms, ...slices.filter(({ isRead }) => isRead)];
}

export function dependsOnKept(structure: Structure): boolean {
  return insideOf(structure).length > 0;
}

/** What `openModel` found that can be cut, and what cannot. */
export interface Analysis {
  /** Every set of tied channels that a layer makes, prunable or not, in topological order of the first consumer. */
  structures: Structure[];
  /** Nodes that give a shape to several others, which would want different ones: channels stay for that (`separateShapes`). Left out: none. */
  shared?: readonly string[];
}
