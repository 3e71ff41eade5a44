// The layer-level API: kernels, solver and workers, nothing that knows models. `osscar-wasm/layer` loads neither
// onnxruntime nor protobuf.

export * from './errors.ts';
export {
  type ConvGeometry,
  type ElementType,
  type KernelOptions,
  type Kernels,
  openKernels,
  type Simd,
  type SimdChoice,
} from './kernel/index.ts';
export {
  type AbortOptions,
  openSession,
  type Session,
  type SessionOptions,
  type SessionStatistics,
  type TiledOptions,
} from './pool/index.ts';
export {
  type Convolution,
  chooseDamping,
  type Elimination,
  type EliminationOptions,
  eliminate,
  groupsToKeep,
  type Image,
  type Layer,
  type LayerOptions,
  type LayerProblem,
  type LayerRecipe,
  type LayerResult,
  type LayerRows,
  type LayerStatistics,
  layerProblem,
  layerWasmBytes,
  METHODS,
  type Method,
  type Panel,
  type ProblemOptions,
  packed,
  pruneLayer,
  pruneLayers,
  type Refit,
  refit,
  refitBias,
  SEARCHES,
  type Search,
  type SharedResult,
  type SolvedLayers,
  StatisticsAccumulator,
  solveLayers,
  unpacked,
} from './solve/index.ts';
export type { TiledLayer } from './tiles/layers.ts';
export {
  type TiledJob,
  type TiledMemory,
  type TiledPlan,
  type TiledShape,
  tiledPlan,
} from './tiles/memory.ts';
export type { TiledStatistics } from './tiles/statistics.ts';
export { version } from './version.ts';
