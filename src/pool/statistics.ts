// A layer's statistics over the threads of a session: each sums some rows of XᵀX over all the calibration data, so
// that nothing is added up across threads and the bits do not depend on how many there are.

import { InputError, ShapeError, WorkerLostError } from '../errors.ts';
import { expectObject, expectObjects } from '../expect.ts';
import type { ConvGeometry } from '../kernel/index.ts';
import type { Convolution, Image, LayerStatistics, Panel } from '../solve/index.ts';
import { countRows, expectTargets, type Sized } from '../solve/statistics.ts';
import { assembleTiles, sharesOf, type TiledStatistics, type TilingOptions } from '../tiles/statistics.ts';
import { tileStarts } from '../tiles/storage.ts';
import type { Executor, Member } from './executor.ts';
import type { Stage } from './transfer.ts';

/** Inputs below which another thread does not pay: each unfolds and copies all the data. */
const PANEL_ROWS = 128;
/** Bytes of X, or of images, sent at a time: threads start on the first while the next is copied. */
const BLOCK_BYTES = 2 ** 22;
/** Blocks on their way to a thread at once. */
const IN_FLIGHT = 2;

let lastId = 0;

/** How threads share a layer's sums. */
interface Division<S> {
  /** Threads that pay. */
  readonly most: number;
  divide(threads: number): (Panel | TilingOptions)[];
  /** @param shared  whether what is made new may lie on memory that the threads share */
  join(sums: readonly S[], shared: boolean): S;
}

/** Rows of XᵀX by panels, in the memories of the threads. */
export function byPanels({ p, m, hasTarget }: Sized): Division<LayerStatistics> {
  const targets = hasTarget ? m : 0;
  return {
    most: Math.max(1, Math.floor(p / PANEL_ROWS)),
    divide: (threads) => panelsOf(p, targets, threads),
    join: (sums, shared) => (sums.length > 1 ? assemble(sums, shared) : sums[0]),
  };
}

/** Rows of tiles, in arrays of the threads. */
export function byTiles({ p, m, hasTarget }: Sized, edge: number): Division<TiledStatistics> {
  const targets = hasTarget ? m : 0;
  return {
    most: tileStarts(p, edge).length - 1,
    divide: (threads) => sharesOf(p, targets, edge, threads).map((rows) => ({ edge, rows })),
    join: assembleTiles,
  };
}

/** Sums XᵀX, XᵀY, Σx and Σy of a layer (X n × p, Y n × m). Calls may follow one another without waiting. */
export class SessionStatistics<S extends LayerStatistics | TiledStatistics = LayerStatistics> {
  readonly #id = ++lastId;
  readonly #sized: Sized;
  readonly #executor: Executor;
  readonly #members: readonly Member[];
  readonly #division: Division<S>;
  /** For the blocks in flight. */
  readonly #stages: Stage[] = Array.from({ length: IN_FLIGHT }, () => ({}));
  /** Every call waits for the one before it. */
  #last: Promise<unknown>;

  /** @internal */
  constructor(executor: Executor, sized: Sized, division: Division<S>, convolution?: Convolution) {
    this.#sized = sized;
    this.#executor = executor;
    this.#members = executor.members(division.most);
    if (this.#members.length === 0) {
      throw new WorkerLostError('statistics: no worker is left', 'statistics');
    }
    this.#division = division;
    const parts = division.divide(this.#members.length);
    this.#last = this.#each((ask, part) => ask('open', this.#id, sized, parts[part], convolution));
    this.#last.catch(() => {}); // reported by the calls that follow
  }

  /**
   * Adds rows: X n × p and, with a target, Y n × m. They must not change before the promise is fulfilled.
   * @throws {ShapeError} where sizes contradict each other
   */
  addRows(X: Float32Array, Y?: Float32Array): Promise<void> {
    return this.#next(async () => {
      const { p, m } = this.#sized;
      const n = countRows(this.#sized, X, Y);
      const parts = inParts(n, X.byteLength).map(
        ([first, end]) => [X.subarray(first * p, end * p), Y?.subarray(first * m, end * m)] as const,
      );
      await this.#send(parts, (ask, rows) => ask('addRows', this.#id, ...rows));
    });
  }

  /**
   * Adds every output position of a convolution over images of one size, which must not change before the promise is fulfilled.
   * @param geometry  of the convolution on x; p = channels·kh·kw
   * @param x  the images, one after the other
   * @param y  the target's images, each m × positions
   * @throws {ShapeError} where sizes contradict each other
   */
  addImages(geometry: ConvGeometry, x: readonly Image[], y?: readonly Image[]): Promise<void> {
    return this.#next(async () => {
      checkImages(geometry, x);
      expectTargets('y', this.#sized.hasTarget, y);
      if (y) expectObjects('statistics', 'y', y);
      if (y && y.length !== x.length) {
        throw new ShapeError(`statistics: "y" expected ${x.length} images, got ${y.length}`);
      }
      const bytes = x.reduce((sum, { data }) => sum + data.byteLength, 0);
      const parts = inParts(x.length, bytes).map(
        ([first, end]) => [x.slice(first, end), y?.slice(first, end)] as const,
      );
      await this.#send(parts, (ask, images) => ask('addImages', this.#id, geometry, ...images));
    });
  }

  /**
   * The sums; nothing can be added afterwards.
   * @param shared  whether they may lie on memory that the threads share: they go to the next operation without a copy
   */
  finish({ shared = false } = {}): Promise<S> {
    return this.#next(async () => {
      const several = this.#members.length > 1;
      try {
        // Threads whose memory is shared need not copy their sums out for others to put them together.
        const inPlace = several && this.#executor.shared;
        const parts = await this.#each((ask) => ask('sums', this.#id, inPlace));
        return this.#division.join(parts as readonly unknown[] as readonly S[], shared && inPlace);
      } finally {
        await this.#disposeAll();
      }
    });
  }

  /** Gives up without a result. */
  dispose(): Promise<void> {
    const dispose = () => this.#disposeAll().catch(() => {});
    return this.#last.then(dispose, dispose);
  }

  async #disposeAll(): Promise<void> {
    await this.#each((ask) => ask('dispose', this.#id));
  }

  #next<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#last.then(run);
    this.#last = result;
    result.catch(() => {}); // the caller has it too; a later call reports it again
    return result;
  }

  #each<T>(send: (ask: Member, index: number) => Promise<T>): Promise<T[]> {
    return Promise.all(this.#members.map(send));
  }

  /** Parts one after the other to all threads, which begin with the first while the next is copied. */
  async #send<T>(parts: readonly T[], send: (ask: Member, part: T) => Promise<unknown>): Promise<void> {
    const sent: Promise<unknown>[] = [];
    for (const [i, part] of parts.entries()) {
      if (i >= IN_FLIGHT) await sent[i - IN_FLIGHT];
      const lend = this.#executor.lend(part, this.#stages[i % IN_FLIGHT]);
      sent[i] = this.#each((ask) => send(ask, lend()));
      sent[i].catch(() => {}); // awaited below or before the next but one
    }
    await Promise.all(sent);
  }
}

/** @throws {InputError} naming what is of another kind than it should be */
function checkImages(geometry: ConvGeometry, x: readonly Image[]): void {
  expectObject('statistics', 'geometry', geometry);
  const { height, width, outHeight, outWidth, kernel, strides, dilations, pads } = geometry;
  const extents = [height, width, outHeight, outWidth].every((size) => Number.isInteger(size) && size >= 1);
  if (!(extents && [kernel, strides, dilations, pads].every(Array.isArray)))
    throw new InputError('statistics: "geometry" expected that of a convolution');
  expectObjects('statistics', 'x', x);
  for (const { data } of x) {
    if (!(data instanceof Float32Array))
      throw new InputError('statistics: "x" expected images with a Float32Array as "data"');
  }
}

/** From where to where the parts reach in which n rows or images, of so many bytes in all, are sent. */
function inParts(n: number, bytes: number): (readonly [first: number, end: number])[] {
  const step = Math.max(1, Math.floor((BLOCK_BYTES * n) / bytes));
  const parts: [number, number][] = [];
  for (let first = 0; first < n; first += step) parts.push([first, Math.min(n, first + step)]);
  return parts;
}

/**
 * Panels of equal work: row i of the lower triangle takes i products, and each row m more with the target. So the
 * first r rows take r²/2 + m·r.
 */
function panelsOf(p: number, m: number, count: number): Panel[] {
  const work = p * p + 2 * m * p;
  const ends = Array.from({ length: count }, (_, i) =>
    Math.round(Math.sqrt(m * m + ((i + 1) / count) * work) - m),
  );
  ends[count - 1] = p;
  return ends.map((end, i) => ({ first: i === 0 ? 0 : ends[i - 1], end }));
}

/** The whole of panels, in their order: each has its rows of all but Σy. */
function assemble(parts: readonly LayerStatistics[], shared: boolean): LayerStatistics {
  const { target, ...sums } = parts[0];
  const joined = (of: (part: LayerStatistics) => Float64Array) => {
    const length = parts.reduce((sum, part) => sum + of(part).length, 0);
    const whole = shared ? new Float64Array(new SharedArrayBuffer(8 * length)) : new Float64Array(length);
    let at = 0;
    for (const part of parts) {
      whole.set(of(part), at);
      at += of(part).length;
    }
    return whole;
  };
  const whole = { ...sums, XtX: joined(({ XtX }) => XtX), sumX: joined(({ sumX }) => sumX) };
  return target ? { ...whole, target: { ...target, XtY: joined((part) => part.target!.XtY) } } : whole;
}
