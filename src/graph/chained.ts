// Models one behind the other as one graph.

import { underNames } from './inline.ts';
import { Model } from './model.ts';
import { copyMessage } from './node.ts';
import type { Tensor } from './tensor.ts';

/** What the chain calls a value, node or constant of one of its models. */
export function nameInChain(models: number, at: number, name: string): string {
  return models === 1 || name === '' ? name : `${at}/${name}`;
}

/**
 * Each model reads the first output of the one before.
 *
 * @param beside  inputs that all of them have under the same name
 */
export function chained(models: readonly Model[], beside: ReadonlySet<string>): Model {
  const [first] = models;
  if (models.length === 1) return first;
  const { proto, graph } = first.clone();
  const tensors = new Map<string, Tensor>();
  graph.node = [];
  graph.valueInfo = [];
  for (const [at, model] of models.entries()) {
    const inputs = model.inputs.map(({ name }) => name);
    const given = new Map(inputs.map((name) => [name, name]));
    if (at > 0) {
      const before = models[at - 1].outputs[0].name;
      for (const name of inputs)
        if (!beside.has(name)) given.set(name, nameInChain(models.length, at - 1, before));
      const isNew = ({ name }: { name: string }) =>
        beside.has(name) && !graph.input.some((it) => it.name === name);
      graph.input.push(...model.inputs.filter(isNew));
    }
    const nameOf = (name: string) => given.get(name) ?? nameInChain(models.length, at, name);
    graph.node.push(
      ...model.nodes.map((node) => Object.assign(underNames(node, nameOf), { name: nameOf(node.name) })),
    );
    for (const tensor of model.tensors.values())
      tensors.set(nameOf(tensor.name), { ...tensor, name: nameOf(tensor.name) });
    if (at === models.length - 1)
      graph.output = model.graph.output.map((it) =>
        Object.assign(copyMessage(it), { name: nameOf(it.name) }),
      );
    for (const set of model.proto.opsetImport)
      if (!proto.opsetImport.some(({ domain }) => domain === set.domain)) proto.opsetImport.push(set);
  }
  proto.graph = graph;
  return new Model(first.name, proto, tensors);
}
