export { chooseDamping } from './damping.ts';
export {
  type Elimination,
  type EliminationOptions,
  eliminate,
  magnitudeSupport,
} from './eliminate.ts';
export { type Layer, type LayerRecipe, refits, type SolvedLayers, solveLayers } from './layers.ts';
export {
  combineProblems,
  type LayerProblem,
  type LayerStatistics,
  layerProblem,
  type ProblemOptions,
} from './problem.ts';
export {
  groupsToKeep,
  type LayerOptions,
  type LayerResult,
  layerWasmBytes,
  METHODS,
  type Method,
  pruneLayer,
  SEARCHES,
  type Search,
} from './prune.ts';
export { type Refit, refit, refitBias } from './refit.ts';
export type { LayerRows } from './rows.ts';
export { type Image, type Panel, StatisticsAccumulator, statisticsWasmBytes } from './statistics.ts';
export { packed, triangle, unpacked } from './triangle.ts';
