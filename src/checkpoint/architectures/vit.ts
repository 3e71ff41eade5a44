// ViT (arXiv 2010.11929): squares of an image, a class token before them, norms before each half of a block. DeiT (2012.12877) has a token
// of its teacher behind that of the class; classifiers with two heads give the mean of both scores. Of MAE (2111.06377) it is the encoder, to which all
// squares are shown; I-JEPA (2301.08243) has no class token; AST (2104.01778) has squares of a spectrogram, which overlap. DINOv2 (2304.07193) scales what
// each half adds, and may have registers (2309.16588).

import { ACTIVATIONS, type Activation } from './activation.ts';
import {
  classifies,
  commonOfImages,
  commonOfSpectra,
  flag,
  integer,
  layerNorm,
  linear,
  positive,
  scores,
} from './config.ts';
import { nameOf } from './facts.ts';
import type { Architecture, Config, Description, Mlp, PatchEmbedding, Readout } from './types.ts';

/** What kinds differ in. */
interface Kind {
  readonly epsilon: number;
  readonly firstTokens: readonly string[];
  readonly registers?: PatchEmbedding['registers'];
  readonly follows?: PatchEmbedding['follows'];
  /** Before attention and before the MLP, in a block. */
  readonly norms: readonly [string, string];
  /** Factors of what both give. */
  readonly factors?: readonly [string, string];
  readonly neurons?: Neurons;
  readonly mlp: (layer: string, activation: Activation) => Mlp;
  readonly readouts: readonly Readout[];
}

/** Their number, where config.json has no field for it, and what its `mlp_ratio` says of others. */
interface Neurons {
  readonly ffn: number;
  readonly ratioOf: NonNullable<Description['fields']['ffnOf']>;
}

const CLASS_TOKEN = 'embeddings.cls_token';
const DISTILLATION_TOKEN = 'embeddings.distillation_token';
const AST = 'audio-spectrogram-transformer';

/** What those with the tensors of ViT differ in: the module in a model with a head, and what a head reads where it is not the first token. */
interface Plain extends Pick<Kind, 'epsilon' | 'firstTokens'>, Pick<Readout, 'of'> {
  readonly module: string;
  /** Whether a classifier has a norm before its map. */
  readonly hasNorm?: true;
}
const VIT: Plain = { module: 'vit', epsilon: 1e-12, firstTokens: [CLASS_TOKEN] };
const PLAIN: ReadonlyMap<string, Plain> = new Map<string, Plain>([
  ['vit', VIT],
  ['vit_mae', VIT],
  ['vit_msn', { ...VIT, epsilon: 1e-6 }],
  ['ijepa', { ...VIT, module: 'ijepa', firstTokens: [], of: [[0]] }],
  ['deit', { ...VIT, module: 'deit', firstTokens: [CLASS_TOKEN, DISTILLATION_TOKEN] }],
  [
    AST,
    {
      ...VIT,
      module: 'audio_spectrogram_transformer',
      firstTokens: [CLASS_TOKEN, DISTILLATION_TOKEN],
      of: [[0, 2]],
      hasNorm: true,
    },
  ],
]);

export const vit: Architecture = {
  modelTypes: [...PLAIN.keys(), 'dinov2', 'dinov2_with_registers'],
  describe(config, modelType) {
    const own = PLAIN.get(modelType);
    const kind = own ? plain(config, own) : dinov2(config, modelType);
    const { firstTokens, registers, follows, neurons, norms, factors, mlp, readouts } = kind;
    const epsilon = positive(config, 'layer_norm_eps', kind.epsilon);
    const commonOf = modelType === AST ? commonOfSpectra : commonOfImages;
    const { base, activation } = commonOf(
      config,
      modelType,
      { activation: 'gelu', ...(neurons && { ffn: neurons.ffn, names: { ffn: 'mlp_ratio' } }) },
      {
        patches: 'embeddings.patch_embeddings.projection',
        firstTokens,
        positions: 'embeddings.position_embeddings',
        registers,
        follows,
      },
    );
    const bias = flag(config, 'qkv_bias', true);
    return {
      ...base,
      prefixes: [`${own?.module ?? modelType}.`, ''],
      block: (i) => {
        const layer = `encoder.layer.${i}`;
        const names = { q: 'query', k: 'key', v: 'value' };
        const [scaled, widened] = factors?.map((name) => `${layer}.${name}`) ?? [];
        const { down, ...others } = mlp(layer, activation);
        return {
          order: 'pre',
          attentionNorm: layerNorm(`${layer}.${norms[0]}`, epsilon),
          attention: {
            qkv: (label) => linear(`${layer}.attention.attention.${names[label]}`, bias),
            out: { ...linear(`${layer}.attention.output.dense`, true), factors: scaled },
            scale: base.headDim ** -0.5,
          },
          mlpNorm: layerNorm(`${layer}.${norms[1]}`, epsilon),
          mlp: { ...others, down: { ...down, factors: widened } },
        };
      },
      head: { norm: layerNorm('layernorm', epsilon), readouts },
      fields: { ...base.fields, ffnOf: neurons?.ratioOf },
    };
  },
};

/** Where a DeiT has the token of its teacher. */
const TEACHER = [[1, 2]] as const;

function plain(config: Config, { epsilon, firstTokens, of, hasNorm }: Plain): Kind {
  const hasTeacher = /ForImageClassificationWithTeacher$/.test(nameOf(config));
  const own = layerNorm('classifier.layernorm', positive(config, 'layer_norm_eps', epsilon));
  const norm = hasNorm && { ...own, isFullName: true };
  const maps = () => [scores(config, hasNorm ? 'classifier.dense' : 'classifier')];
  const one = classifies(config) ? [{ of, norm, maps: maps() }] : [];
  return {
    epsilon,
    firstTokens,
    norms: ['layernorm_before', 'layernorm_after'],
    mlp: (layer, activation) => ({
      up: linear(`${layer}.intermediate.dense`, true),
      down: linear(`${layer}.output.dense`, true),
      activation,
    }),
    readouts: hasTeacher
      ? [
          { maps: [scores(config, 'cls_classifier')] },
          { of: TEACHER, maps: [scores(config, 'distillation_classifier')] },
        ]
      : one,
  };
}

function dinov2(config: Config, modelType: string): Kind {
  const hasRegisters = modelType === 'dinov2_with_registers';
  const count = hasRegisters ? integer(config, 'num_register_tokens', 4, 0) : 0;
  const isGated = flag(config, 'use_swiglu_ffn', false);
  const silu = ACTIVATIONS.get('silu')!;
  return {
    epsilon: 1e-6,
    firstTokens: [CLASS_TOKEN],
    registers: count > 0 ? { name: 'embeddings.register_tokens', count } : undefined,
    follows: { isAntialiased: hasRegisters },
    norms: ['norm1', 'norm2'],
    factors: ['layer_scale1.lambda1', 'layer_scale2.lambda1'],
    neurons: neuronsOf(config, isGated),
    mlp: (layer, activation) =>
      isGated
        ? {
            gate: linear(`${layer}.mlp.weights_in`, true, { label: 'gate' }),
            up: linear(`${layer}.mlp.weights_in`, true, { label: 'up' }),
            down: linear(`${layer}.mlp.weights_out`, true),
            activation: silu,
          }
        : { up: linear(`${layer}.mlp.fc1`, true), down: linear(`${layer}.mlp.fc2`, true), activation },
    readouts: classifies(config) ? [{ of: [[0, 1], [1 + count]], maps: [scores(config, 'classifier')] }] : [],
  };
}

/** As DINOv2 counts them by `mlp_ratio`: gated ones are two thirds, in multiples of 8. */
function neuronsOf(config: Config, isGated: boolean): Neurons {
  const hidden = integer(config, 'hidden_size');
  const wide = Math.floor(hidden * positive(config, 'mlp_ratio', 4));
  return {
    ffn: isGated ? 8 * Math.floor((Math.floor((wide * 2) / 3) + 7) / 8) : wide,
    ratioOf(neurons) {
      const wanted = isGated ? (neurons / 2) * 3 : neurons;
      if (isGated && neurons % 8 !== 0) return undefined;
      let ratio = wanted / hidden;
      while (Math.floor(hidden * ratio) < wanted) ratio *= 1 + Number.EPSILON;
      return ratio;
    },
  };
}
