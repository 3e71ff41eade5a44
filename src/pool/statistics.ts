// A layer's statistics over the threads of a session: each sums some rows of XᵀX over all the calibration data, so
// that nothing is added up across threads and the bits do not depend on how many there are.

import { WorkerLostError } from '../errors.ts';
import type { ConvGeometry } from '../kernel/index.ts';
import { type Convolution, type Image, type LayerStatistics, type Panel, triangle } from '../solve/index.ts';
import { countRows } from '../solve/statistics.ts';
import { assembleTiles, sharesOf, type TiledStatistics, type TilingOptions } from '../tiles/statistics.ts';
import { tileStarts } from '../tiles/storage.ts';
import type { Executor, Member } from './executor.ts';
import type { Stage } from './transfer.ts';

/** Inputs below which another thread does not pay: each unfolds and copies all the data. */
const PANEL_ROWS = 128;
/** Bytes of X sent at a time: threads start on the first while the next is copied. */
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

/** Rows of XᵀX by panels, in the memories of the threads. @param targets  columns of Y, where rows come with it */
export function byPanels(p: number, targets: number): Division<LayerStatistics> {
  return {
    most: Math.max(1, Math.floor(p / PANEL_ROWS)),
    divide: (threads) => panelsOf(p, targets, threads),
    join: (sums, shared) => (sums.length > 1 ? assemble(sums, shared) : sums[0]),
  };
}

/** Rows of tiles, in arrays of the threads. */
export function byTiles(p: number, targets: number, edge: number): Division<TiledStatistics> {
  return {
    most: tileStarts(p, edge).length - 1,
    divide: (threads) => sharesOf(p, targets, edge, threads).map((rows) => ({ edge, rows })),
    join: assembleTiles,
  };
}

/** Sums XᵀX, XᵀY, Σx and Σy of a layer (X n × p, Y n × m). Calls may follow one another without waiting. */
export class SessionStatistics<S extends LayerStatistics | TiledStatistics = LayerStatistics> {
  readonly #id = ++lastId;
  readonly #p: number;
  readonly #m: number;
  readonly #executor: Executor;
  readonly #members: readonly Member[];
  readonly #division: Division<S>;
  /** For X and Y of the blocks in flight, and of images. */
  readonly #stages: Stage[] = Array.from({ length: 2 * IN_FLIGHT }, () => ({}));
  /** Every call waits for the one before it. */
  #last: Promise<unknown>;

  /** @internal */
  constructor(
    executor: Executor,
    p: number,
    m: number,
    hasTarget: boolean,
    division: Division<S>,
    convolution?: Convolution,
  ) {
    this.#p = p;
    this.#m = m;
    this.#executor = executor;
    this.#members = executor.members(division.most);
    if (this.#members.length === 0) {
      throw new WorkerLostError('statistics: no worker is left', 'statistics');
    }
    this.#division = division;
    const parts = division.divide(this.#members.length);
    this.#last = this.#each((ask, part) => ask('open', this.#id, p, m, hasTarget, parts[part], convolution));
    this.#last.catch(() => {}); // reported by the calls that follow
  }

  /**
   * Adds rows: X n × p and, with a target, Y n × m. They must not change before the promise is fulfilled.
   * @throws {ShapeError} where sizes contradict each other
   */
  addRows(X: Float32Array, Y?: Float32Array): Promise<void> {
    return this.#next(async () => {
      const [p, m] = [this.#p, this.#m];
      const n = countRows(p, m, X, Y);
      const step = Math.max(1, Math.floor(BLOCK_BYTES / (4 * p)));
      const sent: Promise<unknown>[] = [];
      for (let row = 0; row < n; row += step) {
        const end = Math.min(n, row + step);
        const x = X.subarray(row * p, end * p);
        const y = Y?.subarray(row * m, end * m);
        if (sent.length >= IN_FLIGHT) await sent[sent.length - IN_FLIGHT];
        const [lendX, lendY] = this.#lend(x, y, sent.length);
        sent.push(this.#each((ask) => ask('addRows', this.#id, lendX(), lendY?.())));
        sent[sent.length - 1].catch(() => {}); // awaited below or before the next but one
      }
      await Promise.all(sent);
    });
  }

  /**
   * Adds every output position of a convolution over one image, which must not change before the promise is fulfilled.
   * @param geometry  of the convolution on x; p = channels·kh·kw
   * @param y  the target's image, m × positions
   */
  addImage(geometry: ConvGeometry, x: Image, y?: Image): Promise<void> {
    return this.#next(async () => {
      const [lendX, lendY] = this.#lend(x.data, y?.data);
      await this.#each((ask) => {
        const target = y && lendY && { ...y, data: lendY() };
        return ask('addImage', this.#id, geometry, { ...x, data: lendX() }, target);
      });
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

  /** X and Y for one thread after the other. The block IN_FLIGHT before this one must have been dealt with. */
  #lend(X: Float32Array, Y?: Float32Array, block = 0) {
    const lend = (array: Float32Array, stage: number) =>
      this.#executor.lend(array, this.#members.length, this.#stages[stage]);
    const at = 2 * (block % IN_FLIGHT);
    return [lend(X, at), Y && lend(Y, at + 1)] as const;
  }
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

/** The whole of panels, in their order. */
function assemble(parts: readonly LayerStatistics[], shared: boolean): LayerStatistics {
  const { p, m, n, target } = parts[0];
  const array = (length: number) =>
    shared ? new Float64Array(new SharedArrayBuffer(8 * length)) : new Float64Array(length);
  const XtX = array(triangle(p));
  const sumX = new Float64Array(p);
  const XtY = target && array(p * m);
  let first = 0;
  for (const part of parts) {
    XtX.set(part.XtX, triangle(first));
    sumX.set(part.sumX, first);
    if (part.target) XtY?.set(part.target.XtY, first * m);
    first += part.sumX.length;
  }
  return { p, m, n, XtX, sumX, ...(target && XtY && { target: { XtY, sumY: target.sumY } }) };
}
