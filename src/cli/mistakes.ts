// What a person may have meant otherwise: flags that do nothing for a model.

import type { Command, Option } from 'commander';
import { InputError } from '../errors.ts';
import type { Kind } from '../run/index.ts';
import { GROUPS } from './options.ts';

const FOREIGN: Readonly<Record<Kind, string>> = { images: GROUPS.text, text: GROUPS.images };

/** @throws {InputError} naming a flag that means nothing to models of this kind */
export function checkFlags(path: string, kind: Kind, command: Command): void {
  const isGiven = (option: Option) => command.getOptionValueSource(option.attributeName()) === 'cli';
  const foreign = command.options.find((it) => it.helpGroupHeading === FOREIGN[kind] && isGiven(it));
  if (!foreign) return;
  const [other, own] = kind === 'text' ? ['images', 'text'] : ['text', 'images'];
  throw new InputError(`${foreign.long} is for ${other}, and "${path}" is a model of ${own}; leave it out`);
}
