// Progress on standard error: a bar on a terminal, plain lines elsewhere.

import { Presets, SingleBar } from 'cli-progress';
import type { Progress } from '../pipeline/index.ts';

export interface ProgressReporter {
  report(progress: Progress): void;
  /** Leaves the terminal as it was found. */
  close(): void;
}

export function progressReporter(stream: NodeJS.WriteStream): ProgressReporter {
  return stream.isTTY ? bar(stream) : lines(stream);
}

function bar(stream: NodeJS.WriteStream): ProgressReporter {
  const single = new SingleBar(
    { format: '{bar} {value}/{total} {label}', stream, clearOnComplete: true, hideCursor: true },
    Presets.shades_classic,
  );
  let current = '';
  return {
    report({ label, done, total }) {
      if (label !== current) single.start(total, done, { label });
      else single.update(done, { label });
      current = label;
    },
    close: () => single.stop(),
  };
}

/** One line per stage and quarter: a log, not a flicker. */
function lines(stream: NodeJS.WriteStream): ProgressReporter {
  return {
    report({ label, done, total }) {
      if (done === total || done % Math.max(1, Math.floor(total / 4)) === 0)
        stream.write(`${label}: ${done}/${total}\n`);
    },
    close() {},
  };
}
