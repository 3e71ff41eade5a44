export type { TiledOptions } from './calculator.ts';
export {
  type AbortOptions,
  openSession,
  Session,
  type SessionOptions,
} from './session.ts';
export { SessionStatistics } from './statistics.ts';
