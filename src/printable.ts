// Text on its way to a terminal or a log: from files that nobody vouches for, and numbers of things.

/** Characters of a message at most, and of a word in it: a name in a file can be as long as the file. */
const LONGEST = 2000;
const LONGEST_WORD = 200;

/**
 * One line in which nothing acts: line breaks, escape sequences, marks that reorder text and halves of surrogate pairs
 * become `\u001b` and the like.
 */
export function printable(text: string): string {
  // By code units, as JSON has it.
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => char.split('').map(escaped).join(''));
}

/** The same, and what is too long to be read loses its middle: words first, which are paths at most up to here. */
export const printableMessage = (text: string): string =>
  printable(
    shorter(
      text.replace(/\S{300,}/g, (word) => shorter(word, LONGEST_WORD)),
      LONGEST,
    ),
  );

const shorter = (text: string, most: number): string =>
  text.length > most ? `${text.slice(0, most / 2)}…${text.slice(-most / 2)}` : text;

/** A number of things, or one of them. */
export const counted = (n: number, thing: string): string => `${n} ${thing}${n === 1 ? '' : 's'}`;

/** Names that a sentence has at most. */
const NAMED = 3;

/** Names in a sentence: of many the first, and how many more there are. */
export function named(names: readonly string[]): string {
  const first = names.slice(0, NAMED).map((name) => `"${name}"`);
  return first.join(', ') + (names.length > NAMED ? ` and ${names.length - NAMED} more` : '');
}
