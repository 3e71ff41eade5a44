// The state that the rules of the operators work on: which axes of which values carry which labels.

import type { Graph } from './graph.ts';
import { type Axis, type EditPlace, Label, type Part, Patience, type Piece } from './labels.ts';
import type { LinearMap, Shapes } from './linear.ts';
import { expectNode, reads } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import type { Arithmetic } from './operators/operator.ts';
import { type Range, shifted } from './places.ts';
import type { Attention, Scores } from './scores.ts';
import type { Norm, Port, Slice } from './structure.ts';
import { sum, type Tensor, toIntegers } from './tensor.ts';

/**
 * Passes labels from the inputs of a node to its outputs, or pins them. A label that it does neither with is cut as if
 * the node did not care.
 */
export type Rule = (state: Propagation, node: NodeProto) => void;

/** What is known of an operator, in one object. */
export interface Operator extends Arithmetic {
  /**
   * - `source`: the rule runs on every node, because it makes labels
   * - `join`: the rule runs where an input is labelled; all of them are data
   * - `pass`: the rule runs where the first input is labelled; a label on another one pins all
   */
  readonly kind: 'source' | 'join' | 'pass';
  readonly rule: Rule;
}

/** An integer of a shape (sizes.ts). */
export interface Size {
  /** In the sample run; NaN where it is not known. */
  value: number;
  /** The channels that it counts: `value` is the extent. */
  axis?: Axis;
  /** Computed from constants alone, and from numbers of channels that are held as they are: the same in every run. */
  isFixed?: boolean;
  /** The constant that it is, or the input of a Concat, which could be left to be inferred. */
  place?: EditPlace;
  /** The constant that it is a multiple of, as batch · heads is of heads. */
  factor?: { readonly place: EditPlace; readonly value: number };
}

/** Where a label lies on an axis of a value. */
export interface Carrier extends Range {
  readonly value: string;
  readonly axis: number;
}

/** What rules work on. Axes count from 0; `place` is one of a value's. */
export class Propagation {
  readonly model: Graph<Operator>;
  readonly shapes: Shapes;
  /** Of a run of a sample as large as those to come: how many rows layers have. */
  readonly sample: Shapes;
  readonly labels: Label[] = [];
  /** Spent by whatever goes through more places than there are nodes. */
  readonly patience = new Patience();
  /** Labels that must turn out to be one and the same, or all of them are pinned. */
  readonly agreements: { labels: readonly Label[]; reason: string }[] = [];
  /** What was reduced over channels; it must come back to them, at axis −`fromEnd`, and go nowhere else. */
  readonly reductions: { value: string; fromEnd: number; axis: Axis; reason: string }[] = [];
  /** Of weights that several nodes have: what these read and make, and those that read no channels of a layer, until one does. */
  readonly layers = new Map<
    string,
    { read: Axis | undefined; made: Axis; readonly unlabelled: NodeProto[] }
  >();
  /** By their value: products of queries and keys whose features may go, or why these have to stay. */
  readonly scores = new Map<string, Scores | string>();
  /** Of heads that are to become narrow. */
  readonly attentions: Attention[] = [];
  /** Nodes to which features of heads are channels, and heads are not. */
  readonly narrowed = new Set<NodeProto>();
  /** Nodes that give shapes to several others, which want other numbers there when channels go. */
  readonly shared = new Set<string>();
  /** Nodes whose outputs have their labels from a node before them. */
  readonly passed = new Set<NodeProto>();
  /** Integer values that a Shape leads to, element by element. */
  readonly sizes = new Map<string, readonly Size[]>();
  readonly #axes = new Map<string, (Axis | undefined)[]>();
  /** Read once, however many nodes read them. */
  readonly #integers = new Map<Tensor, readonly number[]>();

  /** Whether heads lose features at a node of an attention, and none of them goes. */
  readonly narrows: (node: NodeProto) => boolean;

  constructor(
    model: Graph<Operator>,
    shapes: Shapes,
    narrows: Propagation['narrows'] = () => false,
    sample = shapes,
  ) {
    this.model = model;
    this.shapes = shapes;
    this.sample = sample;
    this.narrows = narrows;
  }

  /** Dims of a value or constant in the sample run; undefined where the run did not say. */
  dims(value: string): readonly number[] | undefined {
    return this.model.tensors.get(value)?.dims ?? this.shapes.get(value);
  }

  /** The constant that an input is; undefined if it is computed or absent. */
  constant(node: NodeProto, input: number): Tensor | undefined {
    return this.model.tensors.get(node.input[input] ?? '');
  }

  /** The integers of a constant input; undefined if it is computed, absent or of another type. */
  integers(node: NodeProto, input: number): readonly number[] | undefined {
    const tensor = this.constant(node, input);
    if (tensor?.type !== 'int64' && tensor?.type !== 'int32') return undefined;
    const integers = this.#integers.get(tensor) ?? toIntegers(tensor);
    this.#integers.set(tensor, integers);
    return integers;
  }

  /** Labels of a value by axis, mostly holes. */
  axes(value: string): readonly (Axis | undefined)[] {
    return this.#axes.get(value) ?? [];
  }

  /** True if any axis of the value carries a label. */
  isLabelled(value: string): boolean {
    return this.axes(value).some((axis) => axis !== undefined);
  }

  /** The labelled axes of a value, with their places. */
  *labelled(value: string): Generator<[number, Axis]> {
    for (const [place, axis] of this.axes(value).entries()) if (axis) yield [place, axis];
  }

  /** Puts a label on an axis of a value; of an omitted output, and without a label, does nothing. */
  mark(value: string | undefined, place: number, axis: Axis | undefined): void {
    if (!value || !axis) return;
    const axes = this.#axes.get(value) ?? [];
    axes[place] = axis;
    this.#axes.set(value, axes);
  }

  /** Takes all labels off a value. */
  clear(value: string): void {
    this.#axes.delete(value);
  }

  /** A new label for an axis that no layer makes but that can be cut with one that it is tied to. */
  free(extent: number): Axis {
    const label = new Label(extent, this.patience);
    this.labels.push(label);
    return { label, extent, outer: 1 };
  }

  /**
   * A new label for the channels that a layer puts on one axis of an output.
   * @param from  the input that its weights are, and the output
   */
  produce(node: NodeProto, place: number, extent: number, { weight = 1, output = 0 } = {}): Axis {
    const axis = this.free(extent);
    const kind = node.opType.toLowerCase();
    const ref = { node: node.name, kind, weight: node.input[weight], output: node.output[output] };
    const bias = node.input[this.model.operator(node)?.layer?.bias ?? -1];
    axis.label.producers.push(bias ? { ...ref, bias } : ref);
    this.mark(node.output[output], place, axis);
    return axis;
  }

  /** A layer reads the channels. */
  consume(axis: Axis, map: LinearMap): void {
    const rows = map.p / axis.extent;
    for (const { label, ...range } of runsOf(axis)) {
      const offset = range.offset * rows;
      const places = range.places?.flatMap((at) => Array.from({ length: rows }, (_, i) => at * rows + i));
      label.consumers.push({ map, offset, extent: range.extent * rows, ...(places && { places }) });
    }
  }

  /** Axes side by side; undefined where none of them is labelled. Channels that no layer makes stay. */
  joined(axes: readonly (Axis | undefined)[], extents: readonly number[], by: NodeProto): Axis | undefined {
    if (!axes.some(Boolean)) return undefined;
    const whole = axes.flatMap((axis, i) => {
      const { label, outer } = axis ?? this.free(extents[i]);
      if (!axis) label.pin(`${called(by)} puts channels beside it that no layer makes`);
      this.patience.spend(outer);
      return new Array<Part>(outer).fill({ label, share: extents[i] / outer });
    });
    const parts = whole.filter(({ share }) => share > 0);
    const isMerged = axes.some((axis) => axis?.isMerged);
    return parts.length > 0
      ? { label: Label.of(parts), extent: sum(extents), outer: 1, isMerged }
      : undefined;
  }

  /**
   * Ties one axis of the constant at `node.input[input]` to a label, from position `offset` on.
   * @param kind  the node reads the channels by it, and makes them; or it is no constant, but a value without labels on the axis, or
   *   one that it picks from
   */
  slice(
    axis: Axis,
    node: NodeProto,
    input: number,
    place: number,
    offset = 0,
    kind: Partial<Pick<Slice, 'tensor' | 'isRead' | 'whole' | 'picks' | 'state'>> = {},
  ): void {
    const { tensor = node.input[input] } = kind;
    const dim = this.dims(tensor)?.[place] ?? 0;
    if (offset + axis.extent > dim) this.pin(axis, `${called(node)} has a constant that is too small`);
    for (const { label, ...range } of runsOf(axis)) {
      const at = {
        tensor,
        axis: place,
        node: node.name,
        input,
        ...kind,
      };
      label.slices.push({ ...at, ...shifted(range, offset) });
    }
  }

  /** The node computes over the channels that lie on these axes of what it reads and gives. */
  normalise(
    axis: Axis,
    node: NodeProto,
    inputs: readonly Port[],
    outputs: readonly Port[],
    kind: Pick<Norm, 'isOpen'> = {},
  ): void {
    for (const { label, ...range } of runsOf(axis)) {
      label.norms.push({ node: node.name, inputs, outputs, whole: axis.extent, ...kind, ...range });
    }
  }

  /**
   * A number that `axis.extent` is part of today and changes with it, as the node `reader` needs it.
   *
   * @param sign  −1 where the number is negative, as one that counts from the end: it comes closer to 0 then
   */
  edit(axis: Axis, place: EditPlace, reader: string, sign = 1): void {
    for (const { label, extent } of piecesOf(axis))
      label.edits.push({ place, extent: sign * extent, reader });
  }

  /** The channels must all stay; where there are none, does nothing. */
  pin(axis: Axis | undefined, reason: string): void {
    axis?.label.pin(reason);
  }

  /** Pins every label that a node can see. */
  pinAll(node: NodeProto, reason: string): void {
    for (const value of new Set(reads(node))) this.pinOthers(value, -1, reason);
  }

  /** Pins every label but the one on axis `except` of a value. */
  pinOthers(value: string, except: number, reason: string): void {
    for (const [place, axis] of this.labelled(value)) if (place !== except) this.pin(axis, reason);
  }

  /** Where the labels lie, those of values with several labels on an axis among them. */
  carriers(): Map<Label, Carrier[]> {
    const found = new Map<Label, Carrier[]>();
    for (const [value, axes] of this.#axes) {
      for (const [place, axis] of axes.entries()) {
        if (!axis) continue;
        for (const { label, isTorn: _, ...range } of piecesOf(axis)) {
          const list = found.get(label) ?? [];
          list.push({ value, axis: place, ...range });
          found.set(label, list);
        }
      }
    }
    return found;
  }
}

const piecesOf = ({ label, extent }: Axis) => label.pieces(extent);

/** The pieces of every run, in which a label's groups lie one behind the other unless they are shuffled. */
function* runsOf({ label, extent, outer }: Axis): Generator<Piece> {
  const run = extent / outer;
  for (let at = 0; at < extent; at += run)
    for (const { isTorn: _, ...piece } of label.pieces(run)) yield shifted(piece, at);
}

/**
 * How messages call a node: `Conv "name"`.
 *
 * @example
 * throw new UnsupportedModelError(`${called(node)}: has no weights`);
 */
export function called(node: NodeProto): string {
  expectNode(node);
  return `${node.opType} "${node.name}"`;
}

/** Counts a negative axis from the end. */
export function wrapAxis(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}
