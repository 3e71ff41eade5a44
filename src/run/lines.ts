// The lines of a text, one after the other: a file of nothing but line ends has more of them than an array holds.

/** A line that is not empty, and which one it is, from 1 on. */
interface Line {
  readonly line: string;
  readonly number: number;
}

/** The lines that are not empty, whatever they end with (\n, \r\n or \r). */
export function* linesOf(text: string): Generator<Line> {
  let number = 1;
  let at = 0;
  for (const { 0: line, index } of text.matchAll(/[^\r\n]+/g)) {
    for (; at < index; at++) if (text[at] === '\n' || text[at + 1] !== '\n') number++;
    yield { line, number };
    at = index + line.length;
  }
}
