// Which channels of a model are tied to each other, and which of those sets can be pruned.
//
// Every layer puts a fresh label on the channel axis of its output. Rules, one per operator, carry labels
// forward in topological order: they hand a label on to an axis of an output, tie two labels (Add, Mul), tie
// a constant to one (a slope, BatchNormalization's parameters), consume it (the next layer's weights) or pin
// it, which means that the channels must all stay, with a reason. Names and patterns play no part.

import type { Label } from './labels.ts';
import type { LinearMap, Shapes } from './linear.ts';
import type { Model } from './model.ts';
import { captured, isStandard, reads } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { called, Propagation } from './propagation.ts';
import { JOINS, LAYERS, PASSES } from './rules/index.ts';
import type { Analysis, Structure } from './structure.ts';

/** @param shapes  dims of every value in a run on any batch (run `withAllValues` to learn them) */
export function analyse(model: Model, shapes: Shapes): Analysis {
  const state = new Propagation(model, shapes);
  for (const node of model.nodes) visit(state, node);
  for (const { name } of model.outputs) {
    for (const [, axis] of state.labelled(name)) state.pin(axis, `it is the graph output "${name}"`);
  }
  const roots = new Set(state.labels.map((label) => label.root()));
  const place = (name: string) => model.position(model.node(name)!);
  const structures = [...roots].map((label) => structureOf(label, place));
  const order = ({ consumers, producers }: Structure) => place(consumers[0]?.node ?? producers[0].node);
  return { structures: structures.sort((a, b) => order(a) - order(b)) };
}

function visit(state: Propagation, node: NodeProto): void {
  const layer = isStandard(node) ? LAYERS.get(node.opType) : undefined;
  if (layer) layer(state, node);
  else if (reads(node).some((value) => state.isLabelled(value))) follow(state, node);
}

function follow(state: Propagation, node: NodeProto): void {
  const join = JOINS.get(node.opType);
  const rule = isStandard(node) ? (join ?? PASSES.get(node.opType)) : undefined;
  const data = join ? node.input : node.input.slice(0, 1);
  const parameters = join ? [] : node.input.slice(1).filter((value) => value !== '');
  // No rule expects parameters computed from channels, or labels that a graph inside the node sees.
  const expected = ![...parameters, ...captured(node)].some((value) => state.isLabelled(value));
  const known = [...data, ...parameters, node.output[0]].every((value) => state.dims(value) !== undefined);
  if (rule && expected && known) rule(state, node);
  else state.pinAll(node, `${called(node)} cannot be seen through`);
}

function structureOf(label: Label, place: (node: string) => number): Structure {
  const byPlace = (a: { node: string }, b: { node: string }) => place(a.node) - place(b.node);
  const producers = label.producers.sort(byPlace);
  const consumers = label.consumers.sort(byPlace);
  const reason = reasonOf(label, producers.length, consumers);
  return {
    name: producers[0].node,
    layer: consumers[0]?.node ?? '',
    groups: label.groups,
    groupSize: consumers[0]?.groupSize ?? 1,
    prunable: reason === undefined,
    ...(reason !== undefined && { reason }),
    isResidual: label.shortcuts.length > 0,
    producers,
    consumers,
    slices: label.slices,
    edits: label.edits,
  };
}

function reasonOf(label: Label, producers: number, consumers: readonly LinearMap[]): string | undefined {
  const reasons = new Set(label.pins);
  if (label.shortcuts.length > 0) {
    // what users know it by goes first
    const residual = `residual stream: tied across ${producers} producers by ${label.shortcuts[0]}`;
    return [residual, ...reasons].slice(0, 2).join('; ');
  }
  const [first, ...more] = reasons;
  if (first !== undefined) return more.length > 0 ? `${first} (and ${more.length} more)` : first;
  if (consumers.length === 0) return 'no layer reads it';
  if (label.groups < 2) return 'it has a single channel';
  return undefined;
}
