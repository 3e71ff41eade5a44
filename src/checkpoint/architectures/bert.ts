// BERT (arXiv 1810.04805), RoBERTa (1907.11692) and ELECTRA (2003.10555), and what has their form under other names: MiniLM,
// sentence-transformers, ERNIE, data2vec of texts. Jina's second embeddings (2310.19923) call themselves BERT and have ALiBi and gated MLPs. XLM-R XL (2105.00572) has norms before each half of a block, RoFormer (2104.09864) rotary positions.

import { ACTIVATIONS, relu, tanh } from './activation.ts';
import { slopesBelow } from './alibi.ts';
import {
  classifies,
  commonOfText,
  denseAndScores,
  flag,
  integer,
  layerNorm,
  linear,
  positive,
  scores,
  text,
  unsupported,
} from './config.ts';
import { ropeOf } from './rope.ts';
import type { Architecture, Config, Mlp, Readout } from './types.ts';

const LARGE = 'xlm-roberta-xl';
const ROTARY = 'roformer';
const ROBERTA = ['roberta', 'camembert', 'xlm-roberta', LARGE, 'data2vec-text'];
/** Of those that have the module's name of another. */
const MODULES: Readonly<Record<string, string>> = {
  camembert: 'roberta',
  'xlm-roberta': 'roberta',
  [LARGE]: 'roberta',
  'data2vec-text': 'data2vec_text',
};

export const bert: Architecture = {
  modelTypes: ['bert', 'electra', 'ernie', ROTARY, ...ROBERTA],
  describe(config, modelType, tensors = []) {
    const { base, activation } = commonOfText(config, modelType, { activation: 'gelu' });
    const { hidden, headDim, maxPositions } = base;
    const positions = text(config, 'position_embedding_type', 'absolute');
    const isJina = modelType === 'bert' && positions === 'alibi';
    const ofJina = isJina && jinaMlp(config, tensors);
    if (positions !== 'absolute' && !isJina)
      throw unsupported(modelType, `position_embedding_type "${positions}" is not supported`);
    for (const key of ['is_decoder', 'add_cross_attention', 'rotary_value'])
      if (flag(config, key, false)) throw unsupported(modelType, `${key} is not supported`);
    const [isRoberta, isElectra, isBefore] = [
      ROBERTA.includes(modelType),
      modelType === 'electra',
      modelType === LARGE,
    ];
    const epsilon = positive(config, 'layer_norm_eps', isBefore ? 1e-5 : 1e-12);
    const norms = isBefore
      ? ['attention.self_attn_layer_norm', 'LayerNorm']
      : ['attention.output.LayerNorm', 'output.LayerNorm'];
    const hasTasks = modelType === 'ernie' && flag(config, 'use_task_id', false);
    const isRotary = modelType === ROTARY;
    const width =
      isElectra || isRotary ? integer(config, 'embedding_size', isElectra ? 128 : hidden) : hidden;
    const options = { modelType, headDim, maxPositions, theta: 'rope_theta', pairsNeighbours: true };
    const rope = isRotary ? ropeOf({}, options) : undefined; // it reads no other base
    const isProjected = width !== hidden;
    // Positions of RoBERTa begin behind the row of padding.
    const offset = isRoberta ? integer(config, 'pad_token_id', 1, 0) + 1 : 0;
    const classifier: Readout['maps'] =
      isRoberta || isElectra || isRotary
        ? denseAndScores(
            config,
            hidden,
            'classifier.dense',
            isRotary ? activation : isElectra ? ACTIVATIONS.get('gelu')! : tanh,
            'classifier.out_proj',
          )
        : [
            { map: linear('pooler.dense', true), columns: hidden, activation: tanh },
            scores(config, 'classifier'),
          ];
    return {
      ...base,
      maxPositions: maxPositions - offset,
      prefixes: [`${MODULES[modelType] ?? modelType}.`, ''],
      embedding: {
        tokens: 'embeddings.word_embeddings',
        width,
        positions: isJina || isRotary ? undefined : { name: 'embeddings.position_embeddings', offset },
        types: { name: 'embeddings.token_type_embeddings', count: integer(config, 'type_vocab_size', 2) },
        tasks: hasTasks
          ? {
              name: 'embeddings.task_type_embeddings',
              count: integer(config, 'task_type_vocab_size', 3),
            }
          : undefined,
        norm: isBefore ? undefined : layerNorm('embeddings.LayerNorm', epsilon),
        ...(isProjected && { project: linear('embeddings_project', true), projectsLast: true }),
      },
      block: (i) => {
        const layer = `encoder.layer.${i}`;
        const names = { q: 'query', k: 'key', v: 'value' };
        return {
          order: isBefore ? 'pre' : 'post',
          attentionNorm: layerNorm(`${layer}.${norms[0]}`, epsilon),
          attention: {
            qkv: (label) => linear(`${layer}.attention.self.${names[label]}`, true),
            out: linear(`${layer}.attention.output.dense`, true),
            rope,
            scale: headDim ** -0.5,
            slopes: isJina
              ? {
                  name: `${layer}.attention.self.slopes`,
                  values: () => slopesBelow(base.sizes.heads),
                  areOfDistances: true,
                }
              : undefined,
          },
          mlpNorm: layerNorm(`${layer}.${ofJina ? 'mlp.layernorm' : norms[1]}`, epsilon),
          mlp: ofJina
            ? ofJina(layer)
            : {
                up: linear(`${layer}.intermediate.dense`, true),
                down: linear(`${layer}.output.dense`, true),
                activation,
              },
        };
      },
      head: {
        norm: isBefore ? layerNorm('encoder.LayerNorm', epsilon) : undefined,
        readouts: classifies(config) ? [{ maps: classifier }] : [],
      },
      ignored: isRotary ? /\bembed_positions\.weight$/ : undefined, // cosines and sines
    };
  },
};

/** Gated, of one map. */
function jinaMlp(config: Config, tensors: Iterable<string>): (layer: string) => Mlp {
  const kind = text(config, 'feed_forward_type', 'original');
  const activation = { geglu: ACTIVATIONS.get('gelu')!, reglu: relu }[kind];
  if (!activation) throw unsupported('bert', `ALiBi with feed_forward_type "${kind}"`);
  for (const name of tensors)
    if (name.endsWith('.layer_norm_q.weight'))
      throw unsupported('bert', "ALiBi with norms of all heads' queries and keys together (layer_norm_q)");
  return (layer) => ({
    gate: linear(`${layer}.mlp.gated_layers`, false, { label: 'gate' }),
    up: linear(`${layer}.mlp.gated_layers`, false, { label: 'up' }),
    down: linear(`${layer}.mlp.wo`, true),
    activation,
  });
}
