// A model, pruned and measured: the only door to this folder.

export type { ActivationLimits, Scratch } from './activations.ts';
export {
  type AllocationReport,
  type Alone,
  EFFORTS,
  type Effort,
  type Settled,
  type SizeAndLoss,
  type Tradeoff,
  type TradeoffPoint,
  type TradeoffReport,
  type Trial,
} from './allocate/index.ts';
export { type Branch, branchTexts } from './branches.ts';
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
export { type Progress, type ProgressStep, sharing } from './course.ts';
export * from './data/index.ts';
export { losesFeatures } from './described.ts';
export type { Metric } from './evaluate.ts';
export type { Fidelity } from './fidelity.ts';
export { engineKind, Findings } from './findings.ts';
export { describeFolder, expectStored, type FolderOptions, inputOf, openLanguageModel } from './folder.ts';
export {
  type InputDims,
  type InputValues,
  isTokenMask,
  type ModelInput,
  type OtherInput,
  takesTokens,
} from './inputs.ts';
export { type KeepRatios, keepRatio, type Named } from './keep.ts';
export {
  type LatencyOptions,
  type LatencyTable,
  measureLatency,
  parseLatencyTable,
  savedByHalf,
} from './latency.ts';
export { MACHINES_OPTIONS, type Machines, type MachinesPlan } from './machines.ts';
export type { FileOptions } from './onnx.ts';
export {
  declaredInput,
  type ModelSize,
  type OpenedModel,
  type OpenOptions,
  openModel,
  prunableOf,
} from './open.ts';
export type { EvaluateOptions, PruneOptions } from './options.ts';
export { type Pinned, pinnedOf, type WholeHeads, wholeHeadsOf } from './pinned.ts';
export { memoryLimit, type Plan, type PlanOptions, type Rates } from './plan.ts';
export { plan, planMachines } from './planning.ts';
export { doubtOf, type Warning } from './plausible.ts';
export type { BeforeAfter } from './profile.ts';
export { analyze, checkRun, evaluate, type PruneResult, prune } from './prune.ts';
export { type Job, KINDS, keyOf, type Queue, UnfitError } from './queue/queue.ts';
export { type ServedRun, Server, storedRun } from './queue/serve.ts';
export { type Snapshot, storedFile, storedFolder, storedSamples } from './queue/snapshot.ts';
export { readDescription } from './queue/volumes.ts';
export { measureRates } from './rates.ts';
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
export { type Share, type Shares, sharesOf } from './shares.ts';
export { opfsScratch, opfsStore } from './store/opfs.ts';
export { fileOf, holds, keysOf, memoryStore, type RunStore } from './store/store.ts';
export type { Candidate, TargetReport } from './target.ts';
export { latencies, type TimingOptions } from './timing.ts';
export type { OpenedLanguageModel } from './twin.ts';
