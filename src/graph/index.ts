// ONNX models: read, analyse, shrink, write. Knows nothing of how channels are chosen, runs nothing, touches no file.

export { type AnalysisOptions, analyse, channelCounts } from './analyse.ts';
export { blockOf } from './blocks.ts';
export { ifsOf, takeBranches } from './branches.ts';
export { GraphBuilder } from './build.ts';
export { chained, nameInChain } from './chained.ts';
export { computedWeights, withConstants } from './constant.ts';
export {
  byStructure,
  countMacs,
  countParameters,
  type SizeTerms,
  sizeAt,
  sizeTerms,
  type Term,
} from './count.ts';
export { withoutRounding } from './dequantize.ts';
export { type DescribedValue, describeValue } from './describe.ts';
export { type DataType, type FloatType, isFloat, isNumeric } from './dtype.ts';
export { separateExperts } from './experts.ts';
export { floatWeights, storedType } from './floats.ts';
export { foldBatchNormalization, foldConstants, foldScales, takenOnce, withoutCasts } from './fold.ts';
export { type GradientModel, gradientModel, lossGradient } from './gradient.ts';
export {
  bfloat16ToFloat32,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
  fromHalves,
  toHalves,
} from './half.ts';
export type { Axis } from './labels.ts';
export {
  depthwise,
  type Gain,
  type LinearMap,
  type LinearRef,
  layerKey,
  linearMap,
  linearMaps,
  type Shapes,
  usesOf,
} from './linear.ts';
export { unrollLoops } from './loops.ts';
export { maskInner } from './mask.ts';
export { type Merged, mergedAgain, unmerged } from './merged.ts';
export { isStraight, Model } from './model.ts';
export { attributeFloat, attributeInt, attributeInts, attributeString, isRandom } from './node.ts';
export { normGains } from './norms.ts';
export { withListAxis, withoutListAxis, withoutSampleAxis, withSampleAxis } from './one-sample.ts';
export type { NodeProto } from './onnx_pb.ts';
export { padsFor } from './operators/conv.ts';
export { broadcast, carry, unary } from './operators/elementwise.ts';
export { linear } from './operators/layer.ts';
export type {
  Backward,
  ConvGeometry,
  DepthGeometry,
  GradientRule,
  Layer,
  LayerDims,
} from './operators/operator.ts';
export { declareOutputs, onlyOutputs, withoutUnread } from './outputs.ts';
export { separateProjections } from './projections.ts';
export { called, type Operator, type Propagation, type Rule } from './propagation.ts';
export { dequantizedText, quantizedLayers, quantizedText } from './quantized.ts';
export { type ReadOptions, readModel } from './read.ts';
export { unselectedValues } from './selection.ts';
export { shapeOutline, shapeReader } from './shapes.ts';
export { separateShapes } from './shared-shapes.ts';
export { numbered, shrink } from './shrink.ts';
export { separateGroups } from './side-by-side.ts';
export { inFloat32, infoInFloat32 } from './single.ts';
export type { State } from './states.ts';
export { type OnSteps, onSteps, type Packed, STEPS, steppedMaps } from './steps.ts';
export {
  isFitted,
  isStorable,
  STORED_TYPES,
  type StoredType,
  storedAs,
  storedBytes,
  storeOutline,
  storeWeights,
  WEIGHT_TYPES,
  type WeightType,
} from './stored.ts';
export { loadStored, type ModelOutline, openStored, streamModel } from './stream.ts';
export {
  type Analysis,
  dependsOnKept,
  type Edit,
  type Features,
  HEADS,
  type HeadsMode,
  insideOf,
  isReadAlone,
  type MadeFeatures,
  madeOf,
  type Norm,
  type Reader,
  type RowBlock,
  removedOf,
  rowsOf,
  type Slice,
  type Structure,
  type ValueAxis,
} from './structure.ts';
export {
  type Cut,
  type Live,
  liveValues,
  part,
  roundsOf,
  type SamplePlace,
  sampledValues,
  samplesOf,
  segments,
  subgraph,
  unreachedValues,
  type ValueInfo,
  withOutputs,
} from './subgraph.ts';
export {
  byteLength,
  concatenate,
  elements,
  type Floats,
  fromFloat32,
  groupBy,
  sum,
  type Tensor,
  toFloat32,
  toFloat64,
  toIntegers,
} from './tensor.ts';
export { turnProducts } from './turn.ts';
export { unfuse } from './unfuse.ts';
export { ownTensor, readWeights, weightTensors, writeWeights } from './weights.ts';
export { locationOf, type ReadExternal } from './wire.ts';
export {
  concat,
  graphBytes,
  LARGEST_FILE,
  type WriteOptions,
  type WrittenModel,
  writeModel,
} from './write.ts';
