export { chooseDamping, mergeStatistics } from './damping.ts';
export { type Elimination, type EliminationOptions, eliminate } from './eliminate.ts';
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
  groupsToKeep,
  type LayerOptions,
  type LayerResult,
  layerWasmBytes,
  METHODS,
  type Method,
  pruneLayer,
} from './prune.ts';
export { type Refit, refit, refitBias } from './refit.ts';
export { type Image, StatisticsAccumulator, statisticsWasmBytes } from './statistics.ts';
