// Whole matrices in tiles, and back.

import { type LayerStatistics, triangle } from '../../src/solve/index.ts';
import type { TiledStatistics } from '../../src/tiles/statistics.ts';
import { given, RowBlocks, SymmetricTiles } from '../../src/tiles/storage.ts';

/** A symmetric A, p × p: its lower triangle, row behind row. */
export function symmetricTiles(A: Float64Array, p: number, edge: number): SymmetricTiles<'f64'> {
  const tiles = new SymmetricTiles(p, 'f64', edge);
  for (let i = 0; i < tiles.count; i++) {
    for (let j = 0; j <= i; j++) {
      tiles.change(i, j, (tile) => {
        for (let r = 0; r < tiles.rows(i); r++) {
          const from = triangle(tiles.starts[i] + r) + tiles.starts[j];
          tile.set(A.subarray(from, from + (i === j ? r + 1 : tiles.rows(j))), r * tiles.rows(j));
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

/** XᵀX and XᵀY of sums in tiles. */
export function matricesOf({ p, m, edge, tiles, target }: TiledStatistics) {
  const XtX = new SymmetricTiles(p, 'f64', edge, given(tiles));
  return { XtX, XtY: target && new RowBlocks(p, m, 'f64', edge, given(target.blocks)) };
}

/** Whole sums in tiles. */
export function tiledStatistics(
  { p, m, n, XtX, sumX, target }: LayerStatistics,
  edge: number,
): TiledStatistics {
  const tiles = symmetricTiles(XtX, p, edge);
  const sums = {
    ...{ p, m, n, edge, sumX },
    tiles: tiles.starts
      .slice(1)
      .flatMap((_, i) => Array.from({ length: i + 1 }, (_, j) => tiles.tile(i, j).data as Float64Array)),
  };
  if (!target) return sums;
  const blocks = rowBlocks(target.XtY, p, m, edge);
  const arrays = Array.from({ length: blocks.count }, (_, i) => blocks.block(i).data as Float64Array);
  return { ...sums, target: { blocks: arrays, sumY: target.sumY } };
}
