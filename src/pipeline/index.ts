// A model, pruned and measured: the only door to this folder.

export type {
  AllocationReport,
  Alone,
  Settled,
  SizeAndLoss,
  Tradeoff,
  TradeoffPoint,
  TradeoffReport,
  Trial,
} from './allocate/index.ts';
export {
  type Amount,
  amountText,
  BUDGETS,
  type BudgetKind,
  type BudgetOptions,
  expectBound,
  SIZES,
  type SizeKind,
  type WidthOptions,
} from './budget.ts';
export type { RunOptions } from './chain.ts';
export type { StageTime } from './clock.ts';
export { compareMethods } from './compare.ts';
export { type Progress, type ProgressStep, sharing, telling } from './course.ts';
export { Embedder, openEmbedding } from './data/embedded.ts';
export * from './data/index.ts';
export { EFFORTS, type Effort } from './effort.ts';
export { type KeepRatios, keepRatio, type Named } from './keep.ts';
export type { Metric } from './measure/evaluate.ts';
export type { Fidelity } from './measure/fidelity.ts';
export {
  type LatencyOptions,
  type LatencyTable,
  measureLatency,
  parseLatencyTable,
  savedByHalf,
} from './measure/latency.ts';
export { doubtOf, type Warning } from './measure/plausible.ts';
export { latencies, type TimingOptions } from './measure/timing.ts';
export {
  describeFolder,
  expectWritten,
  type FolderOptions,
  inputOf,
  openLanguageModel,
} from './models/folder.ts';
export type { FileOptions } from './models/onnx.ts';
export { type Pinned, pinnedOf, type WholeHeads, wholeHeadsOf } from './models/pinned.ts';
export { couldNarrow, type Share, type Shares, sharesOf } from './models/shares.ts';
export type { OpenedLanguageModel } from './models/twin.ts';
export { type Branch, branchTexts } from './open/branches.ts';
export { encodedBy } from './open/encode.ts';
export {
  type InputDims,
  type InputValues,
  inputTexts,
  isOpen,
  isTokenMask,
  type ModelInput,
  type OtherInput,
  takesEmbeddings,
  takesTokens,
} from './open/inputs.ts';
export { likelyDims, likelyWindow } from './open/lengths.ts';
export {
  declaredInput,
  type ModelSize,
  type OpenedModel,
  type OpenOptions,
  openModel,
  prunableOf,
} from './open/open.ts';
export { hasOpenSides } from './open/size.ts';
export type { EvaluateOptions, PruneOptions } from './options.ts';
export { MACHINES_OPTIONS, type Machines, type MachinesPlan } from './plan/machines.ts';
export { memoryLimit, type Plan, type PlanOptions, type Rates } from './plan/plan.ts';
export { plan, planMachines } from './plan/planning.ts';
export { measureRates } from './plan/rates.ts';
export type { BeforeAfter } from './profile.ts';
export { analyze, checkRun, evaluate, type PruneResult, prune } from './prune.ts';
export { type Job, KINDS, keyOf, type Queue, UnfitError } from './queue/queue.ts';
export { type ServedRun, Server, storedRun } from './queue/serve.ts';
export { type Snapshot, storedFile, storedFolder, storedSamples } from './queue/snapshot.ts';
export { readDescription } from './queue/volumes.ts';
export {
  parseRecipe,
  RECIPE_OPTIONS,
  type Recipe,
  type RecipeOptions,
  recipeOf,
  TARGETS,
  type Target,
  type TargetChoice,
} from './recipe.ts';
export type { LayerReport, MethodReport, PruneReport, SavedReport } from './report.ts';
export type { ActivationLimits, Scratch } from './store/activations.ts';
export { engineKind, Findings } from './store/findings.ts';
export { manifestIn } from './store/manifest.ts';
export { opfsScratch, opfsStore } from './store/opfs.ts';
export { fileOf, holds, keysOf, memoryStore, type RunStore } from './store/store.ts';
export type { Candidate, TargetReport } from './target.ts';
