// How far a run is: the whole as a bar, the stage as a line, and the layers that are done.

import type { Progress } from 'osscar-wasm/model';
import { byId, make } from './dom.ts';

const WHAT: Readonly<Record<string, string>> = {
  measuring: 'Running the dense model',
  analysis: 'Pruning each structure alone',
  target: 'Looking for what layers are best fitted to',
  allocation: 'Looking for the best sizes',
  pruning: 'Pruning',
  proving: 'Running the smaller model',
};
/** A remaining time that is made of less is a guess. */
const LEAST_SHARE = 0.05;

const bar = byId<HTMLProgressElement>('overall');
const line = byId('stage');
const detail = byId('detail');
const list = byId('layers');

let started = 0;
/** What the layers are of: the list begins anew with each pass over the model. */
let pass = '';

export function startProgress(what: string): void {
  bar.removeAttribute('value'); // nothing is known of how long it takes
  line.textContent = what;
  detail.textContent = '';
  list.replaceChildren();
  started = performance.now();
  pass = '';
}

export function showProgress({ overall, stage, label, layer, done, total }: Progress): void {
  bar.value = overall;
  // A screen reader speaks the line whenever it changes: of stages, not of every step.
  const what = `${WHAT[stage] ?? stage}…`;
  if (line.textContent !== what) line.textContent = what;
  detail.textContent = `${Math.round(100 * overall)} %${total > 1 ? `, ${label} ${done} of ${total}` : ''}${left(overall)}`;
  if (pass !== label || done <= 1) list.replaceChildren();
  pass = label;
  if (layer !== undefined) list.append(make('li', {}, layer));
}

/** At the pace of this run so far. */
function left(overall: number): string {
  if (overall < LEAST_SHARE) return '';
  const seconds = ((performance.now() - started) / 1000) * (1 / overall - 1);
  return `, about ${Math.ceil(seconds)} s left`;
}
