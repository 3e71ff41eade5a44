// A model without some of its blocks, as its own config.json can say it: fewer of them, and in lists what each of the others is.

import { sizesOf } from './facts.ts';
import { blockGraph } from './graphs.ts';
import type { Config, Description, TensorSource } from './types.ts';
import { WeightGraph } from './weights.ts';

/** Fields that say of each block what it is. */
const LISTS = ['layer_types', 'layers_block_type', 'mlp_layer_types', 'no_rope_layers'];

/**
 * Fields of config.json for the blocks that are left.
 *
 * @param config  the object that they are in
 * @param left  their numbers, ascending
 */
export function fieldsWith(
  { fields, blocks }: Description,
  config: Config,
  left: readonly number[],
): Config | undefined {
  if (fields.blocks === undefined || left.length === 0) return undefined;
  const lists = LISTS.flatMap((name) => {
    const list = config[name];
    return Array.isArray(list) && list.length === blocks ? [[name, left.map((i) => list[i])] as const] : [];
  });
  return { ...Object.fromEntries(lists), [fields.blocks]: left.length };
}

/** Whether the blocks of the shorter model are those that are left of the other: by numbers, some kinds tell what a block is. */
export function areSame(dense: Description, left: readonly number[], shorter: Description): boolean {
  const stem = stemOf(dense);
  const numbers = new RegExp(`${stem.replaceAll('.', '\\.')}(\\d+)\\.`, 'g');
  return left.every((i, j) => {
    const own = said(dense, i);
    // Tables that blocks share have the number of one of them.
    const others = Array.from(own.matchAll(numbers), ([, number]) => Number(number)).filter((it) => it !== i);
    const stay = others.every((number) => left.indexOf(number) === number);
    return stay && own.replaceAll(`${stem}${i}.`, `${stem}${j}.`) === said(shorter, j);
  });
}

/** What the names of tensors of blocks begin with, before their numbers. */
export function stemOf({ block }: Description): string {
  const [stem] = block(0).attention.out.name.split('0'); // "layers." or "h."
  return stem;
}

/** Weights are not read. */
const NOTHING: TensorSource = { tensors: new Map(), read: async () => new Float32Array() };
/** Tokens of a graph that shows what a block does: what it sees of more is in its description. */
const TOKENS = 2;

function said(description: Description, i: number): string {
  const sizes = sizesOf(description, i);
  const block = description.block(i);
  const { rope } = block.attention;
  const g = blockGraph(new WeightGraph(''), description, i, sizes, TOKENS);
  const { nodes, tensors } = g.outline(NOTHING, '').model;
  const turns = [rope, rope?.long].map((it) => it && [...it.frequencies()]);
  const all = [sizes, block, turns, nodes, [...tensors.values()], [...g.parameters.values()]];
  return JSON.stringify(all, (_, value) => (typeof value === 'bigint' ? String(value) : value));
}
