// Where a model can be cut in two with a single activation to hand over.

import type { Shapes } from './linear.ts';
import type { Model } from './model.ts';
import { isStandard, reads } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';

export interface Cut {
  /** Position of the last node before the cut. */
  after: number;
  /** The only computed value that nodes behind the cut read. */
  value: string;
}

/**
 * All cuts in topological order. Values that depend on constants, or on other inputs than `input`, alone cross for
 * free: they can be computed again.
 *
 * @param shapes  dims of every value in a run; with them, what depends on constants and the shapes of the graph's
 *   inputs alone (positions, causal masks) crosses for free too, where the value that crosses has the same batch:
 *   `subgraph` takes it from there
 */
export function segments(model: Model, shapes?: Shapes, input = model.inputs[0]?.name): Cut[] {
  const inputs = new Set(model.inputs.map(({ name }) => name));
  const batches = new Set<number | undefined>();
  const computed = new Set([input]);
  const lastUse = new Map<string, number>();
  for (const [place, node] of model.nodes.entries()) {
    if (shapes && isInputShape(model, node)) {
      batches.add(shapes.get(node.input[0])?.[0]);
      continue;
    }
    const values = reads(node);
    if (values.some((value) => computed.has(value))) {
      for (const output of node.output) if (output !== '') computed.add(output);
    }
    for (const value of values) if (computed.has(value)) lastUse.set(value, place);
  }
  const live = new Set([...inputs].filter((name) => lastUse.has(name)));
  const cuts: Cut[] = [];
  for (const [place, node] of model.nodes.entries()) {
    for (const output of node.output) if (lastUse.has(output)) live.add(output);
    for (const value of reads(node)) if (lastUse.get(value) === place) live.delete(value);
    const [value] = live;
    const hasBatch = [...batches].every((batch) => batch === shapes?.get(value)?.[0]);
    if (live.size === 1 && !inputs.has(value) && hasBatch) cuts.push({ after: place, value });
  }
  return cuts;
}

/** True for a Shape of a graph input. */
export function isInputShape(model: Model, node: NodeProto): boolean {
  return (
    node.opType === 'Shape' && isStandard(node) && model.inputs.some(({ name }) => name === node.input[0])
  );
}
