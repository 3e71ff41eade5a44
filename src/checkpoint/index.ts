export { type Checkpoint, openCheckpoint } from './checkpoint.ts';
export type { WeightType } from './dtype.ts';
export { blobFolder, type Folder, type OutputFolder, readChunks, readJson } from './folder.ts';
export { type MemoryOutput, memoryOutput } from './memory.ts';
export {
  type PlanOptions as SafetensorsOptions,
  planSafetensors,
  type SafetensorsPlan,
  type TensorSpec,
} from './plan.ts';
export { CheckpointWriter } from './write.ts';
