// What is said to a person beside results and progress: a line on standard error.

import { printableMessage } from '../printable.ts';
import { flagged } from './flags.ts';

/** Told of lines before they are printed, so that a bar can make room. */
let makeRoom = () => {};

export function say(text: string): void {
  makeRoom();
  process.stderr.write(`osscar: ${printableMessage(flagged(text))}\n`);
}

/** @param clear  called before each line */
export function sayThrough(clear: () => void): void {
  makeRoom = clear;
}
