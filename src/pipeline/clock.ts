// Where the time of a run goes.

import type { Engine, EngineSession } from '../engine/index.ts';

/** Seconds. What they have in common they count each: sums are added while the engine runs. */
export interface StageTime {
  readonly stage: string;
  readonly seconds: number;
  /** In the engine. */
  readonly engine: number;
  /** While statistics were being added up. */
  readonly statistics: number;
  /** While layers were being solved. */
  readonly solve: number;
  /** Of the statistics, while nothing else could go on. */
  readonly waiting: number;
}

type Kind = Exclude<keyof StageTime, 'stage' | 'seconds'>;
type Mutable = { -readonly [key in keyof StageTime]: StageTime[key] };

export class Clock {
  readonly #onStage: (stage: string) => void;
  readonly #start = performance.now();
  readonly #stages: Mutable[] = [];
  #current: Mutable | undefined;

  /** @param onStage  told of every stage that begins */
  constructor(onStage: (stage: string) => void = () => {}) {
    this.#onStage = onStage;
  }

  /** Runs one of the stages of a run, of which there is one at a time: another one may come in between, whose time is its own. */
  async stage<R>(stage: string, run: () => Promise<R>): Promise<R> {
    const start = performance.now();
    const time = { stage, seconds: 0, engine: 0, statistics: 0, solve: 0, waiting: 0 };
    const around = this.#current;
    this.#stages.push(time);
    this.#current = time;
    this.#onStage(stage);
    try {
      return await run();
    } finally {
      const taken = seconds(start);
      time.seconds += taken;
      this.#current = around;
      if (around) {
        around.seconds -= taken;
        this.#onStage(around.stage);
      }
    }
  }

  async time<R>(kind: Kind, run: () => Promise<R>): Promise<R> {
    const start = performance.now();
    const stage = this.#current;
    try {
      return await run();
    } finally {
      if (stage) stage[kind] += seconds(start);
    }
  }

  /** The engine, with its time taken. */
  engine(engine: Engine): Engine {
    const timed = (session: EngineSession): EngineSession => ({
      inputs: session.inputs,
      outputs: session.outputs,
      run: (feeds, fetches) => this.time('engine', () => session.run(feeds, fetches)),
      release: () => session.release(),
    });
    return {
      name: engine.name,
      load: async (...args) => timed(await this.time('engine', () => engine.load(...args))),
    };
  }

  get seconds(): number {
    return seconds(this.#start);
  }

  get stages(): readonly StageTime[] {
    return this.#stages;
  }
}

function seconds(start: number): number {
  return (performance.now() - start) / 1000;
}
