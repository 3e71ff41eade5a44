// Reads inputs of one parser and says of each what came of it, in a process that may be killed. Its parent is run.ts.

import { readFileSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { OsscarError } from '../src/errors.ts';
import { inputsOf } from './inputs.ts';
import { TARGETS } from './targets/index.ts';
import { processorTime, type Watched } from './watchdog.ts';

/** What came of an input. `raw` is anything thrown that is not ours, or a message that nobody can read. */
export type Outcome = 'read' | 'refused' | 'raw';

export interface Report {
  readonly index: number;
  readonly outcome: Outcome;
  /** Of the processor. */
  readonly milliseconds: number;
  readonly bytes: number;
  readonly message?: string;
}

/** What V8 and libraries say to programmers. */
const UNREADABLE =
  /Offset is outside|Invalid typed array|Cannot read prop|is not a function|is not iterable|Maximum call stack|undefined \(reading|out of memory|\[object Object\]/;

async function outcomeOf(parser: string, bytes: Uint8Array): Promise<Pick<Report, 'outcome' | 'message'>> {
  try {
    await TARGETS[parser].parse(bytes);
    return { outcome: 'read' };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const isOurs = error instanceof OsscarError && !UNREADABLE.test(message) && !/\p{Cc}/u.test(message);
    if (isOurs) return { outcome: 'refused' };
    return { outcome: 'raw', message: error instanceof Error ? (error.stack ?? message) : message };
  }
}

/** What this process says to its parent; memory in bytes, once an input is read and at the end. */
export type Message = Report | { readonly begun: number } | { readonly start: number; readonly peak: number };

/** A pipe to the parent. Whoever asks for `process.stdout` makes that one fail instead of wait where it is full. */
const PIPE = 3;
/** A line that is out before the next input is read, which may be the last. */
const say = (message: Message) => writeSync(PIPE, `${JSON.stringify(message)}\n`);

/** Of the processor, for one input, in ms. */
const LIMIT = 2_000;

/** Starts a thread that ends this process where an input takes longer. */
function watch(): Watched {
  const begun = new Float64Array(new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT)).fill(Infinity);
  const watched: Watched = { begun, limit: LIMIT };
  new Worker(new URL('./watchdog.mjs', import.meta.url), { workerData: watched }).unref();
  return watched;
}

const peakMemory = () => 1024 * process.resourceUsage().maxRSS;

/** How much a file takes, once the parser has read others: `PARSER worst FILE`. */
async function weigh(parser: string, file: string): Promise<void> {
  for (const { bytes } of inputsOf(parser, 1, 0, 100)) await outcomeOf(parser, bytes);
  const start = peakMemory();
  const bytes = new Uint8Array(readFileSync(file));
  say({ index: 0, bytes: bytes.length, milliseconds: 0, ...(await outcomeOf(parser, bytes)) });
  say({ start, peak: peakMemory() });
}

async function main([parser, seed, from, to]: readonly string[]): Promise<void> {
  if (seed === 'worst') return weigh(parser, from);
  const { begun } = watch();
  let start = 0;
  for (const { index, bytes } of inputsOf(parser, Number(seed), Number(from), Number(to))) {
    say({ begun: index });
    begun[0] = processorTime();
    const outcome = await outcomeOf(parser, bytes);
    const milliseconds = processorTime() - begun[0];
    begun[0] = Infinity;
    start ||= peakMemory();
    say({ index, bytes: bytes.length, milliseconds, ...outcome });
  }
  say({ start, peak: peakMemory() });
}

await main(process.argv.slice(2));
