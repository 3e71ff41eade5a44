// What options are called: in the library, on a command line, and by mistake.

import { nearest } from '../options.ts';

/** Options whose flags have other names. */
export const FLAGS: Readonly<Record<string, string>> = {
  calibration: 'calibrate',
  evaluation: 'data',
  evaluationLabels: 'data-labels',
  inputs: 'input',
  'keep.heads': 'keep-heads',
  'keep.channels': 'keep-mlp',
  'keep.layers': 'keep-layer',
};

/** Flags that are no options of calls, and what there is instead. */
export const INSTEAD: Readonly<Record<string, string>> = {
  dryRun: '`plan` says what a run takes',
  json: 'calls give what it prints',
  report: 'reportHtml of osscar-wasm/report makes the page of what `prune` gives',
  config: 'an object is given as it is',
};

/** The flag of an option: `max-loss` of `maxLoss`. */
export const flagFor = (option: string): string =>
  Object.hasOwn(FLAGS, option) ? FLAGS[option] : kebab(option);
const kebab = (name: string) =>
  name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replaceAll('_', '-');

/** What words stand for; the first that fit. */
export type Synonyms<T> = readonly (readonly [words: RegExp, meaning: T])[];

export const among = <T>(table: Synonyms<T>, word: string): T | undefined =>
  table.find(([words]) => words.test(word))?.[1];

/** What others call flags of ours: of those that there are, the first is meant. */
const SYNONYMS: Synonyms<readonly string[]> = [
  [/^n-?samples$|num-.*samples|calib.*samples/, ['samples']],
  [/calib|data-?set|^(images|c)$/, ['calibrate', 'data']],
  [/perplexity|^(d$|eval|test|val)/, ['data']],
  [/flops/, ['macs']],
  [/speed/, ['latency']],
  [/accuracy|drop/, ['max-loss']],
  [/ignore|skip/, ['exclude']],
  [/^layers?$/, ['keep-layer']],
  [/importance|criterion|pruner|method/, ['method']],
  [/quant|dtype|data-type|precision|bits|int[48]$|fp16|float16|^half$/, ['weights']],
  [/im(a?g|age).*si?ze?|^img$|shape|resolution|input-size/, ['size']],
  [/normali[sz]e/, ['mean']],
  [/^gr[ae]y/, ['color']],
  [/seq.*len|max-length|context/, ['seqlen']],
  [/workers|jobs|^j$/, ['threads']],
  [/seed/, ['seed']],
  [/^(save|out(?!put-n)|dest)/, ['output']],
  [/^y(es)?$|overwrite$/, ['overwrite']],
];

/** Flags of others that have nothing to correspond to. */
const NONE: Synonyms<string> = [
  [/device|gpu|cuda|provider/, 'it runs on the CPU'],
  [/epochs|iterative|finetune|fine-tune|^lr$|learning-rate/, 'nothing is trained'],
  [/^(batch|bs$)/, 'batches are as large as fits the memory'],
  [/^global/, 'a budget is divided over all layers: `macs: 0.5`, or `params`'],
  [/opset/, "a file keeps the model's own"],
  [/^task$/, 'the model says it itself'],
  [/cache|token$/, 'nothing is downloaded'],
  [/^trust/, 'no code of a model is run'],
];

/** Flags of others that say what goes, or leave open which of both they say. */
const GOING = /sparsity|^amount$|(^|-)prun\w*-(ratio|rate|amount|percent\w*)$|^(compress\w*-)?(ratio|rate)$/;

/** `keep` is the other part. */
function keepInstead(value: unknown): string {
  const [, digits, percent] = /^(\d*\.?\d+)(%?)$/.exec(String(value ?? '')) ?? [];
  const goes = Number(digits) / (percent || Number(digits) > 1 ? 100 : 1);
  const example =
    goes > 0 && goes < 1 ? `: \`keep: ${Number((1 - goes).toFixed(6))}\` where ${goes} goes` : '';
  return `\`keep\` is the part that stays${example}`;
}

/**
 * What a flag of others means: what there is to say of it, or the flag that it is here.
 *
 * @param own  the flags that there are
 */
export function ofOthers(
  flag: string,
  own: readonly string[],
  value: unknown,
): { readonly text?: string; readonly flag?: string } {
  const none = among(NONE, flag);
  if (none !== undefined) return { text: none };
  if (own.includes('keep') && GOING.test(flag)) return { text: keepInstead(value) };
  return { flag: [flag, ...(among(SYNONYMS, flag) ?? [])].find((it) => own.includes(it)) };
}

/** What there is to say of an option that a call does not have: what it stands for, or which one is meant. */
export function hintFor(name: string, known: readonly string[], value: unknown): string | undefined {
  if (Object.hasOwn(INSTEAD, name)) return INSTEAD[name];
  const options = [...known, ...Object.keys(FLAGS)];
  const flag = kebab(name);
  const { text, flag: same } = ofOthers(flag, options.map(flagFor), value);
  if (text !== undefined) return text;
  const meant =
    options.find((it) => flagFor(it) === same) ??
    nearest(name, known) ??
    known.find((it) => it.length > 2 && flag.startsWith(`${flagFor(it)}-`));
  return meant && `is \`${meant}\` meant?`;
}
