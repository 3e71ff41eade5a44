export { type Guard, type GuardedEncode, type GuardOptions, openGuard } from './guard.ts';
