// What a model gives.

import { InputError } from '../errors.ts';
import { removeUnread } from './fold.ts';
import type { Model } from './model.ts';

/** A copy without the nodes that lead to no output and the constants that nothing reads, or the same where there are none. */
export function withoutUnread(model: Model): Model {
  const isUnread = (value: string) => !model.isOutput(value) && model.uses(value).length === 0;
  const unread = model.nodes.filter(({ output }) => output.every(isUnread)).flatMap(({ output }) => output);
  const constants = [...model.tensors.keys()].filter(isUnread);
  if (unread.length === 0 && constants.length === 0) return model;
  const copy = model.clone();
  copy.removeUnused(constants);
  removeUnread(copy, unread);
  return copy;
}

/**
 * A copy that gives only these outputs, in the order of the model, and has only what leads to them.
 *
 * @throws {InputError} for a name that is no output, or for none
 */
export function onlyOutputs(model: Model, names: readonly string[]): Model {
  const known = model.outputs.map(({ name }) => name);
  const missing = names.find((name) => !known.includes(name));
  if (missing !== undefined || names.length === 0)
    throw new InputError(
      `${model.name}: \`outputNames\`: expected some of its outputs (${known.join(', ')}), got ${missing === undefined ? 'none' : `"${missing}"`}`,
    );
  const copy = model.clone();
  copy.graph.output = copy.graph.output.filter(({ name }) => names.includes(name));
  copy.edited();
  removeUnread(copy, known);
  return copy;
}
