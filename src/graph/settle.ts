// What can only be judged once every label is known: conditions between labels, and constants that several read.

import type { OpenEdit } from './labels.ts';
import type { Propagation } from './propagation.ts';
import { disagreement } from './sizes.ts';

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
