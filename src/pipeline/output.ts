// What the first output of a model is, which decides how the model is measured.

import type { Model, Shapes } from '../graph/index.ts';

/**
 * Whether token ids come back as scores of the vocabulary: the last extent of the first output, (n, t, v), is the number
 * of rows of a table that the ids pick from. Hidden states are as wide as those rows.
 */
export function hasVocabulary(model: Model, ids: string, shapes: Shapes): boolean {
  const dims = shapes.get(model.outputs[0].name) ?? [];
  return dims.length === 3 && tableRows(model, ids).has(dims[2]);
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
