import { describe, expect, test } from 'vitest';
import {
  type ElementType,
  type Kernels,
  type Matrix,
  openKernels,
  type Simd,
} from '../../src/kernel/index.ts';
import { TILE } from '../../src/solve/constants';
import { multiply, potrf, potri, solve } from '../../src/tiles/factor.ts';
import { RowBlocks, recycled, SymmetricTiles, tileStarts } from '../../src/tiles/storage.ts';
import { randomArray } from '../support/random.ts';

/** Positive definite, with no structure to speak of. */
function definite(n: number): Float64Array {
  const A = Float64Array.from(randomArray(n * n, n));
  for (let i = 0; i < n; i++) A[i * (n + 1)] += n / 8;
  return A;
}

function inTiles<T extends ElementType>(
  A: Float64Array,
  n: number,
  type: T,
  edge: number,
): SymmetricTiles<T> {
  const tiles = new SymmetricTiles(n, type, edge);
  for (let i = 0; i < tiles.count; i++) {
    for (let j = 0; j <= i; j++) {
      tiles.change(i, j, (tile) => {
        for (let r = 0; r < tiles.rows(i); r++) {
          for (let c = 0; c < tiles.rows(j); c++) {
            const [row, column] = [tiles.starts[i] + r, tiles.starts[j] + c];
            if (column <= row) tile[r * tiles.rows(j) + c] = A[row * n + column];
          }
        }
      });
    }
  }
  return tiles;
}

/** Largest difference of the lower triangles. */
function apart(kernels: Kernels, whole: Matrix, tiles: SymmetricTiles): number {
  let most = 0;
  const view = kernels.view(whole);
  const row = tiles.type === 'f32' ? new Float32Array(tiles.n) : new Float64Array(tiles.n);
  for (let i = 0; i < tiles.n; i++) {
    tiles.gather(Int32Array.of(i), row);
    for (let j = 0; j <= i; j++) {
      const difference = Math.abs(row[j] - view[i * tiles.n + j]);
      if (!(difference <= most)) most = difference;
    }
  }
  return most;
}

function blocksOf<T extends ElementType>(
  values: ArrayLike<number>,
  n: number,
  m: number,
  type: T,
  edge: number,
) {
  const blocks = new RowBlocks(n, m, type, edge);
  for (let i = 0; i < n; i++)
    blocks.row(i).set(Float64Array.from({ length: m }, (_, j) => values[i * m + j]));
  return blocks;
}

function valuesOf(blocks: RowBlocks): number[] {
  const all: number[] = [];
  blocks.each(false, (values) => all.push(...values));
  return all;
}

const BITS: readonly (readonly [Simd, ElementType, number])[] = [
  ['relaxed', 'f32', TILE + 1],
  ['relaxed', 'f64', TILE + 2],
  ['baseline', 'f32', 2 * TILE + 204],
  ['relaxed', 'f64', TILE + 700],
];

describe.each(BITS)('%s, %s, order %i: in tiles the bits are those of the whole matrix', (simd, type, n) => {
  test('factor, inverse and solutions', async () => {
    const kernels = await openKernels({ simd });
    const m = 40;
    const A = definite(n);
    const values = Float32Array.from(randomArray(n * m, 2));
    const [whole, B] = [kernels.matrix(n, n, type, A), kernels.matrix(n, m, type, values)];
    const tiles = inTiles(A, n, type, TILE);
    const blocks = blocksOf(values, n, m, type, TILE);
    expect(tiles.count).toBe(tileStarts(n, TILE).length - 1);
    kernels.potrf(whole);
    expect(potrf(kernels, tiles)).toBe(0);
    expect(apart(kernels, whole, tiles)).toBe(0);
    for (const trans of [false, true]) {
      kernels.trsm('left', trans, 1, whole, B);
      solve(kernels, trans, tiles, blocks);
      expect(valuesOf(blocks)).toEqual(Array.from(kernels.view(B)));
    }
    kernels.potri(whole);
    potri(kernels, tiles);
    expect(apart(kernels, whole, tiles)).toBe(0);
  });
});

test('many small tiles give the inverse, solutions and products', async () => {
  const kernels = await openKernels();
  const [n, m, edge] = [203, 70, 32];
  const A = definite(n);
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) A[j * n + i] = A[i * n + j];
  const values = Float64Array.from(randomArray(n * m, 2));
  const tiles = inTiles(A, n, 'f64', edge);
  expect(tiles.count).toBe(7);
  const C = new RowBlocks(n, m, 'f64', edge);
  multiply(kernels, tiles, values, C);
  expect(potrf(kernels, tiles)).toBe(0);
  solve(kernels, false, tiles, C);
  solve(kernels, true, tiles, C);
  const back = valuesOf(C);
  values.forEach((value, at) => {
    expect(Math.abs(back[at] - value)).toBeLessThan(1e-11);
  });
  potri(kernels, tiles);
  const row = new Float64Array(n);
  for (let i = 0; i < n; i += 17) {
    tiles.gather(Int32Array.of(i), row);
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += row[k] * A[k * n + j];
      expect(Math.abs(sum - (i === j ? 1 : 0))).toBeLessThan(1e-11);
    }
  }
});

test('rows are gathered from both sides of the diagonal, mirrored or not', () => {
  const [n, pitch] = [100, 107];
  const A = definite(n);
  const tiles = inTiles(A, n, 'f64', 16);
  const rows = Int32Array.of(99, 3, 40, 41, 0, 17, 45);
  for (const isMirrored of [false, true]) {
    if (isMirrored) tiles.mirror();
    const found = new Float64Array(rows.length * pitch);
    tiles.gather(rows, found, pitch);
    rows.forEach((row, at) => {
      for (let j = 0; j < n; j++) {
        expect(found[at * pitch + j]).toBe(A[Math.max(row, j) * n + Math.min(row, j)]);
      }
    });
  }
});

test('names the pivot that is not positive, wherever its tile is', async () => {
  const kernels = await openKernels();
  const A = definite(100);
  A[77 * 101] = -1;
  expect(potrf(kernels, inTiles(A, 100, 'f64', 16))).toBe(78);
});

test('blocks lie where other arrays were, of zeros, as far as these go', () => {
  const old = new Float64Array(6).fill(7);
  const place = recycled([old]);
  const [first, second, third] = [place('f32', 3), place('f64', 3), place('f64', 2)];
  for (const [{ data }, length] of [
    [first, 3],
    [second, 3],
    [third, 2],
  ] as const)
    expect([...data!]).toEqual(new Array(length).fill(0));
  first.data!.fill(1);
  expect([...second.data!]).toEqual([0, 0, 0]);
  expect([first, second, third].map(({ data }) => data!.buffer === old.buffer)).toEqual([true, true, false]);
});

test('the last tile has what is left', () => {
  expect(tileStarts(64, 32)).toEqual([0, 32, 64]);
  expect(tileStarts(65, 32)).toEqual([0, 32, 64, 65]);
  expect(tileStarts(32, 32)).toEqual([0, 32]);
  expect(tileStarts(0, 32)).toEqual([0]);
});
