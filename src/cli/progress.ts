// Progress on standard error: a bar on a terminal, plain lines elsewhere.

import { Presets, SingleBar } from 'cli-progress';
import type { Progress } from '../pipeline/index.ts';
import { printable } from '../printable.ts';

/** `close` leaves the terminal as it was found. */
export function progressReporter(stream: NodeJS.WriteStream) {
  const { report, close } = stream.isTTY ? bar(stream) : lines(stream);
  return { report: (step: Progress) => report({ ...step, label: printable(step.label) }), close };
}

function bar(stream: NodeJS.WriteStream) {
  const single = new SingleBar(
    { format: '{bar} {value}/{total} {label}', stream, clearOnComplete: true, hideCursor: true },
    Presets.shades_classic,
  );
  let current = '';
  return {
    report({ label, done, total }: Progress) {
      if (label !== current) single.start(total, done, { label });
      else single.update(done, { label });
      current = label;
    },
    close: () => single.stop(),
  };
}

/** One line per stage and quarter: a log, not a flicker. */
function lines(stream: NodeJS.WriteStream) {
  return {
    report({ label, done, total }: Progress) {
      if (done === total || done % Math.max(1, Math.floor(total / 4)) === 0)
        stream.write(`${label}: ${done}/${total}\n`);
    },
    close() {},
  };
}
