export type { Abi } from './abi.ts';
export { chooseSimd, compile, type Simd, type SimdChoice } from './binary.ts';
export { type EliminationPath, EliminationState, eliminationBytes } from './elimination.ts';
export * from './kernels.ts';
export type { ElementType, Matrix } from './matrix.ts';
