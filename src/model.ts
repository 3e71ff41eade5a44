// The pieces that prune models: files opened and analysed, data sets, runs, evaluation. Importing it touches no file system, no
// network and no global.

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
export { type Guard, type GuardedEncode, type GuardOptions, openGuard } from './guard/index.ts';
export * from './layer.ts';
export { type Limits, limits } from './limits.ts';
export * from './pipeline/index.ts';
