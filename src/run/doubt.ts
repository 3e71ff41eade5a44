// What a person may have meant otherwise: preprocessing or a tokenizer that the model was not trained with.

import { InputError } from '../errors.ts';
import type { Preprocessing, Warning } from '../pipeline/index.ts';
import type { ModelInPlace } from './open.ts';
import type { RunSettings } from './options.ts';
import { isFile, type Place } from './place.ts';
import { type Better, betterText } from './usual.ts';

/** Means of pixels are below 1 where pixels are divided by 255. */
const LARGEST_MEAN = 2;

/** How a model's inputs are made of the data. */
export interface Made extends Pick<ModelInPlace, 'preprocessing' | 'isAudio' | 'isRemembered'> {
  /** The file that holds inputs as they are. */
  readonly array?: string;
}

export async function madeOf(
  { preprocessing, isAudio, isRemembered }: ModelInPlace,
  data: Place | undefined,
): Promise<Made> {
  const array = data && (await isFile(data)) ? data.path : undefined;
  return { preprocessing, isAudio, isRemembered, array };
}

/** What to look at where a dense model answers by chance. */
function hintFor({ preprocessing, isAudio, isRemembered, array }: Made): string {
  if (isRemembered)
    return 'preprocessing is as the model remembers it: has pruning left too little of it, or are the classes in another order (`labels`, `labelOffset`)?';
  if (!preprocessing) return 'is the tokenizer (`tokenizer`) the one that the model was trained with?';
  if (array !== undefined)
    return `does "${array}" hold inputs as the model was trained with? Arrays are taken as they are, without \`mean\` and \`std\``;
  const { mean, std, scale, samplingRate = 'not given', normalize = false } = preprocessing;
  const order = "the classes in the model's order (`labels`, `labelOffset`)?";
  if (isAudio)
    return `are \`samplingRate\` (${samplingRate}) and \`normalize\` (${normalize ? 'on' : 'off'}) right, and ${order}`;
  if (mean.some((value) => Math.abs(value) > LARGEST_MEAN) && scale === 255)
    return `\`mean: ${mean}\` is of pixels in 0…255, and \`scale: ${scale}\` brings them to 0…1: give \`scale: 1\`, or divide \`mean\` and \`std\` by ${scale}`;
  const given = isBare(preprocessing) ? 'none are given' : `they are ${mean} and ${std}`;
  return `are \`mean\` and \`std\` right (${given}), and ${order}`;
}

const isBare = ({ mean, std }: Preprocessing): boolean =>
  mean.every((value) => value === 0) && std.every((value) => value === 1);

/**
 * Says what of the usual does better, where a model does better than by chance as it is.
 *
 * @throws {InputError} where nobody has said how pixels become inputs
 */
export function tellBetter(
  better: Better,
  { preprocessing }: Made,
  { mean, std, scale, onNote }: Pick<RunSettings, 'mean' | 'std' | 'scale' | 'onNote'>,
): void {
  const isSaid = [mean, std, scale].some((it) => it !== undefined);
  if (!isSaid && preprocessing && isBare(preprocessing))
    throw new InputError(
      `neither \`mean\` nor \`std\` is given: ${betterText(better)} (\`force: true\` goes on)`,
    );
  onNote?.(`warning: ${betterText(better)}`);
}

/**
 * What a doubt about model and data is to a person, in one line.
 *
 * @param better  what of the usual does better on some of the images
 */
export const doubtText = (doubt: string, made: Made, better?: Better): string =>
  `${doubt}: ${better ? betterText(better) : hintFor(made)}`;

/**
 * Says what a run warns of before its long work, and ends it where model and data do not go together. What is warned of again, by the
 * methods that it is compared with, is said once.
 *
 * @throws {InputError} unless `force`
 */
export function warningHandler(
  made: Made,
  { force, onNote }: { readonly force?: boolean; readonly onNote?: (text: string) => void },
  better?: Better,
) {
  const said = new Set<string>();
  return ({ kind, text }: Warning): void => {
    const isDoubt = kind === 'implausible';
    const plain = kind === 'few-samples' ? `${text} (\`samples\`)` : text;
    const line = isDoubt ? doubtText(text, made, better) : plain;
    if (isDoubt && !force) throw new InputError(`${line} (\`force: true\` goes on)`);
    if (!said.has(line)) onNote?.(`warning: ${line}`);
    said.add(line);
  };
}

/** The same of a decoder whose encoder is smaller already: that its answers are chance then is no fault of the data, which were looked at before that. */
export function behindSmaller(
  handler: (warning: Warning) => void,
  onNote?: (text: string) => void,
): (warning: Warning) => void {
  return (warning) => {
    if (warning.kind !== 'implausible') handler(warning);
    else
      onNote?.(
        `warning: behind the smaller encoder, ${warning.text}: too little of the encoder is left (\`keep\`)`,
      );
  };
}
