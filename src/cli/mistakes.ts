// What a person may have meant otherwise: flags that do nothing for a model, or are given again.

import type { Command, Option } from 'commander';
import { InputError } from '../errors.ts';
import type { Kind } from '../run/index.ts';
import { GROUPS, namedRatio } from './options.ts';
import { say } from './say.ts';

const FOREIGN: Readonly<Record<Kind, string>> = { images: GROUPS.text, text: GROUPS.images };

/** @throws {InputError} naming a flag that means nothing to models of this kind */
export function checkFlags(path: string, kind: Kind, command: Command): void {
  const isGiven = (option: Option) => command.getOptionValueSource(option.attributeName()) === 'cli';
  const foreign = command.options.find((it) => it.helpGroupHeading === FOREIGN[kind] && isGiven(it));
  if (!foreign) return;
  const [other, own] = kind === 'text' ? ['images', 'text'] : ['text', 'images'];
  throw new InputError(`${foreign.long} is for ${other}, and "${path}" is a model of ${own}; leave it out`);
}

/** Of a flag that is given again with another value it is said which one counts. */
export function watchRepeats(command: Command): void {
  for (const option of command.options) {
    const isGathered = option.variadic || option.parseArg === namedRatio;
    if (!option.required || isGathered) continue;
    let before: string | undefined;
    command.on(`option:${option.name()}`, (value: string) => {
      if (before !== undefined && before !== value)
        say(`warning: ${option.long} is given as ${before} and as ${value}; the last counts`);
      before = value;
    });
  }
}
