// Whether a model gives scores of a vocabulary, which decides how it is measured.

import type { Model, Shapes } from '../../graph/index.ts';
import type { ModelInput } from './inputs.ts';

/**
 * Whether token ids come back as scores of the vocabulary: the last extent of the first output, (n, t, v), is the number
 * of rows of a table that the ids pick from. Hidden states are as wide as those rows. Where other ids pick from such a table
 * too, as those of a decoder beside an encoder's, the scores are not of what comes next in the samples.
 */
export function hasVocabulary(model: Model, { name, others }: ModelInput, shapes: Shapes): boolean {
  const dims = shapes.get(model.outputs[0].name) ?? [];
  const picks = (ids: string) => dims.length === 3 && tableRows(model, ids).has(dims[2]);
  return picks(name) && !others.some((other) => !other.fill && picks(other.name));
}

/** Rows of the tables that a value picks from, directly or by way of a cast and the like. */
function tableRows(model: Model, ids: string): Set<number> {
  const rows = new Set<number>();
  const values = new Set([ids]);
  for (const value of values) {
    for (const { node, index } of model.uses(value)) {
      const table = node.opType === 'Gather' && index === 1 ? model.tensors.get(node.input[0]) : undefined;
      if (table?.dims.length === 2) rows.add(table.dims[0]);
      else if (node.opType !== 'Shape' && index >= 0) for (const output of node.output) values.add(output);
    }
  }
  return rows;
}
