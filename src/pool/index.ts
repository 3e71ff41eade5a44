export type { TiledOptions } from './calculator.ts';
export * from './session.ts';
export { SessionStatistics } from './statistics.ts';
