export type { Abi, TilesHost } from './abi.ts';
export { chooseSimd, compile, type Simd, type SimdChoice } from './binary.ts';
export * from './kernels.ts';
export { type ElementType, elementBytes, type Matrix, prefixOf, type View } from './matrix.ts';
