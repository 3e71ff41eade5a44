// What is known of attention while a graph is walked: products of queries and keys, and of what they mix.

import type { Label } from './labels.ts';
import type { NodeProto } from './onnx_pb.ts';
import type { QueriesAndKeys } from './structure.ts';

/** An operand or the result of a product of two values. */
export interface Side {
  readonly value: string;
  /** The place of the axis whose channels may be features. */
  readonly place: number;
  /** Of the axes for each position of which there is a product of its own: undefined where all of these share what it has. */
  readonly apart: readonly (number | undefined)[];
}

/** What is known of a product of queries and keys, while a graph is walked. */
export interface Scores extends QueriesAndKeys {
  readonly label: Label;
}

/** An attention whose heads are to have fewer features. */
export interface Attention {
  /** The node that mixes values, and its output. */
  readonly mix: NodeProto;
  readonly mixed: Side;
  /** What of its features can go as far as queries, keys and values are seen, or why nothing can. */
  readonly heads: NarrowHeads | string;
}

export interface NarrowHeads {
  readonly label: Label;
  readonly values: Made;
  /** By which they are mixed; absent where features of queries and keys stay. */
  readonly scores?: Scores;
}

/** The layer that makes features, and where in its output the first one lies, by the positions of axes that a product has apart. */
export interface Made {
  readonly node: string;
  readonly offsets: readonly number[];
}
