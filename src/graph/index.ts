// ONNX models: read, analyse, shrink, write. Knows nothing of how channels are chosen, runs nothing, touches no file.

export { analyse } from './analyse.ts';
export { type BuildAttribute, type BuildDims, GraphBuilder } from './build.ts';
export { foldConstants } from './constants.ts';
export { countMacs, countParameters } from './count.ts';
export { type Cut, segments } from './cuts.ts';
export type { DataType, FloatType } from './dtype.ts';
export type { ReadExternal } from './external.ts';
export { foldBatchNormalization } from './fold.ts';
export { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from './half.ts';
export {
  type ConvGeometry,
  type LinearKind,
  type LinearMap,
  linearMap,
  linearMaps,
  type Shapes,
} from './linear.ts';
export { mask } from './mask.ts';
export { Model, type Use } from './model.ts';
export type { NodeProto, ValueInfoProto } from './onnx_pb.ts';
export { type ReadOptions, readModel } from './read.ts';
export { shrink } from './shrink.ts';
export { loadStored, type ModelOutline, openStored, streamModel } from './stream.ts';
export type { Analysis, Edit, LinearRef, Slice, Structure } from './structure.ts';
export { part, subgraph, type ValueInfo, withAllValues } from './subgraph.ts';
export { fromFloat32, fromIntegers, type Tensor, toFloat32, toFloat64, toIntegers } from './tensor.ts';
export { readWeights, writeWeights } from './weights.ts';
export { type WriteOptions, type WrittenModel, writeModel } from './write.ts';
