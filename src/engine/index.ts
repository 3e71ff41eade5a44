export {
  type Engine,
  type EngineSession,
  type ExternalFile,
  expectEngine,
  type FloatTensor,
  isOfEngine,
  type LoadOptions,
  type ValueDescription,
} from './engine.ts';
export { type EngineOptions, type OnnxRuntime, openEngine, type WasmPaths } from './onnxruntime.ts';
