// What a person may have meant otherwise: preprocessing or a tokenizer that the model was not trained with.

import { InputError } from '../errors.ts';
import type { Preprocessing, Warning } from '../pipeline/index.ts';
import type { Kind } from './options.ts';

/** Means of pixels are below 1 where pixels are divided by 255. */
const LARGEST_MEAN = 2;

/** What to look at where a dense model answers by chance. */
function hintFor(kind: Kind, preprocessing: Preprocessing | undefined): string {
  if (kind === 'text') return 'is the tokenizer (`tokenizer`) the one that the model was trained with?';
  if (!preprocessing) return 'are the inputs prepared as in training, and the labels those of the model?';
  const { mean, std, scale } = preprocessing;
  if (mean.some((value) => Math.abs(value) > LARGEST_MEAN) && scale === 255)
    return `\`mean: ${mean}\` is of pixels in 0…255, and \`scale: ${scale}\` brings them to 0…1: give \`scale: 1\`, or divide \`mean\` and \`std\` by ${scale}`;
  const isBare = mean.every((value) => value === 0) && std.every((value) => value === 1);
  const given = isBare ? 'none are given' : `they are ${mean} and ${std}`;
  return `are \`mean\` and \`std\` right (${given}), and the classes in the model's order (\`labels\`, \`labelOffset\`)?`;
}

/** What a doubt about model and data is to a person, in one line. */
export const doubtText = (doubt: string, kind: Kind, preprocessing: Preprocessing | undefined): string =>
  `${doubt}: ${hintFor(kind, preprocessing)}`;

/**
 * Says what a run warns of before its long work, and ends it where model and data do not go together.
 *
 * @throws {InputError} unless `force`
 */
export function warningHandler(
  kind: Kind,
  preprocessing: Preprocessing | undefined,
  force = false,
  onNote: (text: string) => void = () => {},
) {
  return ({ kind: about, text }: Warning): void => {
    const isDoubt = about === 'implausible';
    const line = isDoubt ? doubtText(text, kind, preprocessing) : `${text} (\`samples\`)`;
    if (isDoubt && !force) throw new InputError(`${line} (\`force: true\` goes on)`);
    onNote(`warning: ${line}`);
  };
}
