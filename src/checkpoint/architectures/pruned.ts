// What the files of a pruned folder say: config.json where it can, osscar.json where it cannot.

import type { BlockSizes, Config, Description, PrunedConfig } from './types.ts';

/** @param sizes  of every block, checked */
export function prunedConfig(
  config: Config,
  description: Description,
  sizes: readonly BlockSizes[],
): PrunedConfig {
  const { fields, hidden, headDim, modelType } = description;
  const [first] = sizes;
  const same = (key: keyof BlockSizes) => sizes.every((size) => size[key] === first[key]);
  const sameHeads = same('heads') && same('kvHeads');
  const fewerHeads = first.heads !== description.sizes.heads || first.kvHeads !== description.sizes.kvHeads;
  const reasons: string[] = [];
  if (!same('ffn')) reasons.push(`blocks differ in ${fields.ffn}`);
  if (!sameHeads) reasons.push('blocks differ in their heads');
  else if (fewerHeads && !fields.heads) reasons.push(`it has no field for heads of ${headDim} features each`);
  if (reasons.length > 0) {
    return {
      config,
      record: { blocks: sizes.map(({ heads, kvHeads, ffn }) => ({ heads, kvHeads, ffn })) },
      statement:
        `The config.json of ${modelType} cannot express these sizes (${reasons.join('; ')}): they are in ` +
        'osscar.json, and only osscar and the ONNX file can use them, not stock transformers.',
    };
  }
  const heads = fewerHeads &&
    fields.heads && {
      [fields.heads.heads]: first.heads,
      [fields.heads.kvHeads]: first.kvHeads,
      [fields.heads.headDim]: headDim,
    };
  // checked by transformers 5 for this model type, though nothing depends on it
  const refused = modelType === 'llama' && hidden % first.heads !== 0;
  return {
    config: { ...config, [fields.ffn]: first.ffn, ...heads },
    statement: refused
      ? `config.json says the sizes; transformers 4.48 and later 4.x read them, while 5 refuses a llama whose ` +
        `hidden_size (${hidden}) is not a multiple of num_attention_heads (${first.heads}).`
      : 'config.json says the sizes; stock transformers (4.48 or later) reads the folder.',
  };
}
