/** config.json of facebook/opt-30b: fc2 has 28,672 inputs, more than one memory holds, and fc1 as many outputs. */
export const OPT_30B_CONFIG = {
  model_type: 'opt',
  ffn_dim: 28672,
  hidden_size: 7168,
  max_position_embeddings: 2048,
  num_attention_heads: 56,
  num_hidden_layers: 48,
  vocab_size: 50272,
  word_embed_proj_dim: 7168,
};
