// Layers of any number of inputs, in stated memory: `osscar-wasm/tiles`.

export * from './errors.ts';
export type { TiledMemory, TiledPlan, TiledShape } from './tiles/memory.ts';
export type { TiledProblemOptions } from './tiles/problem.ts';
export type { TiledOptions, TiledResult } from './tiles/prune.ts';
export type { ScratchFile } from './tiles/scratch.ts';
export type { RowBlocks } from './tiles/storage.ts';
export { openTiles, type TiledLayer, type Tiles, type TilesOptions } from './tiles/tiles.ts';
