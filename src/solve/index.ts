export { chooseDamping } from './damping.ts';
export { type Elimination, type EliminationOptions, eliminate, select } from './eliminate.ts';
export { type Layer, type LayerRecipe, refits, type SolvedLayers, solveLayers } from './layers.ts';
export { magnitudeSupport } from './magnitude.ts';
export {
  combineProblems,
  DEFAULT_DAMPING,
  type LayerProblem,
  type LayerStatistics,
  layerProblem,
  type ProblemOptions,
} from './problem.ts';
export {
  defaultSwaps,
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
export { halvingSearch, type LocalSearch, publishedSearch, swapSearch } from './search.ts';
export { type Image, type Panel, StatisticsAccumulator, statisticsWasmBytes } from './statistics.ts';
export { type Swap, Tableau, tableauWasmBytes } from './tableau.ts';
