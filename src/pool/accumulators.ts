// The statistics that one thread is accumulating. They lie on the kernels' stack, but may be closed in any order:
// what was closed early is freed when everything above it is.

import { InputError } from '../errors.ts';
import type { ConvGeometry, Kernels } from '../kernel/index.ts';
import { type Image, type LayerStatistics, type Panel, StatisticsAccumulator } from '../solve/index.ts';

interface Entry {
  readonly id: number;
  readonly accumulator: StatisticsAccumulator;
  open: boolean;
}

export class Accumulators {
  readonly #kernels: Kernels;
  readonly #stack: Entry[] = [];

  constructor(kernels: Kernels) {
    this.#kernels = kernels;
  }

  open(id: number, p: number, m: number, hasTarget: boolean, panel: Panel): void {
    const accumulator = new StatisticsAccumulator(this.#kernels, p, m, hasTarget, panel);
    this.#stack.push({ id, accumulator, open: true });
  }

  addRows(id: number, X: Float32Array, Y?: Float32Array): void {
    this.#find(id).accumulator.addRows(X, Y);
  }

  addImage(id: number, geometry: ConvGeometry, x: Image, y?: Image): void {
    this.#find(id).accumulator.addImage(geometry, x, y);
  }

  /** The sums, XᵀX in place: to be disposed of when it was read. */
  sums(id: number): LayerStatistics {
    return this.#find(id).accumulator.read({ inPlace: true });
  }

  finish(id: number): LayerStatistics {
    try {
      return this.#find(id).accumulator.read();
    } finally {
      this.dispose(id);
    }
  }

  dispose(id: number): void {
    const stack = this.#stack;
    for (const entry of stack) if (entry.id === id) entry.open = false;
    while (stack.length > 0 && !stack[stack.length - 1].open) stack.pop()!.accumulator.dispose();
  }

  #find(id: number): Entry {
    const entry = this.#stack.find((entry) => entry.id === id && entry.open);
    if (!entry) throw new InputError('statistics: already finished or disposed');
    return entry;
  }
}
