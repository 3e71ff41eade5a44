// Tiny random encoders, with the names and shapes that Hugging Face gives their tensors, and what they compute in plain
// loops, after modeling_bert, modeling_roformer, modeling_roberta, modeling_electra, modeling_distilbert, modeling_mpnet, modeling_t5, modeling_umt5, modeling_bart, modeling_mbart, modeling_marian, modeling_pegasus, modeling_m2m_100, modeling_modernbert, model.py of NeoBERT, modeling_hf_nomic_bert, modeling_new (Alibaba-NLP/new-impl), modeling_esm, modeling_deberta, modeling_deberta_v2, modeling_ernie, modeling_xlm_roberta_xl, modeling_data2vec_text, modeling_vit, modeling_vit_mae, modeling_vit_msn, modeling_ijepa, modeling_audio_spectrogram_transformer, modeling_beit, modeling_data2vec_vision, modeling_deit, modeling_dinov2, modeling_dinov2_with_registers, modeling_dinov3_vit, modeling_clip, modeling_siglip, modeling_wav2vec2 and modeling_hubert in transformers.

import type { BlockSizes, Config } from '../../src/checkpoint/architectures/index.ts';
import { isMoonshine, MOONSHINE, moonshineEncoder, moonshineEncoderWeights } from './moonshine.ts';
import {
  activate,
  add,
  attention,
  convolve,
  layerNorm,
  linear,
  perHead,
  product,
  type Rows,
  referenceLogits,
  rmsNorm,
  row,
  slices,
  sum,
  widthsOf,
} from './reference.ts';
import { ropeReference, turnNeighboursReference, turnReference } from './rope-reference.ts';
import { type Weights, weightMaker } from './source.ts';
import { tinyWeights } from './tiny.ts';

const HIDDEN = 32;
const HEADS = 4;
const DH = HIDDEN / HEADS;
const FFN = 20;
/** DINOv2's come in multiples of 8. */
const GATED_FFN = 24;
const BLOCKS = 2;
export const VOCABULARY = 40;
const POSITIONS = 24;

export const BERT: Config = {
  model_type: 'bert',
  architectures: ['BertModel'],
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  hidden_act: 'gelu',
  max_position_embeddings: POSITIONS,
  type_vocab_size: 2,
  layer_norm_eps: 1e-12,
  vocab_size: VOCABULARY,
};

/** Jina's second embeddings. */
export const JINA: Config = {
  ...BERT,
  architectures: ['JinaBertModel'],
  position_embedding_type: 'alibi',
  feed_forward_type: 'geglu',
};

export const ROBERTA: Config = {
  ...BERT,
  model_type: 'roberta',
  architectures: ['RobertaModel'],
  type_vocab_size: 1,
  pad_token_id: 1,
  max_position_embeddings: POSITIONS + 2,
};

export const ELECTRA: Config = {
  ...BERT,
  model_type: 'electra',
  architectures: ['ElectraModel'],
  embedding_size: 12,
};

export const ROFORMER: Config = {
  ...BERT,
  model_type: 'roformer',
  architectures: ['RoFormerModel'],
  embedding_size: 12,
};

/** Five layers that have the weights of two. */
const ALBERT: Config = {
  ...ELECTRA,
  model_type: 'albert',
  architectures: ['AlbertModel'],
  num_hidden_groups: BLOCKS,
  num_hidden_layers: 5,
  hidden_act: 'gelu_new',
};

export const DISTILBERT: Config = {
  model_type: 'distilbert',
  architectures: ['DistilBertModel'],
  dim: HIDDEN,
  hidden_dim: FFN,
  n_layers: BLOCKS,
  n_heads: HEADS,
  activation: 'gelu',
  max_position_embeddings: POSITIONS,
  vocab_size: VOCABULARY,
};

export const MPNET: Config = {
  ...ROBERTA,
  model_type: 'mpnet',
  architectures: ['MPNetModel'],
  type_vocab_size: undefined,
  relative_attention_num_buckets: 32,
};

export const T5: Config = {
  model_type: 't5',
  architectures: ['T5EncoderModel'],
  d_model: HIDDEN,
  d_kv: DH,
  d_ff: FFN,
  num_layers: BLOCKS,
  num_heads: HEADS,
  n_positions: POSITIONS,
  relative_attention_num_buckets: 8, // few, so that a tiny text has distances that share one
  relative_attention_max_distance: 20,
  layer_norm_epsilon: 1e-6,
  vocab_size: VOCABULARY,
};

export const VIT: Config = {
  model_type: 'vit',
  architectures: ['ViTModel'],
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  hidden_act: 'gelu',
  layer_norm_eps: 1e-12,
  image_size: 15,
  patch_size: 4,
  num_channels: 2,
  qkv_bias: true,
};

export const DINOV2: Config = {
  ...VIT,
  model_type: 'dinov2',
  architectures: ['Dinov2Model'],
  intermediate_size: undefined,
  mlp_ratio: FFN / HIDDEN,
  layer_norm_eps: 1e-6,
  use_swiglu_ffn: false,
};

export const AST: Config = {
  ...VIT,
  model_type: 'audio-spectrogram-transformer',
  architectures: ['ASTModel'],
  image_size: undefined,
  num_channels: undefined,
  num_mel_bins: 9,
  max_length: 10,
  frequency_stride: 3,
  time_stride: 2,
};

export const BEIT: Config = {
  ...VIT,
  model_type: 'beit',
  architectures: ['BeitModel'],
  qkv_bias: undefined,
  use_relative_position_bias: true,
};

export const DINOV3: Config = {
  ...VIT,
  model_type: 'dinov3_vit',
  architectures: ['DINOv3ViTModel'],
  qkv_bias: undefined,
  layer_norm_eps: 1e-5,
  num_register_tokens: 3,
  rope_theta: 100,
};

/** Without what transformers has as a default. */
const TOWER = {
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  image_size: 15,
  patch_size: 4,
  num_channels: 2,
};

export const CLIP: Config = {
  model_type: 'clip',
  architectures: ['CLIPModel'],
  projection_dim: 24,
  text_config: { hidden_size: 16, num_hidden_layers: 1 },
  vision_config: TOWER,
};

export const SIGLIP: Config = { ...CLIP, model_type: 'siglip', architectures: ['SiglipModel'] };

export const WHISPER: Config = {
  model_type: 'whisper',
  architectures: ['WhisperForConditionalGeneration'],
  d_model: HIDDEN,
  encoder_ffn_dim: FFN,
  encoder_layers: BLOCKS,
  encoder_attention_heads: HEADS,
  activation_function: 'gelu',
  num_mel_bins: 5,
  max_source_positions: 9,
};

export const BART: Config = {
  model_type: 'bart',
  architectures: ['BartForConditionalGeneration'],
  d_model: HIDDEN,
  encoder_ffn_dim: FFN,
  encoder_layers: BLOCKS,
  encoder_attention_heads: HEADS,
  activation_function: 'gelu',
  max_position_embeddings: POSITIONS,
  vocab_size: VOCABULARY,
};

export const WAV2VEC2: Config = {
  model_type: 'wav2vec2',
  architectures: ['Wav2Vec2Model'],
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  num_feat_extract_layers: 3,
  conv_dim: [6, 8, 10],
  conv_kernel: [4, 3, 2],
  conv_stride: [3, 2, 1],
  num_conv_pos_embeddings: 4,
  num_conv_pos_embedding_groups: 2,
};

export const WAVLM: Config = {
  ...WAV2VEC2,
  model_type: 'wavlm',
  architectures: ['WavLMModel'],
  num_buckets: 8, // few, so that a short sound has distances that share one
  max_bucket_distance: 12,
};

export const MODERNBERT: Config = {
  model_type: 'modernbert',
  architectures: ['ModernBertModel'],
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  max_position_embeddings: POSITIONS,
  global_attn_every_n_layers: 2,
  local_attention: 4,
  global_rope_theta: 100,
  local_rope_theta: 10,
  vocab_size: VOCABULARY,
};

export const NEOBERT: Config = {
  model_type: 'neobert',
  architectures: ['NeoBERT'],
  hidden_size: HIDDEN,
  intermediate_size: 32, // of which two thirds are 21, the next multiple of 8 is 24
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  hidden_act: 'SwiGLU',
  max_length: POSITIONS,
  norm_eps: 1e-5,
  vocab_size: VOCABULARY,
};

export const GTE: Config = {
  ...BERT,
  model_type: 'new',
  architectures: ['NewModel'],
  rope_theta: 100,
  rope_scaling: { type: 'ntk', factor: 4 },
};

export const NOMIC_BERT: Config = {
  model_type: 'nomic_bert',
  architectures: ['NomicBertModel'],
  n_embd: HIDDEN,
  n_inner: FFN,
  n_layer: BLOCKS,
  n_head: HEADS,
  n_positions: POSITIONS,
  activation_function: 'swiglu',
  qkv_proj_bias: false,
  mlp_fc1_bias: false,
  mlp_fc2_bias: false,
  rotary_emb_base: 100,
  rotary_scaling_factor: null,
  type_vocab_size: 2,
  layer_norm_epsilon: 1e-12,
  vocab_size: VOCABULARY,
};

export const ESM: Config = {
  ...BERT,
  model_type: 'esm',
  architectures: ['EsmForMaskedLM'],
  type_vocab_size: undefined,
  position_embedding_type: 'rotary',
  layer_norm_eps: 1e-5,
  hidden_act: 'relu', // which transformers does not read
  token_dropout: true,
  mask_token_id: 24, // the tests' text has it
};

export const DEBERTA: Config = {
  ...BERT,
  model_type: 'deberta-v2',
  architectures: ['DebertaV2Model'],
  relative_attention: true,
  position_buckets: 4, // few, so that a tiny text has distances that share one
  max_relative_positions: -1,
  norm_rel_ebd: 'layer_norm',
  share_att_key: true,
  pos_att_type: 'p2c|c2p',
  position_biased_input: false,
  type_vocab_size: 0,
};

/** The first: fewer rows than a tiny text has distances. */
export const FIRST_DEBERTA: Config = {
  ...DEBERTA,
  model_type: 'deberta',
  architectures: ['DebertaModel'],
  max_relative_positions: 6,
};
export const CONVOLVED: Config = { ...DEBERTA, conv_kernel_size: 3, conv_act: 'gelu', conv_groups: 2 };

/** A tower of texts. */
export const CLIP_TEXT: Config = {
  ...BERT,
  model_type: 'clip_text_model',
  architectures: ['CLIPTextModel'],
  hidden_act: 'quick_gelu',
  layer_norm_eps: 1e-5,
};

/** Sizes of decoders that are read as encoders. */
const DECODER: Config = {
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  num_key_value_heads: HEADS,
  head_dim: DH,
};

export const EMBEDDING_GEMMA: Config = {
  model_type: 'gemma3_text',
  architectures: ['Gemma3TextModel'],
  use_bidirectional_attention: true,
  ...DECODER,
  max_position_embeddings: POSITIONS,
  query_pre_attn_scalar: 7,
  rms_norm_eps: 1e-6,
  rope_theta: 100,
  rope_local_base_freq: 10,
  sliding_window: 5,
  sliding_window_pattern: 2,
  vocab_size: VOCABULARY,
};

/** As pplx-embed and gte-Qwen2 are. */
export const SEEING_QWEN3: Config = {
  model_type: 'qwen3',
  architectures: ['Qwen3Model'],
  is_causal: false,
  ...DECODER,
  hidden_act: 'silu',
  max_position_embeddings: POSITIONS,
  rms_norm_eps: 1e-6,
  rope_theta: 100,
  vocab_size: VOCABULARY,
};

const EUROBERT: Config = {
  ...SEEING_QWEN3,
  model_type: 'eurobert',
  architectures: ['EuroBertModel'],
  is_causal: undefined,
  rms_norm_eps: 1e-5,
};

const labels = { id2label: { 0: 'a', 1: 'b', 2: 'c' } };
const classifier = (config: Config, name: string): Config => ({
  ...config,
  ...labels,
  architectures: [name],
});

export const ENCODERS: Readonly<Record<string, Config>> = {
  bert: BERT,
  'bert, classifier': classifier(BERT, 'BertForSequenceClassification'),
  'bert, classifier of tokens': classifier(BERT, 'BertForTokenClassification'),
  'bert, masked language model: its features': { ...BERT, architectures: ['BertForMaskedLM'] },
  'bert, as Jina has it': JINA,
  'bert, as Jina has it, classifier, relu': {
    ...classifier(JINA, 'JinaBertForSequenceClassification'),
    feed_forward_type: 'reglu',
  },
  roberta: ROBERTA,
  'roberta, classifier': classifier(ROBERTA, 'RobertaForSequenceClassification'),
  roformer: ROFORMER,
  'roformer, classifier, of embeddings as wide as its blocks': classifier(
    { ...ROFORMER, embedding_size: undefined, hidden_act: 'relu' },
    'RoFormerForSequenceClassification',
  ),
  neobert: NEOBERT,
  'neobert, classifier': classifier(NEOBERT, 'NeoBERTForSequenceClassification'),
  electra: ELECTRA,
  'electra, classifier, of embeddings as wide as its blocks': classifier(
    { ...ELECTRA, embedding_size: HIDDEN },
    'ElectraForSequenceClassification',
  ),
  'electra, as it is trained': { ...ELECTRA, architectures: ['ElectraForPreTraining'] },
  albert: ALBERT,
  'albert, classifier': classifier(ALBERT, 'AlbertForSequenceClassification'),
  distilbert: DISTILBERT,
  'distilbert, classifier': classifier(DISTILBERT, 'DistilBertForSequenceClassification'),
  mpnet: MPNET,
  'mpnet, classifier': classifier(MPNET, 'MPNetForSequenceClassification'),
  t5: T5,
  'mt5, with a decoder': { ...T5, model_type: 'mt5', architectures: ['MT5ForConditionalGeneration'] },
  't5, an odd number of distances': { ...T5, relative_attention_num_buckets: 11 },
  umt5: { ...T5, model_type: 'umt5', architectures: ['UMT5EncoderModel'], feed_forward_proj: 'gated-silu' },
  modernbert: MODERNBERT,
  'modernbert as transformers 5 writes it, with biases, under a head': {
    ...MODERNBERT,
    architectures: ['ModernBertForMaskedLM'],
    attention_bias: true,
    mlp_bias: true,
    norm_bias: true,
    layer_types: ['sliding_attention', 'full_attention'],
    rope_parameters: {
      full_attention: { rope_type: 'default', rope_theta: 100 },
      sliding_attention: { rope_type: 'default', rope_theta: 10 },
    },
  },
  'modernbert, classifier of its first token': classifier(MODERNBERT, 'ModernBertForSequenceClassification'),
  'modernbert, classifier of tokens': classifier(MODERNBERT, 'ModernBertForTokenClassification'),
  'modernbert, classifier of the mean, with biases': {
    ...classifier(MODERNBERT, 'ModernBertForSequenceClassification'),
    classifier_pooling: 'mean',
    classifier_bias: true,
    classifier_activation: 'silu',
    norm_bias: true,
  },
  gte: GTE,
  'gte, classifier, maps of queries, keys and values apart, no scaling': {
    ...classifier(GTE, 'NewForSequenceClassification'),
    pack_qkv: false,
    rope_scaling: null,
    hidden_act: 'silu',
  },
  'gte, as Snowflake has it, without types': {
    ...GTE,
    model_type: 'gte',
    architectures: ['GteModel'],
    type_vocab_size: 0,
    rope_scaling: { type: 'ntk', factor: 1 },
  },
  nomic_bert: NOMIC_BERT,
  'nomic_bert, as it is trained, with biases': {
    ...NOMIC_BERT,
    architectures: ['NomicBertForPreTraining'],
    qkv_proj_bias: undefined,
    mlp_fc1_bias: true,
    mlp_fc2_bias: true,
    layer_norm_epsilon: 0.01,
  },
  esm: ESM,
  'esm, classifier, a norm behind its embeddings, none left out': {
    ...classifier(ESM, 'EsmForSequenceClassification'),
    token_dropout: false,
    mask_token_id: undefined,
    emb_layer_norm_before: true,
  },
  'deberta-v2': DEBERTA,
  'deberta-v2, classifier, maps of their own, a row for each distance, positions': {
    ...classifier(DEBERTA, 'DebertaV2ForSequenceClassification'),
    position_buckets: -1,
    max_relative_positions: 5,
    norm_rel_ebd: 'none',
    share_att_key: false,
    pos_att_type: ['c2p', 'p2c'],
    position_biased_input: true,
    type_vocab_size: 1,
    pooler_hidden_act: 'relu',
  },
  'deberta-v2, with a convolution': CONVOLVED,
  deberta: FIRST_DEBERTA,
  'deberta, classifier, queries of distances alone, positions': classifier(
    { ...FIRST_DEBERTA, pos_att_type: ['p2c'], position_biased_input: true, pooler_hidden_act: 'gelu' },
    'DebertaForSequenceClassification',
  ),
  clip_text_model: CLIP_TEXT,
  siglip_text_model: {
    ...CLIP_TEXT,
    model_type: 'siglip_text_model',
    architectures: ['SiglipTextModel'],
    hidden_act: 'gelu_pytorch_tanh',
  },
  ernie: { ...BERT, model_type: 'ernie', architectures: ['ErnieModel'], use_task_id: true },
  'xlm-roberta-xl, classifier': classifier(
    { ...ROBERTA, model_type: 'xlm-roberta-xl', layer_norm_eps: 1e-5 },
    'XLMRobertaXLForSequenceClassification',
  ),
  'data2vec-text': { ...ROBERTA, model_type: 'data2vec-text', architectures: ['Data2VecTextModel'] },
  'deberta-v2, keys of distances alone': { ...DEBERTA, pos_att_type: 'c2p' },
  embeddinggemma: EMBEDDING_GEMMA,
  'qwen3 whose tokens see those behind them': SEEING_QWEN3,
  eurobert: EUROBERT,
  'eurobert, classifier of tokens, grouped queries': {
    ...classifier(EUROBERT, 'EuroBertForTokenClassification'),
    num_key_value_heads: HEADS,
    attention_bias: true,
  },
  vit: VIT,
  'vit, classifier, without biases of queries, keys and values': classifier(
    { ...VIT, qkv_bias: false },
    'ViTForImageClassification',
  ),
  'vit, before a decoder': {
    model_type: 'vision-encoder-decoder',
    architectures: ['VisionEncoderDecoderModel'],
    encoder: { ...VIT, architectures: null, qkv_bias: false },
    decoder: { model_type: 'trocr' },
  },
  deit: { ...VIT, model_type: 'deit', architectures: ['DeiTModel'] },
  'deit, classifier': classifier({ ...VIT, model_type: 'deit' }, 'DeiTForImageClassification'),
  'deit, classifier with a teacher': classifier(
    { ...VIT, model_type: 'deit' },
    'DeiTForImageClassificationWithTeacher',
  ),
  'vit_mae, under its decoder': { ...VIT, model_type: 'vit_mae', architectures: ['ViTMAEForPreTraining'] },
  'vit_msn, classifier': classifier({ ...VIT, model_type: 'vit_msn' }, 'ViTMSNForImageClassification'),
  'audio-spectrogram-transformer': AST,
  'audio-spectrogram-transformer, classifier, other steps': {
    ...classifier(AST, 'ASTForAudioClassification'),
    frequency_stride: 2,
    time_stride: 3,
    layer_norm_eps: 0.01,
  },
  beit: BEIT,
  'beit, classifier': classifier(BEIT, 'BeitForImageClassification'),
  'beit, numbers that all blocks share, no scales, its first token': {
    ...classifier(BEIT, 'BeitForImageClassification'),
    use_relative_position_bias: false,
    use_shared_relative_position_bias: true,
    use_absolute_position_embeddings: true,
    layer_scale_init_value: 0,
    use_mean_pooling: false,
  },
  'data2vec-vision, classifier': classifier(
    { ...BEIT, model_type: 'data2vec-vision', layer_norm_eps: 0.01 },
    'Data2VecVisionForImageClassification',
  ),
  ijepa: { ...VIT, model_type: 'ijepa', architectures: ['IJepaModel'] },
  'ijepa, classifier': classifier({ ...VIT, model_type: 'ijepa' }, 'IJepaForImageClassification'),
  dinov2: DINOV2,
  'dinov2, classifier, gated': classifier(
    { ...DINOV2, use_swiglu_ffn: true, mlp_ratio: 0.9 },
    'Dinov2ForImageClassification',
  ),
  'dinov2 with registers': {
    ...DINOV2,
    model_type: 'dinov2_with_registers',
    architectures: ['Dinov2WithRegistersModel'],
    num_register_tokens: 3,
    qkv_bias: false,
  },
  'dinov2 with registers, classifier': classifier(
    { ...DINOV2, model_type: 'dinov2_with_registers' },
    'Dinov2WithRegistersForImageClassification',
  ),
  dinov3_vit: DINOV3,
  'dinov3_vit, gated, other biases, no registers': {
    ...DINOV3,
    num_register_tokens: 0,
    use_gated_mlp: true,
    hidden_act: 'silu',
    query_bias: false,
    key_bias: true,
    value_bias: false,
    proj_bias: false,
    mlp_bias: false,
  },
  clip: CLIP,
  'clip, features alone': { ...TOWER, model_type: 'clip_vision_model', architectures: ['CLIPVisionModel'] },
  'clip, its tower of images alone': {
    ...TOWER,
    model_type: 'clip_vision_model',
    architectures: ['CLIPVisionModelWithProjection'],
    projection_dim: 24,
    hidden_act: 'gelu',
    layer_norm_eps: 0.01,
  },
  'clip, classifier': classifier(CLIP, 'CLIPForImageClassification'),
  'clip, with what its files said before': {
    ...CLIP,
    vision_config: { ...TOWER, image_size: 30, layer_norm_eps: 1, hidden_act: 'gelu' },
    vision_config_dict: TOWER,
  },
  metaclip_2: { ...CLIP, model_type: 'metaclip_2', architectures: ['MetaClip2Model'] },
  siglip: SIGLIP,
  'siglip, features alone': {
    ...TOWER,
    model_type: 'siglip_vision_model',
    architectures: ['SiglipVisionModel'],
    vision_use_head: false,
    layer_norm_eps: 0.01,
  },
  'siglip, classifier': classifier(SIGLIP, 'SiglipForImageClassification'),
  bart: BART,
  mbart: { ...BART, model_type: 'mbart', architectures: ['MBartModel'], scale_embedding: true },
  marian: { ...BART, model_type: 'marian', activation_function: 'silu' },
  'marian, with tokens of its own': {
    ...BART,
    model_type: 'marian',
    scale_embedding: true,
    share_encoder_decoder_embeddings: false,
  },
  plbart: { ...BART, model_type: 'plbart' },
  blenderbot: { ...BART, model_type: 'blenderbot', scale_embedding: true },
  'blenderbot-small': { ...BART, model_type: 'blenderbot-small' },
  pegasus: { ...BART, model_type: 'pegasus' },
  m2m_100: { ...BART, model_type: 'm2m_100', activation_function: undefined },
  wav2vec2: WAV2VEC2,
  'wav2vec2, letters': { ...WAV2VEC2, architectures: ['Wav2Vec2ForCTC'], vocab_size: 7 },
  'wav2vec2, norms before each half, an odd number of tokens around': {
    ...WAV2VEC2,
    architectures: ['Wav2Vec2ForCTC'],
    vocab_size: 7,
    do_stable_layer_norm: true,
    feat_extract_norm: 'layer',
    conv_bias: true,
    num_conv_pos_embeddings: 5,
    hidden_act: 'relu',
    layer_norm_eps: 0.01,
  },
  'wav2vec2, letters, an adapter in each block': {
    ...WAV2VEC2,
    architectures: ['Wav2Vec2ForCTC'],
    vocab_size: 7,
    do_stable_layer_norm: true,
    adapter_attn_dim: 3,
  },
  'wav2vec2, norms before each half, features': { ...WAV2VEC2, do_stable_layer_norm: true },
  'wav2vec2, classifier': {
    ...classifier(WAV2VEC2, 'Wav2Vec2ForSequenceClassification'),
    classifier_proj_size: HIDDEN,
  },
  wavlm: WAVLM,
  'wavlm, norms before each half, letters': {
    ...WAVLM,
    architectures: ['WavLMForCTC'],
    vocab_size: 7,
    do_stable_layer_norm: true,
  },
  hubert: {
    ...WAV2VEC2,
    model_type: 'hubert',
    architectures: ['HubertForCTC'],
    vocab_size: 7,
    feat_proj_layer_norm: false,
  },
  'unispeech-sat': {
    ...WAV2VEC2,
    model_type: 'unispeech-sat',
    architectures: ['UniSpeechSatForPreTraining'],
  },
  whisper: WHISPER,
  'whisper, without a head': { ...WHISPER, architectures: ['WhisperModel'], activation_function: 'relu' },
  moonshine: MOONSHINE,
  'moonshine, biases of attention, without a head': {
    ...MOONSHINE,
    architectures: ['MoonshineModel'],
    attention_bias: true,
  },
};

/** That of a model that has a decoder behind it. */
const encoderIn = ({ model_type: type, encoder }: Config): Config | undefined =>
  type === 'vision-encoder-decoder' ? { ...(encoder as Config), architectures: ['ViTModel'] } : undefined;
const isJina = ({ position_embedding_type: places }: Config) => places === 'alibi';
const isT5 = ({ model_type: type }: Config) => /^u?m?t5$/.test(String(type));
const isBart = ({ model_type: type }: Config) =>
  /^(m?bart|plbart|blenderbot(-small)?|marian|pegasus|m2m_100)$/.test(String(type));
/** Whether norms stand before each half of a block. */
const isBefore = (config: Config) =>
  (isWave(config) && config.do_stable_layer_norm === true) ||
  (!isText(config) && !isWave(config)) ||
  isEsm(config) ||
  /^(mbart|blenderbot|pegasus|m2m_100|xlm-roberta-xl|.*_text_model)$/.test(String(config.model_type));
const isAst = ({ model_type: type }: Config) => type === 'audio-spectrogram-transformer';
const isBeit = ({ model_type: type }: Config) => type === 'beit' || type === 'data2vec-vision';
const isDeberta = ({ model_type: type }: Config) => type === 'deberta' || type === 'deberta-v2';
const isEsm = ({ model_type: type }: Config) => type === 'esm';
const isDino = ({ model_type: type }: Config) => String(type).startsWith('dinov2');
const isImage = (config: Config) =>
  /^(vit|vit_mae|vit_msn|deit|ijepa)$/.test(String(config.model_type)) ||
  isAst(config) ||
  isBeit(config) ||
  isDino(config) ||
  isTower(config);
const isTower = ({ model_type: type }: Config) =>
  /^(metaclip_2|(clip|siglip)(_vision_model)?)$/.test(String(type));
const isTextTower = ({ model_type: type }: Config) => String(type).endsWith('_text_model');
const isClip = ({ model_type: type }: Config) => /^(clip|metaclip_2)/.test(String(type));
/** What says sizes, with the defaults of transformers' configurations. */
function sizesIn(config: Config): Config {
  if (!isTower(config)) return config;
  const own = (config.vision_config_dict ?? config.vision_config ?? config) as Config;
  return isClip(config)
    ? { layer_norm_eps: 1e-5, hidden_act: 'quick_gelu', ...own }
    : { layer_norm_eps: 1e-6, hidden_act: 'gelu_pytorch_tanh', ...own };
}
const registersOf = (config: Config) =>
  config.model_type === 'dinov2_with_registers' ? ((config.num_register_tokens ?? 4) as number) : 0;
const isGte = ({ model_type: type }: Config) => type === 'new' || type === 'gte';
/** What decoders are where their tokens see those behind them. */
const isDecoder = (config: Config) =>
  /^(gemma3_text|eurobert)$/.test(String(config.model_type)) || config.is_causal === false;
const isWave = ({ model_type: type }: Config) => /^(wav2vec2|hubert|unispeech-sat|wavlm)$/.test(String(type));
const isText = (config: Config) => !isImage(config) && !isWave(config) && config.model_type !== 'whisper';
/** Models with a head have their module's name before all other tensors. */
function prefixOf({ model_type: type, architectures }: Config): string {
  const isBare = (architectures as string[])[0].endsWith('Model');
  if (isTower({ model_type: type })) return 'vision_model.';
  if (isTextTower({ model_type: type })) return 'text_model.';
  if (type === 'xlm-roberta-xl') return isBare ? '' : 'roberta.';
  if (type === 'whisper') return isBare ? 'encoder.' : 'model.encoder.';
  if (type === 'nomic_bert') return isBare ? '' : 'bert.';
  if (type === 'deberta-v2') return isBare ? '' : 'deberta.';
  if (type === 'modernbert' || isBart({ model_type: type })) return isBare ? '' : 'model.';
  return isBare ? '' : `${/^vit_/.test(String(type)) ? 'vit' : String(type).replaceAll('-', '_')}.`;
}

/** Where the parts of a block are. */
function namesOf(config: Config) {
  const { model_type: type } = config;
  if (type === 'albert')
    return {
      layer: (i: number) => `encoder.albert_layer_groups.${i}.albert_layers.0`,
      qkv: ['attention.query', 'attention.key', 'attention.value'],
      out: 'attention.dense',
      norms: ['attention.LayerNorm', 'full_layer_layer_norm'],
      mlp: ['ffn', 'ffn_output'],
    };
  if (type === 'distilbert')
    return {
      layer: (i: number) => `transformer.layer.${i}`,
      qkv: ['attention.q_lin', 'attention.k_lin', 'attention.v_lin'],
      out: 'attention.out_lin',
      norms: ['sa_layer_norm', 'output_layer_norm'],
      mlp: ['ffn.lin1', 'ffn.lin2'],
    };
  if (type === 'whisper' || isBart(config))
    return {
      layer: (i: number) => `${isBart(config) ? 'encoder.' : ''}layers.${i}`,
      qkv: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
      out: 'self_attn.out_proj',
      norms: ['self_attn_layer_norm', 'final_layer_norm'],
      mlp: ['fc1', 'fc2'],
    };
  if (isWave(config))
    return {
      layer: (i: number) => `encoder.layers.${i}`,
      qkv: ['attention.q_proj', 'attention.k_proj', 'attention.v_proj'],
      out: 'attention.out_proj',
      norms: ['layer_norm', 'final_layer_norm'],
      mlp: ['feed_forward.intermediate_dense', 'feed_forward.output_dense'],
    };
  if (isTower(config) || isTextTower(config))
    return {
      layer: (i: number) => `encoder.layers.${i}`,
      qkv: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
      out: 'self_attn.out_proj',
      norms: ['layer_norm1', 'layer_norm2'],
      mlp: ['mlp.fc1', 'mlp.fc2'],
    };
  if (type === 'mpnet')
    return {
      layer: (i: number) => `encoder.layer.${i}`,
      qkv: ['attention.attn.q', 'attention.attn.k', 'attention.attn.v'],
      out: 'attention.attn.o',
      norms: ['attention.LayerNorm', 'output.LayerNorm'],
      mlp: ['intermediate.dense', 'output.dense'],
    };
  const at = isImage(config) ? 'attention.attention' : 'attention.self';
  if (isJina(config))
    return {
      layer: (i: number) => `encoder.layer.${i}`,
      qkv: [`${at}.query`, `${at}.key`, `${at}.value`],
      out: 'attention.output.dense',
      norms: ['attention.output.LayerNorm', 'mlp.layernorm'],
      mlp: ['mlp.gated_layers', 'mlp.wo'],
    };
  if (isDeberta(config))
    return {
      layer: (i: number) => `encoder.layer.${i}`,
      qkv:
        type === 'deberta' ? [`${at}.in_proj`] : [`${at}.query_proj`, `${at}.key_proj`, `${at}.value_proj`],
      out: 'attention.output.dense',
      norms: ['attention.output.LayerNorm', 'output.LayerNorm'],
      mlp: ['intermediate.dense', 'output.dense'],
    };
  if (isEsm(config))
    return {
      layer: (i: number) => `encoder.layer.${i}`,
      qkv: [`${at}.query`, `${at}.key`, `${at}.value`],
      out: 'attention.output.dense',
      norms: ['attention.LayerNorm', 'LayerNorm'],
      mlp: ['intermediate.dense', 'output.dense'],
    };
  if (type === 'xlm-roberta-xl')
    return {
      layer: (i: number) => `encoder.layer.${i}`,
      qkv: [`${at}.query`, `${at}.key`, `${at}.value`],
      out: 'attention.output.dense',
      norms: ['attention.self_attn_layer_norm', 'LayerNorm'],
      mlp: ['intermediate.dense', 'output.dense'],
    };
  if (isDino(config))
    return {
      layer: (i: number) => `encoder.layer.${i}`,
      qkv: [`${at}.query`, `${at}.key`, `${at}.value`],
      out: 'attention.output.dense',
      norms: ['norm1', 'norm2'],
      mlp: config.use_swiglu_ffn ? ['mlp.weights_in', 'mlp.weights_out'] : ['mlp.fc1', 'mlp.fc2'],
    };
  return {
    layer: (i: number) => `encoder.layer.${i}`,
    qkv: [`${at}.query`, `${at}.key`, `${at}.value`],
    out: 'attention.output.dense',
    norms: isImage(config)
      ? ['layernorm_before', 'layernorm_after']
      : ['attention.output.LayerNorm', 'output.LayerNorm'],
    mlp: ['intermediate.dense', 'output.dense'],
  };
}

interface Head {
  /** Of the tokens, what the maps take. */
  readonly read: (tokens: Rows) => number[];
  /** With what comes behind them. */
  readonly maps: readonly (readonly [name: string, activation?: string])[];
}

/** What scores are the mean of. */
function headsOf(config: Config): readonly Head[] {
  const [name] = config.architectures as string[];
  const first = ([token]: Rows) => token;
  if (name.endsWith('WithTeacher'))
    return [
      { read: first, maps: [['cls_classifier']] },
      { read: ([, token]) => token, maps: [['distillation_classifier']] },
    ];
  if (isClip(config) && /C(LIP|lip2)Model|WithProjection$/.test(name))
    return [{ read: first, maps: [['visual_projection']] }];
  if (!name.endsWith('Classification') || ofTokens(config)) return [];
  switch (config.model_type) {
    case 'new':
      return [{ read: first, maps: [['new.pooler.dense', 'tanh'], ['classifier']] }];
    case 'albert':
      return [{ read: first, maps: [['albert.pooler', 'tanh'], ['classifier']] }];
    case 'bert':
      return [{ read: first, maps: [['bert.pooler.dense', 'tanh'], ['classifier']] }];
    case 'deberta':
    case 'deberta-v2':
      return [{ read: first, maps: [['pooler.dense', config.pooler_hidden_act as string], ['classifier']] }];
    case 'esm':
    case 'mpnet':
    case 'roberta':
    case 'xlm-roberta-xl':
      return [{ read: first, maps: [['classifier.dense', 'tanh'], ['classifier.out_proj']] }];
    case 'roformer':
      return [
        { read: first, maps: [['classifier.dense', config.hidden_act as string], ['classifier.out_proj']] },
      ];
    case 'electra':
      return [{ read: first, maps: [['classifier.dense', 'gelu'], ['classifier.out_proj']] }];
    case 'distilbert':
      return [{ read: first, maps: [['pre_classifier', 'relu'], ['classifier']] }];
    case 'clip':
      return [{ read: ([, ...squares]) => meanOf(squares), maps: [['classifier']] }];
    case 'audio-spectrogram-transformer':
      return [{ read: (tokens) => meanOf(tokens.slice(0, 2)), maps: [['classifier.dense']] }];
    case 'beit':
    case 'data2vec-vision': {
      const read = ([token, ...squares]: Rows) =>
        config.use_mean_pooling === false ? token : meanOf(squares);
      return [{ read, maps: [['classifier']] }];
    }
    case 'wav2vec2':
      return [{ read: meanOf, maps: [['projector'], ['classifier']] }];
    case 'ijepa':
    case 'siglip':
      return [{ read: meanOf, maps: [['classifier']] }];
    case 'dinov2':
    case 'dinov2_with_registers': {
      const read = ([token, ...others]: Rows) => [...token, ...meanOf(others.slice(registersOf(config)))];
      return [{ read, maps: [['classifier']] }];
    }
    default:
      return [{ read: first, maps: [['classifier']] }];
  }
}

const meanOf = (rows: Rows) =>
  rows[0].map((_, c) => rows.reduce((sum, row) => sum + row[c], 0) / rows.length);

/** Rows of the table of positions before that of the first token. */
const offsetOf = ({ model_type: type }: Config) =>
  /^(roberta|mpnet|xlm-roberta-xl|data2vec-text)$/.test(String(type)) ? 2 : 0;

export function encoderWeights(
  config: Config,
  sizes: readonly BlockSizes[] = denseSizes(config),
  seed = 1,
): Weights {
  const before = encoderIn(config);
  if (before)
    return new Map([...encoderWeights(before, sizes, seed)].map(([name, it]) => [`encoder.${name}`, it]));
  if (isMoonshine(config)) return moonshineEncoderWeights(config, sizes, seed);
  if (config.model_type === 'modernbert') return modernbertWeights(config, sizes, seed);
  if (config.model_type === 'nomic_bert') return nomicWeights(config, sizes, seed);
  if (isGte(config)) return gteWeights(config, sizes, seed);
  if (config.model_type === 'neobert') return neobertWeights(config, sizes, seed);
  if (config.model_type === 'dinov3_vit') return dinov3Weights(config, sizes, seed);
  if (isT5(config)) return t5Weights(config, sizes, seed);
  if (isDecoder(config)) {
    const weights = tinyWeights({ ...config, tie_word_embeddings: true }, sizes, seed);
    const { weights: own, linear: map } = weightMaker(seed);
    if (ofTokens(config)) map('classifier', 3, HIDDEN);
    return new Map([...weights, ...own]);
  }
  const { weights, tensor, linear: map } = weightMaker(seed);
  const norm = (name: string, width = HIDDEN) => {
    tensor(`${name}.weight`, [width], 0.3, 1);
    tensor(`${name}.bias`, [width], 0.3);
  };
  const at = prefixOf(config);
  if (isBart(config)) {
    tensor(`${at}${bartTokens(config)}.weight`, [VOCABULARY, HIDDEN], 1);
    const { offset, hasTable } = bartPlaces(config);
    if (hasTable) tensor(`${at}encoder.embed_positions.weight`, [POSITIONS + offset, HIDDEN], 0.5);
    if (isBefore(config)) norm(`${at}encoder.layer_norm`);
    if (/bart|small/.test(String(config.model_type))) norm(`${at}encoder.layernorm_embedding`);
  } else if (isEsm(config)) {
    tensor(`${at}embeddings.word_embeddings.weight`, [VOCABULARY, HIDDEN], 1);
    if (config.emb_layer_norm_before) norm(`${at}embeddings.layer_norm`);
    norm(`${at}encoder.emb_layer_norm_after`);
  } else if (isTextTower(config)) {
    tensor(`${at}embeddings.token_embedding.weight`, [VOCABULARY, HIDDEN], 1);
    tensor(`${at}embeddings.position_embedding.weight`, [POSITIONS, HIDDEN], 0.5);
    norm(`${at}final_layer_norm`);
  } else if (isText(config)) {
    const offset = offsetOf(config);
    const width = (config.embedding_size ?? HIDDEN) as number;
    tensor(`${at}embeddings.word_embeddings.weight`, [VOCABULARY, width], 1);
    if (isRoformer(config)) tensor(`${at}encoder.embed_positions.weight`, [POSITIONS, DH], 1); // made anew
    if (config.position_biased_input !== false && !isJina(config) && !isRoformer(config))
      tensor(`${at}embeddings.position_embeddings.weight`, [POSITIONS + offset, width], 0.5);
    if (isDeberta(config)) {
      tensor(`${at}encoder.rel_embeddings.weight`, [2 * spanOf(config), HIDDEN], 1);
      if (isNormed(config)) norm(`${at}encoder.LayerNorm`);
      if (config.conv_kernel_size) {
        tensor(`${at}encoder.conv.conv.weight`, [HIDDEN, HIDDEN / (config.conv_groups as number), 3], 0.15);
        tensor(`${at}encoder.conv.conv.bias`, [HIDDEN], 0.3);
        norm(`${at}encoder.conv.LayerNorm`);
      }
    }
    const types = config.type_vocab_size as number | undefined;
    if (types) tensor(`${at}embeddings.token_type_embeddings.weight`, [types, width], 0.5);
    if (config.use_task_id) tensor(`${at}embeddings.task_type_embeddings.weight`, [3, width], 0.5);
    norm(isBefore(config) ? `${at}encoder.LayerNorm` : `${at}embeddings.LayerNorm`, width);
    if (width !== HIDDEN) map(`${at}${projectionOf(config)}`, HIDDEN, width);
    const buckets = config.relative_attention_num_buckets as number | undefined;
    if (buckets) tensor(`${at}encoder.relative_attention_bias.weight`, [buckets, HEADS], 1);
  } else if (isWave(config)) {
    waveWeights(config, at, tensor, map, norm);
  } else if (config.model_type === 'whisper') {
    const widths = [config.num_mel_bins as number, HIDDEN];
    for (const [i, width] of widths.entries()) {
      tensor(`${at}conv${i + 1}.weight`, [HIDDEN, width, 3], (3 * width) ** -0.5);
      tensor(`${at}conv${i + 1}.bias`, [HIDDEN], 0.3);
    }
    tensor(`${at}embed_positions.weight`, [config.max_source_positions as number, HIDDEN], 0.5);
    norm(`${at}layer_norm`);
  } else if (isTower(config)) {
    towerWeights(config, at, tensor, map, norm);
  } else {
    const [channels, size] = [(config.num_channels ?? 1) as number, config.patch_size as number];
    const hasClass = config.model_type !== 'ijepa';
    if (hasClass) tensor(`${at}embeddings.cls_token`, [1, 1, HIDDEN], 1);
    const isDistilled = config.model_type === 'deit' || isAst(config);
    if (isDistilled) tensor(`${at}embeddings.distillation_token`, [1, 1, HIDDEN], 1);
    const squares = isAst(config)
      ? acrossOf(config).reduce((a, b) => a * b)
      : Math.floor((config.image_size as number) / size) ** 2;
    if (!isBeit(config) || config.use_absolute_position_embeddings)
      tensor(
        `${at}embeddings.position_embeddings`,
        [1, squares + (isDistilled ? 2 : Number(hasClass)), HIDDEN],
        0.5,
      );
    if (config.use_shared_relative_position_bias)
      tensor(`${at}encoder.${BEIT_TABLE}`, [(2 * Math.sqrt(squares) - 1) ** 2 + 3, HEADS], 1);
    const name = `${at}embeddings.patch_embeddings.projection`;
    tensor(`${name}.weight`, [HIDDEN, channels, size, size], (channels * size * size) ** -0.5);
    tensor(`${name}.bias`, [HIDDEN], 0.3);
    if (!isBeit(config) || config.use_mean_pooling === false) norm(`${at}layernorm`);
    else if (headsOf(config).length > 0) norm(`${at}pooler.layernorm`);
    if (isAst(config) && headsOf(config).length > 0) norm('classifier.layernorm');
    const registers = registersOf(config);
    if (registers) tensor(`${at}embeddings.register_tokens`, [1, registers, HIDDEN], 1);
  }
  const { layer, qkv, out, norms, mlp } = namesOf(config);
  for (const [i, size] of sizes.entries()) {
    const { heads, ffn, valueDim = DH } = size;
    const block = `${at}${layer(i)}`;
    const isWhisper = config.model_type === 'whisper';
    const hasBias = (name: string) =>
      config.qkv_bias !== false &&
      !(isWhisper && name.endsWith('.k_proj')) &&
      !(isBeit(config) && name.endsWith('.key'));
    const widths = widthsOf(size, DH);
    if (config.model_type === 'deberta') {
      const self = `${block}.attention.self`;
      map(`${self}.in_proj`, widths[0] + widths[1] + widths[2], HIDDEN, false);
      tensor(`${self}.q_bias`, [widths[0]], 0.3);
      tensor(`${self}.v_bias`, [widths[2]], 0.3);
      if (config.pos_att_type !== 'c2p') map(`${self}.pos_q_proj`, widths[0], HIDDEN);
      if (String(config.pos_att_type) !== 'p2c') map(`${self}.pos_proj`, widths[0], HIDDEN, false);
    } else
      for (const [part, name] of qkv.entries()) map(`${block}.${name}`, widths[part], HIDDEN, hasBias(name));
    map(`${block}.${out}`, HIDDEN, heads * valueDim);
    if (config.model_type === 'deberta-v2' && !config.share_att_key)
      for (const name of ['pos_query_proj', 'pos_key_proj'])
        map(`${block}.attention.self.${name}`, widths[0], HIDDEN);
    for (const name of norms) norm(`${block}.${name}`);
    if (config.adapter_attn_dim) {
      const [adapter, width] = [`${block}.adapter_layer`, config.adapter_attn_dim as number];
      norm(`${adapter}.norm`);
      map(`${adapter}.linear_1`, width, HIDDEN);
      map(`${adapter}.linear_2`, HIDDEN, width);
    }
    const isGated = config.use_swiglu_ffn || isJina(config);
    map(`${block}.${mlp[0]}`, isGated ? 2 * ffn : ffn, HIDDEN, !isJina(config));
    map(`${block}.${mlp[1]}`, HIDDEN, ffn);
    if (isBeit(config) && config.use_relative_position_bias)
      tensor(`${block}.attention.attention.${BEIT_TABLE}`, [28, heads], 1); // 5 × 5 ways and three
    if (isBeit(config) && config.layer_scale_init_value !== 0)
      for (const half of [1, 2]) tensor(`${block}.lambda_${half}`, [HIDDEN], 0.4, 0.5);
    if (isDino(config))
      for (const half of [1, 2]) tensor(`${block}.layer_scale${half}.lambda1`, [HIDDEN], 0.4, 0.5);
  }
  if (ofTokens(config)) map('classifier', 3, HIDDEN);
  for (const { read, maps } of headsOf(config)) {
    let width = read(Array(12).fill(Array(HIDDEN).fill(0))).length;
    for (const [i, [name]] of maps.entries()) {
      if (name === 'visual_projection') map(name, 24, width, false);
      else map(name, i === maps.length - 1 ? 3 : HIDDEN, width);
      width = HIDDEN;
    }
  }
  return weights;
}

/** What makes features of embeddings. */
const projectionOf = ({ model_type: type }: Config) =>
  type === 'albert' ? 'encoder.embedding_hidden_mapping_in' : 'embeddings_project';

/** Squares of a spectrogram over bins and over frames. */
const acrossOf = (config: Config): number[] =>
  [
    [config.num_mel_bins, config.frequency_stride],
    [config.max_length, config.time_stride],
  ].map(([extent, step]) =>
    Math.floor(((extent as number) - (config.patch_size as number)) / (step as number) + 1),
  );

/** Whether rows for distances have one bucket for far ones, and a norm. */
const isNormed = ({ model_type: type, norm_rel_ebd: kinds }: Config) =>
  type !== 'deberta' && kinds === 'layer_norm';
const hasBuckets = ({ model_type: type, position_buckets: buckets }: Config) =>
  type !== 'deberta' && (buckets as number) > 0;

/** Half of the rows for distances. */
const spanOf = (config: Config) =>
  (hasBuckets(config) ? config.position_buckets : config.max_relative_positions) as number;

const BEIT_TABLE = 'relative_position_bias.relative_position_bias_table';

const bartTokens = ({ share_encoder_decoder_embeddings: isShared }: Config) =>
  isShared === false ? 'encoder.embed_tokens' : 'shared';

/** Rows before the first position, and whether they are learned. */
function bartPlaces({ model_type: type }: Config) {
  const hasTable = /bart|blenderbot/.test(String(type));
  return { offset: /bart|m2m_100/.test(String(type)) ? 2 : 0, hasTable };
}

type Maker = ReturnType<typeof weightMaker>;

/** Of what is around the blocks. */
function towerWeights(
  config: Config,
  at: string,
  tensor: Maker['tensor'],
  map: Maker['linear'],
  norm: (name: string) => void,
): void {
  const patch = `${at}embeddings.patch_embedding`;
  const { num_channels, patch_size } = sizesIn(config);
  const [channels, size] = [num_channels, patch_size] as number[];
  tensor(`${patch}.weight`, [HIDDEN, channels, size, size], (channels * size * size) ** -0.5);
  if (isClip(config)) {
    tensor(`${at}embeddings.class_embedding`, [HIDDEN], 1);
    norm(`${at}pre_layrnorm`);
  } else tensor(`${patch}.bias`, [HIDDEN], 0.3);
  tensor(`${at}embeddings.position_embedding.weight`, [isClip(config) ? 10 : 9, HIDDEN], 0.5);
  if (!isClip(config) || headsOf(config)[0]?.maps[0][0] === 'visual_projection') norm(`${at}post_layernorm`);
  if (!isPooled(config)) return;
  tensor(`${at}head.probe`, [1, 1, HIDDEN], 1);
  tensor(`${at}head.attention.in_proj_weight`, [3 * HIDDEN, HIDDEN], HIDDEN ** -0.5);
  tensor(`${at}head.attention.in_proj_bias`, [3 * HIDDEN], 0.3);
  map(`${at}head.attention.out_proj`, HIDDEN, HIDDEN);
  norm(`${at}head.layernorm`);
  map(`${at}head.mlp.fc1`, FFN, HIDDEN);
  map(`${at}head.mlp.fc2`, HIDDEN, FFN);
}

function waveWeights(
  config: Config,
  at: string,
  tensor: Maker['tensor'],
  map: Maker['linear'],
  norm: (name: string, width?: number) => void,
): void {
  const [widths, kernels] = [config.conv_dim, config.conv_kernel] as number[][];
  const around = `${at}encoder.pos_conv_embed.conv`;
  const [places, groups] = [config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups] as number[];
  for (const [i, width] of widths.entries()) {
    const layer = `${at}feature_extractor.conv_layers.${i}`;
    const before = i === 0 ? 1 : widths[i - 1];
    tensor(`${layer}.conv.weight`, [width, before, kernels[i]], (before * kernels[i]) ** -0.5);
    if (config.conv_bias) tensor(`${layer}.conv.bias`, [width], 0.3);
    if (i === 0 || config.feat_extract_norm === 'layer') norm(`${layer}.layer_norm`, width);
  }
  if (config.feat_proj_layer_norm !== false) norm(`${at}feature_projection.layer_norm`, widths.at(-1));
  map(`${at}feature_projection.projection`, HIDDEN, widths.at(-1)!);
  tensor(`${around}.weight_g`, [1, 1, places], 0.3, 1);
  tensor(`${around}.weight_v`, [HIDDEN, HIDDEN / groups, places], 1);
  tensor(`${around}.bias`, [HIDDEN], 0.3);
  norm(`${at}encoder.layer_norm`);
  if (givesLetters(config)) map('lm_head', config.vocab_size as number, HIDDEN);
  if (config.model_type !== 'wavlm') return;
  const attention = (i: number) => `${at}encoder.layers.${i}.attention`;
  tensor(`${attention(0)}.rel_attn_embed.weight`, [config.num_buckets as number, HEADS], 1);
  for (let i = 0; i < BLOCKS; i++) {
    map(`${attention(i)}.gru_rel_pos_linear`, 8, DH);
    tensor(`${attention(i)}.gru_rel_pos_const`, [1, HEADS, 1, 1], 0.5, 1);
  }
}

const ofTokens = ({ architectures }: Config) =>
  /ForTokenClassification$/.test((architectures as string[])[0]);
const givesLetters = ({ architectures }: Config) => (architectures as string[])[0].endsWith('ForCTC');

/** Whether SigLIP's probe asks its tokens. */
const isPooled = (config: Config) =>
  isTower(config) && !isClip(config) && config.vision_use_head !== false && headsOf(config).length === 0;

function modernbertWeights(config: Config, sizes: readonly BlockSizes[], seed: number): Weights {
  const { weights, tensor, linear: map } = weightMaker(seed);
  const at = prefixOf(config);
  const norm = (name: string) => {
    tensor(`${at}${name}.weight`, [HIDDEN], 0.3, 1);
    if (config.norm_bias) tensor(`${at}${name}.bias`, [HIDDEN], 0.3);
  };
  const [attentionBias, mlpBias] = [config.attention_bias === true, config.mlp_bias === true];
  tensor(`${at}embeddings.tok_embeddings.weight`, [VOCABULARY, HIDDEN], 1);
  norm('embeddings.norm');
  for (const [i, size] of sizes.entries()) {
    const { heads, ffn, valueDim = DH } = size;
    const layer = `layers.${i}`;
    if (i > 0) norm(`${layer}.attn_norm`);
    norm(`${layer}.mlp_norm`);
    map(
      `${at}${layer}.attn.Wqkv`,
      widthsOf(size, DH).reduce((a, b) => a + b),
      HIDDEN,
      attentionBias,
    );
    map(`${at}${layer}.attn.Wo`, HIDDEN, heads * valueDim, attentionBias);
    map(`${at}${layer}.mlp.Wi`, 2 * ffn, HIDDEN, mlpBias);
    map(`${at}${layer}.mlp.Wo`, HIDDEN, ffn, mlpBias);
  }
  norm('final_norm');
  if (!(config.architectures as string[])[0].endsWith('Classification')) return weights;
  map('head.dense', HIDDEN, HIDDEN, config.classifier_bias === true);
  tensor('head.norm.weight', [HIDDEN], 0.3, 1);
  if (config.norm_bias) tensor('head.norm.bias', [HIDDEN], 0.3);
  map('classifier', 3, HIDDEN);
  return weights;
}

function dinov3Weights(config: Config, sizes: readonly BlockSizes[], seed: number): Weights {
  const { weights, tensor, linear: map } = weightMaker(seed);
  const norm = (name: string) => {
    tensor(`${name}.weight`, [HIDDEN], 0.3, 1);
    tensor(`${name}.bias`, [HIDDEN], 0.3);
  };
  const biases = ['query_bias', 'key_bias', 'value_bias'];
  const [channels, size] = [config.num_channels, config.patch_size] as number[];
  tensor('embeddings.cls_token', [1, 1, HIDDEN], 1);
  const registers = config.num_register_tokens as number;
  if (registers > 0) tensor('embeddings.register_tokens', [1, registers, HIDDEN], 1);
  tensor(
    'embeddings.patch_embeddings.weight',
    [HIDDEN, channels, size, size],
    (channels * size * size) ** -0.5,
  );
  tensor('embeddings.patch_embeddings.bias', [HIDDEN], 0.3);
  for (const [i, block] of sizes.entries()) {
    const { heads, ffn, valueDim = DH } = block;
    const widths = widthsOf(block, DH);
    for (const half of [1, 2]) {
      norm(`layer.${i}.norm${half}`);
      tensor(`layer.${i}.layer_scale${half}.lambda1`, [HIDDEN], 0.4, 0.5);
    }
    for (const [part, name] of ['q', 'k', 'v'].entries())
      map(
        `layer.${i}.attention.${name}_proj`,
        widths[part],
        HIDDEN,
        (config[biases[part]] ?? name !== 'k') as boolean,
      );
    map(`layer.${i}.attention.o_proj`, HIDDEN, heads * valueDim, config.proj_bias !== false);
    for (const name of config.use_gated_mlp ? ['gate_proj', 'up_proj'] : ['up_proj'])
      map(`layer.${i}.mlp.${name}`, ffn, HIDDEN, config.mlp_bias !== false);
    map(`layer.${i}.mlp.down_proj`, HIDDEN, ffn, config.mlp_bias !== false);
  }
  norm('norm');
  return weights;
}

function nomicWeights(config: Config, sizes: readonly BlockSizes[], seed: number): Weights {
  const { weights, tensor, linear: map } = weightMaker(seed);
  const at = prefixOf(config);
  const norm = (name: string) => {
    tensor(`${at}${name}.weight`, [HIDDEN], 0.3, 1);
    tensor(`${at}${name}.bias`, [HIDDEN], 0.3);
  };
  const hasBias = config.mlp_fc1_bias === true;
  tensor(`${at}embeddings.word_embeddings.weight`, [VOCABULARY, HIDDEN], 1);
  tensor(`${at}embeddings.token_type_embeddings.weight`, [2, HIDDEN], 0.5);
  norm('emb_ln');
  for (const [i, size] of sizes.entries()) {
    const { heads, ffn, valueDim = DH } = size;
    const layer = `encoder.layers.${i}`;
    const [q, k, v] = widthsOf(size, DH);
    map(`${at}${layer}.attn.Wqkv`, q + k + v, HIDDEN, hasBias);
    map(`${at}${layer}.attn.out_proj`, HIDDEN, heads * valueDim, hasBias);
    for (const name of ['fc11', 'fc12']) map(`${at}${layer}.mlp.${name}`, ffn, HIDDEN, hasBias);
    map(`${at}${layer}.mlp.fc2`, HIDDEN, ffn, hasBias);
    for (const name of ['norm1', 'norm2']) norm(`${layer}.${name}`);
  }
  return weights;
}

function neobertWeights(config: Config, sizes: readonly BlockSizes[], seed: number): Weights {
  const { weights, tensor, linear: map } = weightMaker(seed);
  const isBare = (config.architectures as string[])[0] === 'NeoBERT';
  const at = isBare ? '' : 'model.';
  const norm = (name: string) => tensor(`${at}${name}.weight`, [HIDDEN], 0.3, 1);
  tensor(`${at}encoder.weight`, [VOCABULARY, HIDDEN], 1);
  for (const [i, size] of sizes.entries()) {
    const { heads, ffn, valueDim = DH } = size;
    const layer = `transformer_encoder.${i}`;
    const fused = widthsOf(size, DH).reduce((a, b) => a + b);
    map(`${at}${layer}.qkv`, fused, HIDDEN, false);
    map(`${at}${layer}.wo`, HIDDEN, heads * valueDim, false);
    map(`${at}${layer}.ffn.w12`, 2 * ffn, HIDDEN, false);
    map(`${at}${layer}.ffn.w3`, HIDDEN, ffn, false);
    for (const name of ['attention_norm', 'ffn_norm']) norm(`${layer}.${name}`);
  }
  norm('layer_norm');
  if (isBare) return weights;
  map('dense', HIDDEN, HIDDEN);
  map('classifier', 3, HIDDEN);
  return weights;
}

function gteWeights(config: Config, sizes: readonly BlockSizes[], seed: number): Weights {
  const { weights, tensor, linear: map } = weightMaker(seed);
  const at = prefixOf(config);
  const norm = (name: string) => {
    tensor(`${at}${name}.weight`, [HIDDEN], 0.3, 1);
    tensor(`${at}${name}.bias`, [HIDDEN], 0.3);
  };
  const types = config.type_vocab_size as number;
  tensor(`${at}embeddings.word_embeddings.weight`, [VOCABULARY, HIDDEN], 1);
  if (types) tensor(`${at}embeddings.token_type_embeddings.weight`, [types, HIDDEN], 0.5);
  norm('embeddings.LayerNorm');
  for (const [i, size] of sizes.entries()) {
    const { heads, ffn, valueDim = DH } = size;
    const layer = `encoder.layer.${i}`;
    const widths = widthsOf(size, DH);
    const fused = widths.reduce((a, b) => a + b);
    if (config.pack_qkv !== false) map(`${at}${layer}.attention.qkv_proj`, fused, HIDDEN);
    else
      for (const [part, name] of [...'qkv'].entries())
        map(`${at}${layer}.attention.${name}_proj`, widths[part], HIDDEN);
    map(`${at}${layer}.attention.o_proj`, HIDDEN, heads * valueDim);
    map(`${at}${layer}.mlp.up_gate_proj`, 2 * ffn, HIDDEN, false);
    map(`${at}${layer}.mlp.down_proj`, HIDDEN, ffn);
    for (const name of ['attn_ln', 'mlp_ln']) norm(`${layer}.${name}`);
  }
  for (const { maps } of headsOf(config))
    for (const [i, [name]] of maps.entries()) map(name, i === maps.length - 1 ? 3 : HIDDEN, HIDDEN);
  return weights;
}

/** What comes behind the MLP's first map, and whether another one is its gate. */
function t5Activation(config: Config): { name: string; isGated: boolean } {
  const given = config.feed_forward_proj ?? (config.model_type === 't5' ? 'relu' : 'gated-gelu');
  const [name, gate] = String(given).split('-').reverse();
  return { name: gate && name === 'gelu' ? 'gelu_new' : name, isGated: gate === 'gated' };
}

function t5Weights(config: Config, sizes: readonly BlockSizes[], seed: number): Weights {
  const { weights, tensor, linear: map } = weightMaker(seed);
  const { isGated } = t5Activation(config);
  const norm = (name: string) => tensor(`encoder.${name}.weight`, [HIDDEN], 0.3, 1);
  tensor('shared.weight', [VOCABULARY, HIDDEN], 1);
  for (const [i, size] of sizes.entries()) {
    const { heads, ffn, valueDim = DH } = size;
    const widths = widthsOf(size, DH);
    const [attention, dense] = [0, 1].map((part) => `block.${i}.layer.${part}`);
    norm(`${attention}.layer_norm`);
    for (const [part, name] of ['q', 'k', 'v'].entries())
      map(`encoder.${attention}.SelfAttention.${name}`, widths[part], HIDDEN, false);
    map(`encoder.${attention}.SelfAttention.o`, HIDDEN, heads * valueDim, false);
    if (i === 0 || config.model_type === 'umt5') {
      const buckets = config.relative_attention_num_buckets as number;
      tensor(`encoder.${attention}.SelfAttention.relative_attention_bias.weight`, [buckets, HEADS], 1);
    }
    norm(`${dense}.layer_norm`);
    for (const name of isGated ? ['wi_0', 'wi_1'] : ['wi'])
      map(`encoder.${dense}.DenseReluDense.${name}`, ffn, HIDDEN, false);
    map(`encoder.${dense}.DenseReluDense.wo`, HIDDEN, ffn, false);
  }
  norm('final_layer_norm');
  return weights;
}

export function denseSizes(config: Config): BlockSizes[] {
  const ffn = config.use_swiglu_ffn || config.model_type === 'neobert' ? GATED_FFN : FFN;
  return Array.from({ length: BLOCKS }, () => ({ heads: HEADS, kvHeads: HEADS, ffn }));
}

/** A sample: token ids with their types, or an image, channels × height × width, or a spectrogram, channels × frames, or a waveform. */
export interface Sample {
  readonly tokens?: readonly number[];
  readonly types?: readonly number[];
  readonly image?: Float32Array;
}

/** Class scores, or the features of all tokens. */
export function encoderReference(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  sample: Sample,
): number[] {
  const before = encoderIn(config);
  if (before) {
    const own = new Map([...weights].map(([name, it]) => [name.replace(/^encoder\./, ''), it]));
    return encoderReference(before, sizes, own, sample);
  }
  if (isMoonshine(config)) return moonshineEncoder(config, sizes, weights, sample.image!);
  if (config.model_type === 'modernbert') return modernbert(config, sizes, weights, sample);
  if (config.model_type === 'nomic_bert') return nomicBert(config, sizes, weights, sample);
  if (isGte(config)) return gte(config, sizes, weights, sample);
  if (config.model_type === 'neobert') return neobert(config, sizes, weights, sample);
  if (config.model_type === 'dinov3_vit') return dinov3(config, sizes, weights, sample);
  if (isDecoder(config)) {
    const features = referenceLogits({ ...config, is_causal: false }, sizes, weights, sample.tokens!);
    return (ofTokens(config) ? linear(features, weights, 'classifier') : features).flat();
  }
  if (isT5(config)) return t5(config, sizes, weights, sample);
  const at = prefixOf(config);
  const isWhisper = config.model_type === 'whisper';
  const sizesOf = sizesIn(config);
  const isFive = isWhisper || isBart(config) || isWave(config);
  const eps = (sizesOf.layer_norm_eps ?? (isFive ? 1e-5 : 1e-12)) as number;
  const ln = (x: Rows, name: string) => layerNorm(x, weights, at + name, eps);
  const begin = isWave(config) ? wave : isWhisper ? spectra : isTower(config) ? squares : patches;
  const read = isEsm(config) ? aminoAcids : isBart(config) ? bartEmbedded : embedded;
  let x = sample.image ? begin(config, weights, sample.image) : read(config, weights, sample);
  const { layer, qkv, out, norms, mlp } = namesOf(config);
  const layers = config.model_type === 'albert' ? (config.num_hidden_layers as number) : sizes.length;
  for (let l = 0; l < layers; l++) {
    const i = Math.trunc(l / (layers / sizes.length));
    const size = sizes[i];
    const { heads, ffn } = size;
    const given = x;
    const block = layer(i);
    const map = (y: Rows, name: string) => linear(y, weights, `${at}${block}.${name}`);
    const scaled = (y: Rows, half: number) => {
      const name = isBeit(config) ? `lambda_${half}` : `layer_scale${half}.lambda1`;
      const factors = weights.get(`${at}${block}.${name}`)?.data;
      return factors ? y.map((features) => features.map((value, c) => value * factors[c])) : y;
    };
    const attend = (y: Rows) => {
      const maps = qkv.map((name) => map(y, name));
      const [q, k, v] =
        config.model_type === 'deberta' ? firstMaps(weights, `${at}${block}`, maps[0], size) : maps;
      const bias = isBeit(config)
        ? squaresBias(config, weights, `${at}${block}`)
        : config.model_type === 'wavlm'
          ? gatedBias(config, weights, `${at}${block}.attention`, y)
          : isJina(config)
            ? distanceBias(weights, `${at}${block}`)
            : relativeBias(config, weights, `${at}${block}`);
      if (isDeberta(config)) {
        const how = disentangled(config, weights, `${at}${block}`, q, k);
        return map(attention(q, k, v, { heads, kvHeads: heads, seesAll: true, ...how }), out);
      }
      const seesAll = config.model_type !== 'clip_text_model';
      const how = { heads, kvHeads: heads, scale: DH ** -0.5, seesAll, bias };
      const turned = (rows: Rows) =>
        isEsm(config) ? turnedFully(rows) : isRoformer(config) ? turnedByPairs(rows) : rows;
      return scaled(map(attention(turned(q), turned(k), v, how), out), 1);
    };
    const name =
      (isEsm(config) ? 'gelu' : sizesOf.hidden_act) ??
      config.activation ??
      config.activation_function ??
      (isWave(config) ? 'gelu' : 'relu');
    const think = (y: Rows) => {
      const inner = map(y, mlp[0]);
      if (isJina(config)) {
        const [gate, up] = slices(inner, [ffn, ffn]);
        const act = config.feed_forward_type === 'reglu' ? 'relu' : 'gelu';
        return map(product(activate(gate, act), up), mlp[1]);
      }
      if (!config.use_swiglu_ffn) return scaled(map(activate(inner, name as string), mlp[1]), 2);
      const [gate, up] = slices(inner, [ffn, ffn]);
      return scaled(map(product(activate(gate, 'silu'), up), mlp[1]), 2);
    };
    const [first, second] = norms.map((name) => (y: Rows) => ln(y, `${block}.${name}`));
    if (isBefore(config)) {
      x = add(x, attend(first(x)));
      x = add(x, think(second(x)));
    } else {
      x = first(add(x, attend(x)));
      x = second(add(x, think(x)));
    }
    if (config.adapter_attn_dim) {
      const inner = map(ln(x, `${block}.adapter_layer.norm`), 'adapter_layer.linear_1');
      x = add(x, map(activate(inner, 'relu'), 'adapter_layer.linear_2'));
    }
    if (i === 0 && config.conv_kernel_size) {
      const near = activate(nearby(given, weights, `${at}encoder.conv.conv`), config.conv_act as string);
      x = ln(add(x, near), 'encoder.conv.LayerNorm');
    }
  }
  const lastNorm = isBart(config)
    ? 'encoder.layer_norm'
    : isWhisper
      ? 'layer_norm'
      : isTower(config)
        ? 'post_layernorm'
        : isEsm(config)
          ? 'encoder.emb_layer_norm_after'
          : isWave(config)
            ? 'encoder.layer_norm'
            : isTextTower(config)
              ? 'final_layer_norm'
              : config.model_type === 'xlm-roberta-xl'
                ? 'encoder.LayerNorm'
                : 'layernorm';
  if (isBefore(config) && weights.has(`${at}${lastNorm}.weight`)) x = ln(x, lastNorm);
  if (isPooled(config)) return probed(config, weights, x);
  if (isWave(config) && givesLetters(config)) return linear(x, weights, 'lm_head').flat();
  if (ofTokens(config)) return linear(x, weights, 'classifier').flat();
  const heads = headsOf(config);
  if (heads.length === 0) return x.flat();
  const pooler = isAst(config) ? 'classifier.layernorm' : `${at}pooler.layernorm`;
  const normal = (y: Rows) => (weights.has(`${pooler}.weight`) ? layerNorm(y, weights, pooler, eps) : y);
  const scores = heads.map(({ read, maps }) =>
    maps.reduce<Rows>(
      (y, [name, activation]) => {
        const mapped = linear(y, weights, name);
        return activation ? activate(mapped, activation) : mapped;
      },
      normal([read(x)]),
    ),
  );
  return scores[0][0].map((_, i) => scores.reduce((sum, [own]) => sum + own[i], 0) / scores.length);
}

/** Jina's: a factor of each head, ¼, ¹⁄₁₆ and so on of four, times how far it is. */
function distanceBias(weights: Weights, block: string) {
  const slopes = weights.get(`${block}.attention.self.slopes`)?.data;
  return (head: number, key: number, query: number) =>
    -(slopes?.[head] ?? 4 ** -(head + 1)) * Math.abs(key - query);
}

/** MPNet's, of a table of the block's own where there is one. */
function relativeBias(config: Config, weights: Weights, block: string) {
  if (config.model_type !== 'mpnet') return undefined;
  const own = weights.get(`${block}.attention.attn.relative_attention_bias.weight`);
  return biasOf(own ?? weights.get(`${prefixOf(config)}encoder.relative_attention_bias.weight`)!, 128);
}

/** The first DeBERTa's queries, keys and values: head by head in one tensor, with biases of the first and the last. */
function firstMaps(weights: Weights, block: string, fused: Rows, { heads }: BlockSizes): Rows[] {
  const width = fused[0].length / heads / 3;
  return ['q_bias', undefined, 'v_bias'].map((name, part) => {
    const bias = name && weights.get(`${block}.attention.self.${name}`)!.data;
    return fused.map((features) =>
      Array.from({ length: heads * width }, (_, c) => {
        const at = Math.floor(c / width) * 3 * width + part * width + (c % width);
        return features[at] + (bias ? bias[c] : 0);
      }),
    );
  });
}

/** A convolution over tokens, by groups of features. */
function nearby(x: Rows, weights: Weights, name: string): Rows {
  const { shape, data } = weights.get(`${name}.weight`)!;
  const [rows, columns, width] = shape;
  const bias = weights.get(`${name}.bias`)!.data;
  return x.map((_, p) =>
    Array.from({ length: rows }, (_, r) => {
      const first = Math.floor(r / columns) * columns; // of its group
      let y = bias[r];
      for (let c = 0; c < columns; c++)
        for (let t = 0; t < width; t++)
          y += data[(r * columns + c) * width + t] * (x[p + t - (width - 1) / 2]?.[first + c] ?? 0);
      return y;
    }),
  );
}

/** DeBERTa's: products of queries with keys of the distance's row, and of keys with its queries. */
function disentangled(config: Config, weights: Weights, block: string, q: Rows, k: Rows) {
  const at = `${prefixOf(config)}encoder`;
  const span = spanOf(config);
  let table: Rows = Array.from({ length: 2 * span }, (_, r) =>
    row(weights, `${at}.rel_embeddings.weight`, r),
  );
  if (isNormed(config)) table = layerNorm(table, weights, `${at}.LayerNorm`, 1e-12);
  const kinds = String(config.pos_att_type);
  const isFirst = config.model_type === 'deberta';
  const before = config.share_att_key ? '' : 'pos_';
  const names = isFirst ? ['pos_proj', 'pos_q_proj'] : [`${before}key_proj`, `${before}query_proj`];
  const made = (name: string) => linear(table, weights, `${block}.attention.self.${name}`);
  const keys = kinds.includes('c2p') ? made(names[0]) : undefined;
  const queries = kinds.includes('p2c') ? made(names[1]) : undefined;
  const scale = (DH * (1 + Number(keys !== undefined) + Number(queries !== undefined))) ** -0.5;
  const most = config.max_position_embeddings as number;
  const bucket = (distance: number) => {
    const middle = Math.floor(span / 2);
    if (!hasBuckets(config) || Math.abs(distance) <= middle) return distance;
    const waves = Math.log(Math.abs(distance) / middle) / Math.log((most - 1) / middle);
    return Math.sign(distance) * (Math.ceil(waves * (middle - 1)) + middle);
  };
  const bias = (head: number, key: number, query: number) => {
    const at = Math.min(Math.max(bucket(query - key) + span, 0), 2 * span - 1);
    const own = (rows: Rows, r: number) => rows[r].slice(head * DH, (head + 1) * DH);
    const dot = (a: number[], b: number[]) => a.reduce((total, it, c) => total + it * b[c], 0);
    const c2p = keys ? dot(own(q, query), own(keys, at)) : 0;
    const p2c = queries ? dot(own(k, key), own(queries, at)) : 0;
    return scale * (c2p + p2c);
  };
  return { scale, bias };
}

/** BEiT's, by which way it is from one square to the other. */
function squaresBias(config: Config, weights: Weights, block: string) {
  const table =
    weights.get(`${block}.attention.attention.${BEIT_TABLE}`) ??
    weights.get(`${prefixOf(config)}encoder.${BEIT_TABLE}`)!;
  const side = Math.floor((config.image_size as number) / (config.patch_size as number));
  const [rows, heads] = table.shape;
  return (head: number, key: number, query: number) => {
    const at = (token: number) => ({ y: Math.floor((token - 1) / side), x: (token - 1) % side });
    const [from, to] = [at(query), at(key)];
    let row = (from.y - to.y + side - 1) * (2 * side - 1) + from.x - to.x + side - 1;
    if (query === 0) row = rows - 3;
    if (key === 0) row = rows - 2;
    if (query === 0 && key === 0) row = rows - 1;
    return table.data[row * heads + head];
  };
}

function t5(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  { tokens = [] }: Sample,
): number[] {
  const norm = (x: Rows, name: string) => rmsNorm(x, weights, `encoder.${name}`, 1e-6);
  const { name, isGated } = t5Activation(config);
  const table = 'SelfAttention.relative_attention_bias';
  let x = tokens.map((token) => row(weights, 'shared.weight', token));
  for (const [i, { heads }] of sizes.entries()) {
    const [attended, dense] = [0, 1].map((part) => `block.${i}.layer.${part}`);
    const map = (y: Rows, name: string) => linear(y, weights, `encoder.${name}`);
    const h = norm(x, `${attended}.layer_norm`);
    const [q, k, v] = ['q', 'k', 'v'].map((name) => map(h, `${attended}.SelfAttention.${name}`));
    const numbers =
      weights.get(`encoder.${attended}.${table}_of_heads.weight`) ??
      weights.get(`encoder.${attended}.${table}.weight`) ??
      weights.get(`encoder.block.0.layer.0.${table}.weight`)!;
    const bias = biasOf(numbers, config.relative_attention_max_distance as number);
    const how = { heads, kvHeads: heads, scale: 1, seesAll: true, bias };
    x = add(x, map(attention(q, k, v, how), `${attended}.SelfAttention.o`));
    const g = norm(x, `${dense}.layer_norm`);
    const first = activate(map(g, `${dense}.DenseReluDense.${isGated ? 'wi_0' : 'wi'}`), name);
    const inner = isGated ? product(first, map(g, `${dense}.DenseReluDense.wi_1`)) : first;
    x = add(x, map(inner, `${dense}.DenseReluDense.wo`));
  }
  return norm(x, 'final_layer_norm').flat();
}

/** Of a table, buckets × heads. @param most  distance from which on all are alike */
function biasOf(table: { readonly shape: readonly number[]; readonly data: Float32Array }, most: number) {
  const [buckets, heads] = table.shape;
  const half = Math.floor(buckets / 2);
  const exact = Math.floor(half / 2);
  return (head: number, key: number, query: number) => {
    const distance = Math.abs(key - query);
    const waves = (Math.log(distance / exact) / Math.log(most / exact)) * (half - exact);
    const bucket = distance < exact ? distance : Math.min(exact + Math.floor(waves), half - 1);
    return table.data[((key > query ? half : 0) + bucket) * heads + head];
  };
}

/** Of a table that the first block has, or the block's own of the heads that stay; with a factor for each query, made of what has the head's place in it. */
function gatedBias(config: Config, weights: Weights, attention: string, x: Rows) {
  const first = attention.replace(/layers\.\d+/, 'layers.0');
  const table =
    weights.get(`${attention}.rel_attn_embed_of_heads.weight`) ??
    weights.get(`${first}.rel_attn_embed.weight`)!;
  const bias = biasOf(table, config.max_bucket_distance as number);
  const constants = weights.get(`${attention}.gru_rel_pos_const`)!.data;
  const places = weights.get(`${attention}.places_of_heads`)?.data;
  const sigmoid = (values: number[]) => 1 / (1 + Math.exp(-values.reduce((a, b) => a + b)));
  return (head: number, key: number, query: number) => {
    const place = places ? places.subarray(head * HEADS, (head + 1) * HEADS).indexOf(1) : head;
    const own = x[query].slice(place * DH, (place + 1) * DH);
    const [logits] = linear([own], weights, `${attention}.gru_rel_pos_linear`);
    const [a, b] = [logits.slice(0, 4), logits.slice(4)].map(sigmoid);
    return (a * (b * constants[head] - 1) + 2) * bias(head, key, query);
  };
}

function modernbert(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  { tokens = [] }: Sample,
): number[] {
  const at = prefixOf(config);
  const norm = (x: Rows, name: string) => layerNorm(x, weights, at + name, 1e-5);
  let x = tokens.map((token) => row(weights, `${at}embeddings.tok_embeddings.weight`, token));
  x = norm(x, 'embeddings.norm');
  for (const [i, size] of sizes.entries()) {
    const { heads, ffn } = size;
    const layer = `layers.${i}`;
    const types = config.layer_types as string[] | undefined;
    const slides = types ? types[i] === 'sliding_attention' : i % 2 !== 0;
    const base = (slides ? config.local_rope_theta : config.global_rope_theta) as number;
    const settings = { rope_theta: base, max_position_embeddings: POSITIONS };
    const rope = ropeReference(settings, DH, 1, tokens.length);
    const h = i === 0 ? x : norm(x, `${layer}.attn_norm`);
    const fused = linear(h, weights, `${at}${layer}.attn.Wqkv`);
    const [q, k, v] = slices(fused, widthsOf(size, DH));
    const [turnedQ, turnedK] = [q, k].map((rows) =>
      perHead(rows, DH, (head, p) => turnReference(head, p, rope)),
    );
    const window = slides ? (config.local_attention as number) / 2 + 1 : undefined;
    const how = { heads, kvHeads: heads, scale: DH ** -0.5, seesAll: true, window };
    x = add(x, linear(attention(turnedQ, turnedK, v, how), weights, `${at}${layer}.attn.Wo`));
    const both = linear(norm(x, `${layer}.mlp_norm`), weights, `${at}${layer}.mlp.Wi`);
    const [input, gate] = slices(both, [ffn, ffn]);
    x = add(x, linear(product(activate(input, 'gelu'), gate), weights, `${at}${layer}.mlp.Wo`));
  }
  x = norm(x, 'final_norm');
  if (!weights.has('classifier.weight')) return x.flat();
  const pooled = config.classifier_pooling === 'mean' ? meanOf(x) : x[0];
  const read = ofTokens(config) ? x : [pooled];
  const activation = (config.classifier_activation ?? 'gelu') as string;
  const dense = activate(linear(read, weights, 'head.dense'), activation);
  return linear(layerNorm(dense, weights, 'head.norm', 1e-5), weights, 'classifier').flat();
}

function nomicBert(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  { tokens = [], types }: Sample,
): number[] {
  const at = prefixOf(config);
  const norm = (x: Rows, name: string) =>
    layerNorm(x, weights, at + name, config.layer_norm_epsilon as number);
  const map = (x: Rows, name: string) => linear(x, weights, at + name);
  const settings = { rope_theta: config.rotary_emb_base, max_position_embeddings: POSITIONS };
  const rope = ropeReference(settings, DH, 1, tokens.length);
  const turned = (x: Rows) => perHead(x, DH, (head, p) => turnReference(head, p, rope));
  let x = tokens.map((token, p) =>
    sum(
      row(weights, `${at}embeddings.word_embeddings.weight`, token),
      row(weights, `${at}embeddings.token_type_embeddings.weight`, types?.[p] ?? 0),
    ),
  );
  x = norm(x, 'emb_ln');
  for (const [i, size] of sizes.entries()) {
    const layer = `encoder.layers.${i}`;
    const [q, k, v] = slices(map(x, `${layer}.attn.Wqkv`), widthsOf(size, DH));
    const how = { heads: size.heads, kvHeads: size.kvHeads, scale: DH ** -0.5, seesAll: true };
    const mixed = attention(turned(q), turned(k), v, how);
    x = norm(add(x, map(mixed, `${layer}.attn.out_proj`)), `${layer}.norm1`);
    const gate = activate(map(x, `${layer}.mlp.fc12`), 'silu');
    const inner = product(map(x, `${layer}.mlp.fc11`), gate);
    x = norm(add(x, map(inner, `${layer}.mlp.fc2`)), `${layer}.norm2`);
  }
  return x.flat();
}

function neobert(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  { tokens = [] }: Sample,
): number[] {
  const isBare = weights.has('encoder.weight');
  const at = isBare ? '' : 'model.';
  const norm = (x: Rows, name: string) => rmsNorm(x, weights, at + name, config.norm_eps as number);
  let x = tokens.map((token) => row(weights, `${at}encoder.weight`, token));
  for (const [i, size] of sizes.entries()) {
    const layer = `transformer_encoder.${i}`;
    const map = (y: Rows, name: string) => linear(y, weights, `${at}${layer}.${name}`);
    const fused = map(norm(x, `${layer}.attention_norm`), 'qkv');
    // Of each head its query, key and value.
    const width = fused[0].length / size.heads;
    const [dk, dv] = [size.keyDim ?? DH, size.valueDim ?? DH];
    const part = (from: number, to: number) => perHead(fused, width, (head) => head.slice(from, to));
    const [q, k] = [part(0, dk), part(dk, 2 * dk)].map(turnedByPairs);
    const how = { heads: size.heads, kvHeads: size.heads, scale: DH ** -0.5, seesAll: true };
    x = add(x, map(attention(q, k, part(2 * dk, 2 * dk + dv), how), 'wo'));
    const [gate, up] = slices(map(norm(x, `${layer}.ffn_norm`), 'ffn.w12'), [size.ffn, size.ffn]);
    x = add(x, map(product(activate(gate, 'silu'), up), 'ffn.w3'));
  }
  x = norm(x, 'layer_norm');
  if (isBare) return x.flat();
  return linear(activate(linear([x[0]], weights, 'dense'), 'tanh'), weights, 'classifier')[0];
}

function gte(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  { tokens = [], types }: Sample,
): number[] {
  const at = prefixOf(config);
  const norm = (x: Rows, name: string) => layerNorm(x, weights, at + name, config.layer_norm_eps as number);
  const map = (x: Rows, name: string) => linear(x, weights, at + name);
  const { factor } = (config.rope_scaling ?? { factor: 1 }) as { factor: number };
  const base = (config.rope_theta as number) * factor;
  const inverse = Array.from({ length: DH / 2 }, (_, i) => base ** ((-2 * i) / DH) / factor ** (2 / DH));
  const turned = (x: Rows) => perHead(x, DH, (head, p) => turnReference(head, p, { inverse, factor: 1 }));
  let x = tokens.map((token, p) => {
    const word = row(weights, `${at}embeddings.word_embeddings.weight`, token);
    if (!config.type_vocab_size) return word;
    return sum(word, row(weights, `${at}embeddings.token_type_embeddings.weight`, types?.[p] ?? 0));
  });
  x = norm(x, 'embeddings.LayerNorm');
  for (const [i, size] of sizes.entries()) {
    const layer = `encoder.layer.${i}`;
    const [q, k, v] =
      config.pack_qkv === false
        ? [...'qkv'].map((name) => map(x, `${layer}.attention.${name}_proj`))
        : slices(map(x, `${layer}.attention.qkv_proj`), widthsOf(size, DH));
    const how = { heads: size.heads, kvHeads: size.kvHeads, scale: DH ** -0.5, seesAll: true };
    const mixed = attention(turned(q), turned(k), v, how);
    x = norm(add(x, map(mixed, `${layer}.attention.o_proj`)), `${layer}.attn_ln`);
    const [up, gate] = slices(map(x, `${layer}.mlp.up_gate_proj`), [size.ffn, size.ffn]);
    const inner = product(up, activate(gate, config.hidden_act as string));
    x = norm(add(x, map(inner, `${layer}.mlp.down_proj`)), `${layer}.mlp_ln`);
  }
  const [readout] = headsOf(config);
  if (!readout) return x.flat();
  let y: Rows = [x[0]];
  for (const [name, activation] of readout.maps) {
    y = linear(y, weights, name);
    if (activation) y = activate(y, activation);
  }
  return y[0];
}

function dinov3(config: Config, sizes: readonly BlockSizes[], weights: Weights, { image }: Sample): number[] {
  const [side, size, channels] = [config.image_size, config.patch_size, config.num_channels] as number[];
  const across = Math.floor(side / size);
  const value = (name: string) => Array.from(weights.get(name)!.data);
  const [kernel, bias] = ['weight', 'bias'].map((kind) => value(`embeddings.patch_embeddings.${kind}`));
  const registers = config.num_register_tokens as number;
  let x: Rows = [value('embeddings.cls_token')];
  for (let r = 0; r < registers; r++)
    x.push(value('embeddings.register_tokens').slice(r * HIDDEN, (r + 1) * HIDDEN));
  const before = x.length;
  for (let square = 0; square < across ** 2; square++) {
    const [top, left] = [Math.floor(square / across) * size, (square % across) * size];
    const features = [...bias];
    for (let o = 0; o < HIDDEN; o++)
      for (let c = 0; c < channels; c++)
        for (let y = 0; y < size; y++)
          for (let z = 0; z < size; z++)
            features[o] +=
              kernel[((o * channels + c) * size + y) * size + z] *
              image![(c * side + top + y) * side + left + z];
    x.push(features);
  }
  const quarter = DH / 4;
  const turned = (rows: Rows) =>
    perHead(rows, DH, (head, t) => {
      if (t < before) return [...head];
      const square = t - before;
      const place = [Math.floor(square / across), square % across].map((at) => (2 * (at + 0.5)) / across - 1);
      return head.map((it, c) => {
        const pair = c % (DH / 2);
        const frequency = (config.rope_theta as number) ** -((4 * (pair % quarter)) / DH);
        const angle = 2 * Math.PI * place[pair < quarter ? 0 : 1] * frequency;
        const other = c < DH / 2 ? -head[c + DH / 2] : head[c - DH / 2];
        return it * Math.cos(angle) + other * Math.sin(angle);
      });
    });
  const ln = (rows: Rows, name: string) => layerNorm(rows, weights, name, config.layer_norm_eps as number);
  const act = config.hidden_act as string;
  for (const [i, { heads }] of sizes.entries()) {
    const map = (rows: Rows, name: string) => linear(rows, weights, `layer.${i}.${name}`);
    const scaled = (rows: Rows, half: number) => {
      const factors = value(`layer.${i}.layer_scale${half}.lambda1`);
      return rows.map((row) => row.map((it, c) => it * factors[c]));
    };
    const h = ln(x, `layer.${i}.norm1`);
    const [q, k, v] = ['q', 'k', 'v'].map((name) => map(h, `attention.${name}_proj`));
    const how = { heads, kvHeads: heads, scale: DH ** -0.5, seesAll: true };
    x = add(x, scaled(map(attention(turned(q), turned(k), v, how), 'attention.o_proj'), 1));
    const g = ln(x, `layer.${i}.norm2`);
    const up = map(g, 'mlp.up_proj');
    const inner = config.use_gated_mlp
      ? product(activate(map(g, 'mlp.gate_proj'), act), up)
      : activate(up, act);
    x = add(x, scaled(map(inner, 'mlp.down_proj'), 2));
  }
  return ln(x, 'norm').flat();
}

function embedded(config: Config, weights: Weights, { tokens = [], types }: Sample): Rows {
  if (isTextTower(config))
    return tokens.map((token, p) =>
      sum(
        row(weights, 'text_model.embeddings.token_embedding.weight', token),
        row(weights, 'text_model.embeddings.position_embedding.weight', p),
      ),
    );
  const at = `${prefixOf(config)}embeddings`;
  const offset = offsetOf(config);
  const x = tokens.map((token, p) => {
    const word = row(weights, `${at}.word_embeddings.weight`, token);
    const place = weights.has(`${at}.position_embeddings.weight`)
      ? sum(word, row(weights, `${at}.position_embeddings.weight`, p + offset))
      : word;
    if (!weights.has(`${at}.token_type_embeddings.weight`)) return place;
    const typed = sum(place, row(weights, `${at}.token_type_embeddings.weight`, types?.[p] ?? 0));
    return config.use_task_id ? sum(typed, row(weights, `${at}.task_type_embeddings.weight`, 0)) : typed;
  });
  if (isBefore(config)) return x;
  const normal = layerNorm(x, weights, `${at}.LayerNorm`, 1e-12);
  const project = prefixOf(config) + projectionOf(config);
  return weights.has(`${project}.weight`) ? linear(normal, weights, project) : normal;
}

/** Those that are masked are zeros, and the others as much larger as they were in training, where 0.12 of them were. */
function aminoAcids(config: Config, weights: Weights, { tokens = [] }: Sample): Rows {
  const at = `${prefixOf(config)}embeddings`;
  const isMasked = (token: number) => config.token_dropout === true && token === config.mask_token_id;
  const share = tokens.filter(isMasked).length / tokens.length;
  const factor = config.token_dropout ? (1 - 0.15 * 0.8) / (1 - share) : 1;
  const x = tokens.map((token) =>
    row(weights, `${at}.word_embeddings.weight`, token).map((it) => (isMasked(token) ? 0 : it * factor)),
  );
  const norm = `${at}.layer_norm`;
  return weights.has(`${norm}.weight`) ? layerNorm(x, weights, norm, 1e-5) : x;
}

/** Rotary positions of all features. */
const isRoformer = ({ model_type: type }: Config) => type === 'roformer';

function turnedByPairs(x: Rows): Rows {
  const rope = ropeReference({ rope_theta: 10000 }, DH, 1, x.length);
  return perHead(x, DH, (head, p) => turnNeighboursReference(head, p, rope));
}

function turnedFully(x: Rows): Rows {
  const rope = ropeReference({ rope_theta: 10000, max_position_embeddings: POSITIONS }, DH, 1, x.length);
  return perHead(x, DH, (head, p) => turnReference(head, p, rope));
}

/** Tokens with their positions: those of a table, or sines and then cosines. */
function bartEmbedded(config: Config, weights: Weights, { tokens = [] }: Sample): Rows {
  const at = prefixOf(config);
  const { offset, hasTable } = bartPlaces(config);
  const isScaled = config.scale_embedding ?? /^(m2m_100|plbart)$/.test(String(config.model_type));
  const last = HIDDEN / 2 - (config.model_type === 'm2m_100' ? 1 : 0);
  const wave = (place: number, c: number) =>
    c < HIDDEN / 2
      ? Math.sin(place * Math.exp((-c * Math.log(10000)) / last))
      : Math.cos(place * Math.exp((-(c - HIDDEN / 2) * Math.log(10000)) / last));
  const x = tokens.map((token, p) => {
    const word = row(weights, `${at}${bartTokens(config)}.weight`, token);
    const place = hasTable
      ? row(weights, `${at}encoder.embed_positions.weight`, p + offset)
      : word.map((_, c) => wave(p + offset, c));
    return sum(isScaled ? word.map((value) => value * Math.sqrt(HIDDEN)) : word, place);
  });
  const norm = `${at}encoder.layernorm_embedding`;
  return weights.has(`${norm}.weight`) ? layerNorm(x, weights, norm, 1e-5) : x;
}

/** Rows are tokens, as convolutions make them of a waveform, with what those around give each. */
function wave(config: Config, weights: Weights, sound: Float32Array): Rows {
  const at = prefixOf(config);
  const eps = (config.layer_norm_eps ?? 1e-5) as number;
  let x: Rows = Array.from(sound, (value) => [value]);
  for (const [i, stride] of (config.conv_stride as number[]).entries()) {
    const layer = `${at}feature_extractor.conv_layers.${i}`;
    x = convolve(x, weights, `${layer}.conv`, stride);
    if (config.feat_extract_norm === 'layer') x = layerNorm(x, weights, `${layer}.layer_norm`, 1e-5);
    else if (i === 0) x = overTime(x, weights, `${layer}.layer_norm`);
    x = activate(x, 'gelu');
  }
  if (config.feat_proj_layer_norm !== false)
    x = layerNorm(x, weights, `${at}feature_projection.layer_norm`, eps);
  x = linear(x, weights, `${at}feature_projection.projection`);
  x = add(x, activate(around(config, weights, x), 'gelu'));
  return config.do_stable_layer_norm ? x : layerNorm(x, weights, `${at}encoder.layer_norm`, eps);
}

/** Each channel less its mean, by its deviation. */
function overTime(x: Rows, weights: Weights, name: string): Rows {
  const [weight, bias] = ['weight', 'bias'].map((kind) => weights.get(`${name}.${kind}`)!.data);
  const mean = meanOf(x);
  const variance = meanOf(x.map((row) => row.map((value, c) => (value - mean[c]) ** 2)));
  return x.map((row) =>
    row.map((value, c) => ((value - mean[c]) / Math.sqrt(variance[c] + 1e-5)) * weight[c] + bias[c]),
  );
}

/** A grouped convolution over tokens, of as many before each as behind it, and one more where they are an even number. */
function around(config: Config, weights: Weights, x: Rows): Rows {
  const name = `${prefixOf(config)}encoder.pos_conv_embed.conv`;
  const [v, g, bias] = ['weight_v', 'weight_g', 'bias'].map((kind) => weights.get(`${name}.${kind}`)!.data);
  const [places, groups] = [config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups] as number[];
  const share = HIDDEN / groups;
  const lengths = Array.from({ length: places }, (_, k) =>
    Math.sqrt(v.reduce((sum, value, at) => sum + (at % places === k ? value ** 2 : 0), 0)),
  );
  return x.map((_, t) =>
    Array.from({ length: HIDDEN }, (_, o) => {
      let total = bias[o];
      for (let k = 0; k < places; k++)
        for (let c = 0; c < share; c++) {
          const weight = (v[(o * share + c) * places + k] * g[k]) / lengths[k];
          const from = t + k - Math.floor(places / 2);
          total += weight * (x[from]?.[Math.floor(o / share) * share + c] ?? 0);
        }
      return total;
    }),
  );
}

/** Frames by channel as rows of features, half as many. */
function spectra(config: Config, weights: Weights, sound: Float32Array): Rows {
  const at = prefixOf(config);
  const frames = 2 * (config.max_source_positions as number);
  let x: Rows = Array.from({ length: frames }, (_, t) =>
    Array.from({ length: config.num_mel_bins as number }, (_, c) => sound[c * frames + t]),
  );
  for (const [i, stride] of [1, 2].entries()) {
    const kernel = weights.get(`${at}conv${i + 1}.weight`)!.data;
    const bias = weights.get(`${at}conv${i + 1}.bias`)!.data;
    const [before, width] = [x, x[0].length];
    const value = (t: number, o: number) => {
      let total = bias[o];
      for (let k = 0; k < 3; k++)
        for (let c = 0; c < width; c++)
          total += kernel[(o * width + c) * 3 + k] * (before[t * stride + k - 1]?.[c] ?? 0);
      return total;
    };
    const rows = Array.from({ length: before.length / stride }, (_, t) =>
      Array.from({ length: HIDDEN }, (_, o) => value(t, o)),
    );
    x = activate(rows, 'gelu');
  }
  return x.map((features, t) => sum(features, row(weights, `${at}embed_positions.weight`, t)));
}

function patches(config: Config, weights: Weights, image: Float32Array): Rows {
  const at = `${prefixOf(config)}embeddings`;
  const [side, size, channels] = [config.image_size, config.patch_size, config.num_channels ?? 1] as number[];
  const kernel = weights.get(`${at}.patch_embeddings.projection.weight`)!.data;
  const bias = weights.get(`${at}.patch_embeddings.projection.bias`)!.data;
  const across = Math.floor(side / size);
  const first = weights.get(`${at}.cls_token`)?.data;
  const rows: Rows = first ? [Array.from(first)] : [];
  const teacher = weights.get(`${at}.distillation_token`)?.data;
  if (teacher) rows.push(Array.from(teacher));
  // A spectrogram has frames in rows, and bins are the height of an image.
  const pixel = (c: number, y: number, z: number) =>
    isAst(config) ? image[z * (config.num_mel_bins as number) + y] : image[(c * side + y) * side + z];
  const [down, right] = isAst(config) ? acrossOf(config) : [across, across];
  const [stepY, stepZ] = isAst(config)
    ? ([config.frequency_stride, config.time_stride] as number[])
    : [size, size];
  for (let top = 0; top < down; top++) {
    for (let left = 0; left < right; left++) {
      rows.push(
        Array.from({ length: HIDDEN }, (_, o) => {
          let value = bias[o];
          for (let c = 0; c < channels; c++)
            for (let y = 0; y < size; y++)
              for (let z = 0; z < size; z++)
                value +=
                  kernel[((o * channels + c) * size + y) * size + z] *
                  pixel(c, top * stepY + y, left * stepZ + z);
          return value;
        }),
      );
    }
  }
  const places = weights.get(`${at}.position_embeddings`)?.data;
  const placed = places
    ? rows.map((features, p) => features.map((value, c) => value + places[p * HIDDEN + c]))
    : rows;
  const registers = weights.get(`${at}.register_tokens`);
  if (!registers) return placed;
  const [, count] = registers.shape;
  const row = (r: number) => Array.from(registers.data.subarray(r * HIDDEN, (r + 1) * HIDDEN));
  return [placed[0], ...Array.from({ length: count }, (_, r) => row(r)), ...placed.slice(1)];
}

/** CLIP's and SigLIP's tokens before the blocks. */
function squares(config: Config, weights: Weights, image: Float32Array): Rows {
  const { image_size, patch_size, num_channels } = sizesIn(config);
  const [side, size, channels] = [image_size, patch_size, num_channels] as number[];
  const value = (name: string) => weights.get(`vision_model.${name}`)?.data;
  const kernel = value('embeddings.patch_embedding.weight')!;
  const bias = value('embeddings.patch_embedding.bias');
  const places = value('embeddings.position_embedding.weight')!;
  const across = Math.floor(side / size);
  const first = value('embeddings.class_embedding');
  const rows: Rows = first ? [Array.from(first)] : [];
  for (let square = 0; square < across ** 2; square++) {
    const [top, left] = [Math.floor(square / across) * size, (square % across) * size];
    const features = new Array<number>(HIDDEN).fill(0).map((_, o) => bias?.[o] ?? 0);
    for (let o = 0; o < HIDDEN; o++)
      for (let pixel = 0; pixel < channels * size ** 2; pixel++) {
        const [channel, within] = [Math.floor(pixel / size ** 2), pixel % size ** 2];
        const [y, z] = [Math.floor(within / size), within % size];
        features[o] +=
          kernel[o * channels * size ** 2 + pixel] * image[(channel * side + top + y) * side + left + z];
      }
    rows.push(features);
  }
  const placed = rows.map((features, p) => features.map((it, c) => it + places[p * HIDDEN + c]));
  return first
    ? layerNorm(placed, weights, 'vision_model.pre_layrnorm', sizesIn(config).layer_norm_eps as number)
    : placed;
}

/** What SigLIP's probe gives, as torch's MultiheadAttention and an MLP make it. */
function probed(config: Config, weights: Weights, x: Rows): number[] {
  const head = 'vision_model.head';
  const { layer_norm_eps: eps, hidden_act: act } = sizesIn(config);
  const joined = new Map(weights);
  for (const kind of ['weight', 'bias'])
    joined.set(`in.${kind}`, weights.get(`${head}.attention.in_proj_${kind}`)!);
  const probe = Array.from(weights.get(`${head}.probe`)!.data);
  const parts = (rows: Rows) => slices(linear(rows, joined, 'in'), [HIDDEN, HIDDEN, HIDDEN]);
  const [[q], [, k, v]] = [parts([probe]), parts(x)];
  const mixed: number[] = [];
  for (let h = 0; h < HEADS; h++) {
    const own = (row: readonly number[]) => row.slice(h * DH, (h + 1) * DH);
    const scores = k.map((key) =>
      own(key).reduce((total, value, c) => total + (value * own(q[0])[c]) / Math.sqrt(DH), 0),
    );
    const shares = scores.map((score) => Math.exp(score - Math.max(...scores)));
    const all = shares.reduce((a, b) => a + b);
    for (let c = 0; c < DH; c++)
      mixed.push(v.reduce((total, value, t) => total + (shares[t] / all) * own(value)[c], 0));
  }
  const y = linear([mixed], weights, `${head}.attention.out_proj`);
  const normal = layerNorm(y, weights, `${head}.layernorm`, eps as number);
  const inner = activate(linear(normal, weights, `${head}.mlp.fc1`), act as string);
  return add(y, linear(inner, weights, `${head}.mlp.fc2`))[0];
}
