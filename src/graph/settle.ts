// What can only be judged once every label is known: conditions between labels, and constants that several read.

import type { OpenEdit } from './labels.ts';
import { called, type Propagation } from './propagation.ts';

/** Pins the labels of agreements that did not come about, and of edits that another node would suffer from. */
export function settle(state: Propagation): void {
  for (const { labels, reason } of state.agreements) {
    const leaves = labels.map((label) => label.leaves());
    const agree = leaves.every(
      (own) => own.length === leaves[0].length && own.every((l, i) => l === leaves[0][i]),
    );
    if (!agree) for (const label of labels) label.pin(reason);
  }
  const roots = [...new Set(state.labels.flatMap((label) => label.leaves()))];
  const byPlace = new Map<string, { edit: OpenEdit; label: number }[]>();
  for (const [label, { edits }] of roots.entries()) {
    for (const edit of edits) {
      const key = JSON.stringify(edit.place);
      const list = byPlace.get(key);
      if (list) list.push({ edit, label });
      else byPlace.set(key, [{ edit, label }]);
    }
  }
  for (const edits of byPlace.values()) {
    const reason = disagreement(state, edits);
    if (reason) for (const label of new Set(edits.map(({ label }) => label))) roots[label].pin(reason);
  }
}

/**
 * Why an edit of a constant in a shape that several nodes read cannot be made: all of them must want it.
 *
 * @param edits  of all labels, with the labels' numbers
 */
function disagreement(
  state: Propagation,
  edits: readonly { edit: OpenEdit; label: number }[],
): string | undefined {
  const { place } = edits[0].edit;
  const node = 'node' in place ? state.model.node(place.node) : undefined;
  if (node?.opType !== 'Concat') return undefined;
  const wanted = new Map<string, string[]>();
  for (const { edit, label } of edits) {
    const list = wanted.get(edit.reader) ?? [];
    list.push(`${label}: ${edit.extent}`);
    wanted.set(edit.reader, list);
  }
  const [output] = node.output;
  for (const list of wanted.values()) list.sort();
  const [first] = [...wanted.values()].map(String);
  const agree = state.model
    .uses(output)
    // a Shape of it only counts its elements
    .every(
      ({ node, index }) =>
        node.opType === 'Shape' || (index === 1 && String(wanted.get(node.name)) === first),
    );
  return agree && !state.model.isOutput(output)
    ? undefined
    : `${called(node)} gives a shape that other nodes read too`;
}
