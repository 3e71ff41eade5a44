// The physically smaller model: every constant that carries removed channels is cut.

import { InputError } from '../errors.ts';
import type { Model } from './model.ts';
import { setAttributeInt } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import type { Slice, Structure } from './structure.ts';
import { fromIntegers, gather, type Tensor, toIntegers } from './tensor.ts';

/** What happens to the constant at one input of one node. */
interface Change {
  node: NodeProto;
  input: number;
  cuts: Map<number, readonly number[]>; // axis to positions kept
  numbers: Map<number, number>; // index to new value
}

/**
 * A new model without the removed channels. Apart from rounding it computes what the old one computes with the
 * consumers' weights of those channels at zero.
 *
 * @param cuts  for each structure of an analysis of this model the channels that stay, ascending, at least one
 * @throws {InputError} if a structure cannot be cut or the channels are not as above
 */
export function shrink(model: Model, cuts: ReadonlyMap<Structure, readonly number[]>): Model {
  const small = model.clone();
  const changes = new Map<string, Change>();
  const at = (node: string, input: number): Change => {
    const key = `${node}\0${input}`;
    const change = changes.get(key) ?? {
      node: nodeOf(small, node),
      input,
      cuts: new Map(),
      numbers: new Map(),
    };
    changes.set(key, change);
    return change;
  };
  for (const [structure, kept] of cuts) {
    checkKept(structure, kept);
    if (kept.length === structure.groups) continue;
    for (const { node, input, axis, block } of [...structure.slices, ...newBiases(small, structure)]) {
      at(node, input).cuts.set(axis, positions(kept, block));
    }
    for (const edit of structure.edits) {
      const value = edit.unit * kept.length;
      if (edit.kind === 'attribute') setAttributeInt(nodeOf(small, edit.node), edit.name, value);
      else at(edit.node, edit.input).numbers.set(edit.index, value);
    }
  }
  apply(small, [...changes.values()]);
  small.graph.valueInfo = []; // stale shapes; readers infer them anew
  removeUnused(small);
  return small;
}

/** @throws {InputError} unless `kept` is ascending, within range and not empty, and the structure can be cut */
export function checkKept(structure: Structure, kept: readonly number[]): void {
  const { name, groups, prunable, reason } = structure;
  if (!prunable) throw new InputError(`structure "${name}" cannot be cut: ${reason}`);
  const ascending = kept.every(
    (c, i) => Number.isInteger(c) && c >= 0 && c < groups && (i === 0 || c > kept[i - 1]),
  );
  if (kept.length === 0 || !ascending) {
    throw new InputError(
      `structure "${name}": expected 1 to ${groups} ascending channels below ${groups}, got [${kept}]`,
    );
  }
}

/** The positions of an axis that channels own. */
export function positions(channels: readonly number[], block: number): number[] {
  return channels.flatMap((c) => Array.from({ length: block }, (_, i) => c * block + i));
}

// writeWeights may have given a layer the bias that it did not have when the model was analysed.
function newBiases(model: Model, { producers, slices }: Structure): Slice[] {
  return producers.flatMap(({ node, kind }) => {
    const tensor = model.tensors.get(nodeOf(model, node).input[2] ?? '');
    const known = slices.some((slice) => slice.node === node && slice.input === 2);
    if (kind === 'matmul' || !tensor || known || tensor.dims.at(-1) === 1 || tensor.dims.length === 0)
      return [];
    return [{ tensor: tensor.name, axis: tensor.dims.length - 1, block: 1, node, input: 2 }];
  });
}

// Several nodes may read one constant. Those that need the same version of it go on sharing.
function apply(model: Model, changes: readonly Change[]): void {
  const byTensor = new Map<string, Change[]>();
  for (const change of changes) {
    const name = change.node.input[change.input];
    const list = byTensor.get(name);
    if (list) list.push(change);
    else byTensor.set(name, [change]);
  }
  for (const [name, list] of byTensor) {
    const tensor = model.tensors.get(name)!;
    const untouched = model.uses(name).length > list.length || model.isOutput(name);
    const versions = new Map<string, string>();
    for (const change of list) {
      const key = JSON.stringify([[...change.cuts].sort(byKey), [...change.numbers].sort(byKey)]);
      let version = versions.get(key);
      if (version === undefined) {
        version = versions.size === 0 && !untouched ? name : model.fresh(`${name}_cut`);
        versions.set(key, version);
        model.tensors.set(version, { ...changed(tensor, change), name: version });
      }
      if (version !== name) model.setInput(change.node, change.input, version);
    }
  }
}

const byKey = (a: [number, unknown], b: [number, unknown]) => a[0] - b[0];

function changed(tensor: Tensor, { cuts, numbers }: Change): Tensor {
  if (numbers.size > 0) {
    const values = toIntegers(tensor);
    for (const [index, value] of numbers) values[index] = value;
    return fromIntegers(tensor.name, values, tensor.dims);
  }
  let result = tensor;
  for (const [axis, kept] of cuts) result = gather(result, axis, kept);
  return result;
}

function removeUnused(model: Model): void {
  for (const name of [...model.tensors.keys()]) {
    if (model.uses(name).length === 0 && !model.isOutput(name)) model.tensors.delete(name);
  }
}

function nodeOf(model: Model, name: string): NodeProto {
  const node = model.node(name);
  if (!node)
    throw new InputError(`${model.name}: the structure names a node "${name}" that the model does not have`);
  return node;
}
