// What may be meant by a path that leads nowhere.

import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** The same name in other letters, or with the ending of a model. */
function* alike(path: string): Generator<string> {
  const [folder, name] = [dirname(path), basename(path).toLowerCase()];
  for (const other of existsSync(folder) ? readdirSync(folder) : [])
    if ([name, `${name}.onnx`].includes(other.toLowerCase())) yield join(folder, other);
}

function* candidates(path: string): Generator<string> {
  // A shell expands it where a word begins, and not within quotes.
  if (/^~[\\/]/.test(path)) yield join(homedir(), path.slice(2));
  yield path.replaceAll('\\', '/');
  yield path.replace(/^[\s"'“”‘’]+|[\s"'“”‘’]+$/g, '');
  yield* alike(path);
}

/** Names that other tools take. */
const DATA_SET = /^(wikitext|c4|ptb|pile|imagenet|cifar|coco|mnist|alpaca|ultrachat)[\w-]*$/i;

/** For the end of a message; empty where nothing suggests itself. */
export function meantBy(path: string): string {
  try {
    for (const candidate of candidates(path))
      if (candidate !== path && candidate !== '' && existsSync(candidate))
        return `; is "${candidate}" meant?`;
  } catch {
    // A folder that cannot be looked into.
  }
  if (path === '-') return '; standard input is not read: give a file';
  if (/\$\{?\w/.test(path))
    return '; the shell puts in the value of a variable only outside of single quotes';
  if (DATA_SET.test(path))
    return '; no data set is downloaded by its name: give a file of text, or a folder of images';
  return /[*?]/.test(basename(path)) ? '; patterns are not read: give the folder' : '';
}
