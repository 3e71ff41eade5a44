export type {
  Engine,
  EngineSession,
  ExternalFile,
  FloatTensor,
  LoadOptions,
  ValueDescription,
} from './engine.ts';
export { type EngineOptions, type OnnxRuntime, openEngine } from './onnxruntime.ts';
