// Sizes within a budget: the only door to this folder.

export { type AllocationReport, allocate } from './allocate.ts';
export type { Alone } from './alone.ts';
export {
  analyzeRun,
  type SizeAndLoss,
  type Tradeoff,
  type TradeoffPoint,
  type TradeoffReport,
  tradeoffFound,
} from './analyze.ts';
export { problemOf, uniformSizes } from './problem.ts';
export type { Trial } from './search.ts';
export type { Settled } from './settle.ts';
