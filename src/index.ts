// The public API. Importing it touches no file system, no network and no global.

export {
  type BlockSizes,
  describe,
  type LanguageModel,
  type PrunedConfig,
  type SizesRecord,
} from './checkpoint/architectures/index.ts';
export {
  blobFolder,
  type Checkpoint,
  type Folder,
  type MemoryOutput,
  memoryOutput,
  type OutputFolder,
  openCheckpoint,
} from './checkpoint/index.ts';
export {
  type Engine,
  type EngineOptions,
  type EngineSession,
  type FloatTensor,
  type OnnxRuntime,
  openEngine,
} from './engine/index.ts';
export {
  type Analysis,
  type Axis,
  attributeFloat,
  attributeInt,
  attributeInts,
  attributeString,
  broadcast,
  called,
  carry,
  type Layer,
  type LinearMap,
  linear,
  type Model,
  type NodeProto,
  type Operator,
  type Propagation,
  type Rule,
  readModel,
  type Structure,
  shrink,
  unary,
  type WrittenModel,
  writeModel,
} from './graph/index.ts';
export * from './layer.ts';
export { batchSource } from './pipeline/batches.ts';
export * from './pipeline/data/index.ts';
export { accuracy, latencies, loss, type Metric, perplexity } from './pipeline/evaluate.ts';
export type { KeepRatios } from './pipeline/keep.ts';
export { type Chain, type ChainOptions, chainPerplexity } from './pipeline/language/chain.ts';
export type { Scratch } from './pipeline/language/hidden.ts';
export { chainOf, type OpenedLanguageModel, openLanguageModel } from './pipeline/language/open.ts';
export { opfsScratch } from './pipeline/language/opfs.ts';
export { type LanguagePlan, type PlanOptions, planLanguageModel } from './pipeline/language/plan.ts';
export {
  type LanguageOptions,
  type LanguageReport,
  pruneLanguageModel,
} from './pipeline/language/prune.ts';
export { loadModel, type OpenedModel, type OpenOptions, openModel } from './pipeline/open.ts';
export {
  type BeforeAfter,
  type CommonOptions,
  type Progress,
  TARGETS,
  type TargetChoice,
  type TargetReport,
} from './pipeline/options.ts';
export { type PruneOptions, type PruneReport, type PruneResult, pruneModel } from './pipeline/prune.ts';
export type { Target } from './pipeline/sequence.ts';
export type { Candidate } from './pipeline/target.ts';
