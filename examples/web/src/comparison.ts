// What both models say of each image, side by side; those that they disagree on come first.

import type { Answer } from './answers.ts';
import { byId, make, percent } from './dom.ts';
import type { ChosenFile } from './images.ts';
import type { Comparison } from './workbench.ts';

const list = byId('comparison');
const agreement = byId('agreement');

let urls: string[] = [];

export function showComparison({ pairs, classes }: Comparison, files: readonly ChosenFile[]): void {
  for (const url of urls) URL.revokeObjectURL(url);
  const byPath = new Map(files.map(({ path, file }) => [path, file]));
  const agree = pairs.filter(({ dense, pruned }) => dense?.label === pruned?.label);
  const [{ dense: isScored }] = pairs;
  const mean = pairs.reduce((sum, { difference }) => sum + difference, 0) / pairs.length;
  agreement.textContent = isScored
    ? `The two agree on ${agree.length} of ${pairs.length} images.`
    : `Outputs differ by ${percent(mean)} on average, of ${pairs.length} images.`;
  urls = [];
  const answerText = (answer: Answer | undefined) =>
    answer ? `${classes?.[answer.label] ?? `class ${answer.label}`}, ${percent(answer.certainty)}` : '';
  const ordered = pairs.toSorted((a, b) => Number(agree.includes(a)) - Number(agree.includes(b)));
  const items = ordered.map((pair) => {
    const { name, dense, pruned, difference } = pair;
    urls.push(URL.createObjectURL(byPath.get(name)!));
    const what = dense
      ? [make('span', {}, `dense: ${answerText(dense)}`), make('span', {}, `pruned: ${answerText(pruned)}`)]
      : [make('span', {}, `differs by ${percent(difference)}`)];
    const picture = make('img', { src: urls.at(-1)!, alt: name, loading: 'lazy' });
    return make('li', { className: agree.includes(pair) ? '' : 'differs' }, picture, ...what);
  });
  list.replaceChildren(...items);
}
