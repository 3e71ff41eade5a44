// Where a model can be cut in two with a single activation to hand over.

import type { Model } from './model.ts';
import { reads } from './node.ts';

export interface Cut {
  /** Position of the last node before the cut. */
  after: number;
  /** The only computed value that nodes behind the cut read. */
  value: string;
}

/**
 * All cuts in topological order. What depends on constants, on the extents of an input or on other inputs than
 * `input` alone crosses for free: it can be computed again.
 */
export function segments(model: Model, input = model.inputs[0]?.name): Cut[] {
  const inputs = new Set(model.inputs.map(({ name }) => name));
  const computed = new Set([input]);
  const lastUse = new Map<string, number>();
  for (const [place, node] of model.nodes.entries()) {
    // Its extents are known without its values.
    const values = node.opType === 'Shape' ? reads(node).filter((value) => !inputs.has(value)) : reads(node);
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
    if (live.size === 1 && !inputs.has(value)) cuts.push({ after: place, value });
  }
  return cuts;
}
