// The public API: one call for each thing to be done with a model. Importing it touches no file system, no network and no
// global. The pieces that the calls are made of are in model.ts and layer.ts.

export type { Folder, MemoryOutput, OutputFolder } from './checkpoint/index.ts';
export { memoryOutput } from './checkpoint/index.ts';
export type { Engine } from './engine/index.ts';
export * from './errors.ts';
export type { SimdChoice } from './kernel/index.ts';
export { type Limits, limits } from './limits.ts';
export {
  type Amount,
  BUDGETS,
  type BudgetKind,
  type Dataset,
  EFFORTS,
  type Effort,
  type Job,
  type KeepRatios,
  type LatencyTable,
  type Metric,
  opfsScratch,
  opfsStore,
  type Preprocessing,
  type PreprocessingOptions,
  type Progress,
  type PruneReport,
  parseLatencyTable,
  type Queue,
  type RunStore,
  type SavedReport,
  type Scratch,
  type Share,
  SIZES,
  type SizeKind,
  TARGETS,
  type Target,
  type TargetChoice,
  type TradeoffReport,
} from './pipeline/index.ts';
export {
  type AnalyzeSettings,
  analyze,
  type Content,
  type DirectoryHandle,
  ENGINES,
  type EngineName,
  type Evaluated,
  type EvaluateSettings,
  evaluate,
  FORMATS,
  type Format,
  type Inspected,
  type InspectedStructure,
  inspect,
  type Kind,
  type LatencySettings,
  latency,
  type ModelOptions,
  openFolder,
  type Planned,
  type PlanSettings,
  type Pruned,
  type PruneSettings,
  plan,
  prune,
  type RunSettings,
  type SampleOptions,
  type Source,
} from './run/index.ts';
export { METHODS, type Method, SEARCHES, type Search } from './solve/index.ts';
export { version } from './version.ts';
