// Progress on standard error: a bar on a terminal, plain lines elsewhere and where TERM is dumb. Neither is silent for more than two seconds, so
// that a run that works looks like one.

import { Presets, SingleBar } from 'cli-progress';
import type { Progress, ProgressStep } from '../pipeline/index.ts';
import { printable } from '../printable.ts';
import { durationText } from './print.ts';
import { sayThrough } from './say.ts';

/** A step of a run, or of something that has no stages. */
export type Step = ProgressStep & Partial<Progress>;

export interface Reporter {
  report(step: Step): void;
  /** Leaves the terminal as it was found. Harmless the second time. */
  close(): void;
}

export function progressReporter(stream: NodeJS.WriteStream): Reporter {
  // What is called so takes text alone: no cursor to hide, no line to draw anew.
  const isScreen = stream.isTTY && process.env.TERM !== 'dumb';
  const { report, close } = isScreen ? bar(stream) : lines(stream);
  const named = ({ label, layer, ...step }: Step): Step => ({
    ...step,
    label: printable(label),
    layer: layer === undefined ? undefined : printable(layer),
  });
  return { report: (step) => report(named(step)), close };
}

/** Longest silence, in milliseconds. */
const SILENCE = 2000;
/** A remaining time that is made of less is a guess. */
const LEAST_SHARE = 0.04;

/** How far it is, how long that took, and how long the rest will take at that pace. */
class Pace {
  readonly #start = performance.now();
  /** When the first step was told: what was opened before is opened once. */
  #begun?: number;
  step: Step = { label: 'opening', done: 0, total: 0 };

  tell(step: Step): void {
    this.#begun ??= performance.now();
    this.step = step;
  }

  get overall(): number {
    const { overall, done, total } = this.step;
    return overall ?? done / (total || 1);
  }

  /** `12 s`, or `12 s, about 30 s left`. */
  times(): string {
    const now = performance.now();
    const elapsed = (now - this.#start) / 1000;
    const { overall } = this;
    const worked = (now - (this.#begun ?? now)) / 1000;
    const left = overall >= LEAST_SHARE && overall < 1 ? (worked * (1 - overall)) / overall : undefined;
    return `${elapsedText(elapsed)}${left === undefined ? '' : `, about ${durationText(left)} left`}`;
  }
}

/** To the second, however long it takes: a bar is drawn where something in it is new. */
function elapsedText(seconds: number): string {
  if (seconds < 90) return durationText(seconds);
  const [whole, minutes] = [Math.floor(seconds), Math.floor(seconds / 60)];
  const two = (value: number) => String(value % 60).padStart(2, '0');
  return minutes < 90
    ? `${minutes}:${two(whole)} min`
    : `${Math.floor(minutes / 60)}:${two(minutes)}:${two(whole)} h`;
}

const FRAME = 250;
const BAR_STEPS = 1000;
const LONGEST_NAME = 32;

function bar(stream: NodeJS.WriteStream): Reporter {
  const pace = new Pace();
  const single = new SingleBar(
    {
      format: '{bar} {percentage} %  {what}  {times}',
      barsize: 20,
      stream,
      clearOnComplete: true,
      hideCursor: true,
      linewrap: false,
    },
    Presets.shades_classic,
  );
  const payload = () => {
    const { stage, label, layer = '', done, total } = pace.step;
    const name = layer.length > LONGEST_NAME ? `…${layer.slice(1 - LONGEST_NAME)}` : layer;
    const what = [
      stage !== undefined && stage !== label && !label.startsWith(stage) ? `${stage}: ${label}` : label,
    ];
    if (total > 1) what.push(`${done}/${total}`);
    return { what: [...what, name].filter(Boolean).join(' '), times: pace.times() };
  };
  const draw = () => single.update(Math.round(BAR_STEPS * pace.overall), payload());
  single.start(BAR_STEPS, 0, payload());
  const timer = setInterval(draw, FRAME).unref();
  // The bar is drawn again below the line.
  sayThrough(() => stream.write('\r\u001b[K'));
  return {
    report(step) {
      pace.tell(step);
      draw();
    },
    close() {
      clearInterval(timer);
      sayThrough(() => {});
      single.stop();
    },
  };
}

/** One line per stage and quarter, and where these are long in coming, one that says so: a log, not a flicker. */
function lines(stream: NodeJS.WriteStream): Reporter {
  const pace = new Pace();
  let last = performance.now();
  const write = () => {
    const { label, layer, done, total } = pace.step;
    last = performance.now();
    const count = total > 1 ? `: ${done}/${total}` : '';
    const percent = total > 0 ? `, ${Math.round(100 * pace.overall)} %` : '';
    stream.write(`${label}${count}${layer === undefined ? '' : ` ${layer}`}${percent}, ${pace.times()}\n`);
  };
  const timer = setInterval(() => {
    if (performance.now() - last >= SILENCE - FRAME) write();
  }, FRAME).unref();
  return {
    report(step) {
      pace.tell(step);
      const { done, total } = step;
      if (done > 0 && (done === total || done % Math.max(1, Math.floor(total / 4)) === 0)) write();
    },
    close: () => clearInterval(timer),
  };
}
