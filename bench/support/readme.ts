// The tables of bench/README.md: everything between `<!-- gemm -->` and `<!-- /gemm -->` is written by `fill`.

import { describeMachine, type Report } from './bench.ts';
import { toMarkdown } from './table.ts';

/** @throws {Error} where the README has no place for the report */
export function fill(readme: string, { bench, machine, tables }: Report): string {
  const [open, close] = [`<!-- ${bench} -->`, `<!-- /${bench} -->`];
  const [from, to] = [readme.indexOf(open), readme.indexOf(close)];
  if (from < 0 || to < from) throw new Error(`README: expected ${open} and behind it ${close}`);
  const blocks = [describeMachine(machine), ...tables.map(toMarkdown)];
  return `${readme.slice(0, from)}${open}\n${blocks.join('\n\n')}\n${readme.slice(to)}`;
}
