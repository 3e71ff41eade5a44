// Sums over the patches of 3×3 convolutions, which need not be unfolded for them (assembly/correlate.ts).

import { ShapeError } from '../errors.ts';
import type { ConvGeometry, Kernels } from '../kernel/index.ts';
import { CHUNK_ROWS, TAPS } from './constants';
import type { LayerStatistics } from './problem.ts';
import { Accumulator, expectImage, type Image, type Panel } from './statistics.ts';
import { triangle } from './triangle.ts';

/** Channels below which most of the microkernel's tiles would be empty. */
const FEWEST = 8;
/** Positions of small images that are added together. */
const BATCH = 8 * CHUNK_ROWS;

/** How a convolution reads images of any size. */
export type Convolution = Pick<ConvGeometry, 'kernel' | 'strides' | 'dilations' | 'pads'>;

/** Whether a layer of p inputs is a 3×3 convolution with stride 1 and a border of one zero, of a few channels at least. */
export function isCorrelation(p: number, { kernel, strides, dilations, pads }: Convolution): boolean {
  const isOne = (n: number) => n === 1;
  const isLarge = p >= FEWEST * TAPS && p % TAPS === 0;
  return isLarge && kernel.every((n) => n === 3) && [strides, dilations, pads].flat().every(isOne);
}

/** The sums of StatisticsAccumulator, of images under such a convolution, in about as much memory and less than half of the time. */
export class ConvolutionAccumulator extends Accumulator<LayerStatistics> {
  readonly #panel: Panel;
  /** Of an image. */
  readonly #channels: number;
  /** Rows of Y: targets, and ones. */
  readonly #rows: number;
  readonly #state: number;
  #waiting: { readonly x: Float32Array; readonly y?: Float32Array }[] = [];
  /** Of the images that wait. */
  #size: Pick<ConvGeometry, 'height' | 'width'> = { height: 0, width: 0 };
  #positions = 0;

  /** @param panel  the inputs to sum for; by default all */
  constructor(kernels: Kernels, p: number, m: number, hasTarget: boolean, panel = { first: 0, end: p }) {
    super(kernels, p, m, hasTarget);
    const { abi } = kernels;
    this.#panel = panel;
    this.#channels = p / TAPS;
    this.#rows = (hasTarget ? m : 0) + 1;
    const [first, end] = [Math.floor(panel.first / TAPS), Math.ceil(panel.end / TAPS)];
    this.#state = kernels.allocate(abi.correlationBytes(end, this.#rows));
    abi.createCorrelation(this.#state, first, end, this.#channels, this.#rows);
  }

  addRows(): void {
    throw new ShapeError('statistics: opened for the images of a convolution; open others for rows');
  }

  /** As StatisticsAccumulator's. */
  addImage(geometry: ConvGeometry, x: Image, y?: Image): void {
    const { height, width, outHeight, outWidth } = geometry;
    if (!isCorrelation(this.p, geometry) || outHeight !== height || outWidth !== width) {
      throw new ShapeError('statistics: "geometry" expected the convolution that they were opened for');
    }
    expectImage('x', this.#channels, height * width, x);
    if (this.hasTarget) expectImage('y', this.m, height * width, y);
    if (height !== this.#size.height || width !== this.#size.width) this.#flush();
    this.#size = { height, width };
    // What threads send one another is written over by the next.
    this.#waiting.push({ x: x.data.slice(), ...(this.hasTarget && { y: y!.data.slice() }) });
    this.#positions += height * width;
    if (this.#waiting.length * height * width >= BATCH) this.#flush();
  }

  read(): LayerStatistics {
    this.#flush();
    const { kernels, p, m, hasTarget } = this;
    const { first, end } = this.#panel;
    const columns = this.#rows - 1;
    return kernels.scoped(() => {
      const lengths = [triangle(end) - triangle(first), (end - first) * columns, end - first, columns];
      const parts = lengths.map((length) => kernels.matrix(1, length, 'f64'));
      const [toXtX, toXtY, toX, toY] = parts.map(({ ptr }) => ptr);
      kernels.abi.unfold(this.#state, first, end, toXtX, toXtY, toX, toY);
      const [XtX, XtY, sumX, sumY] = parts.map((part) => kernels.read(part));
      return { p, m, n: this.#positions, XtX, sumX, ...(hasTarget && { target: { XtY, sumY } }) };
    });
  }

  /** Adds what waits. */
  #flush(): void {
    const waiting = this.#waiting.splice(0);
    if (waiting.length === 0) return;
    const { kernels } = this;
    const { abi } = kernels;
    const [channels, rows, count] = [this.#channels, this.#rows, waiting.length];
    const { height, width } = this.#size;
    const plane = height * width;
    kernels.scoped(() => {
      const [X, Y] = [channels, rows].map((images) => kernels.matrix(count * images, plane, 'f32'));
      const [toX, toY] = [X, Y].map((of) => kernels.view(of));
      toY.fill(1);
      for (const [i, { x, y = [] }] of waiting.entries()) {
        toX.set(x, i * channels * plane);
        toY.set(y, i * rows * plane);
      }
      const work = kernels.allocate(abi.correlateBytes(this.#state, height, width));
      const isFlat = abi.isFlatImages(count, channels, plane, X.ptr, Y.ptr + 4 * plane * (rows - 1)) !== 0;
      if (!isFlat) return abi.scorrelate(this.#state, count, height, width, X.ptr, Y.ptr, work);
      const [wideX, wideY] = [X, Y].map((of) => kernels.matrix(of.rows, plane, 'f64'));
      kernels.write(wideX, kernels.view(X));
      kernels.write(wideY, kernels.view(Y));
      abi.dcorrelate(this.#state, count, height, width, wideX.ptr, wideY.ptr, work);
    });
  }
}
