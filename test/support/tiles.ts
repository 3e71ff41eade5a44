// Whole matrices in tiles.

import { RowBlocks, SymmetricTiles } from '../../src/tiles/storage.ts';

/** A symmetric A, p × p, of which the lower triangle is read. */
export function symmetricTiles(A: Float64Array, p: number, edge: number): SymmetricTiles<'f64'> {
  const tiles = new SymmetricTiles(p, 'f64', edge);
  for (let i = 0; i < tiles.count; i++) {
    for (let j = 0; j <= i; j++) {
      tiles.change(i, j, (tile) => {
        for (let r = 0; r < tiles.rows(i); r++) {
          const from = (tiles.starts[i] + r) * p + tiles.starts[j];
          tile.set(A.subarray(from, from + tiles.rows(j)), r * tiles.rows(j));
        }
      });
    }
  }
  return tiles;
}

/** A, p × m. */
export function rowBlocks(A: Float64Array, p: number, m: number, edge: number): RowBlocks<'f64'> {
  const blocks = new RowBlocks(p, m, 'f64', edge);
  blocks.each(true, (values, first, rows) => values.set(A.subarray(first * m, (first + rows) * m)));
  return blocks;
}
