// A described model: graphs for its parts, and the way back to a checkpoint.

import { InputError } from '../../errors.ts';
import type { Model, Tensor } from '../../graph/index.ts';
import { blockGraph, embeddingGraph, headGraph, type Plan, wholeGraph } from './graphs.ts';
import { weightName } from './layers.ts';
import { prunedConfig } from './pruned.ts';
import type {
  BlockSizes,
  Config,
  Description,
  LanguageModel,
  Linear,
  TensorNames,
  TensorSource,
} from './types.ts';
import {
  checkInitialiser,
  checkpointTensors,
  checkTensor,
  type Parameter,
  shapeOf,
  type WeightGraph,
} from './weights.ts';

/** @param sizes  of every block */
export function languageModel(
  config: Config,
  description: Description,
  sizes: readonly BlockSizes[],
): LanguageModel {
  const { modelType, hidden, vocabulary, maxPositions, headDim } = description;
  const planFor = ({ tensors }: TensorNames): Plan => ({
    description,
    prefix: prefixOf(description, tensors),
  });
  return {
    architecture: modelType,
    blocks: sizes.length,
    hidden,
    vocabulary,
    maxPositions,
    headDim,
    sizes,
    check: (source) => checkSource(source, planFor(source), sizes),
    tensors: (source) => tensorsOf(planFor(source), sizes),
    async embedding(source, { length }) {
      checkLength(description, length);
      return embeddingGraph(planFor(source), length).load(source, `${modelType} embedding`);
    },
    async block(source, i, { length }) {
      checkIndex(description, i);
      checkLength(description, length);
      return blockGraph(planFor(source), i, sizes[i], length).load(source, `${modelType} block ${i}`);
    },
    head: async (source) => headGraph(planFor(source)).load(source, `${modelType} head`),
    whole: async (source, { past = false } = {}) =>
      wholeGraph(planFor(source), sizes, past).load(source, modelType),
    outline: (source, { past = false } = {}) =>
      wholeGraph(planFor(source), sizes, past).outline(source, modelType),
    tensorsOf: (i, block) => checkpointTensors(block, parametersOf(description, i, block)),
    configOf(pruned) {
      if (pruned.length !== sizes.length) {
        throw new InputError(`${modelType}: sizes of ${sizes.length} blocks expected, got ${pruned.length}`);
      }
      for (const [i, size] of pruned.entries()) checkSizes(size, description, `block ${i}`);
      return prunedConfig(config, description, pruned);
    },
  };
}

function checkIndex({ modelType, blocks }: Description, i: number): void {
  if (Number.isInteger(i) && i >= 0 && i < blocks) return;
  throw new InputError(`${modelType}: block ${i} expected below ${blocks}`);
}

function checkLength({ modelType, embedding, maxPositions }: Description, length: number): void {
  const limit = embedding.positions ? maxPositions : 2 ** 24;
  if (!Number.isInteger(length) || length < 1 || length > limit) {
    throw new InputError(`${modelType}: windows of 1 to ${limit} tokens expected, got ${length}`);
  }
}

function tensorsOf(plan: Plan, sizes: readonly BlockSizes[]): ReturnType<LanguageModel['tensors']> {
  const tensors = new Map<string, { shape: readonly number[]; block?: number }>();
  const add = ({ parameters }: WeightGraph, block?: number) => {
    for (const parameter of parameters.values()) {
      tensors.set(parameter.tensor, { shape: shapeOf(parameter), block });
    }
  };
  add(wholeGraph(plan, sizes, false));
  for (const [i, size] of sizes.entries()) add(blockGraph(plan, i, size, 1), i);
  return tensors;
}

/** The parameters of a graph of a block at the sizes that it shows, all of which it has. */
function parametersOf(description: Description, i: number, block: Model): Iterable<Parameter> {
  checkIndex(description, i);
  const { attention, mlp } = description.block(i);
  const prefix = prefixWith(description, (start) => block.tensors.has(weightName(start, mlp.up)));
  const columns = (map: Linear) => matrixOf(block, weightName(prefix, map)).dims[1];
  const sizes = {
    heads: columns(attention.q) / description.headDim,
    kvHeads: columns(attention.k) / description.headDim,
    ffn: columns(mlp.up),
  };
  checkSizes(sizes, description, `${block.name}: block ${i}`);
  const { parameters } = blockGraph({ description, prefix }, i, sizes, 1);
  for (const parameter of parameters.values()) checkInitialiser(block, parameter);
  return parameters.values();
}

/** @throws {InputError} unless a block can have these sizes */
export function checkSizes(sizes: BlockSizes, { block }: Description, where: string): void {
  for (const key of ['heads', 'kvHeads', 'ffn'] as const) {
    if (!Number.isInteger(sizes[key]) || sizes[key] < 1) {
      throw new InputError(`${where}: "${key}" expected a positive integer, got ${sizes[key]}`);
    }
  }
  const { heads, kvHeads } = sizes;
  const fused = block(0).attention.q.part !== undefined;
  if (heads % kvHeads !== 0 || (fused && heads !== kvHeads)) {
    throw new InputError(`${where}: ${heads} heads cannot share ${kvHeads} key-value heads`);
  }
}

function prefixOf(description: Description, tensors: TensorSource['tensors']): string {
  return prefixWith(description, (prefix) => tensors.has(`${prefix}${description.embedding.tokens}.weight`));
}

/** The first prefix that fits; the first of all, where none does, so that messages name the usual tensors. */
function prefixWith({ prefixes }: Description, fits: (prefix: string) => boolean): string {
  return prefixes.find(fits) ?? prefixes[0];
}

function matrixOf(model: Model, name: string): Tensor {
  const tensor = model.tensors.get(name);
  if (tensor?.dims.length === 2) return tensor;
  throw new InputError(`${model.name}: no block of this model: it lacks the matrix "${name}"`);
}

function checkSource(source: TensorNames, plan: Plan, sizes: readonly BlockSizes[]): void {
  const { description, prefix } = plan;
  const { parameters } = wholeGraph(plan, sizes, false);
  for (const parameter of parameters.values()) checkTensor(source, parameter);
  // Weights that the description knows nothing of would be dropped without a word.
  const known = new Set(Array.from(parameters.values(), ({ tensor }) => tensor));
  const [stem] = description.block(0).mlp.up.name.split('0'); // "layers." or "h."
  for (const name of source.tensors.keys()) {
    if (!name.startsWith(`${prefix}${stem}`) || known.has(name) || description.ignored.test(name)) continue;
    throw new InputError(
      `checkpoint: tensor "${name}" has no place in the model that config.json describes ` +
        `(${description.modelType}, ${description.blocks} blocks)`,
    );
  }
}
