// The state that the rules of the operators work on: which axes of which values carry which labels.

import { type Axis, Label } from './labels.ts';
import type { LinearMap, Shapes } from './linear.ts';
import type { Model } from './model.ts';
import { reads } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import type { Edit, LinearRef } from './structure.ts';
import { type Tensor, toIntegers } from './tensor.ts';

/** Passes labels from the inputs of a node to its outputs, or pins them. */
export type Rule = (state: Propagation, node: NodeProto) => void;

export class Propagation {
  readonly model: Model;
  readonly labels: Label[] = [];
  readonly #shapes: Shapes;
  readonly #axes = new Map<string, (Axis | undefined)[]>();

  constructor(model: Model, shapes: Shapes) {
    this.model = model;
    this.#shapes = shapes;
  }

  get shapes(): Shapes {
    return this.#shapes;
  }

  /** Dims of a value or constant in the sample run; undefined where the run did not say. */
  dims(value: string): readonly number[] | undefined {
    return this.model.tensors.get(value)?.dims ?? this.#shapes.get(value);
  }

  constant(node: NodeProto, input: number): Tensor | undefined {
    return this.model.tensors.get(node.input[input] ?? '');
  }

  /** The integers of a constant input; undefined if it is computed, absent or of another type. */
  integers(node: NodeProto, input: number): number[] | undefined {
    const tensor = this.constant(node, input);
    return tensor && (tensor.type === 'int64' || tensor.type === 'int32') ? toIntegers(tensor) : undefined;
  }

  /** Labels of a value by axis, mostly holes. */
  axes(value: string): readonly (Axis | undefined)[] {
    return this.#axes.get(value) ?? [];
  }

  isLabelled(value: string): boolean {
    return this.axes(value).some((axis) => axis !== undefined);
  }

  /** The labelled axes of a value, with their places. */
  *labelled(value: string): Generator<[number, Axis]> {
    for (const [place, axis] of this.axes(value).entries()) if (axis) yield [place, axis];
  }

  mark(value: string, place: number, axis: Axis): void {
    if (!value) return; // an omitted optional output
    const axes = this.#axes.get(value) ?? [];
    axes[place] = axis;
    this.#axes.set(value, axes);
  }

  /** A new label for the channels that a layer puts on one axis of its output. */
  produce(node: NodeProto, place: number, groups: number, kind: LinearRef['kind']): Label {
    const label = new Label(groups);
    const ref = { node: node.name, kind, weight: node.input[1], output: node.output[0] };
    label.producers.push(node.input[2] ? { ...ref, bias: node.input[2] } : ref);
    this.labels.push(label);
    this.mark(node.output[0], place, { label, block: 1 });
    return label;
  }

  consume(axis: Axis, map: LinearMap): void {
    axis.label.root().consumers.push({ ...map, groupSize: map.groupSize * axis.block });
  }

  /** Ties one axis of the constant at `node.input[input]` to a label. */
  slice(axis: Axis, node: NodeProto, input: number, place: number): void {
    const slice = { tensor: node.input[input], axis: place, block: axis.block, node: node.name, input };
    axis.label.root().slices.push(slice);
  }

  edit(axis: Axis, edit: Edit): void {
    axis.label.root().edits.push(edit);
  }

  pin(axis: Axis, reason: string): void {
    axis.label.root().pins.push(reason);
  }

  /** Pins every label that a node can see. */
  pinAll(node: NodeProto, reason: string): void {
    for (const value of new Set(reads(node)))
      for (const [, axis] of this.labelled(value)) this.pin(axis, reason);
  }

  /** Pins every label but the one on axis `except` of a value. */
  pinOthers(value: string, except: number, reason: string): void {
    for (const [place, axis] of this.labelled(value)) if (place !== except) this.pin(axis, reason);
  }
}

/** How messages call a node: `Conv "name"`. */
export function called(node: NodeProto): string {
  return `${node.opType} "${node.name}"`;
}

/** Counts a negative axis from the end. */
export function wrapAxis(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}
