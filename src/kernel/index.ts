export type { Simd, SimdChoice } from './binary.ts';
export { EliminationState } from './elimination.ts';
export { type ConvGeometry, type KernelOptions, Kernels, openKernels } from './kernels.ts';
export type { ElementType, Matrix, View } from './matrix.ts';
