export type { Abi } from './abi.ts';
export { chooseSimd, compile, type Simd, type SimdChoice } from './binary.ts';
export { type EliminationPath, EliminationState, eliminationBytes, eliminationPath } from './elimination.ts';
export {
  ADDRESS_SPACE_BYTES,
  type ConvGeometry,
  type KernelOptions,
  Kernels,
  openKernels,
} from './kernels.ts';
export type { ElementType, Matrix, View } from './matrix.ts';
