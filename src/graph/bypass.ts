// Structures that can go whole: what leads from where their channels are made to sums with shortcuts, which do without it. These
// are residual branches: a block's attention, its MLP, the convolutions beside a shortcut.

import { removeUnread } from './fold.ts';
import type { Graph } from './graph.ts';
import type { Model } from './model.ts';
import { isStandard } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { dependsOnKept, isReadAlone, type Reader, type Structure } from './structure.ts';

/** Marks those that can go whole, of each sum one at most: all of them together leave its shortcut. */
export function markBranches(model: Graph, structures: readonly Structure[]): void {
  const taken = new Set<string>();
  for (const structure of structures) {
    const { prunable, isResidual, consumers } = structure;
    if (!prunable || isResidual || dependsOnKept(structure)) continue;
    const sums = consumers.map((reader) => sumOf(model, structure, reader));
    const isFree = sums.every((sum, i) => sum !== undefined && !taken.has(sum) && sums.indexOf(sum) === i);
    if (!isFree || !endsIn(model, structure)) continue;
    for (const sum of sums) taken.add(sum!);
    structure.canGo = true;
  }
}

/** The Add that a reader leads to and nothing else, if all that it reads is the structure's. */
function sumOf(model: Graph, structure: Structure, reader: Reader): string | undefined {
  const { residual, others, part, isInner } = reader;
  if (!residual || others || part || isInner || structure.features) return undefined;
  if (!isReadAlone(reader, structure)) return undefined;
  const node = model.node(residual.node)!;
  const [sum] = node.output;
  const isNamed = model.isOutput(sum) || model.uses(sum).some(({ index }) => index < 0);
  return node.opType === 'Add' && isStandard(node) && !isNamed ? residual.node : undefined;
}

/** Whether what makes the channels leads to their readers and nowhere else, so that nothing of it is left. */
function endsIn(model: Graph, { producers, consumers }: Structure): boolean {
  const readers = new Set(consumers.map(({ node }) => node));
  const seen = new Set<NodeProto>();
  const pending = producers.map(({ node }) => model.node(node)!);
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (seen.has(node) || readers.has(node.name)) continue;
    seen.add(node);
    for (const output of node.output) {
      if (model.isOutput(output)) return false;
      pending.push(...model.uses(output).map((use) => use.node));
    }
  }
  return true;
}

/**
 * Takes such structures out: sums become what their shortcuts are.
 *
 * @param model  that they were found in
 * @param small  a copy of it, which is changed
 */
export function bypass(model: Model, small: Model, structures: readonly Structure[]): void {
  const sums = structures.flatMap(({ consumers }) => consumers.map(({ residual }) => residual!));
  const ends = sums.map(({ node, shortcut }) => {
    const place = model.node(node)!.input.indexOf(shortcut);
    const sum = small.node(node)!;
    const [value] = sum.output;
    small.redirect(value, sum.input[place]);
    return value;
  });
  removeUnread(small, ends);
}
