// What a model's vocabulary is: whether it gives scores of one, which decides how it is measured, and which ids it has rows for.

import { InputError } from '../../errors.ts';
import { attributeInt, type Model, type NodeProto, type Shapes } from '../../graph/index.ts';
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

/** Operators that leave ids what they are. */
const CARRYING = /^(Cast|Identity|Reshape|Flatten|Squeeze|Unsqueeze|Transpose)$/;

/** Rows of the smallest table that an input's own values pick from; infinite where none is known. */
export function rowsFor(model: Model, ids: string): number {
  return Math.min(...tableRows(model, ids, ({ opType }) => CARRYING.test(opType)));
}

/**
 * @param ids  of a batch of windows
 * @param least  below it none is taken
 * @param name  of the data
 * @throws {InputError} where the model has no row for one
 */
export function expectIds(ids: Float32Array, rows: number, least: number, name?: string): void {
  const id = ids.find((value) => !(value >= least && value < rows));
  if (id === undefined) return;
  const where = name === undefined ? '' : `"${name}": `;
  throw new InputError(
    `${where}token ${id} is outside the model's vocabulary of ${rows}: it is of another tokenizer; see \`tokenizer\``,
  );
}

/** Rows of the tables that a value picks from, directly or by way of a cast and the like. */
function tableRows(model: Model, ids: string, carries = ({ opType }: NodeProto) => opType !== 'Shape') {
  const rows = new Set<number>();
  const values = new Set([ids]);
  for (const value of values) {
    for (const { node, index } of model.uses(value)) {
      const isPicked = node.opType === 'Gather' && index === 1 && attributeInt(node, 'axis', 0) === 0;
      const table = isPicked ? model.tensors.get(node.input[0]) : undefined;
      if (table?.dims.length === 2) rows.add(table.dims[0]);
      else if (carries(node) && index >= 0) for (const output of node.output) values.add(output);
    }
  }
  return rows;
}
