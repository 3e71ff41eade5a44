// The public API. Importing it touches no file system, no network and no global.

export {
  type Engine,
  type EngineOptions,
  type EngineSession,
  type FloatTensor,
  type OnnxRuntime,
  openEngine,
} from './engine/index.ts';
export * from './errors.ts';
export {
  type Analysis,
  type LinearMap,
  type Model,
  readModel,
  type Structure,
  shrink,
  type WrittenModel,
  writeModel,
} from './graph/index.ts';
export { type KernelOptions, type Kernels, openKernels, type SimdChoice } from './kernel/index.ts';
export { batchSource } from './pipeline/batches.ts';
export * from './pipeline/data/index.ts';
export { accuracy, latencies, type Metric } from './pipeline/evaluate.ts';
export { loadModel, type OpenedModel, type OpenOptions, openModel } from './pipeline/open.ts';
export {
  type BeforeAfter,
  type Progress,
  type PruneOptions,
  type PruneReport,
  type PruneResult,
  pruneModel,
  TARGETS,
  type TargetChoice,
} from './pipeline/prune.ts';
export type { Target } from './pipeline/sequence.ts';
export type { Candidate } from './pipeline/target.ts';
export {
  type AbortOptions,
  type LayerJob,
  openSession,
  type Session,
  type SessionOptions,
  type SessionStatistics,
} from './pool/index.ts';
export {
  combineProblems,
  type Elimination,
  type EliminationOptions,
  eliminate,
  groupsToKeep,
  type LayerOptions,
  type LayerProblem,
  type LayerResult,
  type LayerStatistics,
  layerProblem,
  layerWasmBytes,
  METHODS,
  type Method,
  type ProblemOptions,
  pruneLayer,
  type Refit,
  refit,
  refitBias,
  SEARCHES,
  type Search,
  StatisticsAccumulator,
} from './solve/index.ts';
export { version } from './version.ts';
