// Which rule belongs to which operator of the standard. An operator that is not here cannot be seen through.

import type { Rule } from '../propagation.ts';
import { broadcast, unary } from './elementwise.ts';
import { batchNormalization, conv, convTranspose, gemm, instanceNormalization, matmul } from './layers.ts';
import { flatten, reshape, squeeze, transpose, unsqueeze } from './layout.ts';
import {
  argReduce,
  concat,
  gatherRule,
  layerNormalization,
  pad,
  pool,
  reduce,
  resize,
  shape,
  slice,
  softmax,
  split,
} from './spatial.ts';

/** Run on every node, because they make channels: what they read need not be labelled. */
export const LAYERS: ReadonlyMap<string, Rule> = new Map([
  ['Conv', conv],
  ['ConvTranspose', convTranspose],
  ['Gemm', gemm],
  ['MatMul', matmul],
]);

/** Operators whose operands are all data. */
export const JOINS: ReadonlyMap<string, Rule> = new Map([
  ...all(
    broadcast,
    'Add Sub Mul Div Min Max Pow Sum Mean PRelu Mod And Or Xor Equal Greater Less GreaterOrEqual LessOrEqual',
  ),
  ['Concat', concat],
]);

/** Operators whose first input is the data; labels on others pin everything. */
export const PASSES: ReadonlyMap<string, Rule> = new Map([
  ...all(
    unary,
    'Relu LeakyRelu ThresholdedRelu Clip Sigmoid HardSigmoid HardSwish Elu Selu Celu Gelu Erf Softplus Softsign Mish ' +
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
  ['LayerNormalization', layerNormalization],
  ['Pad', pad],
  ['Slice', slice],
  ['Split', split],
  ['Gather', gatherRule],
  ['Shape', shape],
  ['Flatten', flatten],
  ['Reshape', reshape],
  ['Squeeze', squeeze],
  ['Unsqueeze', unsqueeze],
  ['Transpose', transpose],
]);

function all(rule: Rule, names: string): Map<string, Rule> {
  return new Map(names.split(' ').map((name) => [name, rule]));
}
