// Which rule belongs to which operator. An operator that is not here cannot be seen through.

import { isStandard } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import type { Rule } from '../propagation.ts';
import { groupQueryAttention, multiHeadAttention, standardAttention } from './attention.ts';
import { broadcast, unary } from './elementwise.ts';
import { fusedAttention, rotaryEmbedding } from './fused.ts';
import { batchNormalization, conv, convTranspose, gemm, instanceNormalization, matmul } from './layers.ts';
import { expand, flatten, reshape, squeeze, tile, transpose, unsqueeze } from './layout.ts';
import { concat, slice, split } from './pieces.ts';
import { einsum, fusedMatMul } from './product.ts';
import {
  argReduce,
  gatherRule,
  layerNormalization,
  pad,
  pool,
  reduce,
  resize,
  skipNormalization,
  softmax,
  trilu,
} from './spatial.ts';

/** Run on every node, because they make labels: what they read need not be labelled. */
const LAYERS: ReadonlyMap<string, Rule> = new Map([
  ['Conv', conv],
  ['ConvTranspose', convTranspose],
  ['Gemm', gemm],
  ['MatMul', matmul],
  ['Expand', expand],
]);

/** Operators whose operands are all data. */
const JOINS: ReadonlyMap<string, Rule> = new Map([
  ...all(
    broadcast,
    'Add Sub Mul Div Min Max Pow Sum Mean PRelu Mod And Or Xor Equal Greater Less GreaterOrEqual LessOrEqual Where',
  ),
  ['Concat', concat],
  ['Einsum', einsum],
  ['Attention', standardAttention],
]);

/** Operators whose first input is the data; labels on others pin everything. */
const PASSES: ReadonlyMap<string, Rule> = new Map([
  ...all(
    unary,
    'CastLike Relu LeakyRelu ThresholdedRelu Clip Sigmoid HardSigmoid HardSwish Elu Selu Celu Gelu Erf Softplus Softsign Mish ' +
      'Swish Sqrt Exp Log Abs Neg Sign Reciprocal Identity Dropout Cast Ceil Floor Round IsNaN IsInf Not ' +
      'Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Asinh Acosh Atanh Shrink',
  ),
  ...all(pool, 'MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool'),
  ...all(
    reduce,
    'ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare',
  ),
  ...all(argReduce, 'ArgMax ArgMin'),
  ...all(softmax, 'Softmax LogSoftmax Hardmax'),
  ...all(resize, 'Resize Upsample'),
  ['BatchNormalization', batchNormalization],
  ['InstanceNormalization', instanceNormalization],
  ...all(layerNormalization, 'LayerNormalization RMSNormalization SimplifiedLayerNormalization'),
  ['Pad', pad],
  ['Slice', slice],
  ['Split', split],
  ['Gather', gatherRule],
  ['Shape', () => {}], // see sizes.ts
  ['Flatten', flatten],
  ['Reshape', reshape],
  ['Tile', tile],
  ['RotaryEmbedding', rotaryEmbedding],
  ['Squeeze', squeeze],
  ['Trilu', trilu],
  ['Unsqueeze', unsqueeze],
  ['Transpose', transpose],
]);

/** Operators of com.microsoft that exporters and optimisers make of the above. */
const FUSED_LAYERS: ReadonlyMap<string, Rule> = new Map([['Attention', fusedAttention]]);
const FUSED_JOINS: ReadonlyMap<string, Rule> = new Map([
  ...all(broadcast, 'BiasGelu FastGelu'),
  ...all(skipNormalization, 'SkipLayerNormalization SkipSimplifiedLayerNormalization'),
  ['FusedMatMul', fusedMatMul],
  ['GroupQueryAttention', groupQueryAttention],
  ['MultiHeadAttention', multiHeadAttention],
]);
const FUSED_PASSES: ReadonlyMap<string, Rule> = new Map([
  ...all(unary, 'Gelu QuickGelu'),
  ['RotaryEmbedding', rotaryEmbedding],
]);

/** What is known of the operator of a node: a rule of one of three kinds. */
export function rules(node: NodeProto): { layer?: Rule; join?: Rule; pass?: Rule } {
  const name = node.opType;
  if (node.domain === 'com.microsoft') {
    return { layer: FUSED_LAYERS.get(name), join: FUSED_JOINS.get(name), pass: FUSED_PASSES.get(name) };
  }
  if (!isStandard(node)) return {};
  return { layer: LAYERS.get(name), join: JOINS.get(name), pass: PASSES.get(name) };
}

function all(rule: Rule, names: string): Map<string, Rule> {
  return new Map(names.split(' ').map((name) => [name, rule]));
}
