// The lines of a text, one after the other: a file of nothing but line ends has more of them than an array holds.

import { FormatError } from '../errors.ts';
import { limits } from '../limits.ts';

/** A line that is not empty, and which one it is, from 1 on. */
export interface Line {
  readonly line: string;
  readonly number: number;
}

/** A line of a table of two columns. */
export interface Row {
  readonly columns: readonly [string, string];
  /** Of a sample. */
  readonly name: string;
}

/** The lines of a table of two columns, with a tab in between. @throws {FormatError} naming the line that has others */
export function* columnsOf(text: string, path: string): Generator<Row> {
  for (const { line, number } of linesOf(text, path)) {
    const [first, second, ...more] = line.split('\t').map((cell) => cell.trim());
    if (!first || !second || more.length > 0)
      throw new FormatError(
        `"${path}" line ${number}: expected two columns with a tab in between, none of them empty, got ${JSON.stringify(line.slice(0, SHOWN))}`,
      );
    yield { columns: [first, second], name: `${path} line ${number}` };
  }
}

/** Characters of a line in messages. */
const SHOWN = 60;

const LINE = /[^\r\n]+/g;

/**
 * The lines that are not empty, whatever they end with (\n, \r\n or \r).
 *
 * @throws {FormatError} where they are more than `limits.textLines`
 */
export function* linesOf(text: string, path: string): Generator<Line> {
  // Counted before the work on the first begins.
  let count = 0;
  for (const _ of text.matchAll(LINE))
    if (++count > limits.textLines)
      throw new FormatError(
        `"${path}": more than ${limits.textLines} lines (limits.textLines); give a part of it`,
      );
  let number = 1;
  let at = 0;
  for (const { 0: line, index } of text.matchAll(LINE)) {
    for (; at < index; at++) if (text[at] === '\n' || text[at + 1] !== '\n') number++;
    yield { line, number };
    at = index + line.length;
  }
}
