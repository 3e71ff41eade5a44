// What options are called: in the library, on a command line, and by mistake.

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

/** Letters that may be wrong, missing or too many. */
const SLIPS = 2;

const plain = (name: string) => name.replace(/[-_]/g, '').toLowerCase();

/** The option that is meant by a name that none has: that of its flag, or one with a slip in it. */
export function meantBy(name: string, known: readonly string[]): string | undefined {
  const flagged = Object.keys(FLAGS).find((option) => plain(FLAGS[option]) === plain(name));
  if (flagged !== undefined) return flagged;
  const [nearest] = known
    .map((option) => ({ option, slips: slipsBetween(plain(option), plain(name)) }))
    .sort((a, b) => a.slips - b.slips);
  return nearest && nearest.slips <= Math.min(SLIPS, name.length / 2) ? nearest.option : undefined;
}

/** Levenshtein's distance. */
function slipsBetween(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, i) => i);
  for (const [i, letter] of [...one].entries()) {
    const next = [i + 1];
    for (let j = 0; j < other.length; j++)
      next.push(Math.min(row[j] + Number(letter !== other[j]), row[j + 1] + 1, next[j] + 1));
    row = next;
  }
  return row[other.length];
}
