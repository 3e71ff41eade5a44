// Every operator that is known; one that is not here cannot be seen through. What they compute is told by
// https://onnx.ai/onnx/operators/ and https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.

import { MICROSOFT } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Operator, type Propagation, type Rule } from '../propagation.ts';
import { groupQueryAttention, multiHeadAttention, rotaryEmbedding, standardAttention } from './attention.ts';
import { conv } from './conv.ts';
import { convTranspose } from './conv-transpose.ts';
import { broadcast, unary } from './elementwise.ts';
import { fusedAttention } from './fused-attention.ts';
import { gemm } from './gemm.ts';
import * as gradients from './gradients.ts';
import {
  constantOfShape,
  depthToSpace,
  expand,
  flatten,
  reshape,
  spaceToDepth,
  squeeze,
  transpose,
  unsqueeze,
} from './layout.ts';
import * as layouts from './layout-gradients.ts';
import { causalConvolution, linearAttention } from './linear-attention.ts';
import * as macs from './macs.ts';
import { matmul } from './matmul.ts';
import {
  batchNormalization,
  groupNormalization,
  instanceNormalization,
  layerNormalization,
  localResponse,
  lpNormalization,
  skipNormalization,
  softmax,
  standardisation,
} from './normalization.ts';
import * as norms from './normalization-gradients.ts';
import type { GradientRule } from './operator.ts';
import { concat, slice, split } from './pieces.ts';
import { einsum, fusedMatMul } from './product.ts';
import * as products from './product-gradients.ts';
import { gru, lstm, rnn } from './recurrent.ts';
import * as reductions from './reduction-gradients.ts';
import { scan } from './scan.ts';
import {
  argReduce,
  cumulative,
  elementsAlong,
  elementsAt,
  gatherRule,
  gridSample,
  pad,
  pool,
  poolRegions,
  reduce,
  resize,
  reverseSequence,
  tile,
  topK,
  trilu,
} from './spatial.ts';
import * as windows from './spatial-gradients.ts';

const OPERATORS: readonly Operator[] = [
  conv,
  convTranspose,
  gemm,
  matmul,
  fusedAttention,
  lstm,
  gru,
  rnn,
  ...all('source', gatherRule, 'Gather'),
  ...all('source', expand, 'Expand'),
  ...all('source', constantOfShape, 'ConstantOfShape'),

  ...sums(({ input, output }) => (input.length === 2 ? output[0] : undefined), broadcast, 'Add Sum'),
  ...sums(() => undefined, broadcast, 'Sub'),
  ...sums(
    ({ input, output }) => (input[4] ? undefined : output[3]), // unless it adds a bias too
    skipNormalization,
    'SkipLayerNormalization SkipSimplifiedLayerNormalization',
    MICROSOFT,
  ),
  ...all(
    'join',
    broadcast,
    'Mul Div Min Max Pow Mean PRelu Mod And Or Xor Equal Greater Less GreaterOrEqual LessOrEqual Where',
  ),
  ...all('join', broadcast, 'BiasGelu FastGelu', MICROSOFT),
  ...all('join', unary, 'CastLike'), // of what it is like it takes the type alone
  ...all('join', concat, 'Concat'),
  ...all('join', elementsAlong, 'GatherElements ScatterElements'),
  ...all('join', elementsAt, 'GatherND ScatterND'),
  ...all('join', gridSample, 'GridSample'),
  ...counted(macs.einsum, all('join', einsum, 'Einsum')),
  ...counted(macs.matrixProduct, all('join', fusedMatMul, 'FusedMatMul', MICROSOFT)),
  ...counted(macs.attention, all('join', standardAttention, 'Attention')),
  ...counted(macs.attention, all('join', groupQueryAttention, 'GroupQueryAttention', MICROSOFT)),
  ...counted(macs.attention, all('join', multiHeadAttention, 'MultiHeadAttention', MICROSOFT)),
  ...all('join', scan, 'Scan'),
  ...['', MICROSOFT].flatMap((domain) => [
    ...counted(macs.linearAttention, all('join', linearAttention, 'LinearAttention', domain)),
    ...counted(macs.causalConvolution, all('join', causalConvolution, 'CausalConvWithState', domain)),
  ]),

  // Not seen through, but their work counts.
  ...counted(macs.convolution(1), all('join', blind, 'ConvInteger DeformConv')),
  ...counted(macs.convolution(3), all('join', blind, 'QLinearConv')),
  ...counted(macs.matrixProduct, all('join', blind, 'MatMulInteger QLinearMatMul')),
  ...counted(macs.convolution(1), all('join', blind, 'FusedConv', MICROSOFT)),
  ...counted(macs.matrixProduct, all('join', blind, 'FusedGemm QGemm', MICROSOFT)),
  ...counted(macs.matrixProduct, all('join', blind, 'DynamicQuantizeMatMul MatMulIntegerToFloat', MICROSOFT)),
  ...counted(macs.blockedProduct, all('join', blind, 'MatMulNBits MatMulBnb4', MICROSOFT)),

  ...all(
    'pass',
    unary,
    'Relu LeakyRelu ThresholdedRelu Clip Sigmoid HardSigmoid HardSwish Elu Selu Celu Gelu Erf Softplus Softsign Mish ' +
      'Swish Sqrt Exp Log Abs Neg Sign Reciprocal Identity Dropout Cast Ceil Floor Round IsNaN IsInf Not ' +
      'Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Asinh Acosh Atanh Shrink',
  ),
  ...all('pass', unary, 'Gelu QuickGelu', MICROSOFT),
  ...all('pass', pool, 'MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool'),
  ...all(
    'pass',
    reduce,
    'ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare',
  ),
  ...all('pass', poolRegions, 'RoiAlign MaxRoiPool'),
  ...all('pass', argReduce, 'ArgMax ArgMin'),
  ...all('pass', topK, 'TopK'),
  ...all('pass', cumulative, 'CumSum'),
  ...all('pass', reverseSequence, 'ReverseSequence'),
  ...all('pass', softmax, 'Softmax LogSoftmax Hardmax'),
  ...all('pass', resize, 'Resize Upsample'),
  ...all('pass', batchNormalization, 'BatchNormalization'),
  ...all('pass', instanceNormalization, 'InstanceNormalization'),
  ...all('pass', standardisation, 'MeanVarianceNormalization'),
  ...all('pass', layerNormalization, 'LayerNormalization RMSNormalization SimplifiedLayerNormalization'),
  ...all('pass', groupNormalization, 'GroupNormalization'),
  ...all('pass', lpNormalization, 'LpNormalization'),
  ...all('pass', localResponse, 'LRN'),
  ...all('pass', rotaryEmbedding, 'RotaryEmbedding'),
  ...all('pass', rotaryEmbedding, 'RotaryEmbedding', MICROSOFT),
  ...all('pass', pad, 'Pad'),
  ...all('pass', slice, 'Slice'),
  ...all('pass', split, 'Split'),
  ...all('pass', () => {}, 'Shape'), // see sizes.ts
  ...all('pass', depthToSpace, 'DepthToSpace'),
  ...all('pass', spaceToDepth, 'SpaceToDepth'),
  ...all('pass', flatten, 'Flatten'),
  ...all('pass', reshape, 'Reshape'),
  ...all('pass', tile, 'Tile'),
  ...all('pass', squeeze, 'Squeeze'),
  ...all('pass', trilu, 'Trilu'),
  ...all('pass', unsqueeze, 'Unsqueeze'),
  ...all('pass', transpose, 'Transpose'),
];

/** Derivatives of operators of the standard. */
const GRADIENTS: Readonly<Record<string, GradientRule>> = {
  ...{ Conv: windows.convolution, ConvTranspose: windows.transposedConvolution },
  ...{ Gemm: products.general, MatMul: products.matrix, Einsum: products.einsum },
  ...named(gradients.summed, 'Add Sum'),
  ...{ Sub: gradients.subtracted, Mul: gradients.multiplied, Div: gradients.divided, Pow: gradients.raised },
  ...{ Neg: gradients.negated, Reciprocal: gradients.inverted, Abs: gradients.absolute },
  ...{ Exp: gradients.exponential, Log: gradients.logarithm, Sqrt: gradients.root },
  ...{ Sin: gradients.sine, Cos: gradients.cosine, Tanh: gradients.tanh, Erf: gradients.erf },
  ...named(gradients.cut, 'Relu Clip Max Min'),
  ...{ Sigmoid: gradients.sigmoid, HardSigmoid: gradients.hardSigmoid, HardSwish: gradients.hardSwish },
  ...{ LeakyRelu: gradients.leaky, PRelu: gradients.parametric },
  ...{ Elu: gradients.elu, Softplus: gradients.softplus, Gelu: gradients.gelu },
  ...{ Cast: gradients.cast, Where: gradients.chosen },
  ...named(
    gradients.flat,
    'Greater Less Equal GreaterOrEqual LessOrEqual Not And Or Xor IsNaN IsInf Sign Ceil Floor Round',
  ),
  BatchNormalization: norms.normalized,
  InstanceNormalization: norms.instanceNormalized,
  GroupNormalization: norms.groupNormalized,
  LayerNormalization: norms.layerNormalized,
  ...named(norms.rootNormalized, 'RMSNormalization SimplifiedLayerNormalization'),
  LRN: norms.localNormalized,
  ...{ Softmax: norms.softmax, LogSoftmax: norms.logSoftmax },
  ...{ ReduceSum: reductions.total, ReduceL2: reductions.length },
  ...named(reductions.mean, 'ReduceMean GlobalAveragePool'),
  ...named(reductions.extreme, 'ReduceMax ReduceMin GlobalMaxPool'),
  ...{ AveragePool: windows.averagePool, MaxPool: windows.maxPool },
  ...{ Pad: windows.padded, Resize: windows.resized, DepthToSpace: windows.spread },
  ...{ Concat: layouts.joined, Slice: layouts.piece, Gather: layouts.picked },
  ...{ Transpose: layouts.turned, Expand: layouts.expanded, Tile: layouts.tiled },
  ...named(layouts.reshaped, 'Identity Dropout Reshape Flatten Squeeze Unsqueeze'),
};

/** Of those with more outputs than one. */
const OUTPUTS: Readonly<Record<string, GradientRule>> = { Split: layouts.parted };

function named(rule: GradientRule, names: string): Record<string, GradientRule> {
  return Object.fromEntries(names.split(' ').map((name) => [name, rule]));
}

const ofFirst =
  (rule: GradientRule): GradientRule =>
  (graph, node, input, gradient, output) =>
    output === 0 ? rule(graph, node, input, gradient, output) : undefined;

function gradientOf({ name, domain }: Operator): GradientRule | undefined {
  if (domain !== undefined) return undefined;
  return OUTPUTS[name] ?? (GRADIENTS[name] && ofFirst(GRADIENTS[name]));
}

const KNOWN = new Map(
  OPERATORS.map((operator) => {
    const gradient = gradientOf(operator);
    return [keyOf(operator.name, operator.domain), gradient ? { ...operator, gradient } : operator];
  }),
);

/** What is known of a node's operator, from `own` before the above. */
export function operatorOf(node: NodeProto, own: readonly Operator[]): Operator | undefined {
  const key = keyOf(node.opType, node.domain);
  return own.find(({ name, domain }) => keyOf(name, domain) === key) ?? KNOWN.get(key);
}

function keyOf(name: string, domain = ''): string {
  return domain === 'ai.onnx' ? `:${name}` : `${domain}:${name}`;
}

function all(kind: Operator['kind'], rule: Rule, names: string, domain?: string): Operator[] {
  return names.split(' ').map((name) => ({ name, domain, kind, rule }));
}

function counted(count: macs.Macs, operators: readonly Operator[]): Operator[] {
  return operators.map((operator) => ({ ...operator, macs: count }));
}

/** Without its operator being seen through, a node pins all that it reads. */
function blind(state: Propagation, node: NodeProto): void {
  state.pinAll(node, `${called(node)} cannot be seen through`);
}

function sums(sum: Operator['sum'], rule: Rule, names: string, domain?: string): Operator[] {
  return all('join', rule, names, domain).map((operator) => ({ ...operator, sum }));
}
