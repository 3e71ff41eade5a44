export { type Checkpoint, hasWeights, openCheckpoint, readConfig } from './checkpoint.ts';
export {
  blobFolder,
  expectFolder,
  type Folder,
  type MemoryOutput,
  memoryOutput,
  type OutputFolder,
  pathOfFile,
  readChunks,
  readJson,
} from './folder.ts';
export { planSafetensors, type SafetensorsPlan, type TensorSpec } from './plan.ts';
export { CheckpointWriter, sideFilesOf } from './write.ts';
