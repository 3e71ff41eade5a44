// What a network gives before it selects among it: the highest scores, boxes that do not overlap, the class of a pixel. A last bit more or
// less selects otherwise, so that selections say nothing of how near two networks are. Of texts, sequences and maps it is what
// they are made of.

import { isNumeric } from './dtype.ts';
import type { Model } from './model.ts';
import { isStandard, reads } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { unreachedValues, type ValueInfo } from './subgraph.ts';

const SELECTING = new Set(['ArgMax', 'ArgMin', 'Hardmax', 'NonMaxSuppression', 'NonZero', 'TopK', 'Unique']);

/**
 * Floating-point values that outputs are made of, from which nothing has been selected yet, in the place of those outputs that
 * selections lead to.
 *
 * @returns undefined where nothing is selected and outputs are numbers, or layers read what was, as experts read tokens
 */
export function unselectedValues(
  model: Model,
  { types, unreached = unreachedValues(model) }: Pick<ValueInfo, 'types' | 'unreached'>,
): string[] | undefined {
  const isFloat = (value: string) => (types.get(value) ?? 'float32').startsWith('float');
  const isOther = (value: string) => !isNumeric(types.get(value) ?? 'float32') && !!model.producer(value);
  const isOfSamples = (value: string) => !model.tensors.has(value) && !unreached.has(value);
  const selected = new Set<string>();
  for (const node of model.nodes) {
    const values = reads(node);
    const isBehind = values.some((value) => selected.has(value));
    if (isBehind && model.operator(node)?.layer && model.tensors.has(node.input[1])) return undefined;
    if (isBehind || (isSelection(model, node, isFloat) && values.some(isOfSamples)))
      for (const output of node.output) selected.add(output);
  }
  if (!model.outputs.some(({ name }) => selected.has(name) || isOther(name))) return undefined;
  const found = new Set<string>();
  const seen = new Set<string>();
  const pending = model.outputs.map(({ name }) => name).reverse();
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (seen.has(value)) continue;
    seen.add(value);
    if (selected.has(value) || isOther(value)) pending.push(...reads(model.producer(value)!).reverse());
    else if (model.producer(value) && isFloat(value) && isOfSamples(value)) found.add(value);
  }
  return found.size > 0 ? [...found] : undefined;
}

/** Whether a last bit decides: which is the largest, or whether two computed numbers are one. */
function isSelection(model: Model, node: NodeProto, isFloat: (value: string) => boolean): boolean {
  if (!isStandard(node)) return false;
  const isComputed = (value: string) => model.producer(value) !== undefined && isFloat(value);
  return SELECTING.has(node.opType) || (node.opType === 'Equal' && node.input.every(isComputed));
}
