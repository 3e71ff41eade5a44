// Timing of contestants side by side: they take turns, so that what disturbs the machine disturbs all of them. A turn is
// several runs of what is short, for its data to be in the caches as where it runs again and again.

export interface Contestant {
  run(): unknown;
  /** Before every run, not timed. */
  prepare?(): void;
}

/** Milliseconds. */
export interface Timing {
  readonly min: number;
  readonly median: number;
}

export interface TimeOptions {
  /** Each contestant runs for at least this long and five times; a slow one ends after four times as long. */
  readonly budgetMs: number;
  /** Runs before the clock counts, so that V8's optimising tier has the code. Default 2, of a slow one 1. */
  readonly warmUp?: number;
}

const RUNS = 5;
const SLOW = 4;
const TURN_MS = 40;

export async function timeAll<Name extends string>(
  contestants: Readonly<Record<Name, Contestant>>,
  { budgetMs, warmUp = 2 }: TimeOptions,
): Promise<Record<Name, Timing>> {
  const entries = (Object.entries(contestants) as [Name, Contestant][]).map(([name, contestant]) => ({
    name,
    contestant,
    times: [] as number[],
    total: 0,
  }));
  for (const entry of entries) {
    let spent = 0;
    for (let run = 0; run < warmUp && spent < budgetMs; run++) spent += await once(entry.contestant);
    // Seconds in one call: its loops were optimised soon after they began, and one number is enough.
    if (spent >= SLOW * budgetMs) Object.assign(entry, { times: [spent], total: spent });
  }
  const isDone = ({ times, total }: (typeof entries)[number]) =>
    (times.length >= RUNS && total >= budgetMs) || total >= SLOW * budgetMs;
  const stillOpen = (some: typeof entries) => some.filter((entry) => !isDone(entry));
  for (let open = stillOpen(entries); open.length > 0; open = stillOpen(open)) {
    for (const entry of open) {
      const turn = Math.min(TURN_MS, budgetMs);
      for (let spent = 0; spent < turn; ) {
        const ms = await once(entry.contestant);
        entry.times.push(ms);
        entry.total += ms;
        spent += ms;
      }
    }
  }
  const timings = entries.map(({ name, times }) => {
    times.sort((a, b) => a - b);
    return [name, { min: times[0], median: times[times.length >> 1] }];
  });
  return Object.fromEntries(timings);
}

async function once({ run, prepare }: Contestant): Promise<number> {
  prepare?.();
  const start = performance.now();
  const result = run();
  if (result instanceof Promise) await result;
  return performance.now() - start;
}
